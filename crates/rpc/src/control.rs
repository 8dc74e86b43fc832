//! A controller's connection to the master.

use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::{
    context::Context,
    control::{FromController, ToController},
};
use teraslice_model::id::ExId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Channel};

use crate::{
    duplex::{self, Duplex},
    peer::{ConnectError, MESSAGE_SLACK, Peer},
    protocol,
    secret::Secret,
    wire::v1::{Envelope, master_client::MasterClient},
};

/// Connects the controller of an execution. When the connection ends, the caller connects again and says `Hello` again.
///
/// # Errors
///
/// When the master cannot be reached, or refuses.
pub async fn connect(
    peer: &Peer,
    ex_id: ExId,
    secret: &Secret,
    context: &Context,
) -> Result<Duplex<ToController, FromController>, ConnectError> {
    let metadata = protocol::metadata(secret, &[(protocol::EXECUTION, &ex_id.to_string())])?;
    open(peer, metadata, context, async |mut client, request| client.control(request).await).await
}

/// What is sent on a connection.
pub(crate) type Sent = std::pin::Pin<Box<dyn futures::Stream<Item = Envelope> + Send>>;

/// Opens a connection by the call that is given.
pub(crate) async fn open<In, Out>(
    peer: &Peer,
    metadata: MetadataMap,
    context: &Context,
    call: impl AsyncFnOnce(MasterClient<Channel>, Request<Sent>) -> Result<Response<Streaming<Envelope>>, Status>,
) -> Result<Duplex<In, Out>, ConnectError>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    let (arrived, from) = mpsc::channel(duplex::WAITING_MAX);
    let (to, messages) = mpsc::channel(duplex::WAITING_MAX);
    let ends = CancellationToken::new();
    let outgoing: Sent = Box::pin(duplex::outgoing(messages, peer.pulse, ends.clone()));
    let mut request = Request::new(outgoing);
    *request.metadata_mut() = metadata;
    let client = client(peer, peer.connect().await?);
    let incoming = peer.accepted(call(client, request)).await?;
    drop(context.spawn(duplex::read(incoming, arrived, peer.pulse.silence_max, ends)));
    Ok(Duplex { from, to })
}

pub(crate) fn client(peer: &Peer, channel: Channel) -> MasterClient<Channel> {
    let len_max = peer.message_len_max.saturating_add(MESSAGE_SLACK);
    MasterClient::new(channel).max_decoding_message_size(len_max).max_encoding_message_size(len_max)
}
