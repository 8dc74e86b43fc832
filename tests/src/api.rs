//! Requests to the API of a master, wherever it runs, and what they are answered.

use std::time::Duration;

use serde_json::Value;

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body: JSON, or text that is none as a string.
    pub body: Value,
}

impl Answer {
    /// Returns the body of an answer with one of these statuses.
    ///
    /// # Panics
    ///
    /// When it has another.
    #[must_use]
    pub fn body_of(self, statuses: &[u16], what: &str) -> Value {
        assert!(statuses.contains(&self.status), "{what}: {} {}", self.status, self.body);
        self.body
    }
}

/// Sends a request with a JSON body, if there is one; none when it is not answered.
pub(crate) fn send(
    agent: &ureq::Agent,
    url: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<Answer> {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{url}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    answer(match body {
        Some(body) => {
            let request = request.header("content-type", "application/json");
            agent.run(request.body(body.to_string()).expect("the request is one"))
        }
        None => agent.run(request.body(()).expect("the request is one")),
    })
}

/// Returns the ids of a job that was submitted, and of its execution.
pub(crate) fn ids(submitted: &Value) -> (String, String) {
    let id =
        |key: &str| submitted[key].as_str().unwrap_or_else(|| panic!("no {key}: {submitted}")).to_owned();
    (id("job_id"), id("ex_id"))
}

/// Returns the record of an execution if it has one of these statuses; none as long as it may get there.
///
/// Panics when it has ended otherwise. No answer is no news: the master may be away.
pub(crate) fn record(answer: Option<Answer>, wanted: &[&str]) -> Option<Value> {
    let ends = ["completed", "stopped", "rejected", "failed", "terminated"];
    let record = answer.filter(|answer| answer.status == 200)?.body;
    let status = record["_status"].as_str().unwrap_or_default();
    let is_wanted = wanted.contains(&status);
    assert!(is_wanted || !ends.contains(&status), "ended as {status}: {}", record["_failureReason"]);
    is_wanted.then_some(record)
}

fn config_of_agent() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_mins(5)))
}

pub(crate) fn agent() -> ureq::Agent {
    config_of_agent().build().new_agent()
}

/// Makes an agent that believes this authority, and no other.
///
/// Panics when it is no certificate in PEM.
pub(crate) fn agent_believing(authority: &[u8]) -> ureq::Agent {
    let believed = ureq::tls::Certificate::from_pem(authority).expect("the master writes a certificate");
    let roots = ureq::tls::RootCerts::new_with_certs(&[believed]);
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    config_of_agent().tls_config(tls).build().new_agent()
}

pub(crate) fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = sent.ok()?;
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(256 << 20).read_to_string().ok()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Some(Answer { status, body })
}
