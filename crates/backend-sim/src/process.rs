//! What runs on simulated nodes: the real controllers and workers.

use std::{
    collections::BTreeMap,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use teraslice_core::{
    backend::{ExitReason, Role},
    context::Context,
    execution::{Controller, ControllerError, ControllerHandle, ControllerOptions},
    plan::Plan,
    registry::Registry,
    store::StateStore,
    worker::{Worker, WorkerEnd, WorkerOptions},
};
use teraslice_model::{
    id::{ExId, WorkerId},
    job::RawJob,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    network::{Network, SimWorker},
    node::Start,
    operations::{SimReader, SimSink},
    scenario::{PatienceOfProcesses, Sabotage, check},
    store::FaultyStore,
};

/// Controllers that endless patience is asked of wait this long for workers.
const ENDLESS: Duration = Duration::from_hours(1_000);
/// A worker looks for its controller this often.
const FIND_EVERY: Duration = Duration::from_millis(500);
/// A worker that cannot find its controller gives up after this.
const FIND_MAX: Duration = Duration::from_secs(300);
/// Exit codes of processes: a bad job, no access to the state, fenced.
const BAD_JOB: i32 = 64;
const STATE: i32 = 74;
const FENCED: i32 = 76;

/// All controllers that were started. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Controllers(Arc<Mutex<BTreeMap<ExId, Vec<ControllerHandle>>>>);

impl Controllers {
    /// Returns those of an execution, the last one first; most have ended.
    pub(crate) fn of(&self, ex_id: ExId) -> Vec<ControllerHandle> {
        self.lock().get(&ex_id).into_iter().flatten().rev().cloned().collect()
    }

    fn add(&self, ex_id: ExId, handle: ControllerHandle) {
        self.lock().entry(ex_id).or_default().push(handle);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExId, Vec<ControllerHandle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What processes are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: FaultyStore,
    pub(crate) network: Network,
    pub(crate) sink: SimSink,
    pub(crate) limits: PatienceOfProcesses,
    pub(crate) sabotage: Sabotage,
    pub(crate) controllers: Controllers,
}

impl Parts {
    /// Runs a process until it ends; when `stop` is set it leaves its work to others and ends.
    pub(crate) async fn launch(self, start: Start, stop: CancellationToken) -> ExitReason {
        let Ok(plan) = self.plan(&start) else { return ExitReason::Code(BAD_JOB) };
        let sabotage = self.sabotage;
        let reason = match start.key.role {
            Role::Controller => {
                let life = CancellationToken::new();
                // What it has spawned dies with it.
                let _end = life.clone().drop_guard();
                let work = Box::pin(self.control(start, plan, stop, life.clone()));
                life.run_until_cancelled(work).await.unwrap_or(ExitReason::Signal(9))
            }
            Role::Worker => self.work(&start, &plan, stop).await,
        };
        if sabotage == Sabotage::RetireNothing {
            return future::pending().await;
        }
        reason
    }

    fn plan(&self, start: &Start) -> Result<Plan, String> {
        let job = check(&RawJob(start.spec.job.clone()))?;
        let mut registry = Registry::default();
        registry.reader(SimReader);
        registry.sink(self.sink.clone());
        registry.plan(job).map_err(|problems| format!("{problems:?}"))
    }

    async fn control(
        self,
        start: Start,
        plan: Plan,
        stop: CancellationToken,
        life: CancellationToken,
    ) -> ExitReason {
        let Start { key, at, context, .. } = start;
        let mut options = ControllerOptions::new(key.ex_id, key.generation);
        if self.limits == PatienceOfProcesses::Endless {
            options.limits.slicer_timeout = ENDLESS;
            options.limits.worker_disconnect_timeout = ENDLESS;
        }
        let link = Box::new(self.network.listen(key.ex_id, at));
        let store: Arc<dyn StateStore> = self.store.seen_from(at, life);
        let (controller, handle) = Controller::new(options, context, store, plan, link);
        self.controllers.add(key.ex_id, handle.clone());
        let run = controller.run();
        tokio::pin!(run);
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = stop.cancelled() => tokio::join!(run, handle.release()).0,
        };
        match ended {
            Ok(end) if end.is_resumable => ExitReason::INTERRUPTED,
            // The execution has ended, now or meanwhile.
            Ok(_) | Err(ControllerError::NotRunnable { .. }) => ExitReason::Completed,
            Err(ControllerError::Fenced(_)) => ExitReason::Code(FENCED),
            Err(ControllerError::Store(_)) => ExitReason::Code(STATE),
        }
    }

    async fn work(self, start: &Start, plan: &Plan, stop: CancellationToken) -> ExitReason {
        let key = start.key;
        loop {
            let found = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                found = timeout(FIND_MAX, self.find(start)) => found.ok(),
            };
            let Some(link) = found else { return ExitReason::INTERRUPTED };
            let options = WorkerOptions::new(key.ex_id, WorkerId::new(format!("worker-{}", key.ordinal)));
            let worker = Worker::new(options, start.context.clone(), plan.clone(), Box::new(link));
            match worker.run(stop.clone()).await {
                WorkerEnd::Finished => return ExitReason::Completed,
                // The controller is gone, or leaves the execution to a later one.
                WorkerEnd::LinkClosed | WorkerEnd::Drained if !stop.is_cancelled() => {
                    pause(&start.context).await;
                }
                WorkerEnd::LinkClosed | WorkerEnd::Drained | WorkerEnd::Stopped => {
                    return ExitReason::INTERRUPTED;
                }
            }
        }
    }

    async fn find(&self, start: &Start) -> SimWorker {
        loop {
            if let Some(link) = self.network.dial(start.key.ex_id, start.at) {
                return link;
            }
            pause(&start.context).await;
        }
    }
}

async fn pause(context: &Context) {
    sleep(context.jittered(FIND_EVERY)).await;
}
