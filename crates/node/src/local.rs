//! Runs one execution on this machine: engine, native backend, controller and workers.
//!
//! ```text
//! Local    Engine -> NativeBackend -> Launcher   the controller, always a task of this process
//!                                  -> Launcher   workers as tasks, or
//!                                  -> processes  workers as `teraslice worker`, over a Unix socket
//! ```

mod launcher;
pub mod record;
mod worker;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use teraslice_backend_native::{
    Mode, NativeBackend, NativeOptions, ProcessTemplate,
    socket::{SECRET, Secret},
};
use teraslice_core::{
    backend::StopBackend,
    context::Context,
    engine::{Charge, CommandError, Condition, Engine, EngineError, EngineHandle, EngineOptions, View},
    execution::{ControllerError, ExecutionEnd, Limits},
    plan::Plan,
    store::{StateStore, StoreError},
};
use teraslice_model::{
    execution::{Execution, Stats},
    id::ExId,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::parts::Parts;
use launcher::{LauncherOptions, LocalLauncher};

pub use worker::{WorkerError, WorkerProcess};

/// What is left over after the end of an execution has to be gone after this.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How the workers of an execution run.
#[derive(Clone, Debug)]
pub enum Workers {
    /// As tasks of this process.
    Tasks,
    /// As processes of their own.
    Processes(WorkerProcesses),
}

/// How worker processes are started.
#[derive(Clone, Debug)]
pub struct WorkerProcesses {
    /// This program.
    pub program: PathBuf,
    /// The arguments that make it a worker.
    pub arguments: Vec<String>,
    /// Where sockets and job files go.
    pub run_directory: PathBuf,
}

/// An execution that is to run.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A new one.
    New(Box<Execution>),
    /// One that the store has, with so many workers if not as many as the job says.
    Stored(ExId, Option<u32>),
}

/// An execution at work on this machine.
#[derive(Debug)]
pub struct Local {
    ex_id: ExId,
    store: Arc<dyn StateStore>,
    engine: EngineHandle,
    running: JoinHandle<Result<(), EngineError>>,
    view: watch::Receiver<View>,
    launcher: LocalLauncher,
    failures: mpsc::UnboundedReceiver<ControllerError>,
}

