//! A controller's connection to the master.

use std::{
    pin::Pin,
    task::{self, Poll},
};

use futures::{FutureExt as _, Stream, future::BoxFuture};
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
    let call = |mut client: MasterClient<Channel>, request: Request<Sent>| {
        async move { client.control(request).await }.boxed()
    };
    open(peer, metadata, context, call).await
}

/// What the master answers to a call that opens a connection.
pub(crate) type Opened = Result<Response<Streaming<Envelope>>, Status>;

/// What is sent on a connection. A type of its own, as the compiler cannot tell that a bare trait object may be sent.
pub(crate) struct Sent(Pin<Box<dyn Stream<Item = Envelope> + Send>>);

impl Stream for Sent {
    type Item = Envelope;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Envelope>> {
        self.0.as_mut().poll_next(context)
    }
}

/// Opens a connection by the call that is given.
pub(crate) async fn open<In, Out>(
    peer: &Peer,
    metadata: MetadataMap,
    context: &Context,
    call: impl FnOnce(MasterClient<Channel>, Request<Sent>) -> BoxFuture<'static, Opened>,
) -> Result<Duplex<In, Out>, ConnectError>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    let (arrived, from) = mpsc::channel(duplex::WAITING_MAX);
    let (to, messages) = mpsc::channel(duplex::WAITING_MAX);
    let ends = CancellationToken::new();
    let outgoing = Sent(Box::pin(duplex::outgoing(messages, peer.pulse, ends.clone())));
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
