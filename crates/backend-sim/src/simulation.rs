//! One run of one job under one seed, and whether its laws held.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use teraslice_core::{
    backend::{ClusterBackend, DesiredExecution, ExitReason, Role},
    context::Context,
    execution::{Controller, ControllerError, ControllerOptions},
    plan::Plan,
    registry::Registry,
    store::{Page, SliceCounts, StateStore},
    worker::{Worker, WorkerOptions},
};
use teraslice_model::{
    execution::{Execution, Stats},
    id::{Epoch, ExId, Generation, SliceId, WorkerId},
    job::{CheckedJob, Encoding, Lifecycle, OperationConfig, Resources, Sandbox},
    status::Status,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Launch, SimBackend, Start},
    faults::Faults,
    network::Network,
    operations::{Output, SimReader, SimReaderConfig, SimRequest, SimSink},
    store::FaultyStore,
};

/// A run has to end within this much simulated time.
const DEADLINE: Duration = Duration::from_hours(4);
/// Dead instances are brought back this often.
const RECONCILE_EVERY: Duration = Duration::from_millis(500);

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The seed.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Workers of the job.
    pub workers: u32,
    /// Slicers of the job.
    pub slicers: u32,
    /// What each slicer makes.
    pub reader: SimReaderConfig,
}

/// A run that kept its laws, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status at the end.
    pub status: Status,
    /// Slices by state.
    pub counts: SliceCounts,
    /// Controller processes that it took.
    pub epochs: Epoch,
    /// Simulated time.
    pub elapsed: Duration,
}

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {law}")]
pub struct Violation {
    /// Replays the run.
    pub seed: u64,
    /// What went wrong.
    pub law: String,
}

impl Simulation {
    /// Draws a run from a seed. Call it inside the runtime of the run.
    #[must_use]
    pub fn draw(seed: u64, context: &Context) -> Self {
        let faults = Faults::draw(context);
        context.random(|random| Self {
            seed,
            faults,
            workers: random.u32(1..=4),
            slicers: random.u32(1..=3),
            reader: SimReaderConfig {
                slices: random.u64(0..60),
                bad_every: *random.choice(&[0, 0, 10]).unwrap_or(&0),
                flaky_every: *random.choice(&[0, 3]).unwrap_or(&0),
            },
        })
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// The first law that does not hold.
    ///
    /// # Panics
    ///
    /// When the runtime cannot be made.
    pub fn run(seed: u64, make: impl FnOnce(&Context) -> Arc<dyn StateStore>) -> Result<Report, Violation> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        let violation = |law: String| Violation { seed, law };
        runtime.block_on(async {
            let context = Context::simulated(seed);
            let simulation = Self::draw(seed, &context);
            let store = make(&context);
            simulation.play(&context, store).await.map_err(violation)
        })
    }

    async fn play(&self, context: &Context, store: Arc<dyn StateStore>) -> Result<Report, String> {
        let output = Output::default();
        let job = Arc::new(self.job());
        let plan = plan(&job, &output)?;
        let ex_id = context.ex_id();
        let execution = execution(context, ex_id, &job);
        store.create_execution(execution).await.map_err(|error| error.to_string())?;
        let faulty: Arc<dyn StateStore> =
            Arc::new(FaultyStore::new(Arc::clone(&store), context.clone(), self.faults.clone()));
        let network = Network::new(context.clone(), self.faults.clone());
        let parts = Parts { context: context.clone(), plan, store: faulty, network };
        let launch: Launch = Arc::new(move |start, stop| parts.clone().launch(start, stop).boxed());
        let backend = SimBackend::new(context.clone(), launch);
        let start = context.now();
        let mut revision = 0;
        let ended = loop {
            let stored = store.execution(ex_id).await.map_err(|error| error.to_string())?;
            let stored = stored.ok_or("the execution is gone")?;
            if stored.status.is_terminal() {
                break stored;
            }
            let elapsed = context.now().duration_since(start);
            if elapsed > DEADLINE {
                return Err(format!("not done after {elapsed:?}: {:?}", stored.status));
            }
            revision += 1;
            let desired = self.desired(&stored, revision, &job);
            backend.ensure(desired).await.map_err(|error| error.to_string())?;
            self.crash_something(context, &backend, elapsed);
            sleep(RECONCILE_EVERY).await;
        };
        let elapsed = context.now().duration_since(start);
        let report = self.check(&store, &ended, &output).await?;
        Ok(Report { elapsed, ..report })
    }

