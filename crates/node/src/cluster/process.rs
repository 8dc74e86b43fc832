//! What the processes of an execution share: what they were started for, and how they reach the master.

mod pod;

use std::{env, io, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use teraslice_backend_native::{
    child::{Assignment, ChildError},
    socket::SECRET,
};
use teraslice_core::{
    backend::variables::{AUTHORITY, HOST, MASTER},
    context::Context,
    execution::ControllerError,
};
use teraslice_model::{
    job::{CONTROLLER_PORT, RawJob},
    problem::Problem,
};
use teraslice_rpc::{ConnectError, Peer, link::ListenError, secret::Secret};

use self::pod::Token;
use super::identity::{self, IdentityError};
use crate::{
    assets::cache::FetchError,
    config::Config,
    exit_code, logging,
    parts::{Parts, Prepared},
};

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
    /// The ports that a controller may listen on.
    pub(super) ports: RangeInclusive<u16>,
    /// How long a controller waits for its first worker.
    pub(super) slicer_timeout: Duration,
    /// The certificate and key of a controller, PEM, where the master makes them.
    pub(super) identity: Option<String>,
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
    /// The token of its pod cannot be read.
    #[error("failed to read the token of this pod, {path}", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no runtime to ask the master with.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// The folder for assets cannot be used.
    #[error("failed to use the assets folder {path}", path = path.display())]
    Assets {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An asset of the job cannot be had.
    #[error(transparent)]
    Fetch(Arc<FetchError>),
    /// The master was not there for too long.
    #[error("the master was not reached within {}s", within.as_secs())]
    NoMaster {
        /// How long it was tried.
        within: Duration,
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
            Self::NoMaster { .. } | Self::Fetch(_) => exit_code::UNAVAILABLE,
            Self::Connect(ConnectError::Refused { .. }) => exit_code::DENIED,
            Self::Child(_)
            | Self::Token { .. }
            | Self::Runtime(_)
            | Self::Assets { .. }
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
    /// Reads what this process was started for; in a pod the master is asked. May compile assets: before the runtime.
    pub(super) fn start(parts: &Parts) -> Result<Self, ProcessError> {
        let assignment = Assignment::from_environment()?;
        let mut config = parts.config().clone();
        let mut master = Peer::new(variable(MASTER)?);
        master.ca_pem = match env::var(AUTHORITY) {
            // Links are encrypted, whether it is said once more here or not.
            Ok(pem) => {
                config.cluster.tls.get_or_insert_default();
                Some(pem)
            }
            Err(_) => identity::trusted(&config)?,
        };
        let mut parts = parts.clone();
        let (told, ports, slicer_timeout) = match pod::token() {
            Some(token) => {
                // A pod has every port to itself.
                let ports = match &token {
                    Token::File(_) => CONTROLLER_PORT..=CONTROLLER_PORT,
                    Token::Word(_) => after_first(&config.cluster.ports),
                };
                parts = parts.in_pod();
                let introduction = pod::enter(&parts, &master, &token)?;
                let secret = Secret::from_text(introduction.secret);
                let told = Told { secret, job: RawJob(introduction.job), identity: introduction.identity };
                // Workers may wait for a machine, an image, or their turn; the master tells people which it is.
                (told, ports, Duration::MAX)
            }
            None => {
                let secret = Secret::from_text(variable(SECRET)?);
                let identity = env::var(identity::IDENTITY).ok();
                let told = Told { secret, job: assignment.job()?, identity };
                (told, after_first(&config.cluster.ports), config.slicer_timeout)
            }
        };
        let Told { secret, job, identity } = told;
        let host = env::var(HOST).unwrap_or_else(|_| super::node::host(&config));
        let prepared = parts.prepare(&job).map_err(|refused| ProcessError::Job(refused.problems))?;
        if let Some(Err(unknown)) = prepared.plan.job().log_level.as_deref().map(logging::set_level) {
            tracing::warn!(error = %unknown, "log level of the job not set");
        }
        Ok(Self { assignment, prepared, secret, master, host, ports, slicer_timeout, identity, config })
    }
}

/// What a process is told about itself in confidence.
struct Told {
    secret: Secret,
    job: RawJob,
    identity: Option<String>,
}

fn variable(name: &'static str) -> Result<String, ProcessError> {
    env::var(name).map_err(|_| ProcessError::Missing { name })
}

/// Returns a range of ports but its first, which is never taken.
fn after_first(range: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    range.start().saturating_add(1)..=*range.end()
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
