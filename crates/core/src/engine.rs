//! The engine: makes what the cluster backend runs match what is wanted of executions.

mod decide;
mod history;
mod service;
mod step;
mod sweep;

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use teraslice_model::{
    execution::Execution,
    id::{ExId, Term},
    job::CheckEnvironment,
    status::Status,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    backend::{ClusterBackend, ExitReason, StopBackend},
    context::Context,
    store::{StateStore, StoreError},
};

/// Commands that wait for the engine.
const COMMANDS_MAX: usize = 64;

/// The numbers the engine goes by.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The term of leadership (default 1).
    pub term: Term,
    /// What the jobs in the store are checked against.
    pub environment: CheckEnvironment,
    /// Which executions of the store it looks after (default all).
    pub charge: Charge,
    /// Everything is looked at again this often, whatever the events say (default 30 s).
    pub tick: Duration,
    /// What runs for nobody is looked for this often (default 5 minutes).
    pub sweep_every: Duration,
    /// What runs for an execution that the store does not know is left alone for this long, in case the store was emptied
    /// or restored (default 60 s).
    pub unknown_for: Duration,
    /// A call to the backend or the store may take this long (default 30 s).
    pub call_max: Duration,
    /// How patient it is with what it runs.
    pub patience: Patience,
}

impl EngineOptions {
    /// Returns the defaults.
    #[must_use]
    pub fn new(environment: CheckEnvironment) -> Self {
        Self {
            term: Term(1),
            environment,
            charge: Charge::All,
            tick: Duration::from_secs(30),
            sweep_every: Duration::from_mins(5),
            unknown_for: Duration::from_secs(60),
            call_max: Duration::from_secs(30),
            patience: Patience::default(),
        }
    }
}

/// Which executions an engine looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Every one in the store that has not ended.
    All,
    /// Only those it is told of.
    Submitted,
}

/// How patient the engine is with processes that end, and with those that should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A controller that ends too early is started again so many times in a row (default 3); then its execution fails.
    pub controller_restarts_max: u32,
    /// A controller that ran for this long starts with a clean record (default 5 minutes).
    pub controller_stable_after: Duration,
    /// A worker that ends by itself sooner than this counts as failing (default 5 s).
    pub worker_stable_after: Duration,
    /// Failing workers are replaced at once so many times in a row (default 3), then after a pause; killed ones after half of
    /// the first pause at most.
    pub worker_rounds_free: u32,
    /// The first pause before something is tried again (default 1 s); it doubles.
    pub pause_min: Duration,
    /// The longest pause (default 60 s).
    pub pause_max: Duration,
    /// Processes that are asked to leave are killed after this (default 30 s).
    pub drain_grace: Duration,
    /// A controller whose start something is in the way of for so long fails its execution (default never).
    pub start_max: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            controller_restarts_max: 3,
            controller_stable_after: Duration::from_mins(5),
            worker_stable_after: Duration::from_secs(5),
            worker_rounds_free: 3,
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            drain_grace: Duration::from_secs(30),
            start_max: None,
        }
    }
}

impl Patience {
    /// Returns the pause before try `count` (from 1).
    fn pause(&self, count: u32) -> Duration {
        let doubled = self.pause_min.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1)));
        doubled.min(self.pause_max)
    }
}

/// Reconciles executions with a cluster backend.
///
/// The store holds what is wanted, [`ClusterBackend::observe`] shows what is; commands, events of the backend and a tick only
/// say that it is time to compare the two. Of one execution one step is under way at a time.
///
/// # Guarantees
///
/// - `pending -> scheduling -> initializing` are the engine's moves; from there on the status is the controller's, but for a
///   stop that no controller is left to finish, and for controllers that cannot be kept running (`failed`, with the reason).
/// - What runs for an execution that has ended is retired; for one that the store does not know only after the store has said
///   so twice, [`EngineOptions::unknown_for`] apart.
/// - Ended workers are replaced, at once or, when they keep failing, after a pause.
pub struct Engine<B> {
    options: EngineOptions,
    context: Context,
    store: Arc<dyn StateStore>,
    backend: Arc<B>,
    commands: mpsc::Receiver<Command>,
}

/// Reaches a running engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    store: Arc<dyn StateStore>,
    commands: mpsc::Sender<Command>,
}

/// What the engine knows of an execution, renewed with every step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// The execution.
    pub ex_id: ExId,
    /// The status in the store.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<String>,
    /// Whether its controller runs.
    pub is_controller_live: bool,
    /// Workers that run.
    pub workers_live: u32,
    /// Workers that are wanted.
    pub workers_wanted: u32,
    /// What is in the way.
    pub conditions: Vec<Condition>,
    /// Whether it has ended and nothing of it runs any more.
    pub is_settled: bool,
}

