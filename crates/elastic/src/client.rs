//! The client of a connection.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use teraslice_model::problem::Problem;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    ANSWER_TOO_LARGE, Error, Request, Response, Server, Settings, error::cause_of, nodes::Nodes,
    outage::Outage, settings::Credentials,
};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Before a request is sent again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// The client of a connection. Cheap to clone; clones share sockets and what is known of the servers.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    settings: Settings,
    http: reqwest::Client,
    nodes: Nodes,
    outage: Outage,
    server: OnceCell<Server>,
    requests: AtomicU64,
    /// When the cluster was last asked for its nodes.
    sniffed: tokio::sync::Mutex<Option<Instant>>,
    is_sniff_due: AtomicBool,
}

/// What came of one try.
enum Tried {
    Answered(u16, Bytes),
    /// Answered with more than the request allows.
    Large,
    /// Answered that it has no room; after so long it may.
    Busy(u16, Bytes, Option<Duration>),
    Lost(String),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.shared.name)
            .field("nodes", &self.shared.settings.nodes)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes the client of the connection `name`. Does not connect.
    ///
    /// # Errors
    ///
    /// When `caCertificate` is no certificate.
    pub fn new(name: &str, settings: Settings) -> Result<Self, Problem> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings.ca_certificate.as_deref())?)
            .default_headers(headers(settings.credentials.as_ref())?)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .gzip(settings.is_compressed)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Problem::new("", format!("failed to make an HTTP client: {error}")))?;
        let shared = Shared {
            name: name.to_owned(),
            nodes: Nodes::new(&settings.nodes),
            is_sniff_due: AtomicBool::new(settings.sniff_on_start),
            settings,
            http,
            outage: Outage::default(),
            server: OnceCell::new(),
            requests: AtomicU64::new(0),
            sniffed: tokio::sync::Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the connection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the connection's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Returns how many requests have been sent so far, repeats included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Tells whether the servers have stopped to answer.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.shared.outage.is_on()
    }

    /// Returns what server is at the other end; asked once.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or is not supported.
    pub async fn server(&self) -> Result<Server, Error> {
        let asked = self.shared.server.get_or_try_init(async || {
            let server = Server::ask(self).await?;
            tracing::info!(connection = self.name(), %server, "connected");
            Ok(server)
        });
        asked.await.copied()
    }

    /// Sends a request, again and again while no server answers or all are too busy (429, 502, 503, 504), for as long as
    /// the request is patient. During an outage requests wait for one that tries.
    ///
    /// # Errors
    ///
    /// See [`Error`]; every answer from 400 on is one.
    pub async fn send(&self, request: &Request) -> Result<Response, Error> {
        let deadline = Instant::now() + request.patience;
        let mut backoff = BACKOFF.0;
        let mut tries = 0;
        let mut last = "no server has answered for some time".to_owned();
        loop {
            self.sniff().await;
            let Some(turn) = self.shared.outage.turn(deadline).await else {
                return Err(self.unavailable(last));
            };
            let url = self.shared.nodes.next();
            tries += 1;
            let pause = match self.once(request, &url).await {
                Tried::Answered(status, body) => {
                    if turn.answered() {
                        tracing::info!(connection = self.name(), "the servers answer again");
                    }
                    self.shared.nodes.mark(&url, false);
                    return self.judge(request, status, body, tries);
                }
                Tried::Large => {
                    turn.answered();
                    return Err(self.large(request));
                }
                Tried::Busy(status, body, after) => {
                    turn.answered();
                    let (kind, reason) = cause_of(&body);
                    last = format!("{} was answered with {status}: {kind}: {reason}", request.what());
                    after.unwrap_or_default().max(jittered(backoff))
                }
                Tried::Lost(reason) => {
                    self.shared.nodes.mark(&url, true);
                    if turn.lost() {
                        tracing::warn!(
                            connection = self.name(),
                            reason,
                            "the servers do not answer; work that needs them waits"
                        );
                    }
                    self.shared.is_sniff_due.fetch_or(self.settings().sniff_on_fault, Ordering::Relaxed);
                    last = reason;
                    jittered(backoff)
                }
            };
            if Instant::now() + pause >= deadline {
                return Err(self.unavailable(last));
            }
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Sends a request; an answer of 404 is none.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn find(&self, request: &Request) -> Result<Option<Response>, Error> {
        match self.send(request).await {
            Ok(response) => Ok(Some(response)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn once(&self, request: &Request, node: &Url) -> Tried {
        let base = node.as_str().trim_end_matches('/');
        let mut built = self
            .shared
            .http
            .request(request.method.clone(), format!("{base}{}", request.path))
            .timeout(request.timeout.unwrap_or(self.shared.settings.request_timeout));
        if let Some((body, kind)) = &request.body {
            built = built.header(CONTENT_TYPE, *kind).body(body.clone());
        }
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let answer = match built.send().await {
            Ok(answer) => answer,
            Err(error) => return Tried::Lost(lost(node, &error)),
        };
        let status = answer.status().as_u16();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match bounded(answer, request.answer_bytes_max).await {
            Ok(None) => Tried::Large,
            Ok(Some(body)) if matches!(status, 429 | 502 | 503 | 504) => Tried::Busy(
                status,
                body,
                after.map(|seconds: u64| Duration::from_secs(seconds).min(BACKOFF.1)),
            ),
            Ok(Some(body)) => Tried::Answered(status, body),
            Err(error) => Tried::Lost(lost(node, &error)),
        }
    }

    fn large(&self, request: &Request) -> Error {
        Error::Refused {
            connection: self.shared.name.clone(),
            what: request.what(),
            status: 413,
            kind: ANSWER_TOO_LARGE.to_owned(),
            reason: format!("the answer has more than {} bytes", request.answer_bytes_max),
        }
    }

    fn judge(&self, request: &Request, status: u16, body: Bytes, tries: u32) -> Result<Response, Error> {
        let (connection, what) = (self.shared.name.clone(), request.what());
        if status < 300 {
            return Ok(Response { connection, what, status, body, tries });
        }
        let (kind, mut reason) = cause_of(&body);
        if status == 401 && self.settings().credentials.is_none() {
            reason.push_str(" (the connection has no username and password)");
        }
        Err(Error::Refused { connection, what, status, kind, reason })
    }

    fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable { connection: self.shared.name.clone(), reason }
    }

    /// Asks the cluster for its nodes where that is wanted and due; a failure changes nothing.
    async fn sniff(&self) {
        let settings = &self.shared.settings;
        if !settings.sniff_on_start && !settings.sniff_on_fault && settings.sniff_interval.is_none() {
            return;
        }
        let Ok(mut sniffed) = self.shared.sniffed.try_lock() else { return };
        let is_late =
            settings.sniff_interval.is_some_and(|interval| sniffed.is_none_or(|at| at.elapsed() >= interval));
        if !self.shared.is_sniff_due.swap(false, Ordering::Relaxed) && !is_late {
            return;
        }
        *sniffed = Some(Instant::now());
        let request = Request::get("/_nodes/_all/http?filter_path=nodes.*.http.publish_address");
        for url in settings.nodes.iter().cloned().chain([self.shared.nodes.next()]) {
            if let Tried::Answered(200, body) = self.once(&request, &url).await {
                self.shared.nodes.replace(&published(&body, settings.nodes[0].scheme()));
                return;
            }
        }
        tracing::warn!(connection = self.name(), "no node could say which nodes there are");
    }
}

/// Reads the addresses that the nodes of a cluster publish: `host:port`, or `name/ip:port`.
fn published(body: &[u8], scheme: &str) -> Vec<Url> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        nodes: Map<String, Value>,
    }
    let nodes = serde_json::from_slice(body).map(|answer: Answer| answer.nodes).unwrap_or_default();
    let addresses = nodes.values().filter_map(|node| node.pointer("/http/publish_address")?.as_str());
    addresses
        .filter_map(|address| {
            let address = match address.split_once('/') {
                Some((name, ip)) => format!("{name}:{}", ip.rsplit(':').next()?),
                None => address.to_owned(),
            };
            Url::parse(&format!("{scheme}://{address}")).ok()
        })
        .collect()
}

/// Returns the body of an answer unless it is larger than that.
async fn bounded(mut answer: reqwest::Response, bytes_max: usize) -> reqwest::Result<Option<Bytes>> {
    if bytes_max == usize::MAX {
        return answer.bytes().await.map(Some);
    }
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > bytes_max) {
        return Ok(None);
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(64 << 10));
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

fn lost(node: &Url, error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut inner = std::error::Error::source(error);
    while let Some(source) = inner {
        let more = source.to_string();
        if !reason.contains(&more) {
            reason = format!("{reason}: {more}");
        }
        inner = source.source();
    }
    let place = node.host_str().unwrap_or_default();
    let port = node.port_or_known_default().unwrap_or_default();
    format!("{place}:{port} does not answer: {reason}")
}

fn jittered(around: Duration) -> Duration {
    around.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn headers(credentials: Option<&Credentials>) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    let value = match credentials {
        None => return Ok(headers),
        Some(Credentials::Basic(user, password)) => {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            HeaderValue::from_str(&format!("Basic {pair}")).ok()
        }
        Some(Credentials::ApiKey(key)) => HeaderValue::from_str(&format!("ApiKey {key}")).ok(),
        Some(Credentials::Bearer(token)) => HeaderValue::from_str(&format!("Bearer {token}")).ok(),
    };
    let mut value =
        value.ok_or_else(|| Problem::new("/auth", "the key has characters that no header can carry"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

fn tls(authority: Option<&str>) -> Result<ClientConfig, Problem> {
    let mut roots = RootCertStore::empty();
    match authority {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let wrong = |reason: String| {
                Problem::new("/caCertificate", format!("caCertificate is no certificate in PEM: {reason}"))
            };
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it has no BEGIN CERTIFICATE".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
