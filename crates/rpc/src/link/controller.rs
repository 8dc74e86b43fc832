//! The controller's end: listens, and serves each worker in a task of its own.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use teraslice_core::{
    context::Context,
    link::{ControllerLink, FromWorker, LinkEvent, Session, ToWorker},
};
use teraslice_model::id::WorkerId;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, service::Routes};

use super::{ListenError, ListenOptions, admission::Admission, batch};
use crate::{
    peer::MESSAGE_SLACK,
    protocol,
    serve::{Farewell, Server},
    wire::v1::{
        ControllerBatch, WorkerBatch,
        link_server::{Link, LinkServer},
    },
};

/// Messages from workers that wait for the controller; workers wait when there are more.
const EVENTS_MAX: usize = 1_024;

/// Listens for the workers of an execution.
///
/// # Errors
///
/// When the certificate cannot be used.
pub fn listen(
    listener: TcpListener,
    options: ListenOptions,
    context: &Context,
) -> Result<GrpcController, ListenError> {
    let address = listener.local_addr()?;
    let tls = options.identity.as_ref().map(|identity| identity.server_config(&[b"h2"])).transpose()?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let stop = CancellationToken::new();
    let len_max = options.message_len_max.saturating_add(MESSAGE_SLACK);
    let (hello_max, ping_every, ping_max) = (options.hello_max, options.ping_every, options.ping_max);
    let gate = Gate {
        options,
        context: context.clone(),
        events,
        stop: stop.clone(),
        sessions: AtomicU64::new(0),
        admission: Mutex::default(),
    };
    let service = LinkServer::new(gate).max_decoding_message_size(len_max).max_encoding_message_size(len_max);
    let router = Routes::new(service).prepare().into_axum_router();
    let server = Server { router, tls, context: context.clone(), hello_max, ping_every, ping_max };
    let (is_open, farewell) = Farewell::new();
    drop(context.spawn(server.run(listener, stop.clone(), is_open)));
    tracing::debug!(%address, "listening for workers");
    let farewell = Some(farewell);
    Ok(GrpcController { inbox, workers: HashMap::new(), farewell, _stop: stop.drop_guard() })
}

/// The controller's end of the link over the network. Dropping it closes every session, once what was sent is written.
pub struct GrpcController {
    inbox: mpsc::Receiver<Inside>,
    workers: HashMap<Session, Writer>,
    farewell: Option<Farewell>,
    _stop: DropGuard,
}

/// What the controller holds of a session. Dropping it ends the session, once what was sent is written.
#[derive(Debug)]
struct Writer {
    outbox: mpsc::UnboundedSender<ToWorker>,
    _stop_reading: DropGuard,
}

#[derive(Debug)]
enum Inside {
    Opened(Session, Writer),
    Message(Session, FromWorker),
    Closed(Session),
}

impl GrpcController {
    /// Returns what to wait for after this end was dropped and before the process ends: that its last words are sent.
    /// There is one; later calls return one that does not wait.
    #[must_use]
    pub fn farewell(&mut self) -> Farewell {
        self.farewell.take().unwrap_or_else(|| Farewell::new().1)
    }
}

impl fmt::Debug for GrpcController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcController").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// Lets workers in.
struct Gate {
    options: ListenOptions,
    context: Context,
    events: mpsc::Sender<Inside>,
    stop: CancellationToken,
    sessions: AtomicU64,
    admission: Mutex<Admission>,
}

