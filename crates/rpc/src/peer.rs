//! How another process is reached, and why it may not be.

use std::{error::Error, future::Future, time::Duration};

use tokio::time::timeout;
use tonic::{
    Code, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    duplex::Pulse,
    protocol::{self, Version},
};

/// The flow-control window of a stream, in bytes: a message of usual size never waits for the other side.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// The flow-control window of a connection.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// Around a message of the largest size.
pub(crate) const MESSAGE_SLACK: usize = 1 << 20;

const NO_PEER: &str = "what listens there does not speak the protocol";

/// Where another process listens, and the numbers that a connection to it goes by.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: String,
    /// The certificates that are trusted, as PEM; `https` needs them.
    pub ca_pem: Option<String>,
    /// The name that its certificate is made out to (default: the host of the address).
    pub name: Option<String>,
    /// A connection has to stand after this (default 5 s).
    pub connect_max: Duration,
    /// A stream has to be accepted after this (default 5 s).
    pub answer_max: Duration,
    /// How often the connection is probed (default 5 s).
    pub ping_every: Duration,
    /// A probe has to be answered after this, or the connection is lost (default 15 s).
    pub ping_max: Duration,
    /// How a peer that has died without a word is noticed, on connections that have signs of life.
    pub pulse: Pulse,
    /// The longest message, in bytes (default 64 MiB).
    pub message_len_max: usize,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("{endpoint:?} is no address of a peer")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The name of this process cannot be sent.
    #[error("the name {name:?} has other characters than visible ASCII")]
    Name {
        /// The name.
        name: String,
    },
    /// Nobody answers there, or not in time; later somebody may.
    #[error("failed to reach {endpoint}")]
    Unreachable {
        /// The address.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The peer speaks another version of the protocol.
    #[error("this side speaks version {ours} of the protocol, the peer version {theirs}")]
    Version {
        /// This side's.
        ours: Version,
        /// The peer's.
        theirs: Version,
    },
    /// The peer does not accept the secret.
    #[error("the peer does not accept the secret of this process")]
    Secret,
    /// A later process has taken the place of this one, which has to end (exit code 76).
    #[error("this process was replaced: {reason}")]
    Replaced {
        /// What the peer says.
        reason: String,
    },
    /// The peer does not want this process.
    #[error("the connection was refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

impl ConnectError {
    /// Tells whether another try may go better.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Peer {
    /// Returns the defaults for a peer at an address.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ca_pem: None,
            name: None,
            connect_max: Duration::from_secs(5),
            answer_max: Duration::from_secs(5),
            ping_every: Duration::from_secs(5),
            ping_max: Duration::from_secs(15),
            pulse: Pulse::default(),
            message_len_max: 64 << 20,
        }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Channel, ConnectError> {
        match timeout(self.connect_max, self.configured()?.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(source)) => Err(self.unreachable(source)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    /// Returns a channel that connects when it is used, and again whenever the connection is lost.
    pub(crate) fn channel(&self) -> Result<Channel, ConnectError> {
        Ok(self.configured()?.connect_lazy())
    }

    fn configured(&self) -> Result<Endpoint, ConnectError> {
        let failed = |source| ConnectError::Endpoint { endpoint: self.endpoint.clone(), source };
        let endpoint = Endpoint::from_shared(self.endpoint.clone())
            .map_err(failed)?
            .connect_timeout(self.connect_max)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.ping_every)
            .keep_alive_timeout(self.ping_max)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = ClientTlsConfig::new().domain_name(self.name.clone().unwrap_or(host));
        let tls = match &self.ca_pem {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls,
        };
        endpoint.tls_config(tls).map_err(failed)
    }

    /// Waits until the peer has accepted a call that is answered by a stream.
    pub(crate) async fn accepted<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ConnectError> {
        match timeout(self.answer_max, call).await {
            Ok(Ok(response)) => match protocol::version(response.metadata()) {
                Some(theirs) if theirs.major == Version::OURS.major => Ok(response.into_inner()),
                Some(theirs) => Err(ConnectError::Version { ours: Version::OURS, theirs }),
                None => Err(ConnectError::Refused { reason: NO_PEER.to_owned() }),
            },
            Ok(Err(status)) => Err(self.refusal(status)),
            Err(elapsed) => Err(self.unreachable(elapsed)),
        }
    }

    fn refusal(&self, status: Status) -> ConnectError {
        let reason = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated => ConnectError::Secret,
            Code::Aborted => ConnectError::Replaced { reason },
            Code::FailedPrecondition => match protocol::version(status.metadata()) {
                Some(theirs) => ConnectError::Version { ours: Version::OURS, theirs },
                None => ConnectError::Refused { reason },
            },
            Code::InvalidArgument | Code::PermissionDenied | Code::NotFound => {
                ConnectError::Refused { reason }
            }
            Code::Unimplemented => ConnectError::Refused { reason: NO_PEER.to_owned() },
            _ => self.unreachable(status),
        }
    }

    fn unreachable(&self, source: impl Error + Send + Sync + 'static) -> ConnectError {
        ConnectError::Unreachable { endpoint: self.endpoint.clone(), source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    #[test]
    fn tells_refusals_apart() {
        let peer = Peer::new("http://127.0.0.1:1");
        let mut metadata = MetadataMap::new();
        metadata.insert(protocol::VERSION, "9.1".parse().unwrap());
        let status = Status::with_metadata(Code::FailedPrecondition, "", metadata);
        let wanted = "this side speaks version 1.0 of the protocol, the peer version 9.1";
        assert_eq!(peer.refusal(status).to_string(), wanted);
        assert!(matches!(peer.refusal(Status::unauthenticated("")), ConnectError::Secret));
        assert!(matches!(peer.refusal(Status::aborted("")), ConnectError::Replaced { .. }));
        assert!(peer.refusal(Status::unavailable("")).is_passing());
        assert!(!peer.refusal(Status::not_found("")).is_passing());
    }

    #[tokio::test]
    async fn names_the_address_that_nobody_listens_at() {
        let error = Peer::new("http://127.0.0.1:1").connect().await.unwrap_err();
        assert_eq!(error.to_string(), "failed to reach http://127.0.0.1:1");
    }

    #[tokio::test]
    async fn refuses_what_is_no_address() {
        let error = Peer::new("http://a b").connect().await.unwrap_err();
        assert_eq!(error.to_string(), "\"http://a b\" is no address of a peer");
    }
}
