//! The native cluster backend.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::stream::BoxStream;
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Retire, Retired, Role,
        Scope, Snapshot, StopBackend, hints, revisions::Revisions,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
};
use tokio::{sync::broadcast, time::timeout};

use crate::{
    child,
    processes::{Processes, make_private},
    tasks::{Launcher, Tasks},
    template::ProcessTemplate,
    unused,
};

/// What was killed has to be gone after this.
const KILL_MAX: Duration = Duration::from_secs(10);
/// While something is being killed, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a native backend is made with.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// Tells the processes of this cluster from those of others on the machine.
    pub cluster: String,
    /// How controllers run.
    pub controller: Mode,
    /// How workers run.
    pub worker: Mode,
    /// Surplus workers are killed after this (default 30 s).
    pub drain_grace: Duration,
}

impl NativeOptions {
    /// Returns options with the defaults.
    #[must_use]
    pub fn new(cluster: impl Into<String>, controller: Mode, worker: Mode) -> Self {
        Self { cluster: cluster.into(), controller, worker, drain_grace: Duration::from_secs(30) }
    }
}

/// How instances of a role run.
#[derive(Clone)]
pub enum Mode {
    /// As tasks of this process.
    Task(Arc<dyn Launcher>),
    /// As processes of their own.
    Process(ProcessTemplate),
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(_) => f.write_str("Task"),
            Self::Process(template) => f.debug_tuple("Process").field(template).finish(),
        }
    }
}

/// Runs controllers and workers on this machine.
///
/// Processes are found by their environment, so that a backend that is made anew goes on with those of an earlier one. They
/// end with the process that has started them (if they ask for it, see [`child::bind_to_parent`]), so that
/// [`StopBackend::Detach`] leaves them to a later backend of the same process only.
///
/// Must be used inside a tokio runtime.
#[derive(Debug)]
pub struct NativeBackend {
    shared: Arc<Shared>,
    /// The term of this handle.
    term: Mutex<Term>,
}

#[derive(Debug)]
struct Shared {
    options: NativeOptions,
    context: Context,
    events: broadcast::Sender<BackendEvent>,
    tasks: Tasks,
    processes: Processes,
    state: Mutex<Revisions>,
    /// One change at a time: two that look first and start then would start twice.
    changing: tokio::sync::Mutex<()>,
}

impl NativeBackend {
    /// Makes a backend.
    #[must_use]
    pub fn new(options: NativeOptions, context: Context) -> Self {
        let events = hints::channel();
        let tasks = Tasks::new(context.clone(), events.clone());
        let processes = Processes::new(context.clone(), &options.cluster, events.clone());
        let (state, changing) = (Mutex::default(), tokio::sync::Mutex::default());
        let shared = Shared { options, context, events, tasks, processes, state, changing };
        Self { shared: Arc::new(shared), term: Mutex::default() }
    }