    fn desired(&self, stored: &Execution, revision: u64, job: &Arc<CheckedJob>) -> DesiredExecution {
        DesiredExecution {
            ex_id: stored.ex_id,
            job_id: stored.job_id,
            generation: stored.generation,
            revision,
            job: Arc::clone(job),
            controller: true,
            workers: self.workers,
        }
    }

    fn crash_something(&self, context: &Context, backend: &SimBackend, elapsed: Duration) {
        let per_round = RECONCILE_EVERY.as_secs_f64();
        let by_role = [
            (Role::Controller, self.faults.controller_crash),
            (Role::Worker, self.faults.worker_crash * f64::from(self.workers)),
        ];
        for (role, per_second) in by_role {
            if self.faults.strike(context, elapsed, per_second * per_round) {
                let _was_live = backend.crash(role);
            }
        }
    }

    /// Checks that no slice and no record is lost or doubled.
    async fn check(
        &self,
        store: &Arc<dyn StateStore>,
        ended: &Execution,
        output: &Output,
    ) -> Result<Report, String> {
        let ex_id = ended.ex_id;
        let expected = self.expected(ex_id);
        let total = u64::from(self.slicers) * self.reader.slices;
        let counts = store.slice_counts(ex_id).await.map_err(|error| error.to_string())?;
        let deaths = self.died(store, ex_id).await?;
        let completed = expected.len() as u64 - deaths.len() as u64;
        let wanted = SliceCounts { pending: 0, completed, error: total - completed };
        if counts != wanted {
            return Err(format!("slices: {counts:?} instead of {wanted:?}"));
        }
        let status = if wanted.error > 0 { Status::Failed } else { Status::Completed };
        if ended.status != status {
            return Err(format!("{} instead of {status}: {:?}", ended.status, ended.failure));
        }
        let written = output.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, records) in &expected {
            if !deaths.contains(id) && written.get(id) != Some(records) {
                return Err(format!("slice {id}: {:?} instead of {records:?}", written.get(id)));
            }
        }
        if let Some(foreign) = written.keys().find(|id| !expected.contains_key(id)) {
            return Err(format!("slice {foreign} was written, but none like it was made"));
        }
        let records: usize =
            expected.iter().filter(|(id, _)| !deaths.contains(id)).map(|(_, records)| records.len()).sum();
        let ledger = store.ledger(ex_id).await.map_err(|error| error.to_string())?;
        for (operation, counts) in ledger.totals.operations.iter().enumerate() {
            if counts.emitted != records as u64 || !counts.balances() {
                return Err(format!("operation {operation}: {counts:?} instead of {records} records"));
            }
        }
        Ok(Report { status, counts, epochs: ended.epoch, elapsed: Duration::ZERO })
    }

    /// Returns the readable slices that were given up because their workers were killed too often.
    async fn died(&self, store: &Arc<dyn StateStore>, ex_id: ExId) -> Result<Vec<SliceId>, String> {
        let page = Page { from: 0, size: 10_000 };
        let failed = store.slices(ex_id, teraslice_model::slice::SliceState::Error, page).await;
        let failed = failed.map_err(|error| error.to_string())?;
        Ok(failed.into_iter().filter(|record| record.deaths >= 3).map(|record| record.slice.id).collect())
    }

    fn expected(&self, ex_id: ExId) -> BTreeMap<SliceId, Vec<String>> {
        let all =
            (0..self.slicers).flat_map(|slicer| (0..self.reader.slices).map(move |number| (slicer, number)));
        let good = all.filter(|(_, number)| !self.reader.is_bad(*number));
        let slice = |(slicer, number)| {
            (SliceId::derive(ex_id, slicer, number + 1), SimRequest { slicer, number }.records())
        };
        good.map(slice).collect()
    }

    fn job(&self) -> CheckedJob {
        let reader = serde_json::json!({
            "slices": self.reader.slices,
            "bad_every": self.reader.bad_every,
            "flaky_every": self.reader.flaky_every,
        });
        CheckedJob {
            name: "simulated".to_owned(),
            lifecycle: Lifecycle::Once,
            operations: vec![operation("sim_reader", reader), operation("sim_sink", serde_json::json!({}))],
            apis: Vec::new(),
            assets: Vec::new(),
            workers: self.workers,
            slicers: self.slicers,
            max_retries: 30,
            analytics: true,
            probation_window: Duration::from_mins(5),
            autorecover: false,
            active: true,
            stateful: false,
            labels: BTreeMap::new(),
            env_vars: BTreeMap::new(),
            log_level: None,
            sandbox: Sandbox::default(),
            resources: Resources::default(),
            extra: serde_json::Map::new(),
            document: serde_json::Map::new(),
        }
    }
}

