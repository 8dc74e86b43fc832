//! One connection of a controller, from its `Hello` to its end.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use teraslice_core::{
    control::{ControlCommand, ControlSession, FromController, Hello, ToController},
    store::ExecutionUpdate,
};
use teraslice_model::{execution::Stats, id::ExId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Live, Request, Shared};

/// Commands that wait for a controller.
const COMMANDS_MAX: usize = 16;

/// A connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    ex_id: ExId,
    session: ControlSession,
    /// Commands that were sent, by number.
    sent: BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
    next: u64,
    /// What is to be stored, and when.
    unsaved: Option<Stats>,
    save_at: Instant,
}

/// What has happened.
enum Event {
    Said(Option<FromController>),
    Asked(Option<Request>),
    SaveDue,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, ex_id: ExId, session: ControlSession) -> Self {
        let save_at = shared.context.now() + shared.options.store_every;
        Self { shared, ex_id, session, sent: BTreeMap::new(), next: 0, unsaved: None, save_at }
    }

    pub(super) async fn run(mut self) {
        let first = timeout(self.shared.options.call_max, self.session.from.recv()).await;
        let Ok(Some(FromController::Hello(hello))) = first else {
            tracing::warn!(ex_id = %self.ex_id, "controller connection without a hello");
            return;
        };
        let Some((number, mut commands)) = self.begin(hello).await else { return };
        self.attend(&mut commands).await;
        self.end(number).await;
    }

    async fn attend(&mut self, commands: &mut mpsc::Receiver<Request>) {
        loop {
            let event = tokio::select! {
                said = self.session.from.recv() => Event::Said(said),
                asked = commands.recv() => Event::Asked(asked),
                () = sleep_until(self.save_at), if self.unsaved.is_some() => Event::SaveDue,
            };
            match event {
                // The second: a later connection has taken its place.
                Event::Said(None) | Event::Asked(None) => return,
                Event::Said(Some(said)) => self.hear(said).await,
                Event::Asked(Some(request)) => self.send(request),
                Event::SaveDue => self.save().await,
            }
        }
    }

    /// Takes the place of the execution's controller, unless a later one has it.
    async fn begin(&mut self, mut hello: Hello) -> Option<(u64, mpsc::Receiver<Request>)> {
        let (ex_id, shared) = (self.ex_id, Arc::clone(&self.shared));
        let found = timeout(shared.options.call_max, shared.store.execution(ex_id)).await;
        let Ok(Ok(Some(execution))) = found else {
            tracing::warn!(%ex_id, "controller connection of an execution that is not known");
            return None;
        };
        if execution.status.is_terminal() {
            return None;
        }
        let name = execution.job.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let number = {
            let mut state = shared.state();
            state.connections += 1;
            let number = state.connections;
            let entry = state.entry(ex_id);
            if entry.located.borrow().as_ref().is_some_and(|at| is_earlier(&hello, at)) {
                tracing::warn!(%ex_id, epoch = %hello.epoch, "connection of an earlier controller refused");
                return None;
            }
            let level = entry.located.borrow().as_ref().and_then(|before| before.log_level.clone());
            if let Some(level) = level.filter(|_| hello.log_level.is_none()) {
                // It takes the place of one that was told.
                let (reply, _nobody_waits) = oneshot::channel();
                let _has_room =
                    commands.try_send(Request { command: ControlCommand::LogLevel(level.clone()), reply });
                hello.log_level = Some(level);
            }
            entry.live = Some(Live { number, job_id: execution.job_id, name, commands });
            let started = entry.reported.borrow().clone().unwrap_or(execution.stats);
            let now = shared.context.wall();
            entry.reported.send_replace(Some(Stats { started: started.started.or(Some(now)), ..started }));
            number
        };
        self.locate(hello).await;
        Some((number, receiver))
    }

    /// Makes known where the controller listens, and how its workers log. The stored execution is told first: when workers
    /// have ended it, it says where its controller was.
    async fn locate(&self, hello: Hello) {
        tracing::info!(ex_id = %self.ex_id, host = hello.host, port = hello.port, "controller connected");
        let slicer = Some((hello.host.clone(), hello.port));
        self.store(ExecutionUpdate { slicer, ..ExecutionUpdate::default() }).await;
        self.announce(hello);
    }

    /// Tells whoever looks for the controller, unless a later one has been announced meanwhile.
    fn announce(&self, hello: Hello) {
        if let Some(entry) = self.shared.state().entries.get(&self.ex_id) {
            entry.located.send_if_modified(|at| {
                let is_latest = at.as_ref().is_none_or(|at| !is_earlier(&hello, at));
                if is_latest {
                    *at = Some(hello);
                }
                is_latest
            });
        }
    }

    /// Tells whether workers find the controller where they did.
    fn is_at(&self, hello: &Hello) -> bool {
        let state = self.shared.state();
        let before = state.entries.get(&self.ex_id).map(|entry| entry.located.borrow());
        let place = |hello: &Hello| (hello.host.clone(), hello.port);
        before.is_some_and(|before| before.as_ref().map(place) == Some(place(hello)))
    }

    async fn hear(&mut self, said: FromController) {
        match said {
            FromController::Hello(hello) if self.is_at(&hello) => self.announce(hello),
            FromController::Hello(hello) => self.locate(hello).await,
            FromController::Stats(stats) => {
                {
                    let mut state = self.shared.state();
                    state.totals.report(self.ex_id, &stats);
                    if let Some(entry) = state.entries.get(&self.ex_id) {
                        entry.reported.send_replace(Some(stats.as_ref().clone()));
                    }
                }
                self.unsaved = Some(*stats);
            }
            FromController::Done { command, error } => {
                if let Some(reply) = self.sent.remove(&command) {
                    let _nobody_waits = reply.send(error.map_or(Ok(()), Err));
                }
            }
        }
    }

    fn send(&mut self, request: Request) {
        let Request { command, reply } = request;
        self.sent.retain(|_, reply| !reply.is_closed());
        let number = self.next;
        self.next += 1;
        match self.session.to.try_send(ToController::Command { number, command }) {
            Ok(()) => drop(self.sent.insert(number, reply)),
            Err(_) => drop(reply.send(Err("it takes no commands at the moment".to_owned()))),
        }
    }

    async fn save(&mut self) {
        self.save_at = self.shared.context.now() + self.shared.options.store_every;
        if let Some(stats) = self.unsaved.take() {
            self.store(ExecutionUpdate { stats: Some(stats), ..ExecutionUpdate::default() }).await;
        }
    }

    /// Changes the stored execution, unless its controller has written later statistics itself. Once it is over its
    /// controller has written everything, unless it was killed.
    async fn store(&self, update: ExecutionUpdate) {
        let (ex_id, shared) = (self.ex_id, &self.shared);
        let stored = timeout(shared.options.call_max, async {
            match shared.store.execution(ex_id).await? {
                Some(execution) if is_behind(&update, &execution.stats) => Ok(()),
                Some(execution)
                    if !execution.status.is_terminal()
                        || update.slicer.is_some()
                        || is_ahead(&update, &execution.stats) =>
                {
                    shared.store.update_execution(ex_id, update).await.map(|_| ())
                }
                _ => Ok(()),
            }
        });
        match stored.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%ex_id, %error, "report of a controller not stored"),
            Err(_) => tracing::warn!(%ex_id, "report of a controller not stored in time"),
        }
    }

    async fn end(mut self, number: u64) {
        let (ex_id, shared) = (self.ex_id, Arc::clone(&self.shared));
        self.save().await;
        {
            let mut state = shared.state();
            if let Some(entry) = state.entries.get_mut(&ex_id) {
                if entry.live.as_ref().is_some_and(|live| live.number == number) {
                    tracing::info!(%ex_id, "controller disconnected");
                    entry.live = None;
                }
                entry.reported.send_modify(|_| ());
            }
        }
        // It comes back, or its execution ends without it.
        while !shared.forget_ended(ex_id).await {
            sleep(shared.options.store_every).await;
        }
    }
}

/// Tells whether a controller was started before another one of its execution.
fn is_earlier(one: &Hello, other: &Hello) -> bool {
    (one.generation, one.epoch) < (other.generation, other.epoch)
}

/// Tells whether statistics are earlier than the stored ones. The duration is written at the end.
fn is_behind(update: &ExecutionUpdate, stored: &Stats) -> bool {
    let age = |stats: &Stats| (stats.processed, stats.job_duration);
    update.stats.as_ref().is_some_and(|stats| age(stats) < age(stored))
}

/// Tells whether statistics are later than the stored ones.
fn is_ahead(update: &ExecutionUpdate, stored: &Stats) -> bool {
    let later = |stats: &Stats| stored.started.is_none() || stats.processed > stored.processed;
    update.stats.as_ref().is_some_and(later)
}
