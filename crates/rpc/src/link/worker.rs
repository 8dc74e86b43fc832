//! The worker's end.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use teraslice_core::{
    context::Context,
    link::{FromWorker, LinkClosed, ToWorker, WorkerLink},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use super::{ConnectOptions, batch};
use crate::{
    peer::{ConnectError, MESSAGE_SLACK, Peer},
    protocol,
    serve::{FAREWELL_MAX, Farewell},
    wire::v1::{ControllerBatch, link_client::LinkClient},
};

/// The first pause before a controller that does not listen yet is tried again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Messages that wait to be sent, or to be taken.
const WAITING_MAX: usize = 256;

/// Connects to a controller, which may not listen yet.
///
/// # Errors
///
/// When nobody listens in time, or this worker is refused; after [`ConnectError::Replaced`] its process has to end.
pub async fn connect(
    peer: &Peer,
    options: &ConnectOptions,
    context: &Context,
) -> Result<GrpcWorker, ConnectError> {
    let give_up = context.now() + options.wait_max;
    let mut pause = PAUSE_MIN;
    loop {
        match connect_once(peer, options, context).await {
            Err(error) if error.is_passing() && context.now() < give_up => {
                tracing::debug!(%error, "execution controller not reached, trying again");
                sleep(context.jittered(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            other => return other,
        }
    }
}

async fn connect_once(
    peer: &Peer,
    options: &ConnectOptions,
    context: &Context,
) -> Result<GrpcWorker, ConnectError> {
    let names = [
        (protocol::EXECUTION, options.ex_id.to_string()),
        (protocol::WORKER, options.worker.as_str().to_owned()),
        (protocol::INCARNATION, options.incarnation.to_string()),
    ];
    let names = names.each_ref().map(|(key, name)| (*key, name.as_str()));
    let metadata = protocol::metadata(&options.secret, &names)?;
    let (outbox, messages) = mpsc::channel(WAITING_MAX);
    let len_max = peer.message_len_max;
    let outgoing = ReceiverStream::new(messages)
        .ready_chunks(batch::MESSAGES_MAX)
        .flat_map(move |messages| stream::iter(batch::from_worker(messages, len_max)));
    let mut request = Request::new(outgoing);
    *request.metadata_mut() = metadata;
    let mut client = LinkClient::new(peer.connect().await?)
        .max_decoding_message_size(len_max.saturating_add(MESSAGE_SLACK))
        .max_encoding_message_size(len_max.saturating_add(MESSAGE_SLACK));
    let incoming = peer.accepted(client.work(request)).await?;
    let (arrived, inbox) = mpsc::channel(WAITING_MAX);
    let is_closed = CancellationToken::new();
    let (is_open, farewell) = Farewell::new();
    let reading = read(incoming, arrived, is_closed.clone());
    drop(context.spawn(async move {
        reading.await;
        drop(is_open);
    }));
    Ok(GrpcWorker { outbox, inbox, is_closed, farewell: Some(farewell) })
}

/// A worker's end of the link over the network. Dropping it closes the session, once what was sent is written.
pub struct GrpcWorker {
    outbox: mpsc::Sender<FromWorker>,
    inbox: mpsc::Receiver<ToWorker>,
    /// Set when nothing comes any more.
    is_closed: CancellationToken,
    farewell: Option<Farewell>,
}

impl GrpcWorker {
    /// Returns what to wait for after this end was dropped and before the process ends: that its last words are sent.
    /// There is one; later calls return one that does not wait.
    #[must_use]
    pub fn farewell(&mut self) -> Farewell {
        self.farewell.take().unwrap_or_else(|| Farewell::new().1)
    }
}

impl fmt::Debug for GrpcWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcWorker").finish_non_exhaustive()
    }
}

/// Hands on what the controller says. The stream is read to its end also when nobody wants to hear it any more: giving it up
/// would take back what this side has said last.
async fn read(
    mut incoming: Streaming<ControllerBatch>,
    arrived: mpsc::Sender<ToWorker>,
    is_closed: CancellationToken,
) {
    let reading = async {
        while let Some(batch) = incoming.message().await? {
            // Without a meaning: one that came with a later minor version.
            for message in batch.messages.into_iter().filter(|message| message.what.is_some()) {
                if arrived.send(message.try_into()?).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok::<_, Status>(())
    };
    let read = tokio::select! {
        read = reading => read,
        () = arrived.closed() => Ok(()),
    };
    is_closed.cancel();
    match read {
        Err(status) => tracing::warn!(reason = status.message(), "connection to the controller lost"),
        Ok(()) if arrived.is_closed() => {
            let rest = async { while let Ok(Some(_)) = incoming.message().await {} };
            let _sent = timeout(FAREWELL_MAX, rest).await;
        }
        Ok(()) => {}
    }
}

#[async_trait]
impl WorkerLink for GrpcWorker {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        if self.is_closed.is_cancelled() {
            return Err(LinkClosed);
        }
        let sent = self.is_closed.run_until_cancelled(self.outbox.send(message)).await;
        sent.is_some_and(|sent| sent.is_ok()).then_some(()).ok_or(LinkClosed)
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        self.inbox.recv().await
    }
}