fn operation(op: &str, settings: serde_json::Value) -> OperationConfig {
    OperationConfig {
        op: op.to_owned(),
        asset: None,
        encoding: Encoding::Json,
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: settings.as_object().cloned().unwrap_or_default(),
    }
}

fn plan(job: &Arc<CheckedJob>, output: &Output) -> Result<Plan, String> {
    let mut registry = Registry::default();
    registry.reader(SimReader);
    registry.sink(SimSink(Arc::clone(output)));
    registry.plan(Arc::clone(job)).map_err(|problems| format!("{problems:?}"))
}

fn execution(context: &Context, ex_id: ExId, job: &CheckedJob) -> Execution {
    Execution {
        ex_id,
        job_id: context.job_id(),
        status: Status::Initializing,
        generation: Generation(1),
        epoch: Epoch(0),
        job: job.document.clone(),
        failure: None,
        stats: Stats::default(),
        recovered_execution: None,
        recovered_slice_type: None,
        metadata: serde_json::Map::new(),
        workers_wanted: None,
        slicer_hostname: None,
        slicer_port: None,
        deleted: None,
        created: context.wall(),
        updated: context.wall(),
    }
}

/// What instances are made of.
#[derive(Clone)]
struct Parts {
    context: Context,
    plan: Plan,
    store: Arc<dyn StateStore>,
    network: Network,
}

impl Parts {
    async fn launch(self, start: Start, stop: CancellationToken) -> ExitReason {
        match start.role {
            Role::Controller => self.control(start, stop).await,
            Role::Worker => self.work(start, stop).await,
        }
    }

    async fn control(self, start: Start, _stop: CancellationToken) -> ExitReason {
        let options = ControllerOptions::new(start.ex_id, start.generation);
        let link = Box::new(self.network.listen());
        let (controller, _handle) = Controller::new(options, self.context, self.store, self.plan, link);
        match controller.run().await {
            Ok(_) => ExitReason::Completed,
            Err(ControllerError::Fenced(_)) => ExitReason::Code(76),
            Err(_) => ExitReason::Code(1),
        }
    }

    async fn work(self, start: Start, stop: CancellationToken) -> ExitReason {
        let Some(link) = self.network.dial() else { return ExitReason::Code(1) };
        let id = WorkerId::new(format!("worker-{}-{}", start.ordinal, start.serial));
        let options = WorkerOptions::new(start.ex_id, id);
        let worker = Worker::new(options, self.context, self.plan, Box::new(link));
        let _end = worker.run(stop).await;
        ExitReason::Completed
    }
}
