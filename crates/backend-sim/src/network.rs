//! Links between workers and controllers that delay, double, reorder, hold up and lose messages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use teraslice_core::{
    context::Context,
    link::{ControllerLink, FromWorker, LinkClosed, LinkEvent, Session, ToWorker, WorkerLink},
};
use teraslice_model::id::ExId;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::weather::{Place, Weather};

/// A worker that looks for its controller finds one that was replaced with this probability, if that one still listens.
const OUTDATED: f64 = 0.2;

/// Connects workers with whatever controllers of their executions listen. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Network {
    context: Context,
    weather: Weather,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    listeners: BTreeMap<ExId, Vec<Listener>>,
    serial: u64,
}

/// A controller that listens.
#[derive(Debug)]
struct Listener {
    serial: u64,
    at: Place,
    events: UnboundedSender<LinkEvent>,
    workers: BTreeMap<Session, UnboundedSender<ToWorker>>,
}

impl Network {
    /// Makes a network that nobody listens on.
    #[must_use]
    pub fn new(context: Context, weather: Weather) -> Self {
        Self { context, weather, state: Arc::default() }
    }

    /// Listens for the workers of an execution.
    #[must_use]
    pub fn listen(&self, ex_id: ExId, at: Place) -> SimController {
        let (events, inbox) = unbounded_channel();
        let mut state = self.lock();
        state.serial += 1;
        let serial = state.serial;
        let listener = Listener { serial, at, events, workers: BTreeMap::new() };
        state.listeners.entry(ex_id).or_default().push(listener);
        SimController { network: self.clone(), ex_id, listener: serial, inbox }
    }

    /// Connects to a controller of the execution, if one listens that can be reached.
    #[must_use]
    pub fn dial(&self, ex_id: ExId, from: Place) -> Option<SimWorker> {
        let is_outdated = self.weather.strikes(OUTDATED);
        let mut state = self.lock();
        state.serial += 1;
        let session = Session(state.serial);
        let listeners = state.listeners.get_mut(&ex_id)?;
        let listener = if is_outdated { listeners.first_mut() } else { listeners.last_mut() }?;
        if !self.weather.is_open(from, listener.at) {
            return None;
        }
        let (to_worker, inbox) = unbounded_channel();
        let (outbox, from_worker) = unbounded_channel();
        let (at, events) = (listener.at, listener.events.clone());
        listener.workers.insert(session, self.downstream(at, from, to_worker));
        drop(state);
        // The controller may have died meanwhile: then the session ends at once.
        let _gone = events.send(LinkEvent::Opened { session });
        drop(self.context.spawn(self.clone().upstream(session, (from, at), from_worker, events)));
        Some(SimWorker { outbox, inbox })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries messages to a worker, in order.
    fn downstream(
        &self,
        from: Place,
        to: Place,
        deliver: UnboundedSender<ToWorker>,
    ) -> UnboundedSender<ToWorker> {
        let (outbox, mut queue) = unbounded_channel();
        let weather = self.weather.clone();
        drop(self.context.spawn(async move {
            while let Some(message) = queue.recv().await {
                if !weather.carry(from, to).await || deliver.send(message).is_err() {
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
        (from, to): (Place, Place),
        mut queue: UnboundedReceiver<FromWorker>,
        events: UnboundedSender<LinkEvent>,
    ) {
        let (weather, faults) = (&self.weather, self.weather.faults());
        // A message that is lost ends the session, whatever came after it.
        let broken = CancellationToken::new();
        while let Some(Some(message)) = broken.run_until_cancelled(queue.recv()).await {
            let is_greeting = matches!(message, FromWorker::Hello { .. });
            let is_result = matches!(message, FromWorker::Results(_));
            let event = LinkEvent::Message { session, message };
            if !is_greeting && weather.strikes(faults.reorder) {
                let (weather, events, broken) = (weather.clone(), events.clone(), broken.clone());
                drop(self.context.spawn(async move {
                    sleep(weather.delay() * 4).await;
                    if weather.carry(from, to).await {
                        let _gone = events.send(event);
                    } else {
                        broken.cancel();
                    }
                }));
                continue;
            }
            if !weather.carry(from, to).await {
                break;
            }
            if is_result && weather.strikes(faults.duplicate) {
                let _gone = events.send(event.clone());
            }
            let _gone = events.send(event);
        }
        // While the cut lasts, the controller hears of the end by its own patience only.
        let _seen = weather.carry(from, to).await;
        let _gone = events.send(LinkEvent::Closed { session, is_dead: true });
    }

    fn with(&self, controller: &SimController, act: impl FnOnce(&mut Listener)) {
        let mut state = self.lock();
        let listeners = state.listeners.get_mut(&controller.ex_id);
        let mut all = listeners.into_iter().flatten();
        if let Some(listener) = all.find(|listener| listener.serial == controller.listener) {
            act(listener);
        }
    }
}

/// The controller's end. Dropping it ends every session.
#[derive(Debug)]
pub struct SimController {
    network: Network,
    ex_id: ExId,
    listener: u64,
    inbox: UnboundedReceiver<LinkEvent>,
}

#[async_trait]
impl ControllerLink for SimController {
    async fn next(&mut self) -> Option<LinkEvent> {
        self.inbox.recv().await
    }

    fn send(&mut self, session: Session, message: ToWorker) {
        self.network.with(self, |listener| {
            if let Some(worker) = listener.workers.get(&session) {
                let _gone = worker.send(message);
            }
        });
    }

    fn close(&mut self, session: Session) {
        self.network.with(self, |listener| drop(listener.workers.remove(&session)));
    }
}

impl Drop for SimController {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        if let Some(listeners) = state.listeners.get_mut(&self.ex_id) {
            listeners.retain(|listener| listener.serial != self.listener);
            if listeners.is_empty() {
                state.listeners.remove(&self.ex_id);
            }
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
