//! The execution controller: makes slices, hands them to workers, keeps the ledger.

mod driver;
pub mod event;
mod health;
mod journal;
pub mod limits;
pub mod machine;
mod recovery;
pub mod setup;
mod slicing;
mod table;
mod workers;

use std::{sync::Arc, time::Duration};

use teraslice_model::{
    execution::{Execution, Stats},
    id::{Epoch, ExId, Generation},
    status::Status,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use event::Command;
pub use limits::Limits;

use crate::{
    context::Context,
    link::ControllerLink,
    plan::Plan,
    store::{StateStore, StoreError},
    trace,
};

/// Commands that wait for the controller.
const COMMANDS_MAX: usize = 16;

/// What a controller is made with.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The execution.
    pub ex_id: ExId,
    /// The controller object this process belongs to.
    pub generation: Generation,
    /// The numbers it goes by; `queue_len_max` is lowered to what the reader says.
    pub limits: Limits,
    /// How long a store that is not available is waited for (default 10 minutes).
    pub store_outage_max: Duration,
}

impl ControllerOptions {
    /// Returns the defaults for an execution.
    #[must_use]
    pub fn new(ex_id: ExId, generation: Generation) -> Self {
        Self { ex_id, generation, limits: Limits::default(), store_outage_max: Duration::from_mins(10) }
    }
}

/// The controller of one execution, one process or task at a time.
///
/// # Guarantees
///
/// - Once [`run`](Self::run) has begun its epoch, no earlier controller of the execution can write.
/// - A slice's outcome, its counts and the slicer's checkpoint are one write.
/// - However it ends, a later controller goes on with every unfinished slice.
pub struct Controller {
    options: ControllerOptions,
    context: Context,
    store: Arc<dyn StateStore>,
    plan: Plan,
    link: Box<dyn ControllerLink>,
    commands: mpsc::Receiver<Request>,
    stats: watch::Sender<Stats>,
    epoch: watch::Sender<Option<Epoch>>,
}

/// A command, and whom to tell that it was taken.
type Request = (Command, oneshot::Sender<()>);

/// Reaches a running controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    commands: mpsc::Sender<Request>,
    stats: watch::Receiver<Stats>,
    epoch: watch::Receiver<Option<Epoch>>,
}

/// How a controller's run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionEnd {
    /// The status in the store.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<String>,
    /// The last statistics.
    pub stats: Stats,
    /// Whether another controller can go on.
    pub is_resumable: bool,
}

/// Why a controller could not go on. The execution stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A later controller has begun: exit with code 76.
    #[error("this controller is not the execution's any more")]
    Fenced(#[source] StoreError),
    /// The store is broken, or was not available for too long.
    #[error("failed to write to the state store")]
    Store(#[source] StoreError),
    /// There is no such execution, or it is over.
    #[error("execution {ex_id} cannot run: {reason}")]
    NotRunnable {
        /// The execution.
        ex_id: ExId,
        /// What is in the way.
        reason: String,
    },
}

impl From<StoreError> for ControllerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } => Self::Fenced(error),
            other => Self::Store(other),
        }
    }
}

/// The controller has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the execution controller has ended")]
pub struct ControllerGone;

impl Controller {
    /// Makes a controller and the handle to it.
    #[must_use]
    pub fn new(
        options: ControllerOptions,
        context: Context,
        store: Arc<dyn StateStore>,
        plan: Plan,
        link: Box<dyn ControllerLink>,
    ) -> (Self, ControllerHandle) {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (stats, watched) = watch::channel(Stats::default());
        let (epoch, began) = watch::channel(None);
        let controller = Self { options, context, store, plan, link, commands, stats, epoch };
        (controller, ControllerHandle { commands: sender, stats: watched, epoch: began })
    }

    /// Runs the execution to its end, or to the end of this process's part in it.
    ///
    /// # Errors
    ///
    /// See [`ControllerError`]; a job that fails is no error but an end.
    pub async fn run(self) -> Result<ExecutionEnd, ControllerError> {
        let execution = runnable(self.store.as_ref(), self.options.ex_id).await?;
        let epoch = self.store.begin_epoch(execution.ex_id, self.options.generation).await?;
        tracing::info!(ex_id = %execution.ex_id, %epoch, "execution controller started");
        self.epoch.send_replace(Some(epoch));
        let span = trace::execution(execution.ex_id, epoch, &self.plan);
        let end = driver::run(self, execution, epoch).await;
        trace::note_execution(&span, &end);
        end
    }
}

/// Returns the execution, unless it is over.
async fn runnable(store: &dyn StateStore, ex_id: ExId) -> Result<Execution, ControllerError> {
    let not_runnable = |reason: String| ControllerError::NotRunnable { ex_id, reason };
    let found = store.execution(ex_id).await?;
    let execution = found.ok_or_else(|| not_runnable("it does not exist".to_owned()))?;
    if execution.status.is_terminal() {
        return Err(not_runnable(format!("it is {}", execution.status)));
    }
    Ok(execution)
}

impl ControllerHandle {
    /// Gives a command; returns once the controller has acted on it (an end takes longer: wait for `run`).
    ///
    /// # Errors
    ///
    /// When the controller has ended, or is ending and can be neither paused nor resumed.
    pub async fn command(&self, command: Command) -> Result<(), ControllerGone> {
        let (taken, answer) = oneshot::channel();
        self.commands.send((command, taken)).await.map_err(|_| ControllerGone)?;
        answer.await.map_err(|_| ControllerGone)
    }

    /// Holds slices back.
    ///
    /// # Errors
    ///
    /// When the controller has ended or is ending.
    pub async fn pause(&self) -> Result<(), ControllerGone> {
        self.command(Command::Pause).await
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    ///
    /// When the controller has ended or is ending.
    pub async fn resume(&self) -> Result<(), ControllerGone> {
        self.command(Command::Resume).await
    }

    /// Ends the execution for good; slices at work are finished first.
    ///
    /// # Errors
    ///
    /// When the controller has ended.
    pub async fn stop(&self) -> Result<(), ControllerGone> {
        self.command(Command::Stop).await
    }

    /// Ends this controller and leaves the execution to a later one.
    ///
    /// # Errors
    ///
    /// When the controller has ended.
    pub async fn release(&self) -> Result<(), ControllerGone> {
        self.command(Command::Release).await
    }

    /// Returns the statistics, renewed a few times a second.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.clone()
    }

    /// Waits until the controller has begun its epoch, and returns it; from then on earlier controllers are fenced.
    ///
    /// # Errors
    ///
    /// When the controller ended before.
    pub async fn epoch(&self) -> Result<Epoch, ControllerGone> {
        let mut began = self.epoch.clone();
        let began = began.wait_for(Option::is_some).await.map_err(|_| ControllerGone)?;
        began.ok_or(ControllerGone)
    }
}
