//! What the processes of an execution share: what they were started for, and how they reach the master.

use std::{env, io, time::Duration};

use teraslice_backend_native::{
    child::{Assignment, ChildError},
    socket::SECRET,
};
use teraslice_core::{context::Context, execution::ControllerError};
use teraslice_model::problem::Problem;
use teraslice_rpc::{ConnectError, Peer, link::ListenError, secret::Secret};

use super::identity::{self, IdentityError};
use crate::{
    config::Config,
    exit_code, logging,
    parts::{Parts, Prepared},
};

/// The variable that names the URL of the master.
pub(super) const MASTER: &str = "TERASLICE_MASTER";
/// The variable that names the host at which others reach this process.
pub(super) const HOST: &str = "TERASLICE_HOST";

/// The first pause before something is tried again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A process of an execution, before it has a runtime.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) assignment: Assignment,
    pub(super) prepared: Prepared,
    pub(super) secret: Secret,
    pub(super) master: Peer,
    pub(super) host: String,
    pub(super) config: Config,
}

/// Why a process of an execution cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not started by a node.
    #[error("failed to start as a process of an execution")]
    Child(#[from] ChildError),
    /// It was not told something.
    #[error("the environment variable {name} is not set")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// The job does not run here, although the master has accepted it.
    #[error("the job cannot run in this process")]
    Job(Vec<Problem>),
    /// The authority that is to be believed cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No port of the range is free.
    #[error("no port from {first} to {last} is free to listen for workers")]
    Ports {
        /// The first that was tried.
        first: u16,
        /// The last that was tried.
        last: u16,
        /// Why the last try failed.
        #[source]
        source: io::Error,
    },
    /// The controller cannot listen for workers.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The master or the controller does not want this process.
    #[error("failed to connect")]
    Connect(#[from] ConnectError),
    /// The controller could not go on.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// Nobody was there for too long.
    #[error("the execution controller was not found within {}s", within.as_secs())]
    NoController {
        /// How long it was looked for.
        within: Duration,
    },
}

impl ProcessError {
    /// Returns what to exit with: the node and the engine tell from it what to do next.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Job(_) => exit_code::BAD_JOB,
            Self::Controller(ControllerError::Fenced(_)) | Self::Connect(ConnectError::Replaced { .. }) => {
                exit_code::FENCED
            }
            // The execution has ended meanwhile: there is nothing left to do.
            Self::Controller(ControllerError::NotRunnable { .. }) => exit_code::DONE,
            Self::Controller(ControllerError::Store(_)) => exit_code::STATE,
            Self::NoController { .. } => exit_code::INTERRUPTED,
            Self::Child(_)
            | Self::Missing { .. }
            | Self::Identity(_)
            | Self::Ports { .. }
            | Self::Listen(_)
            | Self::Connect(_) => exit_code::INTERNAL,
        }
    }
}

/// Tells whether this process was started by a node of a cluster.
#[must_use]
pub(super) fn is_member() -> bool {
    env::var_os(MASTER).is_some()
}

impl Member {
    /// Reads what this process was started for.
    pub(super) fn start(parts: &Parts) -> Result<Self, ProcessError> {
        let assignment = Assignment::from_environment()?;
        let variable = |name| env::var(name).map_err(|_| ProcessError::Missing { name });
        let (master, secret) = (variable(MASTER)?, Secret::from_text(variable(SECRET)?));
        let host = variable(HOST)?;
        let mut master = Peer::new(master);
        master.ca_pem = identity::trusted(parts.config())?;
        let prepared =
            parts.prepare(&assignment.job()?).map_err(|refused| ProcessError::Job(refused.problems))?;
        if let Some(Err(unknown)) = prepared.plan.job().log_level.as_deref().map(logging::set_level) {
            tracing::warn!(error = %unknown, "log level of the job not set");
        }
        Ok(Self { assignment, prepared, secret, master, host, config: parts.config().clone() })
    }
}

/// Pauses that grow with every try, and start anew after a success.
#[derive(Debug)]
pub(super) struct Pauses {
    context: Context,
    next: Duration,
}

impl Pauses {
    pub(super) const fn new(context: Context) -> Self {
        Self { context, next: PAUSE_MIN }
    }

    /// Waits before the next try.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.context.jittered(self.next)).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
    }

    /// Notes that a try went well.
    pub(super) const fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }
}
