//! One request: how it is written, sent, and sent again.

use std::{error::Error, fs::File, io, io::Seek as _, thread, time::Duration};

use serde_json::Value;
use ureq::{
    AsSendBody, Body, Error as HttpError, Timeout,
    http::{Method, Request, Response, header},
};

use super::{Answer, Client, ClientError, Events, address::append};

/// How often a request is sent again at most.
const REPEATS_MAX: u32 = 3;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    /// Path and query, from the version of the API on.
    target: String,
    content: Content,
}

/// What a request carries.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    Json(String),
    File(File),
}

impl Call {
    pub(super) fn new(method: Method, path: &[&str], query: &[(&str, &str)], content: Content) -> Self {
        let mut target = "/v1".to_owned();
        for segment in path {
            target.push('/');
            append(&mut target, segment);
        }
        for (index, (name, value)) in query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            append(&mut target, name);
            target.push('=');
            append(&mut target, value);
        }
        Self { method, target, content }
    }

    /// Returns method and path, for people.
    fn name(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

impl Client {
    /// Sends a request, again where that is safe, and reads the answer.
    pub(super) fn send(&self, call: &Call) -> Result<Value, ClientError> {
        let mut wait = self.options.backoff;
        for _ in 0..REPEATS_MAX {
            match self.send_once(call) {
                Err(error) if error.may_repeat(call.method == Method::GET) => {
                    thread::sleep(wait);
                    wait *= 2;
                }
                other => return other,
            }
        }
        self.send_once(call)
    }

    fn send_once(&self, call: &Call) -> Result<Value, ClientError> {
        let response = match &call.content {
            Content::Nothing if matches!(call.method, Method::GET | Method::DELETE) => {
                self.exchange(call, None, ())
            }
            Content::Nothing => self.exchange(call, None, Vec::new()),
            Content::Json(text) => self.exchange(call, Some("application/json"), text.as_bytes()),
            Content::File(file) => {
                let rewound = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                let file = rewound.map_err(|error| self.lost(call, error))?;
                self.exchange(call, Some("application/octet-stream"), file)
            }
        }?;
        let (status, bytes) = self.read(call, response)?;
        if !(200..300).contains(&status) {
            return Err(self.refused(call, status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| self.strange(call, format!("no JSON: {error}")))
    }

    /// Begins to listen to a stream of events.
    pub(super) fn listen(&self, call: &Call, silence_max: Duration) -> Result<Events, ClientError> {
        let request = self.request(call, None, ());
        let configured = self.agent.configure_request(request).timeout_per_read(Some(silence_max));
        let response = self.agent.run(configured.build()).map_err(|error| self.failed(call, error))?;
        if response.status() != 200 {
            let (status, bytes) = self.read(call, response)?;
            return Err(self.refused(call, status, &bytes));
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(self.strange(call, "no event stream".to_owned()));
        }
        Ok(Events::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
    }

    fn exchange<B: AsSendBody>(
        &self,
        call: &Call,
        kind: Option<&str>,
        body: B,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.request(call, kind, body);
        let configured = self.agent.configure_request(request).timeout_global(Some(self.options.timeout));
        self.agent.run(configured.build()).map_err(|error| self.failed(call, error))
    }

    fn request<B>(&self, call: &Call, kind: Option<&str>, body: B) -> Request<B> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.address, call.target))
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.options.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(body).expect("all parts are well-formed: the address and the token were checked")
    }

    fn read(&self, call: &Call, response: Response<Body>) -> Result<(u16, Vec<u8>), ClientError> {
        let status = response.status().as_u16();
        let place = response.headers().get(header::LOCATION).and_then(|place| place.to_str().ok());
        if let (300..400, Some(place)) = (status, place) {
            return Err(self.strange(call, format!("it redirects to {place}")));
        }
        let body = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX);
        let bytes = body.read_to_vec().map_err(|error| self.failed(call, error))?;
        Ok((status, bytes))
    }

    fn refused(&self, call: &Call, status: u16, body: &[u8]) -> ClientError {
        ClientError::Refused(Box::new(Answer::read(call.name(), status, body)))
    }

    fn strange(&self, call: &Call, reason: String) -> ClientError {
        ClientError::Strange { address: self.address.clone(), request: call.name(), reason }
    }

    fn lost(&self, call: &Call, source: impl Into<Box<dyn Error + Send + Sync>>) -> ClientError {
        ClientError::Lost { address: self.address.clone(), request: call.name(), source: source.into() }
    }

    fn failed(&self, call: &Call, error: HttpError) -> ClientError {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let is_before = match &error {
            HttpError::HostNotFound | HttpError::ConnectionFailed | HttpError::Tls(_) => true,
            HttpError::Timeout(timeout) => matches!(timeout, Timeout::Connect | Timeout::Resolve),
            HttpError::Io(error) => matches!(
                error.kind(),
                AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable
            ),
            _ => false,
        };
        let source: Box<dyn Error + Send + Sync> = match error {
            HttpError::Io(error) => error.into(),
            other => other.into(),
        };
        if is_before {
            return ClientError::Unreachable { address: self.address.clone(), source };
        }
        self.lost(call, source)
    }
}
