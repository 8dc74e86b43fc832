//! The execution controllers that are connected: where they are, what they report, and how to command them.

mod connection;
mod totals;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use teraslice_api::cluster::{ClusterSums, ControllerState};
use teraslice_core::{
    context::Context,
    control::{ControlCommand, ControlSession, Hello},
    store::{ExecutionQuery, Page, StateStore, StoreError},
};
use teraslice_model::{
    execution::Stats,
    id::{ExId, JobId},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use connection::Connection;
use totals::Totals;

use crate::documents::NOT_ENDED;

/// Executions are listed in portions of this size.
const PAGE_LEN: u64 = 500;
/// A command waits this long for the controller to connect.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The numbers that go with controllers.
#[derive(Clone, Copy, Debug)]
pub struct ControllersOptions {
    /// A controller has to carry out a command within this (`action_timeout`, default 2 minutes).
    pub command_max: Duration,
    /// Statistics that have changed are stored this often (default 10 s).
    pub store_every: Duration,
    /// A call to the store may take this long (default 30 s).
    pub call_max: Duration,
}

impl Default for ControllersOptions {
    fn default() -> Self {
        Self {
            command_max: Duration::from_mins(2),
            store_every: Duration::from_secs(10),
            call_max: Duration::from_secs(30),
        }
    }
}

/// The connected controllers. Cheap to clone.
///
/// # Guarantees
///
/// - Of several connections for one execution the one with the highest `(generation, epoch)` counts, of equals the latest.
/// - The totals count every execution once, across restarts of the master and of controllers.
#[derive(Clone, Debug)]
pub struct Controllers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ControllersOptions,
    context: Context,
    store: Arc<dyn StateStore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Executions that have, had or are awaited to have a controller.
    entries: BTreeMap<ExId, Entry>,
    totals: Totals,
    /// Numbers the connections.
    connections: u64,
}

/// What is known of the controller of one execution.
#[derive(Debug)]
struct Entry {
    /// Where it is, or was last.
    located: watch::Sender<Option<Hello>>,
    /// What it reports; marked as changed also when its status may be another.
    reported: watch::Sender<Option<Stats>>,
    live: Option<Live>,
}

/// A connection that counts.
#[derive(Debug)]
struct Live {
    number: u64,
    job_id: JobId,
    name: String,
    commands: mpsc::Sender<Request>,
}

/// A command, and whom to tell what became of it.
#[derive(Debug)]
struct Request {
    command: ControlCommand,
    reply: oneshot::Sender<Result<(), String>>,
}

/// Why a controller did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It is not there.
    #[error("the execution controller of {ex_id} is not connected")]
    NotConnected {
        /// The execution.
        ex_id: ExId,
    },
    /// It did not answer.
    #[error("the execution controller of {ex_id} has not answered within {}s", within.as_secs())]
    Silent {
        /// The execution.
        ex_id: ExId,
        /// How long it was waited for.
        within: Duration,
    },
    /// It said no.
    #[error("the execution controller of {ex_id} refused: {reason}")]
    Refused {
        /// The execution.
        ex_id: ExId,
        /// Why.
        reason: String,
    },
}

