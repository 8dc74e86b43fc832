//! A blocking client of the HTTP API.

mod address;
mod call;
mod error;
mod events;
#[cfg(any(test, feature = "stub"))]
pub mod stub;
#[cfg(test)]
mod tests;

use std::{fmt, fs::File, path::Path, time::Duration};

use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderValue, Method},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use call::{Call, Content};

pub use address::normalize;
pub use error::{Answer, ClientError};
pub use events::{Event, Events};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Connections that lie idle for longer are not used again: the other side may be closing them.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// How a client speaks with a cluster.
#[derive(Clone)]
pub struct Options {
    /// The token that is sent with each request; none by default.
    pub token: Option<String>,
    /// How long one request may take, its answer included; 5 minutes by default.
    pub timeout: Duration,
    /// Certificates in PEM that are trusted, in place of the public ones.
    pub ca: Option<Vec<u8>>,
    /// The wait before the first repetition, doubled for each further one; 250 ms by default.
    pub backoff: Duration,
}

/// Speaks with the master of a cluster.
///
/// # Guarantees
///
/// - What only reads is sent up to 4 times when the connection fails or the master is not ready.
/// - What changes something is sent again only when no connection came about: it was not taken.
/// - A redirect is not followed, and the token is never printed.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: String,
    options: Options,
}

impl Default for Options {
    fn default() -> Self {
        let (timeout, backoff) = (Duration::from_mins(5), Duration::from_millis(250));
        Self { token: None, timeout, ca: None, backoff }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "(secret)");
        f.debug_struct("Options")
            .field("token", &token)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).field("options", &self.options).finish()
    }
}

impl Client {
    /// Makes a client; nothing is sent yet.
    ///
    /// The address is a URL, or a host with or without a port.
    ///
    /// # Errors
    ///
    /// When the address is none, the token cannot be sent, or the certificates cannot be read.
    pub fn new(address: &str, options: Options) -> Result<Self, ClientError> {
        let address = normalize(address)?;
        let is_sendable = |token: &String| HeaderValue::from_str(token).is_ok();
        if !options.token.as_ref().is_none_or(is_sendable) {
            return Err(ClientError::BadToken);
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_resolve(Some(CONNECT_MAX))
            .max_idle_age(IDLE_MAX)
            .user_agent(concat!("teraslice/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.ca {
            let roots = RootCerts::new_with_certs(&certificates(pem)?);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self { agent: config.build().new_agent(), address, options })
    }

    /// Returns the address of the master, as a URL without a slash at its end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Reads the resource at a path, given as its segments.
    ///
    /// # Errors
    ///
    /// When no good answer comes.
    pub fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ClientError> {
        self.send(&Call::new(Method::GET, path, query, Content::Nothing))
    }

    /// Asks for an action, with a document or without one.
    ///
    /// # Errors
    ///
    /// When no good answer comes; after [`ClientError::Lost`] it may have happened nevertheless.
    pub fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        document: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let content = document.map_or(Content::Nothing, |document| Content::Json(document.to_string()));
        self.send(&Call::new(Method::POST, path, query, content))
    }

    /// Replaces the resource at a path.
    ///
    /// # Errors
    ///
    /// As for [`post`](Self::post).
    pub fn put(&self, path: &[&str], document: &Value) -> Result<Value, ClientError> {
        self.send(&Call::new(Method::PUT, path, &[], Content::Json(document.to_string())))
    }

    /// Deletes the resource at a path.
    ///
    /// # Errors
    ///
    /// As for [`post`](Self::post).
    pub fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.send(&Call::new(Method::DELETE, path, &[], Content::Nothing))
    }

    /// Submits a job, and starts it if asked for; returns `job_id`, with `ex_id` if it was started.
    ///
    /// # Errors
    ///
    /// As for [`post`](Self::post).
    pub fn submit(&self, job: &Value, is_started: bool) -> Result<Value, ClientError> {
        let start = if is_started { "true" } else { "false" };
        self.post(&["jobs"], &[("start", start)], Some(job))
    }

    /// Returns the latest execution of a job; none if it was never started.
    ///
    /// # Errors
    ///
    /// When no good answer comes; an unknown job looks like one that was never started.
    pub fn latest_execution(&self, job_id: &str) -> Result<Option<Value>, ClientError> {
        match self.get(&["jobs", job_id, "ex"], &[]) {
            Err(ClientError::Refused(answer)) if answer.status == 404 => Ok(None),
            other => other.map(Some),
        }
    }

    /// Uploads an asset as a stream; its bytes are never all in memory.
    ///
    /// With `is_blocking` the answer comes after all checks of the asset.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and as for [`post`](Self::post).
    pub fn upload_asset(&self, file: &Path, is_blocking: bool) -> Result<Value, ClientError> {
        let read = |source| ClientError::File { path: file.to_owned(), source };
        let bytes = File::open(file).map_err(read)?;
        let blocking = if is_blocking { "true" } else { "false" };
        self.send(&Call::new(Method::POST, &["assets"], &[("blocking", blocking)], Content::File(bytes)))
    }

    /// Listens to what happens to an execution; the stream ends when nothing comes for `silence_max`.
    ///
    /// # Errors
    ///
    /// When the stream does not begin: an older master has none and answers 405.
    pub fn events(&self, ex_id: &str, silence_max: Duration) -> Result<Events, ClientError> {
        let call = Call::new(Method::GET, &["ex", ex_id, "events"], &[], Content::Nothing);
        self.listen(&call, silence_max)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, ClientError> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(ClientError::Certificates { reason: error.to_string() }),
        }
    }
    if found.is_empty() {
        return Err(ClientError::Certificates { reason: "there is no certificate in it".to_owned() });
    }
    Ok(found)
}
