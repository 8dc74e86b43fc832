//! Instances that are tasks of this process.

use std::{
    collections::BTreeMap,
    fmt, process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use teraslice_core::{
    backend::{BackendEvent, DesiredExecution, ExitReason, Instance, InstanceId, Phase, Retire, Role},
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    job::CheckedJob,
};
use tokio::{
    sync::broadcast,
    task::{AbortHandle, JoinError},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// What is told of a task that has panicked: the exit code of a process that has.
const PANIC: ExitReason = ExitReason::Code(101);

/// Tells the tasks of this process apart, whichever backend has started them.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Runs controllers and workers as tasks of this process.
pub trait Launcher: Send + Sync + 'static {
    /// Runs an instance until it ends; when `stop` is cancelled, it is to leave what it does to others and end.
    fn launch(&self, start: Start, stop: CancellationToken) -> BoxFuture<'static, ExitReason>;
}

/// What an instance is started for.
#[derive(Clone, Debug)]
pub struct Start {
    /// The instance: no other ever has this name.
    pub id: InstanceId,
    /// The execution.
    pub ex_id: ExId,
    /// Its job's id.
    pub job_id: JobId,
    /// Its job.
    pub job: Arc<CheckedJob>,
    /// The controller object.
    pub generation: Generation,
    /// What it is.
    pub role: Role,
    /// Which of the workers; 0 for the controller.
    pub ordinal: u32,
}

type Place = (ExId, Generation, Role, u32);

/// The tasks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tasks {
    context: Context,
    events: broadcast::Sender<BackendEvent>,
    running: Arc<Mutex<BTreeMap<Place, Running>>>,
}

struct Running {
    instance: Instance,
    stop: CancellationToken,
    abort: AbortHandle,
    /// When it is ended, once it was asked to leave.
    abort_at: Option<Instant>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Tasks {
    pub(crate) fn new(context: Context, events: broadcast::Sender<BackendEvent>) -> Self {
        Self { context, events, running: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is missing of a role, and asks the rest to leave.
    pub(crate) fn ensure(
        &self,
        desired: &DesiredExecution,
        role: Role,
        count: u32,
        launcher: &Arc<dyn Launcher>,
        grace: Duration,
    ) {
        let mut running = self.lock();
        for ordinal in 0..count {
            let place = (desired.ex_id, desired.generation, role, ordinal);
            if !running.get(&place).is_some_and(|it| it.instance.phase.is_live()) {
                running.insert(place, self.start(desired, place, launcher));
            }
        }
        for (place, it) in running.iter_mut().filter(|(place, _)| place.0 == desired.ex_id && place.2 == role)
        {
            if place.1 < desired.generation || (place.1 == desired.generation && place.3 >= count) {
                self.drain(it, grace);
            }
        }
    }

    fn start(&self, desired: &DesiredExecution, place: Place, launcher: &Arc<dyn Launcher>) -> Running {
        let (ex_id, generation, role, ordinal) = place;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = InstanceId(format!("task-{}-{serial}", process::id()));
        let (job_id, job) = (desired.job_id, Arc::clone(&desired.job));
        let start = Start { id: id.clone(), ex_id, job_id, job, generation, role, ordinal };
        let stop = CancellationToken::new();
        // Launching is part of the task, so that its panics are the task's.
        let (launcher, token) = (Arc::clone(launcher), stop.clone());
        let task = self.context.spawn(async move { launcher.launch(start, token).await });
        let abort = task.abort_handle();
        let (tasks, ended) = (self.clone(), id.clone());
        drop(self.context.spawn(async move { tasks.ended(place, &ended, task.await) }));
        let (phase, since) = (Phase::Running, self.context.wall());
        let instance = Instance { id, ex_id, generation, role, ordinal, phase, address: None, since };
        self.hint(ex_id);
        Running { instance, stop, abort, abort_at: None }
    }

    fn ended(&self, place: Place, id: &InstanceId, end: Result<ExitReason, JoinError>) {
        let reason = end.unwrap_or_else(|error| {
            if error.is_panic() {
                tracing::error!(ex_id = %place.0, role = ?place.2, "task panicked");
                PANIC
            } else {
                ExitReason::Signal(9)
            }
        });
        if let Some(it) = self.lock().get_mut(&place).filter(|it| it.instance.id == *id) {
            it.instance.phase = Phase::Exited(reason);
            it.instance.since = self.context.wall();
        }
        self.hint(place.0);
    }

    fn hint(&self, ex_id: ExId) {
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
    }

    /// Asks a task to leave; after the grace it is ended. Asked again, the shorter grace counts.
    fn drain(&self, it: &mut Running, grace: Duration) {
        let abort_at = self.context.now() + grace;
        if !it.instance.phase.is_live() || it.abort_at.is_some_and(|earlier| earlier <= abort_at) {
            return;
        }
        if it.abort_at.replace(abort_at).is_none() {
            it.instance.phase = Phase::Draining;
            it.instance.since = self.context.wall();
            it.stop.cancel();
        }
        let abort = it.abort.clone();
        drop(self.context.spawn(async move {
            sleep_until(abort_at).await;
            abort.abort();
        }));
    }

    /// Ends the tasks of an execution; returns those that still run. With none left they are forgotten.
    pub(crate) fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Vec<InstanceId> {
        let mut running = self.lock();
        let mut live = Vec::new();
        let is_meant = |place: &Place| place.0 == ex_id && place.1 <= upto;
        for it in running.iter_mut().filter(|(place, _)| is_meant(place)).map(|(_, it)| it) {
            if it.instance.phase.is_live() {
                match how {
                    Retire::Drain { grace } => self.drain(it, grace),
                    Retire::Kill => it.abort.abort(),
                }
                live.push(it.instance.id.clone());
            }
        }
        if live.is_empty() {
            running.retain(|place, _| !is_meant(place));
        }
        live
    }

    /// Ends everything at once; returns whether something still runs.
    pub(crate) fn kill_all(&self) -> bool {
        let running = self.lock();
        let live = running.values().filter(|it| it.instance.phase.is_live());
        live.inspect(|it| it.abort.abort()).count() > 0
    }

    /// Lists the tasks.
    pub(crate) fn observe(&self) -> Vec<Instance> {
        self.lock().values().map(|it| it.instance.clone()).collect()
    }
}