/// Something that keeps an execution from being as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The controller has ended too early and is started again.
    ControllerFailing {
        /// How often in a row.
        exits: u32,
        /// How it ended last.
        last: ExitReason,
    },
    /// Workers end soon after they start.
    WorkersFailing {
        /// How often in a row.
        rounds: u32,
        /// How one ended last.
        last: ExitReason,
    },
    /// The backend has not started something yet, and says why.
    Waiting(String),
    /// A call has failed and is tried again.
    Unavailable(String),
}

/// Why the engine ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is a newer leader: exit with code 76.
    #[error("the cluster has a newer leader than term {term}")]
    Fenced {
        /// The term that is over.
        term: Term,
    },
    /// The backend could not be stopped.
    #[error("failed to stop the cluster backend")]
    Stop(#[source] crate::backend::BackendError),
}

/// Why the engine did not take a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine has ended.
    #[error("the engine has ended")]
    EngineGone,
    /// The execution is none of its.
    #[error("execution {ex_id} is not looked after")]
    Unknown {
        /// The execution.
        ex_id: ExId,
    },
    /// The execution could not be stored.
    #[error("failed to store execution {ex_id}")]
    Store {
        /// The execution.
        ex_id: ExId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

type Watched = watch::Receiver<View>;

/// What the handle asks of the service.
#[derive(Debug)]
enum Command {
    Track(ExId, Status, oneshot::Sender<Watched>),
    Scale(ExId, u32, oneshot::Sender<bool>),
    Stop(ExId, oneshot::Sender<bool>),
    Watch(ExId, oneshot::Sender<Option<Watched>>),
    Shutdown(StopBackend),
}

impl<B: ClusterBackend> Engine<B> {
    /// Makes an engine and the handle to it.
    #[must_use]
    pub fn new(
        options: EngineOptions,
        context: Context,
        store: Arc<dyn StateStore>,
        backend: Arc<B>,
    ) -> (Self, EngineHandle) {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let handle = EngineHandle { store: Arc::clone(&store), commands: sender };
        (Self { options, context, store, backend, commands }, handle)
    }

    /// Runs until it is told to end, or every handle is gone; then what runs goes on, where the backend can.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn run(self) -> Result<(), EngineError> {
        service::Service::new(self).run().await
    }
}

impl EngineHandle {
    /// Stores a new execution and runs it.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn submit(&self, execution: Execution) -> Result<watch::Receiver<View>, CommandError> {
        let (ex_id, status) = (execution.ex_id, execution.status);
        let stored = self.store.create_execution(execution).await;
        stored.map_err(|source| CommandError::Store { ex_id, source })?;
        self.ask(|reply| Command::Track(ex_id, status, reply)).await
    }

    /// Takes up an execution that is in the store already and has not ended.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn resume(&self, ex_id: ExId) -> Result<watch::Receiver<View>, CommandError> {
        let stored = self.store.execution(ex_id).await;
        let stored = stored.map_err(|source| CommandError::Store { ex_id, source })?;
        let status = stored.ok_or(CommandError::Unknown { ex_id })?.status;
        self.ask(|reply| Command::Track(ex_id, status, reply)).await
    }

    /// Wants so many workers from now on.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn scale(&self, ex_id: ExId, workers: u32) -> Result<(), CommandError> {
        let is_known = self.ask(|reply| Command::Scale(ex_id, workers, reply)).await?;
        if is_known { Ok(()) } else { Err(CommandError::Unknown { ex_id }) }
    }

    /// Ends an execution for good: its processes are asked to leave, then it is `stopped`. Returns before that.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn stop(&self, ex_id: ExId) -> Result<(), CommandError> {
        let is_known = self.ask(|reply| Command::Stop(ex_id, reply)).await?;
        if is_known { Ok(()) } else { Err(CommandError::Unknown { ex_id }) }
    }

    /// Follows an execution. The last view of one that has ended is settled.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn watch(&self, ex_id: ExId) -> Result<watch::Receiver<View>, CommandError> {
        self.ask(|reply| Command::Watch(ex_id, reply)).await?.ok_or(CommandError::Unknown { ex_id })
    }

    /// Ends the engine; [`Engine::run`] returns once the backend is stopped.
    ///
    /// With [`StopBackend::Terminate`] everything is asked to leave first, so that executions can be resumed.
    pub async fn shutdown(&self, how: StopBackend) {
        let _ended_already = self.commands.send(Command::Shutdown(how)).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| CommandError::EngineGone)?;
        answer.await.map_err(|_| CommandError::EngineGone)
    }
}
