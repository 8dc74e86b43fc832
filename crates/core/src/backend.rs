//! Cluster backends: where controllers and workers run.

pub mod health;
pub mod hints;
pub mod revisions;
pub mod variables;

use std::{fmt, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use teraslice_model::{
    id::{ExId, Generation, JobId, Term},
    job::CheckedJob,
    problem::Problem,
    timestamp::Timestamp,
};

/// Runs controllers and workers somewhere. Level-triggered: told what is wanted, asked what is.
///
/// The store owns the desired state; a backend keeps caches only. It never decides on retries of an execution, never changes
/// its status, and never removes what it cannot prove to be ours.
///
/// # Guarantees
///
/// - Everything is idempotent by `(ex_id, generation, role, ordinal)`: the same `ensure` twice is one; five workers twice are five.
/// - `ensure` returns when the request is accepted, and never waits for readiness. What was accepted shows up in a later
///   [`observe`](Self::observe), running or exited; nothing is lost in silence.
/// - An `ensure` with a lower revision than one already applied is [`BackendError::Stale`]; a call of an earlier term is
///   [`BackendError::Fenced`] where that can be told.
/// - `retire` of what never existed is [`Retired::Gone`]; `Gone` is said only on evidence. [`Retired::Unconfirmed`] becomes `Gone`.
/// - `observe` is the truth of the system, not of memory; [`events`](Self::events) are hints, and the first after each
///   (re)connect is [`BackendEvent::Resync`].
///
/// # Cancel safety
///
/// Dropping any future leaves the backend consistent.
pub trait ClusterBackend: Send + Sync + 'static {
    /// Says what the backend is and can.
    fn describe(&self) -> BackendInfo;

    /// Checks the properties of a job that concern the cluster; no side effects. Returns warnings.
    ///
    /// # Errors
    ///
    /// Every problem, each with its place in the job.
    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>>;

    /// Begins a term of leadership, before anything else; returns all that exists, whatever made it.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn adopt(&self, term: Term) -> impl Future<Output = Result<Snapshot, BackendError>> + Send;

    /// Moves reality towards `desired`.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn ensure(&self, desired: DesiredExecution) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Removes every instance of an execution up to a generation.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn retire(
        &self,
        ex_id: ExId,
        upto: Generation,
        how: Retire,
    ) -> impl Future<Output = Result<Retired, BackendError>> + Send;

    /// Lists what exists.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn observe(&self, scope: Scope) -> impl Future<Output = Result<Snapshot, BackendError>> + Send;

    /// Returns hints that something changed; may lose and repeat them.
    fn events(&self) -> BoxStream<'static, BackendEvent>;

    /// Ends the backend; running work goes on ([`StopBackend::Detach`]) or not.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn stop(&self, how: StopBackend) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendInfo {
    /// Its name in configurations (`cluster_manager_type`).
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether workers share the memory of the engine.
    pub is_in_process: bool,
}

/// What is wanted of one execution.
#[derive(Clone, Debug)]
pub struct DesiredExecution {
    /// The execution.
    pub ex_id: ExId,
    /// Its job.
    pub job_id: JobId,
    /// The controller object; a higher one replaces a lower.
    pub generation: Generation,
    /// Counts the changes of this wish within a term.
    pub revision: u64,
    /// The job itself, for templates.
    pub job: Arc<CheckedJob>,
    /// Whether the controller is wanted.
    pub controller: bool,
    /// How many workers are wanted.
    pub workers: u32,
}

/// A process (or task, or pod) that a backend runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Instance {
    /// Unique for ever.
    pub id: InstanceId,
    /// The execution it works for.
    pub ex_id: ExId,
    /// The controller object it belongs to.
    pub generation: Generation,
    /// What it is.
    pub role: Role,
    /// Which of the workers it is; 0 for the controller.
    pub ordinal: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Where it can be reached, if it listens.
    pub address: Option<SocketAddr>,
    /// Since when it is in that phase.
    pub since: Timestamp,
}

/// Names an instance, for ever: a pod's UID, or node, process id and start time.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Makes slices and hands them out.
    Controller,
    /// Runs slices.
    Worker,
}

impl Role {
    /// Returns the word for it that processes, labels and metrics use: `execution_controller`, `worker`.
    #[must_use]
    pub const fn node_type(self) -> &'static str {
        match self {
            Self::Controller => "execution_controller",
            Self::Worker => "worker",
        }
    }

    /// Returns what such a word stands for.
    #[must_use]
    pub fn of_node_type(word: &str) -> Option<Self> {
        [Self::Controller, Self::Worker].into_iter().find(|role| role.node_type() == word)
    }
}

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not started, and why.
    Waiting(String),
    /// On its way.
    Starting,
    /// At work.
    Running,
    /// Asked to leave.
    Draining,
    /// Ended.
    Exited(ExitReason),
    /// Out of sight; may still run.
    Lost,
}

impl Phase {
    /// Tells whether the instance may still do something.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Exited(_))
    }
}

/// Why an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// Its work was done.
    Completed,
    /// With an exit code that says otherwise.
    Code(i32),
    /// Ended by a signal.
    Signal(i32),
    /// For lack of memory.
    OutOfMemory,
    /// It could not be started, and why.
    NotStarted(String),
    /// Nobody knows.
    Unknown,
}

impl ExitReason {
    /// A process that was asked to leave has left.
    pub const INTERRUPTED: Self = Self::Code(75);
}

/// How it ended, to be read after "it ended".
impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("without an error, although its execution had not ended"),
            Self::Code(101) => f.write_str("with a panic (exit code 101)"),
            Self::Code(code) => write!(f, "with exit code {code}"),
            Self::Signal(signal) => write!(f, "by signal {signal}"),
            Self::OutOfMemory => f.write_str("for lack of memory"),
            Self::NotStarted(reason) => write!(f, "before it had started: {reason}"),
            Self::Unknown => f.write_str("for an unknown reason"),
        }
    }
}

/// What exists, as of a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Absence proves something only for what was accepted before this.
    pub as_of: Timestamp,
    /// What exists, and what has exited and was not retired yet.
    pub instances: Vec<Instance>,
}

/// How much to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything of this cluster.
    Cluster,
    /// One execution.
    Execution(ExId),
}

/// How to end instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retire {
    /// Ask, wait so long, then kill.
    Drain {
        /// How long.
        grace: Duration,
    },
    /// Kill.
    Kill,
}

/// Whether instances are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retired {
    /// Nothing runs any more.
    Gone,
    /// These may still run.
    Unconfirmed(Vec<InstanceId>),
}

/// What happens to running work when a backend ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopBackend {
    /// It goes on, where the backend can.
    Detach,
    /// It ends.
    Terminate,
}

/// A hint that something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendEvent {
    /// Anything may have changed: observe.
    Resync,
    /// Something of this execution has changed.
    Changed(ExId),
}

/// A failure of a backend, split by what the engine does next.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Passing: the same call later.
    #[error("the cluster backend is not available: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The least time to wait.
        retry_after: Option<Duration>,
    },
    /// A newer wish was applied: drop this one.
    #[error("a newer revision than {revision} was applied already")]
    Stale {
        /// The refused revision.
        revision: u64,
    },
    /// A newer leader is at work: step down.
    #[error("term {term} is over")]
    Fenced {
        /// The refused term.
        term: Term,
    },
    /// The job asks for what this backend cannot give: fail the execution.
    #[error("the cluster backend refuses the job: {reason}")]
    Refused {
        /// What, and why.
        reason: String,
    },
}
