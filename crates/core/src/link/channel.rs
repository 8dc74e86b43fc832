//! The link inside one process: channels.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{ControllerLink, FromWorker, LinkClosed, LinkEvent, Session, ToWorker, WorkerLink};

/// Messages from workers that wait for the controller; workers wait when there are more.
const EVENTS_MAX: usize = 1_024;

#[derive(Debug)]
enum Inside {
    Opened(Session, mpsc::UnboundedSender<ToWorker>),
    Message(Session, FromWorker),
    Closed(Session),
}

/// Makes the controller's end, and the dialer that workers connect with.
#[must_use]
pub fn channel() -> (ChannelController, ChannelDialer) {
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let controller = ChannelController { inbox, workers: HashMap::new() };
    (controller, ChannelDialer { events, sessions: Arc::default() })
}

/// Connects workers of this process to their controller.
#[derive(Clone, Debug)]
pub struct ChannelDialer {
    events: mpsc::Sender<Inside>,
    sessions: Arc<AtomicU64>,
}

impl ChannelDialer {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// When the controller is gone.
    pub async fn connect(&self) -> Result<ChannelWorker, LinkClosed> {
        let session = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        // Unbounded in type only: the controller never sends more leases than the worker gave credit for.
        let (outbox, inbox) = mpsc::unbounded_channel();
        self.events.send(Inside::Opened(session, outbox)).await.map_err(|_| LinkClosed)?;
        Ok(ChannelWorker { session, events: self.events.clone(), inbox })
    }
}

/// A worker's end of the link inside one process. Dropping it closes the session.
#[derive(Debug)]
pub struct ChannelWorker {
    session: Session,
    events: mpsc::Sender<Inside>,
    inbox: mpsc::UnboundedReceiver<ToWorker>,
}

#[async_trait]
impl WorkerLink for ChannelWorker {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        if self.inbox.is_closed() && self.inbox.is_empty() {
            return Err(LinkClosed);
        }
        self.events.send(Inside::Message(self.session, message)).await.map_err(|_| LinkClosed)
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        self.inbox.recv().await
    }
}

impl Drop for ChannelWorker {
    fn drop(&mut self) {
        let events = self.events.clone();
        if let Err(mpsc::error::TrySendError::Full(closed)) = events.try_send(Inside::Closed(self.session))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // A full channel must not swallow the end of a session: its slices would wait for the lease to time out.
            drop(runtime.spawn(async move { events.send(closed).await }));
        }
    }
}

/// The controller's end of the link inside one process.
#[derive(Debug)]
pub struct ChannelController {
    inbox: mpsc::Receiver<Inside>,
    workers: HashMap<Session, mpsc::UnboundedSender<ToWorker>>,
}

#[async_trait]
impl ControllerLink for ChannelController {
    async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            match self.inbox.recv().await? {
                Inside::Opened(session, outbox) => {
                    self.workers.insert(session, outbox);
                    return Some(LinkEvent::Opened { session });
                }
                Inside::Message(session, message) if self.workers.contains_key(&session) => {
                    return Some(LinkEvent::Message { session, message });
                }
                Inside::Closed(session) if self.workers.remove(&session).is_some() => {
                    return Some(LinkEvent::Closed { session, is_dead: true });
                }
                // Of a session that this side has closed.
                Inside::Message(..) | Inside::Closed(_) => {}
            }
        }
    }

    fn send(&mut self, session: Session, message: ToWorker) {
        if let Some(worker) = self.workers.get(&session) {
            // A worker that is gone has its `Closed` on the way.
            let _gone = worker.send(message);
        }
    }

    fn close(&mut self, session: Session) {
        self.workers.remove(&session);
    }
}
