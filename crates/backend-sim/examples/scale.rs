//! How cost grows with the cluster: `cargo run --release -p teraslice-backend-sim --example scale`.
//!
//! Prints one line per case: what the engine does per change, and whole runs with their time and memory per worker.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures real time")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env, fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::stream::BoxStream;
use teraslice_backend_sim::{
    faults::Faults,
    node::Size,
    operations::SimReaderConfig,
    scenario::{BackendLife, PatienceOfProcesses, Promise, Sabotage, Scenario, Work, environment},
    simulation::Simulation,
};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Instance, InstanceId,
        Phase, Retire, Retired, Role, Scope, Snapshot, StopBackend, hints,
    },
    context::Context,
    engine::{Engine, EngineOptions, Patience},
    store::StateStore,
};
use teraslice_model::{
    execution::Execution,
    id::{ExId, Generation, JobId, Term},
    job::CheckedJob,
    problem::Problem,
    status::Status,
};
use teraslice_store::MemoryStore;
use tokio::sync::broadcast;

/// Changes that are measured.
const CHANGES: u32 = 20_000;

fn main() {
    let arguments: Vec<u32> = env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    if let [nodes, executions, workers] = arguments[..] {
        return whole(nodes, executions, workers);
    }
    for executions in [10, 100, 1_000] {
        changes(executions, executions);
        changes(executions, 10);
    }
}

/// Measures what the engine needs for a change of one of `busy` executions, of so many that are live.
fn changes(executions: u32, busy: u32) {
    let runtime = runtime();
    let per_change = runtime.block_on(async {
        let context = Context::simulated(1);
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
        let backend = Arc::new(AtOnce::new(context.clone()));
        let options = EngineOptions::new(environment());
        let (engine, handle) = Engine::new(options, context.clone(), Arc::clone(&store), backend);
        drop(context.spawn(engine.run()));
        let works: Vec<_> = (1..=executions).map(|number| work(number, 2, 1)).collect();
        for work in &works {
            let _view = handle.submit(execution(work, &context)).await.expect("it is taken");
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        let start = Instant::now();
        for change in 0..CHANGES {
            let work = &works[(change % busy) as usize];
            let mut view = handle.watch(work.ex_id()).await.expect("it runs");
            let wanted = if view.borrow_and_update().workers_wanted == 2 { 3 } else { 2 };
            handle.scale(work.ex_id(), wanted).await.expect("it is taken");
            view.wait_for(|view| view.workers_live == wanted).await.expect("the engine runs");
        }
        start.elapsed() / CHANGES
    });
    println!("changes live={executions} busy={busy} microseconds={:.1}", per_change.as_secs_f64() * 1e6);
}

/// Measures a whole run without faults.
fn whole(nodes: u32, executions: u32, workers: u32) {
    let per_execution = workers / executions;
    let slots = (workers + executions).div_ceil(nodes);
    let scenario = Scenario {
        faults: Faults::none(),
        nodes: (1..=nodes).map(|number| Size { number, slots }).collect(),
        executions: (1..=executions)
            .map(|number| work(number, per_execution, u64::from(per_execution) * 4))
            .collect(),
        backend: BackendLife::OfItsOwn,
        patience: Patience::default(),
        limits: PatienceOfProcesses::Default,
        promise: Promise::Undisturbed,
        sabotage: Sabotage::None,
    };
    let before = memory();
    let start = Instant::now();
    let report = Simulation::new(1).run_with(|_| Ok::<_, Infallible>(scenario));
    let report = report.unwrap_or_else(|never| match never {});
    let (seconds, peak) = (start.elapsed().as_secs_f64(), memory().saturating_sub(before));
    let completed: u64 = report.ends.iter().map(|end| end.counts.completed).sum();
    println!(
        "whole nodes={nodes} executions={executions} workers={workers} slices={completed} seconds={seconds:.2} \
         simulated={:.1} peak_mib={} microseconds_per_worker={:.1} kib_per_worker={:.1} broken={:?}",
        report.elapsed.as_secs_f64(),
        peak / 1024,
        seconds * 1e6 / f64::from(workers),
        peak as f64 / f64::from(workers),
        report.broken,
    );
}

/// Returns the most memory that this process has had, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells about this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.expect("the system tells the peak").trim().trim_end_matches(" kB");
    text.parse().expect("a number")
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("it needs nothing of the system")
}

fn work(number: u32, workers: u32, slices: u64) -> Work {
    let reader = SimReaderConfig { slices, bad_every: 0, flaky_every: 0 };
    Work { number, after: Duration::ZERO, workers, slicers: 1, reader, scale: None, stop: None, hold: None }
}

fn execution(work: &Work, context: &Context) -> Execution {
    let ex_id = work.ex_id();
    Execution {
        status: Status::Running,
        generation: Generation(1),
        ..Execution::new(ex_id, JobId::new(*ex_id.uuid()), work.job().0, context.wall())
    }
}

/// A cluster where everything that is wanted is so at once: what is left is the engine's own cost.
struct AtOnce {
    context: Context,
    events: broadcast::Sender<BackendEvent>,
    running: Mutex<BTreeMap<ExId, Vec<Instance>>>,
}

impl AtOnce {
    fn new(context: Context) -> Self {
        Self { context, events: hints::channel(), running: Mutex::default() }
    }
}

impl ClusterBackend for AtOnce {
    fn describe(&self) -> BackendInfo {
        BackendInfo { name: "at-once".to_owned(), version: "0".to_owned(), is_in_process: true }
    }

    fn validate(&self, _: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: Term) -> Result<Snapshot, BackendError> {
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        let (ex_id, generation, since) = (desired.ex_id, desired.generation, self.context.wall());
        let instance = |role, ordinal| Instance {
            id: InstanceId(format!("{ex_id}-{role:?}-{ordinal}")),
            ex_id,
            generation,
            role,
            ordinal,
            phase: Phase::Running,
            address: None,
            since,
        };
        let workers = (0..desired.workers).map(|ordinal| instance(Role::Worker, ordinal));
        let all = std::iter::once(instance(Role::Controller, 0)).chain(workers).collect();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(ex_id, all);
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
        Ok(())
    }

    async fn retire(&self, ex_id: ExId, _: Generation, _: Retire) -> Result<Retired, BackendError> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&ex_id);
        Ok(Retired::Gone)
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = match scope {
            Scope::Cluster => running.values().flatten().cloned().collect(),
            Scope::Execution(ex_id) => running.get(&ex_id).cloned().unwrap_or_default(),
        };
        Ok(Snapshot { as_of: self.context.wall(), instances })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(&self.events)
    }

    async fn stop(&self, _: StopBackend) -> Result<(), BackendError> {
        Ok(())
    }
}
