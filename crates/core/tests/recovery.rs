//! Recovery: an execution that was killed with completed, failed and open slices is taken up by another one.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use teraslice_core::{
    conformance::{
        fake::{self, Commits, operation, reader::record},
        store::execution,
    },
    context::Context,
    execution::{Controller, ControllerError, ControllerHandle, ControllerOptions, ExecutionEnd},
    link::channel::channel,
    plan::Plan,
    registry::Registry,
    store::{Flush, Page, SliceCounts, StateStore, StatusChange, Writer},
    worker::{Worker, WorkerOptions},
};
use teraslice_model::{
    execution::{Cleanup, Execution},
    id::{Epoch, ExId, SliceId, WorkerId},
    slice::SliceState,
    status::Status,
};
use teraslice_store::MemoryStore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Slices of the whole input, and the records of each.
const SLICES: u64 = 20;
const RECORDS: u64 = 3;
/// Slices that fail in the execution that is recovered.
const FAILED: u64 = 3;
const ALL: Page = Page { from: 0, size: u64::MAX };

struct Bench {
    context: Context,
    store: Arc<dyn StateStore>,
    registry: Registry,
    commits: Commits,
}

impl Bench {
    fn new() -> Self {
        let context = Context::simulated(1);
        let store = Arc::new(MemoryStore::new(context.clone()));
        let (registry, commits) = fake::registry();
        Self { context, store, registry, commits }
    }

    /// Makes a job whose first `fail_opens` slices fail, and whose output goes to `target`.
    fn plan(&self, fail_opens: u64, target: &str) -> Plan {
        let reader = json!({"slices": SLICES, "records": RECORDS, "fail_opens": fail_opens, "pause_ms": 20});
        let operations =
            vec![operation("counting_reader", reader), operation("memory_sink", json!({"target": target}))];
        let mut job = fake::job(operations, Vec::new());
        job.max_retries = 0;
        self.registry.plan(Arc::new(job)).expect("the job is right")
    }

    /// Makes a controller of an execution, and a worker.
    async fn processes(&self, ex_id: ExId, plan: &Plan) -> (Controller, ControllerHandle, Worker) {
        let stored = self.store.execution(ex_id).await.unwrap().unwrap();
        let (link, dialer) = channel();
        let mut options = ControllerOptions::new(ex_id, stored.generation);
        // So that a part of the input is not sliced yet.
        options.limits.queue_len_max = 4;
        let (context, store) = (self.context.clone(), Arc::clone(&self.store));
        let (controller, handle) =
            Controller::new(options, context.clone(), store, plan.clone(), Box::new(link));
        let worker_link = dialer.connect().await.unwrap();
        let options = WorkerOptions::new(ex_id, WorkerId::new("w"));
        (controller, handle, Worker::new(options, context, plan.clone(), Box::new(worker_link)))
    }