    /// Returns a further handle to the same tasks and processes, with a term of its own.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), term: Mutex::default() }
    }

    fn term(&self) -> Term {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what an earlier leader asks for.
    fn check_term(&self) -> Result<Term, BackendError> {
        let term = self.term();
        if term < self.shared.current_term()? { Err(BackendError::Fenced { term }) } else { Ok(term) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Revisions> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns where the term is kept for other processes, if there may be any.
    fn term_file(&self) -> Option<PathBuf> {
        [&self.options.controller, &self.options.worker].into_iter().find_map(|mode| match mode {
            Mode::Process(template) => {
                Some(template.run_directory.join(format!("{}.term", self.options.cluster)))
            }
            Mode::Task(_) => None,
        })
    }

    fn current_term(&self) -> Result<Term, BackendError> {
        let known = self.state().term;
        let Some(path) = self.term_file() else { return Ok(known) };
        match fs::read_to_string(&path) {
            Ok(text) => Ok(known.max(Term(text.trim().parse().unwrap_or_default()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(known),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn begin_term(&self, term: Term) -> Result<(), BackendError> {
        self.state().term = term;
        let Some(path) = self.term_file() else { return Ok(()) };
        let part = path.with_extension("part");
        let directory = path.parent().expect("the term file lies in the run directory");
        make_private(directory)
            .and_then(|()| fs::write(&part, term.to_string()))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|error| unreadable(&error))
    }

    async fn ensure(&self, desired: &DesiredExecution) -> Result<(), BackendError> {
        let controllers = u32::from(desired.controller);
        let roles = [
            (Role::Controller, controllers, &self.options.controller),
            (Role::Worker, desired.workers, &self.options.worker),
        ];
        let grace = self.options.drain_grace;
        for (role, count, mode) in roles {
            match mode {
                Mode::Task(launcher) => self.tasks.ensure(desired, role, count, launcher, grace),
                Mode::Process(template) => {
                    self.processes.ensure(desired, role, count, template, grace).await?;
                }
            }
        }
        Ok(())
    }

    fn has_processes(&self) -> bool {
        self.term_file().is_some()
    }

    /// Kills everything, and waits until it is gone.
    async fn terminate(&self) -> Result<(), BackendError> {
        let mut events = self.events.subscribe();
        let give_up = self.context.now() + KILL_MAX;
        loop {
            let processes = if self.has_processes() { self.processes.kill_all().await? } else { false };
            if !self.tasks.kill_all() && !processes {
                self.clean_up_all();
                return Ok(());
            }
            if self.context.now() > give_up {
                let reason = "some processes cannot be killed".to_owned();
                return Err(BackendError::Unavailable { reason, retry_after: None });
            }
            let _hint_or_time = timeout(LOOK_EVERY, events.recv()).await;
        }
    }

    /// Removes what was left in the run directory.
    fn clean_up_all(&self) {
        let all = self.state().executions();
        for ex_id in all {
            self.clean_up(ex_id);
        }
        if let Some(path) = self.term_file() {
            // There may never have been one.
            let _gone = fs::remove_file(path);
        }
    }

    /// Removes what processes of an execution were given.
    fn clean_up(&self, ex_id: ExId) {
        for mode in [&self.options.controller, &self.options.worker] {
            if let Mode::Process(template) = mode {
                // There may never have been one.
                let _gone = fs::remove_file(child::job_file(&template.run_directory, ex_id));
            }
        }
        self.state().forget(ex_id);
    }
}

impl ClusterBackend for NativeBackend {
    fn describe(&self) -> BackendInfo {
        BackendInfo {
            name: "native".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_in_process: matches!(self.shared.options.worker, Mode::Task(_)),
        }
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        let options = &self.shared.options;
        let has_tasks =
            [&options.controller, &options.worker].iter().any(|mode| matches!(mode, Mode::Task(_)));
        Ok(unused::warnings(job, has_tasks))
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        let changing = self.shared.changing.lock().await;
        if term < self.shared.current_term()? {
            return Err(BackendError::Fenced { term });
        }
        self.shared.begin_term(term)?;
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
        drop(changing);
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        let _changing = self.shared.changing.lock().await;
        let term = self.check_term()?;
        self.shared.state().take(desired.ex_id, term, desired.revision)?;
        self.shared.ensure(&desired).await
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        let _changing = self.shared.changing.lock().await;
        self.check_term()?;
        let mut live = self.shared.tasks.retire(ex_id, upto, how);
        if self.shared.has_processes() {
            live.extend(self.shared.processes.retire(ex_id, upto, how).await?);
        }
        if !live.is_empty() {
            return Ok(Retired::Unconfirmed(live));
        }
        if self.observe(Scope::Execution(ex_id)).await?.instances.is_empty() {
            self.shared.clean_up(ex_id);
        }
        Ok(Retired::Gone)
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let as_of = self.shared.context.wall();
        let mut instances = self.shared.tasks.observe();
        if self.shared.has_processes() {
            instances.extend(self.shared.processes.observe().await?);
        }
        if let Scope::Execution(ex_id) = scope {
            instances.retain(|instance| instance.ex_id == ex_id);
        }
        Ok(Snapshot { as_of, instances })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(&self.shared.events)
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        match how {
            StopBackend::Detach => Ok(()),
            StopBackend::Terminate => {
                let _changing = self.shared.changing.lock().await;
                self.check_term()?;
                self.shared.terminate().await
            }
        }
    }
}

fn unreadable(error: &io::Error) -> BackendError {
    BackendError::Unavailable {
        reason: format!("failed to use the run directory: {error}"),
        retry_after: None,
    }
}
