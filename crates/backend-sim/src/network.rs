//! Links that delay, double, reorder and hold up messages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use teraslice_core::{
    context::Context,
    link::{ControllerLink, FromWorker, LinkClosed, LinkEvent, Session, ToWorker, WorkerLink},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep},
};

use crate::faults::Faults;

/// Longer than a worker's leases last.
const PARTITION: Duration = Duration::from_secs(20);

/// Connects the workers of one execution with whatever controller listens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Network {
    context: Context,
    faults: Faults,
    start: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The controller that listens now.
    events: Option<UnboundedSender<LinkEvent>>,
    /// Counts the controllers, so that an old one does not hang up for a new one.
    listener: u64,
    sessions: u64,
    workers: BTreeMap<Session, UnboundedSender<ToWorker>>,
}

impl Network {
    /// Makes a network that nobody listens on.
    #[must_use]
    pub fn new(context: Context, faults: Faults) -> Self {
        let start = context.now();
        Self { context, faults, start, state: Arc::default() }
    }

    /// Listens for workers, instead of any earlier controller.
    #[must_use]
    pub fn listen(&self) -> SimController {
        let (events, inbox) = unbounded_channel();
        let mut state = self.lock();
        state.listener += 1;
        state.events = Some(events);
        state.workers.clear();
        SimController { network: self.clone(), listener: state.listener, inbox }
    }

    /// Connects to the controller, if one listens.
    #[must_use]
    pub fn dial(&self) -> Option<SimWorker> {
        let mut state = self.lock();
        let events = state.events.clone()?;
        state.sessions += 1;
        let session = Session(state.sessions);
        let (to_worker, inbox) = unbounded_channel();
        let (outbox, from_worker) = unbounded_channel();
        state.workers.insert(session, self.downstream(to_worker));
        // The controller may have died meanwhile: then the session ends at once.
        let _gone = events.send(LinkEvent::Opened { session });
        drop(state);
        drop(self.context.spawn(self.clone().upstream(session, from_worker, events)));
        Some(SimWorker { outbox, inbox })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strikes(&self, chance: f64) -> bool {
        let since_start = self.context.now().duration_since(self.start);
        self.faults.strike(&self.context, since_start, chance)
    }

    /// Carries messages to a worker, in order.
    fn downstream(&self, deliver: UnboundedSender<ToWorker>) -> UnboundedSender<ToWorker> {
        let (outbox, mut queue) = unbounded_channel();
        let network = self.clone();
        drop(self.context.spawn(async move {
            while let Some(message) = queue.recv().await {
                sleep(network.faults.delay(&network.context)).await;
                if deliver.send(message).is_err() {
                    return;
                }
            }
        }));
        outbox
    }

    /// Carries messages to the controller; here most goes wrong.
    async fn upstream(
        self,
        session: Session,
        mut queue: UnboundedReceiver<FromWorker>,
        events: UnboundedSender<LinkEvent>,
    ) {
        while let Some(message) = queue.recv().await {
            let is_greeting = matches!(message, FromWorker::Hello { .. });
            let event = LinkEvent::Message { session, message };
            if !is_greeting && self.strikes(self.faults.partition) {
                sleep(PARTITION).await;
            }
            if !is_greeting && self.strikes(self.faults.reorder) {
                let (network, events) = (self.clone(), events.clone());
                drop(self.context.spawn(async move {
                    sleep(network.faults.delay(&network.context) * 4).await;
                    let _gone = events.send(event);
                }));
                continue;
            }
            sleep(self.faults.delay(&self.context)).await;
            if matches!(&event, LinkEvent::Message { message: FromWorker::Results(_), .. })
                && self.strikes(self.faults.duplicate)
            {
                let _gone = events.send(event.clone());
            }
            let _gone = events.send(event);
        }
        sleep(self.faults.delay(&self.context)).await;
        let _gone = events.send(LinkEvent::Closed { session, is_dead: true });
    }
}

/// The controller's end. Dropping it ends every session.
#[derive(Debug)]
pub struct SimController {
    network: Network,
    listener: u64,
    inbox: UnboundedReceiver<LinkEvent>,
}

#[async_trait]
impl ControllerLink for SimController {
    async fn next(&mut self) -> Option<LinkEvent> {
        self.inbox.recv().await
    }

    fn send(&mut self, session: Session, message: ToWorker) {
        if let Some(worker) = self.network.lock().workers.get(&session) {
            let _gone = worker.send(message);
        }
    }

    fn close(&mut self, session: Session) {
        drop(self.network.lock().workers.remove(&session));
    }
}

impl Drop for SimController {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        if state.listener == self.listener {
            state.events = None;
            state.workers.clear();
        }
    }
}

/// A worker's end. Dropping it ends the session, once what was sent has arrived.
#[derive(Debug)]
pub struct SimWorker {
    outbox: UnboundedSender<FromWorker>,
    inbox: UnboundedReceiver<ToWorker>,
}

#[async_trait]
impl WorkerLink for SimWorker {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        self.outbox.send(message).map_err(|_| LinkClosed)
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        self.inbox.recv().await
    }
}
