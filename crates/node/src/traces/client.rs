//! Sends a batch of spans by HTTP, on the thread that asks for it.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig, parse_pem};

/// A collector says no more than this.
const ANSWER_LEN_MAX: u64 = 1 << 20;

/// The client; exporters have a thread of their own, which may wait.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// Makes a client that gives up after a time, and believes one authority or those that everybody knows.
    pub(super) fn new(timeout: Duration, ca_pem: Option<&[u8]>) -> Self {
        let mut config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout));
        if let Some(pem) = ca_pem {
            let believed: Vec<Certificate<'static>> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            let roots = RootCerts::new_with_certs(&believed);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Self { agent: config.build().new_agent() }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) = self.agent.run(Request::from_parts(parts, &body[..]))?.into_parts();
        let body = body.with_config().limit(ANSWER_LEN_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}