/// Why an execution could not start or go on. It can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Worker processes cannot be started.
    #[error("failed to prepare worker processes")]
    Processes(#[source] io::Error),
    /// The execution could not be handed over to the engine.
    #[error("failed to submit the execution")]
    Submit(#[source] CommandError),
    /// The controller could not go on.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The engine could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state store cannot be read.
    #[error("failed to look up how the execution ended")]
    Store(#[from] StoreError),
}

impl Local {
    /// Starts an execution.
    ///
    /// # Errors
    ///
    /// See [`LocalError`].
    pub async fn start(
        context: &Context,
        parts: &Parts,
        store: Arc<dyn StateStore>,
        plan: &Plan,
        wanted: Wanted,
        workers: Workers,
    ) -> Result<Self, LocalError> {
        let config = parts.config();
        let ex_id = match &wanted {
            Wanted::New(execution) => execution.ex_id,
            Wanted::Stored(ex_id, _) => *ex_id,
        };
        let secret = Secret::draw().map_err(LocalError::Processes)?;
        let limits = Limits {
            slicer_timeout: config.slicer_timeout,
            worker_disconnect_timeout: config.worker_disconnect_timeout,
            drain_timeout: config.shutdown_timeout,
            ..Limits::default()
        };
        let (launcher, failures) = LocalLauncher::new(LauncherOptions {
            context: context.clone(),
            store: Arc::clone(&store),
            plan: plan.clone(),
            limits,
            socket: socket(ex_id, &workers, &secret),
        });
        let task_mode = || Mode::Task(Arc::new(launcher.clone()));
        let worker_mode = match workers {
            Workers::Tasks => task_mode(),
            Workers::Processes(processes) => Mode::Process(template(processes, plan, parts, &secret)),
        };
        // The name tells this run's processes from those of others: an execution runs once at a time.
        let options = NativeOptions::new(format!("run-{ex_id}"), task_mode(), worker_mode);
        let backend = Arc::new(NativeBackend::new(options, context.clone()));
        let mut options = EngineOptions::new(config.check_environment());
        options.charge = Charge::Submitted;
        options.patience.drain_grace = config.shutdown_timeout;
        let (engine, handle) = Engine::new(options, context.clone(), Arc::clone(&store), backend);
        let running = context.spawn(engine.run());
        let view = match wanted {
            Wanted::New(execution) => handle.submit(*execution).await,
            Wanted::Stored(ex_id, workers) => resume(&handle, ex_id, workers).await,
        };
        let view = view.map_err(LocalError::Submit)?;
        Ok(Self { ex_id, store, engine: handle, running, view, launcher, failures })
    }

    /// Returns a handle to watch and end it by.
    #[must_use]
    pub fn handle(&self) -> LocalHandle {
        LocalHandle { engine: self.engine.clone(), launcher: self.launcher.clone(), view: self.view.clone() }
    }

    /// Waits for the end, and until nothing of the execution runs any more.
    ///
    /// # Errors
    ///
    /// When the controller, the engine or the store could not go on.
    ///
    /// # Panics
    ///
    /// When the engine panicked.
    pub async fn wait(mut self) -> Result<ExecutionEnd, LocalError> {
        let failure = tokio::select! {
            biased;
            Some(error) = self.failures.recv() => Some(error),
            // An engine that ends takes its view with it: both ways lead to the same place.
            _settled = self.view.wait_for(|view| view.is_settled) => None,
        };
        self.engine.shutdown(StopBackend::Terminate).await;
        let stopped = timeout(SETTLE_MAX, &mut self.running).await;
        if let Some(error) = failure.or_else(|| self.failures.try_recv().ok()) {
            return Err(error.into());
        }
        match stopped {
            Ok(Ok(stopped)) => stopped?,
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => tracing::warn!(ex_id = %self.ex_id, "what is left over does not end"),
        }
        self.end().await
    }

    /// Returns how it ended: what the last controller said, or what is stored when there is none.
    async fn end(&self) -> Result<ExecutionEnd, LocalError> {
        let said = self.launcher.end();
        let stored = self.store.execution(self.ex_id).await?;
        let stored = stored.ok_or(StoreError::NotFound { what: format!("execution {}", self.ex_id) })?;
        let stats = said.map_or_else(|| stored.stats.clone(), |said| said.stats);
        let is_resumable = !stored.status.is_terminal();
        Ok(ExecutionEnd { status: stored.status, failure: stored.failure, stats, is_resumable })
    }
}

/// Watches an execution on this machine and ends it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalHandle {
    engine: EngineHandle,
    launcher: LocalLauncher,
    view: watch::Receiver<View>,
}

impl LocalHandle {
    /// Returns the statistics, renewed a few times a second.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.launcher.stats()
    }

    /// Returns what keeps the execution from being as wanted.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        self.view.borrow().conditions.clone()
    }

    /// Lets the slices at work finish, then ends and leaves the execution to a later run; [`Local::wait`] tells when.
    pub async fn release(&self) {
        self.engine.shutdown(StopBackend::Terminate).await;
    }
}

async fn resume(
    engine: &EngineHandle,
    ex_id: ExId,
    workers: Option<u32>,
) -> Result<watch::Receiver<View>, CommandError> {
    let view = engine.resume(ex_id).await?;
    if let Some(workers) = workers {
        engine.scale(ex_id, workers).await?;
    }
    Ok(view)
}

/// Returns where the controller listens, when workers come from other processes.
fn socket(ex_id: ExId, workers: &Workers, secret: &Secret) -> Option<(PathBuf, Secret)> {
    match workers {
        Workers::Tasks => None,
        Workers::Processes(processes) => {
            let path = teraslice_backend_native::socket::path(&processes.run_directory, ex_id);
            Some((path, secret.clone()))
        }
    }
}

fn template(processes: WorkerProcesses, plan: &Plan, parts: &Parts, secret: &Secret) -> ProcessTemplate {
    let mut template = ProcessTemplate::new(processes.program, processes.run_directory);
    for argument in processes.arguments {
        template = template.argument(argument);
    }
    for (name, value) in parts.config().env_vars.iter().chain(&plan.job().env_vars) {
        template = template.variable(name, value);
    }
    template.variable(SECRET, secret.expose())
}
