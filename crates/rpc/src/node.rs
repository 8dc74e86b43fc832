//! A node's connection to the master.

use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::context::Context;

use crate::{
    control,
    duplex::Duplex,
    peer::{ConnectError, Peer},
    protocol,
    secret::Secret,
};

/// Connects a node. When the connection ends, the caller connects again.
///
/// # Errors
///
/// When the master cannot be reached, or refuses.
pub async fn connect<In, Out>(
    peer: &Peer,
    node_id: &str,
    secret: &Secret,
    context: &Context,
) -> Result<Duplex<In, Out>, ConnectError>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    let metadata = protocol::metadata(secret, &[(protocol::NODE, node_id)])?;
    control::open(peer, metadata, context, async |mut client, request| client.node(request).await).await
}
