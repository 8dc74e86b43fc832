//! A node's connection to the master.

use futures::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::context::Context;
use tonic::{Request, transport::Channel};

use crate::{
    control,
    duplex::Duplex,
    peer::{ConnectError, Peer},
    protocol,
    secret::Secret,
    wire::v1::master_client::MasterClient,
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
    let call = |mut client: MasterClient<Channel>, request: Request<control::Sent>| {
        async move { client.node(request).await }.boxed()
    };
    control::open(peer, metadata, context, call).await
}
