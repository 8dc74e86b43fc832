//! The controller's end: listens, and serves each worker in a task of its own.

use std::{
    collections::HashMap,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use teraslice_core::{
    context::Context,
    link::{ControllerLink, FromWorker, LinkEvent, Session, ToWorker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SocketError, SocketOptions, frame, hello, peer::Peer};
use crate::processes::make_private;

/// Messages from workers that wait for the controller; workers wait when there are more.
const EVENTS_MAX: usize = 1_024;
/// Messages that are written in one go.
const WRITES_MAX: usize = 64;
/// After the system refused a connection (out of descriptors, for one) the next is accepted after so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens for the workers of an execution. Whoever listened there before is not reached any more.
///
/// # Errors
///
/// When there is no place for the socket.
pub fn listen(
    path: &Path,
    options: SocketOptions,
    context: &Context,
) -> Result<SocketController, SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    let (listener, name) = bind(path).map_err(failed)?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let stop = CancellationToken::new();
    let served = Served { options, context: context.clone(), events, stop: stop.clone() };
    drop(context.spawn(stop.clone().run_until_cancelled_owned(accept(listener, served))));
    Ok(SocketController { inbox, workers: HashMap::new(), _name: name, _stop: stop.drop_guard() })
}

/// Binds under another name first: workers find either the earlier socket or the new one, never none.
fn bind(path: &Path) -> io::Result<(UnixListener, Name)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let directory = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    make_private(directory)?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let part = directory.join(format!(".{}-{serial}", process::id()));
    let bound = UnixListener::bind(&part).and_then(|listener| {
        let node = fs::symlink_metadata(&part)?.ino();
        fs::rename(&part, path)?;
        Ok((listener, Name { path: path.to_owned(), node }))
    });
    bound.inspect_err(|_| {
        let _never_made = fs::remove_file(&part);
    })
}

/// The socket's name in the file system; removed with the listener, unless it is another's by then.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    node: u64,
}

impl Drop for Name {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.node) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// The controller's end of the link to worker processes. Dropping it closes every session.
pub struct SocketController {
    inbox: mpsc::Receiver<Inside>,
    workers: HashMap<Session, Writer>,
    _name: Name,
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
    Closed(Session, bool),
}

impl fmt::Debug for SocketController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketController").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// What a session's tasks need.
#[derive(Clone)]
struct Served {
    options: SocketOptions,
    context: Context,
    events: mpsc::Sender<Inside>,
    stop: CancellationToken,
}

async fn accept(listener: UnixListener, served: Served) {
    let sessions = Arc::new(AtomicU64::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let session = Session(sessions.fetch_add(1, Ordering::Relaxed));
                let stop = served.stop.child_token();
                let serving = serve(stream, session, served.clone());
                drop(served.context.spawn(stop.run_until_cancelled_owned(serving)));
            }
            Err(error) => {
                tracing::warn!(%error, "worker connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, session: Session, served: Served) {
    let Served { options, context, events, stop } = served;
    let peer = Peer::of(&stream);
    if let Err(error) = hello::receive(&mut stream, &options.secret, options.hello_max).await {
        tracing::warn!(%error, "worker refused");
        return;
    }
    let (reader, writer) = stream.into_split();
    // Unbounded in type only: the controller never sends more leases than the worker gave credit for.
    let (outbox, messages) = mpsc::unbounded_channel();
    drop(context.spawn(write(writer, messages, options.frame_len_max)));
    let is_closed = stop.child_token();
    let opened = Writer { outbox, _stop_reading: is_closed.clone().drop_guard() };
    if events.send(Inside::Opened(session, opened)).await.is_err() {
        return;
    }
    let reading = read(reader, session, &events, options.frame_len_max);
    match is_closed.run_until_cancelled(reading).await {
        // This side has closed it.
        None => return,
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(?session, %error, "worker connection lost"),
    }
    let is_dead = peer.is_dead_within(options.death_max).await;
    let _controller_gone = events.send(Inside::Closed(session, is_dead)).await;
}

/// Hands on what a worker says, until it closes the connection.
async fn read(
    mut reader: OwnedReadHalf,
    session: Session,
    events: &mpsc::Sender<Inside>,
    frame_len_max: usize,
) -> io::Result<()> {
    let mut received = BytesMut::with_capacity(8 << 10);
    loop {
        while let Some(message) = frame::decode(&mut received, frame_len_max)? {
            if events.send(Inside::Message(session, message)).await.is_err() {
                return Ok(());
            }
        }
        if reader.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Writes what the controller says, as many messages at a time as there are, until it has closed the session.
async fn write(
    mut writer: OwnedWriteHalf,
    mut messages: mpsc::UnboundedReceiver<ToWorker>,
    frame_len_max: usize,
) {
    let (mut batch, mut out) = (Vec::new(), BytesMut::new());
    while messages.recv_many(&mut batch, WRITES_MAX).await > 0 {
        let framed = batch.drain(..).try_for_each(|message| frame::encode(&message, &mut out, frame_len_max));
        if let Err(error) = framed {
            // Ends the session; its slices are handed out again, and given up in the end.
            tracing::error!(%error, "message to a worker cannot be sent");
            return;
        }
        if writer.write_all_buf(&mut out).await.is_err() {
            // The reading side sees the end too, and tells.
            return;
        }
    }
}

#[async_trait]
impl ControllerLink for SocketController {
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
                Inside::Closed(session, is_dead) if self.workers.remove(&session).is_some() => {
                    return Some(LinkEvent::Closed { session, is_dead });
                }
                // Of a session that this side has closed.
                Inside::Message(..) | Inside::Closed(..) => {}
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
