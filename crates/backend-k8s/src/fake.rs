//! An API server in memory, for tests: lists, watches, writes with versions, and faults on demand.

mod objects;
mod request;

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc, stream, stream::BoxStream};
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use kube::Client;
use serde_json::{Value, json};
use teraslice_core::context::Context;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::{
    objects::{Objects, status},
    request::Request,
};

/// What is waited for in a test has to come after this.
const WAIT_MAX: Duration = Duration::from_mins(5);

type ResponseBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// What a request meets with in place of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This code and status object.
    Answer(u16, Value),
    /// Silence.
    Hang,
    /// A connection that breaks.
    Broken,
}

impl Fault {
    /// Returns a refusal with a code and a message.
    pub(crate) fn answer(code: u16, message: &str) -> Self {
        Self::Answer(code, status(code, message))
    }
}

/// Whose requests meet with a fault: those of a client, with a method, whose path and query have a text; empty is any.
struct Rule {
    client: &'static str,
    method: &'static str,
    part: String,
    fault: Fault,
}

#[derive(Default)]
struct Shared {
    objects: Objects,
    rules: Vec<Rule>,
    requests: Vec<Request>,
    /// The verbs and resources that nobody is allowed, as in `delete pods`.
    denied: Vec<String>,
    keys: Value,
}

/// The server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    shared: Arc<Mutex<Shared>>,
    context: Context,
}

impl Server {
    /// Makes an empty one.
    pub(crate) fn new(context: &Context) -> Self {
        Self { shared: Arc::default(), context: context.clone() }
    }

    /// Returns a client, whose requests faults can tell from those of others.
    pub(crate) fn client(&self, name: &'static str) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { server.answer(Request::read(name, request).await).await }
        });
        Client::new(service, "default")
    }

    /// Lets everything that a client (any, if empty) asks for with a method, and whose path and query have a text, meet with a
    /// fault.
    pub(crate) fn fail(&self, client: &'static str, method: &'static str, part: &str, fault: Fault) {
        self.lock().rules.push(Rule { client, method, part: part.to_owned(), fault });
    }

    /// Takes back all faults.
    pub(crate) fn heal(&self) {
        self.lock().rules.clear();
    }

    /// Denies a right, as in `delete pods`.
    pub(crate) fn deny(&self, right: &str) {
        self.lock().denied.push(right.to_owned());
    }

    /// Publishes keys of tokens.
    pub(crate) fn publish(&self, keys: Value) {
        self.lock().keys = keys;
    }

    /// Reaches for the objects behind everybody's back.
    pub(crate) fn objects<T>(&self, reach: impl FnOnce(&mut Objects) -> T) -> T {
        reach(&mut self.lock().objects)
    }

    /// Lists the requests with a method (any, if empty) whose path and query have a text.
    pub(crate) fn requests(&self, method: &str, part: &str) -> Vec<Request> {
        let shared = self.lock();
        let is_meant = |it: &&Request| it.is(method) && it.uri.contains(part);
        shared.requests.iter().filter(is_meant).cloned().collect()
    }

    async fn answer(&self, request: Request) -> io::Result<Response<ResponseBody>> {
        let fault = {
            let mut shared = self.lock();
            shared.requests.push(request.clone());
            let is_hit = |rule: &&Rule| {
                (rule.client.is_empty() || rule.client == request.client)
                    && request.is(rule.method)
                    && request.uri.contains(&rule.part)
            };
            shared.rules.iter().find(is_hit).map(|rule| rule.fault.clone())
        };
        match fault {
            Some(Fault::Answer(code, status)) => Ok(whole(code, &status)),
            Some(Fault::Hang) => pending().await,
            Some(Fault::Broken) => Err(io::ErrorKind::ConnectionRefused.into()),
            None if request.is_watch() => {
                let (early, changes) = self.lock().objects.watch(&request);
                Ok(Response::new(StreamBody::new(lines(early, changes, request.timeout()))))
            }
            None => {
                let (code, body) = self.whole_answer(&request);
                Ok(whole(code, &body))
            }
        }
    }

    fn whole_answer(&self, request: &Request) -> (u16, Value) {
        let now = self.context.wall();
        let mut shared = self.lock();
        match request.uri.as_str() {
            "/version" => (200, version()),
            "/openid/v1/jwks" => (200, shared.keys.clone()),
            _ if request.plural == "selfsubjectreviews" => {
                (201, json!({"metadata": {}, "status": {"userInfo": {"username": "somebody"}}}))
            }
            _ if request.plural == "selfsubjectaccessreviews" => {
                let asked = &request.body["spec"]["resourceAttributes"];
                let text = |key: &str| asked[key].as_str().unwrap_or_default();
                let right = format!("{} {}", text("verb"), text("resource"));
                let is_allowed = !shared.denied.contains(&right);
                (
                    201,
                    json!({"metadata": {}, "spec": request.body["spec"], "status": {"allowed": is_allowed}}),
                )
            }
            _ => shared.objects.answer(request, now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until something is so; fails the test if it does not become so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(WAIT_MAX, waiting).await.is_ok(), "{what}");
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "35+", "gitVersion": "v1.35.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

fn whole(code: u16, body: &Value) -> Response<ResponseBody> {
    let frame = Ok(Frame::data(Bytes::from(body.to_string())));
    let mut response = Response::new(StreamBody::new(stream::once(async { frame }).boxed()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response
}

/// Writes changes as they come, until the server ends the watch or its time is over.
fn lines(
    early: Vec<Value>,
    changes: mpsc::UnboundedReceiver<Value>,
    length: Duration,
) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    let end = Instant::now() + length;
    let changes = stream::unfold(changes, move |mut changes| async move {
        let change = timeout_at(end, changes.next()).await.ok()??;
        Some((change, changes))
    });
    let all = stream::iter(early).chain(changes);
    all.map(|change| Ok(Frame::data(Bytes::from(format!("{change}\n"))))).boxed()
}
