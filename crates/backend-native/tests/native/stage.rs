//! Controllers and backends that do as they are told, for the tests of the engine.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use teraslice_backend_native::{Launcher, Mode, NativeBackend, NativeOptions, Start};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, ExitReason, Instance,
        Retire, Retired, Role, Scope, Snapshot, StopBackend,
    },
    context::Context,
    engine::{Engine, EngineError, EngineHandle, EngineOptions, View},
    store::{StateStore, StatusChange},
};
use teraslice_model::{
    execution::Execution,
    id::{ExId, Generation, JobId, Term},
    job::CheckedJob,
    problem::Problem,
    status::Status,
    timestamp::Timestamp,
};
use teraslice_store::MemoryStore;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{self, ex_id};

/// Longer than any pause of the engine.
pub(crate) const LONG: Duration = Duration::from_mins(30);

/// What a controller does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Runs, until it is asked to leave.
    Run,
    /// Completes the execution.
    Complete,
    Panic,
    Exit(i32),
}

/// Plays controllers by a list (the last act again and again), and workers that idle.
pub(crate) struct Stage {
    pub(crate) store: Arc<dyn StateStore>,
    acts: Mutex<VecDeque<Act>>,
    starts: Mutex<u32>,
    worker: Option<i32>,
}

impl Stage {
    fn next(&self) -> Act {
        *self.starts.lock().unwrap() += 1;
        let mut acts = self.acts.lock().unwrap();
        if acts.len() > 1 { acts.pop_front().unwrap() } else { acts[0] }
    }
}

impl Launcher for Stage {
    fn launch(&self, start: Start, stop: CancellationToken) -> BoxFuture<'static, ExitReason> {
        let store = Arc::clone(&self.store);
        if start.role == Role::Worker {
            let code = self.worker;
            return async move {
                match code {
                    Some(code) => ExitReason::Code(code),
                    None => {
                        stop.cancelled().await;
                        ExitReason::Completed
                    }
                }
            }
            .boxed();
        }
        let act = self.next();
        async move {
            store.begin_epoch(start.ex_id, start.generation).await.unwrap();
            match act {
                Act::Panic => panic!("as told"),
                Act::Exit(code) => return ExitReason::Code(code),
                Act::Run => {
                    change(&*store, start.ex_id, Status::Running).await;
                    stop.cancelled().await;
                    return ExitReason::Code(75);
                }
                Act::Complete => {}
            }
            change(&*store, start.ex_id, Status::Running).await;
            change(&*store, start.ex_id, Status::Completed).await;
            ExitReason::Completed
        }
        .boxed()
    }
}

pub(crate) async fn change(store: &dyn StateStore, ex_id: ExId, to: Status) {
    let from = store.execution(ex_id).await.unwrap().unwrap().status;
    let change = StatusChange::new(from, to);
    store.set_status(ex_id, change).await.unwrap();
}

pub(crate) fn execution(byte: u8, status: Status) -> Execution {
    Execution {
        status,
        generation: Generation(1),
        ..Execution::new(
            ExId::from_random([byte; 16]),
            JobId::from_random([2; 16]),
            support::job().document,
            Timestamp::from_millis(0),
        )
    }
}

/// An engine over tasks, under a simulated clock.
pub(crate) struct Bench {
    pub(crate) context: Context,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) backend: NativeBackend,
    pub(crate) options: EngineOptions,
}

impl Bench {
    pub(crate) fn new(acts: &[Act]) -> Self {
        Self::with_workers(acts, None)
    }

    pub(crate) fn with_workers(acts: &[Act], worker: Option<i32>) -> Self {
        let context = Context::simulated(1);
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
        let (acts, starts) = (Mutex::new(acts.iter().copied().collect()), Mutex::new(0));
        let stage = Arc::new(Stage { store: Arc::clone(&store), acts, starts, worker });
        let mode = || Mode::Task(Arc::clone(&stage) as Arc<dyn Launcher>);
        let backend = NativeBackend::new(NativeOptions::new("test", mode(), mode()), context.clone());
        Self { context, store, backend, options: EngineOptions::new(support::environment()), stage }
    }

    pub(crate) fn start(&self) -> (EngineHandle, JoinHandle<Result<(), EngineError>>) {
        self.start_on(self.backend.handle())
    }

    pub(crate) fn start_on<B: ClusterBackend>(
        &self,
        backend: B,
    ) -> (EngineHandle, JoinHandle<Result<(), EngineError>>) {
        let (store, context) = (Arc::clone(&self.store), self.context.clone());
        let (engine, handle) = Engine::new(self.options.clone(), context, store, Arc::new(backend));
        (handle, self.context.spawn(engine.run()))
    }

    pub(crate) async fn live(&self) -> Vec<Instance> {
        let mut all = self.backend.observe(Scope::Cluster).await.unwrap().instances;
        all.retain(|instance| instance.phase.is_live());
        all
    }

    pub(crate) async fn live_workers(&self) -> usize {
        self.live().await.iter().filter(|instance| instance.role == Role::Worker).count()
    }

    pub(crate) fn controllers_started(&self) -> u32 {
        *self.stage.starts.lock().unwrap()
    }

    pub(crate) async fn stored(&self) -> Execution {
        self.store.execution(ex_id()).await.unwrap().unwrap()
    }
}

/// Waits for a view.
pub(crate) async fn view(views: &mut watch::Receiver<View>, is_it: impl FnMut(&View) -> bool) -> View {
    let found = timeout(LONG, views.wait_for(is_it)).await;
    found.expect("a view in time").expect("the view is shown before the engine ends").clone()
}

/// Refuses the first calls.
pub(crate) struct Flaky {
    pub(crate) backend: NativeBackend,
    pub(crate) failures: Mutex<u32>,
}

impl Flaky {
    fn strike(&self) -> Result<(), BackendError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(BackendError::Unavailable { reason: "as told".to_owned(), retry_after: None })
    }
}

impl ClusterBackend for Flaky {
    fn describe(&self) -> BackendInfo {
        self.backend.describe()
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        self.backend.validate(job)
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        self.strike()?;
        self.backend.adopt(term).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        self.strike()?;
        self.backend.ensure(desired).await
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        self.strike()?;
        self.backend.retire(ex_id, upto, how).await
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        self.strike()?;
        self.backend.observe(scope).await
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        self.backend.events()
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        self.backend.stop(how).await
    }
}
