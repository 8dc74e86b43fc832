//! How workers find their controller: the master tells where it listens and how they log, and when that changes.

use teraslice_core::control::Hello;
use teraslice_model::id::{Epoch, ExId, Generation};
use tonic::{Request, Streaming};

use crate::{
    control,
    peer::{ConnectError, Peer},
    protocol,
    secret::Secret,
    wire::v1::{Located, WatchRequest},
};

/// Tells where a controller listens.
#[derive(Debug)]
pub struct Watch {
    ex_id: ExId,
    located: Streaming<Located>,
}

/// Begins to watch where the controller of an execution listens.
///
/// # Errors
///
/// When the master cannot be reached, or refuses.
pub async fn watch(peer: &Peer, ex_id: ExId, secret: &Secret) -> Result<Watch, ConnectError> {
    let mut request = Request::new(WatchRequest {});
    *request.metadata_mut() = protocol::metadata(secret, &[(protocol::EXECUTION, &ex_id.to_string())])?;
    let mut client = control::client(peer, peer.connect().await?);
    let located = peer.accepted(client.watch_controller(request)).await?;
    Ok(Watch { ex_id, located })
}

impl Watch {
    /// Returns where the controller listens and how its workers log: what is known at first, then each change; none when the connection has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Hello> {
        loop {
            let located = match self.located.message().await {
                Ok(located) => located?,
                Err(status) => {
                    tracing::warn!(ex_id = %self.ex_id, reason = status.message(), "connection to the master lost");
                    return None;
                }
            };
            let Ok(port) = located.port.try_into() else {
                tracing::warn!(ex_id = %self.ex_id, port = located.port, "no port of a controller");
                continue;
            };
            return Some(Hello {
                ex_id: self.ex_id,
                generation: Generation(located.generation),
                epoch: Epoch(located.epoch),
                host: located.host,
                port,
                log_level: located.log_level,
            });
        }
    }
}
