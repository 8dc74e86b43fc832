//! The engine on the native backend.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Signal, kill_process};
use teraslice_backend_native::{Launcher, Mode, NativeBackend, NativeOptions};
use teraslice_core::{
    backend::{ClusterBackend, DesiredExecution, Instance, Phase, Role, Scope, StopBackend},
    context::Context,
    engine::{Charge, CommandError, Condition, Engine, EngineError, EngineHandle, EngineOptions, View},
    store::{ExecutionQuery, StateStore},
};
use teraslice_model::{
    execution::Execution,
    id::{Epoch, ExId, Generation, Term},
    status::Status,
};
use teraslice_store::MemoryStore;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    stage::{Act, Bench, Flaky, LONG, change, execution, view},
    support::{self, PATIENCE, Place, ex_id, pid, until},
};

#[tokio::test(start_paused = true)]
async fn brings_an_execution_from_pending_to_its_end() {
    let bench = Bench::new(&[Act::Complete]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!((last.status, last.failure), (Status::Completed, None));
    assert_eq!(bench.live().await, []);
    assert_eq!(bench.controllers_started(), 1);
    let gone = handle.watch(ex_id()).await;
    assert!(matches!(gone, Err(CommandError::Unknown { .. })), "an execution that has ended is forgotten");
}

#[tokio::test(start_paused = true)]
async fn shows_what_runs() {
    let bench = Bench::new(&[Act::Run]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let shown = view(&mut views, |view| view.status == Status::Running && view.workers_live == 2).await;
    assert!(shown.is_controller_live);
    assert_eq!((shown.workers_wanted, shown.conditions), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn starts_a_controller_again_that_panics() {
    let bench = Bench::new(&[Act::Panic, Act::Complete]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!(last.status, Status::Completed);
    let stored = bench.stored().await;
    assert_eq!(
        (stored.generation, stored.epoch),
        (Generation(1), Epoch(2)),
        "the same object, the next process"
    );
}

#[tokio::test(start_paused = true)]
async fn fails_an_execution_whose_controller_keeps_ending() {
    let bench = Bench::new(&[Act::Panic]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let failing =
        |view: &View| matches!(view.conditions[..], [Condition::ControllerFailing { exits: 2, .. }]);
    view(&mut views, failing).await;
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!(last.status, Status::Failed);
    let wanted = "the execution controller ended 4 times in a row, last with a panic (exit code 101)";
    assert_eq!(bench.stored().await.failure.as_deref(), Some(wanted));
    assert_eq!(bench.live().await, [], "the workers are gone too");
}

#[tokio::test(start_paused = true)]
async fn does_not_repeat_what_is_hopeless() {
    let bench = Bench::new(&[Act::Exit(64)]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!((last.status, bench.controllers_started()), (Status::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn slows_down_for_workers_that_keep_ending() {
    let bench = Bench::with_workers(&[Act::Run], Some(1));
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let failing = |view: &View| {
        view.conditions.iter().any(|it| matches!(it, Condition::WorkersFailing { rounds, .. } if *rounds > 8))
    };
    let start = bench.context.now();
    let shown = view(&mut views, failing).await;
    assert_eq!(shown.status, Status::Running, "the execution goes on");
    let took = bench.context.now() - start;
    assert!(took > Duration::from_secs(30), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn adds_and_removes_workers_while_it_runs() {
    let bench = Bench::new(&[Act::Run]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    for workers in [5, 1, 3, 0] {
        handle.scale(ex_id(), workers).await.unwrap();
        let is_it = |view: &View| view.workers_live == workers && view.workers_wanted == workers;
        view(&mut views, is_it).await;
        assert_eq!(bench.live_workers().await, workers as usize);
    }
    assert_eq!(bench.controllers_started(), 1);
    let unknown = handle.scale(ExId::from_random([9; 16]), 1).await.unwrap_err();
    assert!(matches!(unknown, CommandError::Unknown { .. }));
}

#[tokio::test(start_paused = true)]
async fn stops_an_execution_for_good() {
    let bench = Bench::new(&[Act::Run]);
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.status == Status::Running).await;
    handle.stop(ex_id()).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!(last.status, Status::Stopped);
    assert_eq!(bench.live().await, []);
}

#[tokio::test(start_paused = true)]
async fn stops_an_execution_that_is_stopping_without_a_controller() {
    let bench = Bench::new(&[Act::Run]);
    bench.store.create_execution(execution(1, Status::Stopping)).await.unwrap();
    let (handle, _engine) = bench.start();
    let mut views = handle.resume(ex_id()).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!((last.status, bench.controllers_started()), (Status::Stopped, 0));
}

#[tokio::test(start_paused = true)]
async fn takes_up_every_execution_that_has_not_ended() {
    let bench = Bench::new(&[Act::Complete]);
    for (byte, status) in [(1, Status::Running), (2, Status::Pending), (3, Status::Failed)] {
        bench.store.create_execution(execution(byte, status)).await.unwrap();
    }
    let (_handle, _engine) = bench.start();
    let statuses = async || {
        let all = bench.store.executions(ExecutionQuery::default()).await.unwrap();
        all.into_iter().map(|execution| execution.status).collect::<Vec<_>>()
    };
    let wanted = [Status::Failed, Status::Completed, Status::Completed];
    timeout(LONG, async {
        while statuses().await != wanted {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(bench.controllers_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn leaves_others_alone_when_told_to_look_after_its_own_only() {
    let mut bench = Bench::new(&[Act::Complete]);
    bench.options.charge = Charge::Submitted;
    bench.store.create_execution(execution(1, Status::Running)).await.unwrap();
    let (handle, _engine) = bench.start();
    let mut views = handle.submit(execution(2, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.is_settled).await;
    sleep(LONG).await;
    assert_eq!(bench.stored().await.status, Status::Running);
    let mut views = handle.resume(ex_id()).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!(last.status, Status::Completed, "until it is told");
}

fn desired_of(execution: &Execution) -> DesiredExecution {
    DesiredExecution { ex_id: execution.ex_id, controller: true, ..support::desired(1, 1) }
}

#[tokio::test(start_paused = true)]
async fn retires_what_runs_for_an_execution_that_has_ended() {
    let bench = Bench::new(&[Act::Run]);
    let ended = execution(1, Status::Running);
    bench.store.create_execution(ended.clone()).await.unwrap();
    bench.backend.ensure(desired_of(&ended)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    change(&*bench.store, ex_id(), Status::Completed).await;
    assert_eq!(bench.live().await.len(), 2);
    let (_handle, _engine) = bench.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.live().await, []);
}

#[tokio::test(start_paused = true)]
async fn spares_what_runs_for_an_unknown_execution_until_the_store_has_said_so_twice() {
    let bench = Bench::new(&[Act::Run]);
    let unknown = execution(1, Status::Running);
    let idle = || Mode::Task(Arc::new(support::Idle) as Arc<dyn Launcher>);
    let options = NativeOptions::new("test", idle(), idle());
    let backend = NativeBackend::new(options, bench.context.clone());
    backend.ensure(desired_of(&unknown)).await.unwrap();
    let live = async || backend.observe(Scope::Cluster).await.unwrap().instances.len();
    let (_handle, _engine) = bench.start_on(backend.handle());
    sleep(Duration::from_secs(55)).await;
    assert_eq!(live().await, 2);
    sleep(Duration::from_secs(10)).await;
    let left = backend.observe(Scope::Cluster).await.unwrap().instances;
    assert!(!left.iter().any(|instance| instance.phase.is_live()), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn leaves_executions_resumable_when_it_ends() {
    let bench = Bench::new(&[Act::Run]);
    let (handle, engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.status == Status::Running).await;
    handle.shutdown(StopBackend::Terminate).await;
    engine.await.unwrap().unwrap();
    assert_eq!(bench.live().await, []);
    assert_eq!(bench.stored().await.status, Status::Running);
    assert!(matches!(handle.stop(ex_id()).await, Err(CommandError::EngineGone)));
}

/// Leaves an execution with two workers at work, without an engine; the next one has a term of its own.
async fn detached() -> Bench {
    let mut bench = Bench::new(&[Act::Run]);
    let (handle, engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.workers_live == 2).await;
    drop(handle);
    engine.await.unwrap().unwrap();
    bench.options.term = Term(2);
    bench
}

#[tokio::test(start_paused = true)]
async fn lets_work_go_on_when_it_detaches_and_goes_on_with_it_later() {
    let bench = detached().await;
    let before: Vec<_> = bench.live().await.into_iter().map(|instance| instance.id).collect();
    assert_eq!(before.len(), 3);
    let (handle, _engine) = bench.start();
    let mut views = handle.resume(ex_id()).await.unwrap();
    view(&mut views, |view| view.workers_live == 2).await;
    let after: Vec<_> = bench.live().await.into_iter().map(|instance| instance.id).collect();
    assert_eq!(after, before);
}

#[tokio::test(start_paused = true)]
async fn ends_what_runs_even_when_it_is_asked_before_its_term_has_begun() {
    let bench = detached().await;
    let (handle, engine) = bench.start();
    handle.shutdown(StopBackend::Terminate).await;
    engine.await.unwrap().unwrap();
    assert_eq!(bench.live().await, []);
}

#[tokio::test(start_paused = true)]
async fn ends_when_there_is_a_newer_leader() {
    let bench = Bench::new(&[Act::Run]);
    let (handle, engine) = bench.start();
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.workers_live == 2).await;
    bench.backend.adopt(Term(2)).await.unwrap();
    handle.scale(ex_id(), 3).await.unwrap();
    let end = timeout(LONG, engine).await.unwrap().unwrap();
    assert!(matches!(end, Err(EngineError::Fenced { term: Term(1) })), "{end:?}");
    assert_eq!(bench.live_workers().await, 2, "nothing was changed");
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_backend_that_is_not_available() {
    let bench = Bench::new(&[Act::Complete]);
    let flaky = Flaky { backend: bench.backend.handle(), failures: Mutex::new(9) };
    let (handle, _engine) = bench.start_on(flaky);
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let last = view(&mut views, |view| view.is_settled).await;
    assert_eq!(last.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn says_what_is_not_available() {
    let bench = Bench::new(&[Act::Run]);
    let backend = Arc::new(Flaky { backend: bench.backend.handle(), failures: Mutex::new(0) });
    let (store, context) = (Arc::clone(&bench.store), bench.context.clone());
    let (engine, handle) = Engine::new(bench.options.clone(), context, store, Arc::clone(&backend));
    let _engine = bench.context.spawn(engine.run());
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    view(&mut views, |view| view.status == Status::Running).await;
    *backend.failures.lock().unwrap() = 3;
    handle.scale(ex_id(), 1).await.unwrap();
    let unavailable = |view: &View| matches!(view.conditions[..], [Condition::Unavailable(_)]);
    view(&mut views, unavailable).await;
    view(&mut views, |view| view.conditions.is_empty() && view.workers_live == 1).await;
}

/// An engine over idle controllers and real worker processes.
fn over_processes(
    place: &Place,
    part: Option<&str>,
) -> (EngineHandle, Arc<NativeBackend>, Arc<dyn StateStore>) {
    let context = Context::system();
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
    let backend = Arc::new(place.backend(part));
    let options = EngineOptions::new(support::environment());
    let (engine, handle) = Engine::new(options, context.clone(), Arc::clone(&store), Arc::clone(&backend));
    drop(context.spawn(engine.run()));
    (handle, backend, store)
}

async fn workers(backend: &NativeBackend) -> Vec<Instance> {
    let mut all = support::observe(backend).await;
    all.retain(|instance| instance.role == Role::Worker && instance.phase == Phase::Running);
    all
}

#[tokio::test]
async fn brings_a_killed_worker_process_back_within_a_second() {
    let place = Place::new();
    let (handle, backend, _store) = over_processes(&place, None);
    handle.submit(execution(1, Status::Pending)).await.unwrap();
    for _ in 0..3 {
        until("both workers run", async || workers(&backend).await.len() == 2).await;
        let victim = workers(&backend).await[0].clone();
        let killed = Instant::now();
        kill_process(pid(&victim), Signal::KILL).unwrap();
        until("another one has its place", async || {
            let live = workers(&backend).await;
            live.len() == 2 && live.iter().all(|instance| instance.id != victim.id)
        })
        .await;
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    }
    handle.shutdown(StopBackend::Terminate).await;
    until("all are gone", async || workers(&backend).await.is_empty()).await;
}

#[tokio::test]
async fn fails_an_execution_whose_workers_cannot_start() {
    let place = Place::new();
    let (handle, _backend, store) = over_processes(&place, Some("refuse"));
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let settled = timeout(PATIENCE, views.wait_for(|view| view.is_settled)).await.unwrap().unwrap().clone();
    assert_eq!(settled.status, Status::Failed);
    let failure = store.execution(ex_id()).await.unwrap().unwrap().failure.unwrap();
    assert_eq!(failure, "a worker could not start: it ended with exit code 64");
}

#[tokio::test]
async fn fails_an_execution_whose_program_is_not_there() {
    let place = Place::new();
    let context = Context::system();
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
    let mut template = place.template(None);
    template.program = "/nowhere/teraslice".into();
    let options =
        NativeOptions::new(place.cluster(), Mode::Task(Arc::new(support::Idle)), Mode::Process(template));
    let backend = Arc::new(NativeBackend::new(options, context.clone()));
    let (engine, handle) =
        Engine::new(EngineOptions::new(support::environment()), context.clone(), store, backend);
    drop(context.spawn(engine.run()));
    let mut views = handle.submit(execution(1, Status::Pending)).await.unwrap();
    let settled = timeout(PATIENCE, views.wait_for(|view| view.is_settled)).await.unwrap().unwrap().clone();
    let failure = settled.failure.unwrap();
    assert!(failure.contains("/nowhere/teraslice"), "{failure}");
}
