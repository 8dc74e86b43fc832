//! Requests and answers.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
pub use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

/// What may stand in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'*')
    .remove(b',')
    .remove(b':');

/// How long a request goes on trying when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kind of a refusal that comes not from the server but from here: its answer is larger than the request allows.
pub const ANSWER_TOO_LARGE: &str = "answer_too_large";

/// A request. Sending it twice must do no harm: it is sent again when the answer was lost.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<(Bytes, &'static str)>,
    pub(crate) patience: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) answer_bytes_max: usize,
}

impl Request {
    /// Makes a request without a body. `path` is escaped already and may have a query, as in `/a%2Fb/_search?size=1`.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            patience: PATIENCE,
            timeout: None,
            answer_bytes_max: usize::MAX,
        }
    }

    /// Makes a `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Makes a `POST`.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Makes a `PUT`.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Makes a `DELETE`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a JSON body.
    ///
    /// # Panics
    ///
    /// When `body` is no JSON: a map whose keys are not text.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        let text = serde_json::to_vec(body).expect("what is sent can be written as JSON");
        self.bytes(text.into())
    }

    /// Adds a body that is JSON already.
    #[must_use]
    pub fn bytes(self, body: Bytes) -> Self {
        Self { body: Some((body, "application/json")), ..self }
    }

    /// Adds a body of JSON lines.
    #[must_use]
    pub fn lines(self, body: Bytes) -> Self {
        Self { body: Some((body, "application/x-ndjson")), ..self }
    }

    /// Sets how long to go on trying while no server answers (default 30 s).
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sets how long one try may take (default: the connection's `requestTimeout`).
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets how large the answer may be; one that is larger is refused with 413 and [`ANSWER_TOO_LARGE`].
    #[must_use]
    pub fn answer_bytes_max(self, answer_bytes_max: usize) -> Self {
        Self { answer_bytes_max, ..self }
    }

    /// Names the request in errors.
    pub(crate) fn what(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let shown: String = path.chars().take(120).collect();
        format!("{} {shown}", self.method)
    }
}

/// An answer below 400.
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) connection: String,
    pub(crate) what: String,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) tries: u32,
}

impl Response {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns how often the request was sent; more than once: servers were too busy, or away.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Returns the body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`Unexpected`](crate::Error::Unexpected) when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, crate::Error> {
        serde_json::from_slice(&self.body).map_err(|error| crate::Error::Unexpected {
            connection: self.connection.clone(),
            what: self.what.clone(),
            reason: error.to_string(),
        })
    }
}

/// Escapes the name of an index, a list or a pattern of them, or the id of a document, as one step of a path: `/a%2Fb`.
#[must_use]
pub fn index_path(name: &str) -> String {
    format!("/{}", utf8_percent_encode(name, PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_names() {
        assert_eq!(index_path("logs-*,other:x"), "/logs-*,other:x");
        assert_eq!(index_path("a/b?c é"), "/a%2Fb%3Fc%20%C3%A9");
    }
}