impl Gate {
    /// Checks who calls; returns what ends the session.
    fn check(&self, metadata: &MetadataMap) -> Result<CancellationToken, Status> {
        protocol::check_version(metadata)?;
        protocol::check_secret(metadata, &self.options.secret)?;
        if protocol::ex_id(metadata)? != self.options.ex_id {
            let ours = self.options.ex_id;
            return Err(Status::not_found(format!("this is the controller of execution {ours}")));
        }
        let worker = WorkerId::new(protocol::text(metadata, protocol::WORKER)?);
        let incarnation = protocol::text(metadata, protocol::INCARNATION)?
            .parse()
            .map_err(|_| Status::invalid_argument("the worker's incarnation is no number"))?;
        let ends = self.stop.child_token();
        let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        admission.admit(&worker, incarnation, ends.clone())?;
        Ok(ends)
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<ControllerBatch, Status>> + Send>>;

#[async_trait]
impl Link for Gate {
    type WorkStream = Outgoing;

    async fn work(&self, request: Request<Streaming<WorkerBatch>>) -> Result<Response<Outgoing>, Status> {
        let (metadata, _, incoming) = request.into_parts();
        let ends = self.check(&metadata).inspect_err(|refused| {
            tracing::warn!(reason = refused.message(), "worker refused");
        })?;
        let session = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        // Unbounded in type only: the controller never sends more leases than the worker gave credit for.
        let (outbox, messages) = mpsc::unbounded_channel();
        let opened = Writer { outbox, _stop_reading: ends.clone().drop_guard() };
        let gone = |_| Status::unavailable("the execution controller has ended");
        self.events.send(Inside::Opened(session, opened)).await.map_err(gone)?;
        drop(self.context.spawn(read(incoming, session, self.events.clone(), ends)));
        Ok(protocol::accept(write(messages, session, self.options.message_len_max)))
    }
}

/// Hands on what a worker says, until it ends the session or the session is ended.
async fn read(
    mut incoming: Streaming<WorkerBatch>,
    session: Session,
    events: mpsc::Sender<Inside>,
    ends: CancellationToken,
) {
    let reading = async {
        while let Some(batch) = incoming.message().await? {
            // Without a meaning: one that came with a later minor version.
            for message in batch.messages.into_iter().filter(|message| message.what.is_some()) {
                let message = message.try_into()?;
                if events.send(Inside::Message(session, message)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok::<_, Status>(())
    };
    if let Some(Err(status)) = ends.run_until_cancelled(reading).await {
        tracing::warn!(?session, reason = status.message(), "worker connection lost");
    }
    let _controller_gone = events.send(Inside::Closed(session)).await;
}

/// Makes the stream of what the controller says, as many messages at a time as there are, until it closes the session.
fn write(messages: mpsc::UnboundedReceiver<ToWorker>, session: Session, len_max: usize) -> Outgoing {
    let batches = UnboundedReceiverStream::new(messages)
        .ready_chunks(batch::MESSAGES_MAX)
        .flat_map(move |messages| stream::iter(batch::to_worker(messages, len_max)));
    let checked = batches.map(move |batch| {
        batch.map_err(|error| {
            // Ends the session; its slices are handed out again, and given up in the end.
            tracing::error!(?session, %error, "message to a worker cannot be sent");
            Status::out_of_range(error.to_string())
        })
    });
    Box::pin(checked)
}

#[async_trait]
impl ControllerLink for GrpcController {
    async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            match self.inbox.recv().await? {
                Inside::Opened(session, writer) => {
                    self.workers.insert(session, writer);
                    return Some(LinkEvent::Opened { session });
                }
                Inside::Message(session, message) if self.workers.contains_key(&session) => {
                    return Some(LinkEvent::Message { session, message });
                }
                Inside::Closed(session) if self.workers.remove(&session).is_some() => {
                    // Over a network nobody knows whether the process has ended too.
                    return Some(LinkEvent::Closed { session, is_dead: false });
                }
                // Of a session that this side has closed.
                Inside::Message(..) | Inside::Closed(_) => {}
            }
        }
    }

    fn send(&mut self, session: Session, message: ToWorker) {
        if let Some(worker) = self.workers.get(&session) {
            // A worker that is gone has its `Closed` on the way.
            let _gone = worker.outbox.send(message);
        }
    }

    fn close(&mut self, session: Session) {
        drop(self.workers.remove(&session));
    }
}