    /// Runs an execution to its end, or kills controller and worker once `is_enough`.
    async fn run(
        &self,
        ex_id: ExId,
        plan: &Plan,
        is_enough: impl Fn(SliceCounts) -> bool,
    ) -> Option<Result<ExecutionEnd, ControllerError>> {
        let (controller, _handle, worker) = self.processes(ex_id, plan).await;
        let is_killed = async {
            while !is_enough(self.store.slice_counts(ex_id).await.unwrap()) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let work = async { tokio::join!(controller.run(), worker.run(CancellationToken::new())).0 };
        // A controller with its worker is large.
        let ended = Box::pin(async {
            tokio::select! {
                ended = work => Some(ended),
                () = is_killed => None,
            }
        });
        timeout(Duration::from_mins(10), ended).await.expect("it comes to an end")
    }

    async fn finish(&self, ex_id: ExId, plan: &Plan) -> ExecutionEnd {
        self.run(ex_id, plan, |_| false).await.expect("nothing kills it").expect("it can run")
    }

    async fn ids(&self, ex_id: ExId, state: SliceState) -> BTreeSet<SliceId> {
        let slices = self.store.slices(ex_id, state, ALL).await.unwrap();
        slices.into_iter().map(|record| record.slice.id).collect()
    }

    /// Leaves an execution with slices in every state, and input that is not sliced.
    async fn killed(&self) -> ExId {
        let execution = execution(1);
        let ex_id = execution.ex_id;
        self.store.create_execution(execution).await.unwrap();
        let is_enough = |counts: SliceCounts| counts.error == FAILED && counts.completed > 2;
        let ended = self.run(ex_id, &self.plan(FAILED, "first"), is_enough).await;
        assert!(ended.is_none(), "it has ended before it was killed: {ended:?}");
        let from = self.store.execution(ex_id).await.unwrap().unwrap().status;
        self.store.set_status(ex_id, StatusChange::new(from, Status::Terminated)).await.unwrap();
        let counts = self.store.slice_counts(ex_id).await.unwrap();
        assert!(counts.pending > 0 && sliced(counts) < SLICES, "{counts:?}");
        ex_id
    }

    async fn recovery(&self, earlier: ExId, cleanup: Option<Cleanup>) -> ExId {
        let mut execution = execution(2);
        (execution.recovered_execution, execution.recovered_slice_type) = (Some(earlier), cleanup);
        let ex_id = execution.ex_id;
        self.store.create_execution(execution).await.unwrap();
        ex_id
    }

    /// Checks that a recovery has done these slices, each once and whole.
    async fn check(&self, ex_id: ExId, done: &BTreeSet<SliceId>) {
        assert_eq!(self.ids(ex_id, SliceState::Completed).await, *done);
        assert_eq!(self.commits.len("second"), done.len());
        let records: Vec<_> = (0..RECORDS).map(record).collect();
        for slice in done {
            assert_eq!(self.commits.of("second", *slice).as_ref(), Some(&records));
        }
        let ledger = self.store.ledger(ex_id).await.unwrap();
        assert!(ledger.unfinished.is_empty());
        assert_eq!((ledger.totals.completed, ledger.totals.failed), (done.len() as u64, 0));
        let [read, written] = &ledger.totals.operations[..] else { panic!("{:?}", ledger.totals) };
        assert_eq!((read.created, read.emitted), (done.len() as u64 * RECORDS, read.created));
        assert_eq!(written.received, read.emitted);
    }
}

const fn sliced(counts: SliceCounts) -> u64 {
    counts.pending + counts.completed + counts.error
}

/// Recovers an execution, with a kill once so many slices are completed, for each of `kills`.
async fn recover(cleanup: Option<Cleanup>, kills: &[u64]) {
    let bench = Bench::new();
    let earlier = bench.killed().await;
    let (failed, open) =
        (bench.ids(earlier, SliceState::Error).await, bench.ids(earlier, SliceState::Pending).await);
    let mut expected = BTreeSet::new();
    if cleanup != Some(Cleanup::Pending) {
        expected.extend(failed);
    }
    if cleanup != Some(Cleanup::Errors) {
        expected.extend(open);
    }
    let before = bench.store.slice_counts(earlier).await.unwrap();
    let ex_id = bench.recovery(earlier, cleanup).await;
    let plan = bench.plan(0, "second");
    for kill in kills {
        let is_enough = |counts: SliceCounts| sliced(counts) > 0 && counts.completed >= *kill;
        let ended = bench.run(ex_id, &plan, is_enough).await;
        assert!(ended.is_none(), "it has ended before it was killed: {ended:?}");
    }
    let end = bench.finish(ex_id, &plan).await;
    assert_eq!((end.status, end.failure), (Status::Completed, None));
    if cleanup.is_none() {
        // It goes on slicing where the earlier one has stopped; those slices are its own.
        let all = bench.ids(ex_id, SliceState::Completed).await;
        assert!(all.is_superset(&expected));
        assert_eq!(all.len() as u64, SLICES - before.completed);
        expected = all;
    }
    bench.check(ex_id, &expected).await;
    assert_eq!(bench.store.slice_counts(earlier).await.unwrap(), before, "the earlier one stays as it is");
}

#[tokio::test(start_paused = true)]
async fn takes_up_what_the_cleanup_type_says() {
    for cleanup in [Some(Cleanup::Errors), Some(Cleanup::Pending), Some(Cleanup::All), None] {
        recover(cleanup, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_killed_again_and_again_gives_the_same() {
    for cleanup in [Some(Cleanup::Errors), Some(Cleanup::Pending), Some(Cleanup::All), None] {
        recover(cleanup, &[0, 1, 2]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leaves_out_what_workers_of_the_original_had_begun() {
    let bench = Bench::new();
    let killed = bench.killed().await;
    let mut slices = bench.store.slices(killed, SliceState::Pending, ALL).await.unwrap();
    slices[0].deaths = 1;
    let expected: BTreeSet<_> = slices[1..].iter().map(|record| record.slice.id).collect();
    assert!(!expected.is_empty());
    // No controller of ours has ever had it.
    let foreign = Execution { epoch: Epoch(0), ..execution(3) };
    let (earlier, writer) = (foreign.ex_id, Writer { generation: foreign.generation, epoch: Epoch(0) });
    bench.store.create_execution(foreign).await.unwrap();
    bench.store.append(earlier, writer, Flush { slices, ..Flush::default() }).await.unwrap();
    let ex_id = bench.recovery(earlier, Some(Cleanup::Pending)).await;
    bench.finish(ex_id, &bench.plan(0, "second")).await;
    bench.check(ex_id, &expected).await;
}

/// Begins an execution, pauses it, and lets something be done to the store while its controller waits; returns how that ends.
async fn while_paused(act: impl AsyncFn(&dyn StateStore, ExId)) -> Result<ExecutionEnd, ControllerError> {
    let bench = Bench::new();
    let ex_id = execution(1).ex_id;
    bench.store.create_execution(execution(1)).await.unwrap();
    let (controller, handle, worker) = bench.processes(ex_id, &bench.plan(0, "first")).await;
    let user = async {
        handle.epoch().await.unwrap();
        handle.pause().await.unwrap();
        act(bench.store.as_ref(), ex_id).await;
    };
    let work =
        Box::pin(async { tokio::join!(controller.run(), worker.run(CancellationToken::new()), user).0 });
    timeout(Duration::from_mins(1), work).await.expect("it hears of it")
}

#[tokio::test(start_paused = true)]
async fn a_paused_controller_goes_on_when_an_earlier_one_was_told_to() {
    let ended = while_paused(async |store, ex_id| {
        store.set_status(ex_id, StatusChange::new(Status::Paused, Status::Running)).await.unwrap();
    });
    assert_eq!(Box::pin(ended).await.unwrap().status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_paused_controller_stops_when_the_store_says_so() {
    let ended = while_paused(async |store, ex_id| {
        store.set_status(ex_id, StatusChange::new(Status::Paused, Status::Stopping)).await.unwrap();
    });
    assert_eq!(Box::pin(ended).await.unwrap().status, Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_paused_controller_finds_out_that_another_has_taken_over() {
    let ended = while_paused(async |store, ex_id| {
        let generation = store.execution(ex_id).await.unwrap().unwrap().generation;
        store.begin_epoch(ex_id, generation).await.unwrap();
    });
    let ended = Box::pin(ended).await;
    assert!(matches!(ended, Err(ControllerError::Fenced(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_released_execution_has_the_statistics_of_all_its_slices() {
    let bench = Bench::new();
    let ex_id = execution(1).ex_id;
    bench.store.create_execution(execution(1)).await.unwrap();
    let (controller, handle, worker) = bench.processes(ex_id, &bench.plan(0, "first")).await;
    let release = async {
        while bench.store.slice_counts(ex_id).await.unwrap().completed < 5 {
            sleep(Duration::from_millis(1)).await;
        }
        handle.release().await
    };
    let (ended, _, _) =
        Box::pin(async { tokio::join!(controller.run(), worker.run(CancellationToken::new()), release) })
            .await;
    assert!(ended.unwrap().is_resumable);
    let stored = bench.store.execution(ex_id).await.unwrap().unwrap();
    let counts = bench.store.slice_counts(ex_id).await.unwrap();
    assert_eq!((stored.stats.processed, stored.status), (counts.completed, Status::Running));
}
