//! How a process that knows no secret gets one: it shows a token by which its cluster knows it.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tonic::Request;

use crate::{
    control,
    peer::{ConnectError, Peer},
    protocol,
    secret::Secret,
    wire::v1::IntroduceRequest,
};

/// What a process of an execution is told: everything that is nobody else's business. `Debug` hides it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Introduction {
    /// The secret of its execution.
    pub secret: String,
    /// Its job, defaults filled in.
    pub job: Map<String, Value>,
    /// The certificate and key of a controller, PEM, where the master makes them.
    #[serde(default)]
    pub identity: Option<String>,
    /// The word that assets are fetched with, where the API asks for one.
    #[serde(default)]
    pub bundle_token: Option<String>,
}

/// Why a process is not introduced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The token does not stand for a process of an execution.
    #[error("the token is not accepted: {reason}")]
    Unknown {
        /// Why not.
        reason: String,
    },
    /// Nobody can tell at present.
    #[error("the token cannot be checked now: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
}

/// Tells by its token what a process is for.
pub type Introduce = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Introduction, Stranger>> + Send + Sync>;

/// Asks the master what this process is for.
///
/// # Errors
///
/// When the master cannot be reached, or does not accept the token.
pub async fn introduce(peer: &Peer, token: &Secret) -> Result<Introduction, ConnectError> {
    let mut request = Request::new(IntroduceRequest {});
    *request.metadata_mut() = protocol::metadata(token, &[])?;
    let mut client = control::client(peer, peer.connect().await?);
    let envelope = peer.accepted(client.introduce(request)).await?;
    serde_json::from_slice(&envelope.json).map_err(|error| ConnectError::Refused {
        reason: format!("the introduction cannot be read: {error}"),
    })
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introduction").finish_non_exhaustive()
    }
}
