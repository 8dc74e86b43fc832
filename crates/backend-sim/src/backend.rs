//! A cluster backend whose instances are tasks that can be killed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{future::BoxFuture, stream::BoxStream};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, ExitReason, Instance,
        InstanceId, Phase, Retire, Retired, Role, Scope, Snapshot, StopBackend, hints,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// What an instance is started for.
#[derive(Clone, Debug)]
pub struct Start {
    /// The execution.
    pub ex_id: ExId,
    /// The controller object.
    pub generation: Generation,
    /// What it is.
    pub role: Role,
    /// Which one.
    pub ordinal: u32,
    /// Counts the starts of this backend.
    pub serial: u64,
}

/// Runs an instance until it ends or is asked to.
pub type Launch = Arc<dyn Fn(Start, CancellationToken) -> BoxFuture<'static, ExitReason> + Send + Sync>;

type Place = (ExId, Generation, Role, u32);

/// The simulated cluster. Cheap to clone.
#[derive(Clone)]
pub struct SimBackend {
    context: Context,
    launch: Launch,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<BackendEvent>,
}

#[derive(Default)]
struct State {
    term: Term,
    serial: u64,
    revisions: BTreeMap<ExId, u64>,
    instances: BTreeMap<Place, Running>,
}

struct Running {
    instance: Instance,
    stop: CancellationToken,
    task: Option<tokio::task::AbortHandle>,
}

impl fmt::Debug for SimBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBackend").finish_non_exhaustive()
    }
}

impl SimBackend {
    /// Makes an empty cluster.
    #[must_use]
    pub fn new(context: Context, launch: Launch) -> Self {
        let events = hints::channel();
        Self { context, launch, state: Arc::default(), events }
    }

    /// Kills one live instance of a role, as the system would: it gets no chance to say anything.
    pub fn crash(&self, role: Role) -> bool {
        let mut state = self.lock();
        let live = |running: &&mut Running| running.instance.role == role && running.instance.phase.is_live();
        let mut live: Vec<_> = state.instances.values_mut().filter(live).collect();
        if live.is_empty() {
            return false;
        }
        let victim = self.context.random(|random| random.usize(..live.len()));
        self.end(live[victim], ExitReason::Signal(9));
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, running: &mut Running, reason: ExitReason) {
        if let Some(task) = running.task.take() {
            task.abort();
        }
        running.instance.phase = Phase::Exited(reason);
        running.instance.since = self.context.wall();
        self.hint(running.instance.ex_id);
    }

    fn hint(&self, ex_id: ExId) {
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
    }

    fn start(&self, state: &mut State, place: Place) {
        let (ex_id, generation, role, ordinal) = place;
        state.serial += 1;
        let serial = state.serial;
        let stop = CancellationToken::new();
        let start = Start { ex_id, generation, role, ordinal, serial };
        let work = (self.launch)(start, stop.clone());
        let backend = self.clone();
        let task = self.context.spawn(async move {
            let reason = work.await;
            let mut state = backend.lock();
            if let Some(running) = state.instances.get_mut(&place).filter(|it| it.instance.id == name(serial))
            {
                running.task = None;
                backend.end(running, reason);
            }
        });
        let (phase, since) = (Phase::Running, self.context.wall());
        let instance =
            Instance { id: name(serial), ex_id, generation, role, ordinal, phase, address: None, since };
        state.instances.insert(place, Running { instance, stop, task: Some(task.abort_handle()) });
        self.hint(ex_id);
    }
}

fn name(serial: u64) -> InstanceId {
    InstanceId(format!("sim-{serial}"))
}

fn wanted(desired: &DesiredExecution) -> Vec<Place> {
    let place = |role, ordinal| (desired.ex_id, desired.generation, role, ordinal);
    let controller = desired.controller.then(|| place(Role::Controller, 0));
    let workers = (0..desired.workers).map(|ordinal| place(Role::Worker, ordinal));
    controller.into_iter().chain(workers).collect()
}

impl ClusterBackend for SimBackend {
    fn describe(&self) -> BackendInfo {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        BackendInfo { name: "sim".to_owned(), version, is_in_process: true }
    }

    fn validate(&self, _: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        Ok(Vec::new())
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        let current = self.lock().term;
        if term < current {
            return Err(BackendError::Fenced { term });
        }
        self.lock().term = term;
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        let mut state = self.lock();
        let applied = state.revisions.entry(desired.ex_id).or_default();
        if desired.revision < *applied {
            return Err(BackendError::Stale { revision: desired.revision });
        }
        *applied = desired.revision;
        let wanted = wanted(&desired);
        for place in &wanted {
            let live = state.instances.get(place).is_some_and(|running| running.instance.phase.is_live());
            if !live {
                self.start(&mut state, *place);
            }
        }
        for (place, running) in &mut state.instances {
            let is_ours = place.0 == desired.ex_id && place.1 <= desired.generation;
            if is_ours && running.instance.phase == Phase::Running && !wanted.contains(place) {
                running.instance.phase = Phase::Draining;
                running.stop.cancel();
            }
        }
        Ok(())
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        let mut state = self.lock();
        let mut live = Vec::new();
        for (place, running) in &mut state.instances {
            if place.0 != ex_id || place.1 > upto || !running.instance.phase.is_live() {
                continue;
            }
            match how {
                Retire::Kill => self.end(running, ExitReason::Signal(9)),
                Retire::Drain { .. } => {
                    running.instance.phase = Phase::Draining;
                    running.stop.cancel();
                    live.push(running.instance.id.clone());
                }
            }
        }
        if live.is_empty() {
            state.instances.retain(|place, _| place.0 != ex_id || place.1 > upto);
            return Ok(Retired::Gone);
        }
        Ok(Retired::Unconfirmed(live))
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let state = self.lock();
        let seen = |running: &&Running| match scope {
            Scope::Cluster => true,
            Scope::Execution(ex_id) => running.instance.ex_id == ex_id,
        };
        let instances = state.instances.values().filter(seen).map(|running| running.instance.clone());
        Ok(Snapshot { as_of: self.context.wall(), instances: instances.collect() })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(&self.events)
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        if how == StopBackend::Terminate {
            let mut state = self.lock();
            for running in state.instances.values_mut().filter(|it| it.instance.phase.is_live()) {
                self.end(running, ExitReason::Signal(9));
            }
        }
        Ok(())
    }
}