impl Controllers {
    /// Reads from the store what the totals start with.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn load(
        options: ControllersOptions,
        context: Context,
        store: Arc<dyn StateStore>,
    ) -> Result<Self, StoreError> {
        let mut totals = Totals::new(store.sums().await?);
        let mut page = Page { from: 0, size: PAGE_LEN };
        loop {
            let query = ExecutionQuery { statuses: NOT_ENDED.to_vec(), page, ..ExecutionQuery::default() };
            let found = store.executions(query).await?;
            if found.is_empty() {
                break;
            }
            page.from += found.len() as u64;
            for execution in found {
                totals.know(execution.ex_id, &execution.stats);
            }
        }
        let state = Mutex::new(State { totals, ..State::default() });
        Ok(Self { shared: Arc::new(Shared { options, context, store, state }) })
    }

    /// Takes up a new connection; the controller counts from its `Hello` on, and is forgotten when the session ends.
    pub fn attach(&self, ex_id: ExId, session: ControlSession) {
        let connection = Connection::new(Arc::clone(&self.shared), ex_id, session);
        drop(self.shared.context.spawn(connection.run()));
    }

    /// Returns the latest statistics of a controller that is connected.
    #[must_use]
    pub fn stats(&self, ex_id: ExId) -> Option<ControllerState> {
        self.shared.state().entries.get(&ex_id).and_then(|entry| entry.state(ex_id))
    }

    /// Returns every controller that is connected, with its latest statistics.
    #[must_use]
    pub fn all(&self) -> Vec<ControllerState> {
        let state = self.shared.state();
        state.entries.iter().filter_map(|(ex_id, entry)| entry.state(*ex_id)).collect()
    }

    /// Commands a controller; returns once it has done it. One that is just starting, or has lost its connection, has 5 seconds
    /// to come.
    ///
    /// # Errors
    ///
    /// See [`ControlError`].
    pub async fn command(&self, ex_id: ExId, command: ControlCommand) -> Result<(), ControlError> {
        let not_connected = || ControlError::NotConnected { ex_id };
        let connected = timeout(CONNECT_MAX, self.connected(ex_id)).await;
        let commands = connected.ok().flatten().ok_or_else(not_connected)?;
        let (reply, answer) = oneshot::channel();
        let within = self.shared.options.command_max;
        let asked = async {
            commands.send(Request { command, reply }).await.map_err(|_| not_connected())?;
            answer.await.map_err(|_| not_connected())
        };
        let answered = timeout(within, asked).await.map_err(|_| ControlError::Silent { ex_id, within })?;
        answered?.map_err(|reason| ControlError::Refused { ex_id, reason })
    }

    /// Waits for the connection of a controller; none once its execution has ended.
    async fn connected(&self, ex_id: ExId) -> Option<mpsc::Sender<Request>> {
        let mut located = self.located(ex_id);
        loop {
            {
                let state = self.shared.state();
                let live = state.entries.get(&ex_id).and_then(|entry| entry.live.as_ref());
                if let Some(live) = live {
                    return Some(live.commands.clone());
                }
            }
            located.changed().await.ok()?;
        }
    }

    /// Follows where the controller of an execution is; the last place is kept while it is away.
    #[must_use]
    pub fn located(&self, ex_id: ExId) -> watch::Receiver<Option<Hello>> {
        self.shared.state().entry(ex_id).located.subscribe()
    }

    /// Follows the statistics of an execution; ends when the execution is over.
    pub(crate) fn reported(&self, ex_id: ExId) -> watch::Receiver<Option<Stats>> {
        self.shared.state().entry(ex_id).reported.subscribe()
    }

    /// Wakes those who follow an execution: its status may have changed.
    pub(crate) fn touch(&self, ex_id: ExId) {
        if let Some(entry) = self.shared.state().entries.get(&ex_id) {
            entry.reported.send_modify(|_| ());
        }
    }

    /// Returns the statistics of all executions, added up.
    #[must_use]
    pub fn totals(&self) -> ClusterSums {
        self.shared.state().totals.sums()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an execution whose controller has left if it is over, with what the store says of it at last. Returns whether
    /// nothing is left to do.
    async fn forget_ended(&self, ex_id: ExId) -> bool {
        if !self.state().entries.get(&ex_id).is_some_and(Entry::has_left) {
            return true;
        }
        let found = timeout(self.options.call_max, self.store.execution(ex_id)).await;
        let Ok(Ok(found)) = found else { return false };
        if found.as_ref().is_some_and(|execution| !execution.status.is_terminal()) {
            return false;
        }
        let mut state = self.state();
        if state.entries.get(&ex_id).is_some_and(Entry::has_left) {
            state.entries.remove(&ex_id);
            if let Some(execution) = found {
                state.totals.end(ex_id, &execution.stats);
            }
        }
        true
    }
}

impl State {
    fn entry(&mut self, ex_id: ExId) -> &mut Entry {
        // Those that were only asked after are forgotten once nobody asks any more.
        if !self.entries.contains_key(&ex_id) {
            self.entries.retain(|_, entry| entry.live.is_some() || entry.has_left() || entry.is_followed());
        }
        self.entries.entry(ex_id).or_insert_with(|| Entry {
            located: watch::Sender::new(None),
            reported: watch::Sender::new(None),
            live: None,
        })
    }
}

impl Entry {
    fn state(&self, ex_id: ExId) -> Option<ControllerState> {
        let live = self.live.as_ref()?;
        let stats = self.reported.borrow().clone().unwrap_or_default();
        Some(ControllerState { ex_id, job_id: live.job_id, name: live.name.clone(), stats })
    }

    /// Tells whether a controller was here and is away.
    fn has_left(&self) -> bool {
        self.live.is_none() && self.located.borrow().is_some()
    }

    fn is_followed(&self) -> bool {
        self.located.receiver_count() > 0 || self.reported.receiver_count() > 0
    }
}
