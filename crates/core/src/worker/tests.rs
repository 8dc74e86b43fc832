//! The worker, against operations that do as they are told.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use teraslice_model::{
    counts::Counts,
    id::{ExId, SliceId, WorkerId},
    job::{ApiConfig, CheckedJob, OperationConfig},
    slice::{Request, Slice},
    timestamp::Timestamp,
};
use tokio::time::timeout;

use super::*;
use crate::{
    conformance::fake::{self, Commits, operation, refusing},
    link::{
        ControllerLink, LinkEvent, Outcome, Session,
        channel::{ChannelController, channel},
    },
};

/// A worker with the controller's end of its link.
struct Bench {
    controller: ChannelController,
    session: Session,
    ex_id: ExId,
    stop: CancellationToken,
    worker: JoinHandle<WorkerEnd>,
    commits: Commits,
}

impl Bench {
    async fn start(operations: Vec<OperationConfig>) -> Self {
        Self::of(fake::job(operations, Vec::new())).await
    }

    async fn with_api(operations: Vec<OperationConfig>, api: ApiConfig) -> Self {
        Self::of(fake::job(operations, vec![api])).await
    }

    async fn of(job: CheckedJob) -> Self {
        Self::make(job, Context::simulated(1), |_| {}).await
    }

    async fn make(job: CheckedJob, context: Context, set: impl FnOnce(&mut WorkerOptions)) -> Self {
        let (registry, commits) = fake::registry();
        let plan = registry.plan(Arc::new(job)).unwrap();
        let (mut controller, dialer) = channel();
        let link = dialer.connect().await.unwrap();
        let ex_id = context.ex_id();
        let mut options = WorkerOptions::new(ex_id, WorkerId::new("w-1"));
        set(&mut options);
        let stop = CancellationToken::new();
        let worker = Worker::new(options, context.clone(), plan, Box::new(link));
        let worker = context.spawn(worker.run(stop.clone()));
        let Some(LinkEvent::Opened { session }) = controller.next().await else { panic!("not opened") };
        let mut bench = Self { controller, session, ex_id, stop, worker, commits };
        assert_eq!(bench.message().await, FromWorker::Hello { worker: WorkerId::new("w-1") });
        assert_eq!(bench.message().await, FromWorker::Credit(5));
        bench
    }

    /// Returns the worker's next message, signs of life left out.
    async fn message(&mut self) -> FromWorker {
        loop {
            let event = timeout(Duration::from_mins(10), self.controller.next()).await.unwrap();
            match event {
                Some(LinkEvent::Message { message: FromWorker::Heartbeat, .. }) => {}
                Some(LinkEvent::Message { message, .. }) => return message,
                other => panic!("expected a message: {other:?}"),
            }
        }
    }

    fn slice(&self, order: u64) -> Slice {
        let request = Request::from_json(order.to_string());
        Slice::new(self.ex_id, 0, order, request, Timestamp::from_millis(0))
    }

    fn id(&self, order: u64) -> SliceId {
        self.slice(order).id
    }

    fn lease(&mut self, orders: std::ops::RangeInclusive<u64>) {
        let leases = orders.map(|order| Lease { slice: self.slice(order), attempt: 0 }).collect();
        self.controller.send(self.session, ToWorker::Leases(leases));
    }

    async fn results(&mut self, count: usize) -> Vec<SliceResult> {
        let mut results = Vec::new();
        while results.len() < count {
            match self.message().await {
                FromWorker::Results(more) => results.extend(more),
                FromWorker::Credit(_) => {}
                other => panic!("expected results: {other:?}"),
            }
        }
        results
    }

    /// Runs one slice.
    async fn run(&mut self) -> SliceResult {
        self.lease(1..=1);
        self.results(1).await.remove(0)
    }

    async fn wait_for_calls(&self, count: usize) {
        let wait = async {
            while self.commits.calls().len() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), wait).await.unwrap();
    }

    async fn end(self) -> WorkerEnd {
        timeout(Duration::from_mins(10), self.worker).await.unwrap().unwrap()
    }
}

fn pipeline(middle: Vec<OperationConfig>) -> Vec<OperationConfig> {
    let mut operations = vec![operation("counting_reader", json!({}))];
    operations.extend(middle);
    operations.push(operation("memory_sink", json!({})));
    operations
}

fn failing(how: &str, settings: &Value) -> OperationConfig {
    let mut all = json!({"at": 1, "how": how});
    let more = settings.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    operation("failing_processor", all)
}

/// What matters of counts: received, emitted, dropped, failed, dead-lettered, created.
fn sums(counts: &Counts) -> [u64; 6] {
    let Counts { received, emitted, dropped, failed, dead_lettered, created, .. } = *counts;
    [received, emitted, dropped, failed, dead_lettered, created]
}

fn error(result: &SliceResult) -> &str {
    match &result.outcome {
        Outcome::Failed { error } | Outcome::JobFault { error } => error,
        other => panic!("expected a failure: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn runs_a_slice_and_counts_every_record() {
    let mut bench =
        Bench::start(pipeline(vec![operation("passing_processor", json!({})), failing("drop", &json!({}))]))
            .await;
    let result = bench.run().await;
    assert_eq!(result.outcome, Outcome::Completed);
    let counts: Vec<_> = result.operations.iter().map(sums).collect();
    assert_eq!(counts, [[0, 3, 0, 0, 0, 3], [3, 3, 0, 0, 0, 0], [3, 2, 1, 0, 0, 0], [2, 2, 0, 0, 0, 0]]);
    let bytes: Vec<_> = result.operations.iter().map(|counts| counts.bytes).collect();
    assert_eq!(bytes, [21, 21, 14, 14]);
    assert_eq!(bench.commits.of("main", bench.id(1)).unwrap(), ["{\"n\":0}", "{\"n\":2}"]);
}

#[tokio::test(start_paused = true)]
async fn commits_an_empty_slice() {
    let reader = operation("counting_reader", json!({"records": 0}));
    let middle = operation("holding_processor", json!({}));
    let mut bench = Bench::start(vec![reader, middle, operation("memory_sink", json!({}))]).await;
    assert_eq!(bench.run().await.outcome, Outcome::Completed);
    assert_eq!(bench.commits.of("main", bench.id(1)).unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn lets_held_records_go_through_the_later_stages_at_the_end() {
    // The end of the slice is known with its last batch, or only later.
    for pause_ms in [0, 5] {
        let mut bench = Bench::start(vec![
            operation("counting_reader", json!({"pause_ms": pause_ms})),
            operation("holding_processor", json!({})),
            operation("memory_sink", json!({"target": "middle"})),
            operation("holding_processor", json!({})),
            failing("drop", &json!({})),
            operation("memory_sink", json!({})),
        ])
        .await;
        let result = bench.run().await;
        assert_eq!(result.outcome, Outcome::Completed);
        assert_eq!(bench.commits.of("middle", bench.id(1)).unwrap().len(), 3);
        assert_eq!(bench.commits.of("main", bench.id(1)).unwrap(), ["{\"n\":0}", "{\"n\":2}"]);
        assert_eq!(sums(&result.operations[4]), [3, 2, 1, 0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn passes_on_behind_a_sink_what_it_did_not_refuse() {
    let settings = json!({"target": "middle", "refuse": "{\"n\":0}"});
    let mut bench = Bench::start(pipeline(vec![refusing("memory_sink", settings, "none")])).await;
    let result = bench.run().await;
    assert_eq!(result.outcome, Outcome::Completed);
    assert_eq!(sums(&result.operations[1]), [3, 2, 0, 1, 0, 0]);
    assert_eq!(bench.commits.of("main", bench.id(1)).unwrap(), ["{\"n\":1}", "{\"n\":2}"]);
}

#[tokio::test(start_paused = true)]
async fn tries_a_slice_again_and_counts_the_tries() {
    let mut bench = Bench::start(pipeline(vec![failing("retry", &json!({"times": 2}))])).await;
    let result = bench.run().await;
    assert_eq!((result.outcome, result.retry_count), (Outcome::Completed, 2));
    assert_eq!(sums(&result.operations[0]), [0, 3, 0, 0, 0, 3]);
    let calls = bench.commits.calls();
    assert_eq!(calls, ["main begin", "main abort", "main begin", "main abort", "main begin", "main commit"]);
}

#[tokio::test(start_paused = true)]
async fn gives_a_slice_up_after_the_tries_that_the_job_allows() {
    let mut bench = Bench::start(pipeline(vec![failing("retry", &json!({}))])).await;
    let result = bench.run().await;
    assert_eq!(error(&result), "operation 1 (failing_processor): fails on purpose");
    assert_eq!((result.retry_count, result.operations.len()), (2, 0));
    assert_eq!(bench.commits.len("main"), 0);
}

#[tokio::test(start_paused = true)]
async fn does_not_try_again_what_cannot_succeed() {
    let cases = [
        ("slice", "operation 1 (failing_processor): cannot be done", false),
        (
            "job",
            "operation 1 (failing_processor): the job cannot run: /operations/1/at: cannot be done ever",
            true,
        ),
        ("panic", "operation 1 (failing_processor): panicked: panics on purpose", false),
        (
            "lose",
            "records were lost or doubled: operation 1 does not balance: Counts { received: 3, emitted: 2, \
             dropped: 0, failed: 0, dead_lettered: 0, created: 0, bytes: 14, micros: 0 }",
            false,
        ),
        ("hide", "operation 1 (failing_processor): step 0 counted 1 refused records and listed 0", false),
        ("inflate", "operation 1 (failing_processor): emitted 2 records and counted 4", false),
    ];
    for (how, message, is_fault) in cases {
        let mut bench = Bench::start(pipeline(vec![failing(how, &json!({}))])).await;
        let result = bench.run().await;
        assert_eq!(error(&result), message);
        assert_eq!(matches!(result.outcome, Outcome::JobFault { .. }), is_fault, "{how}");
        assert_eq!(result.retry_count, 0, "{how}");
        assert_eq!(bench.commits.calls(), ["main begin", "main abort"], "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn goes_on_with_new_operations_after_a_panic() {
    let mut bench = Bench::start(pipeline(vec![failing("panic", &json!({"times": 1}))])).await;
    bench.lease(1..=2);
    let results = bench.results(2).await;
    assert!(matches!(results[0].outcome, Outcome::Failed { .. }));
    assert_eq!(results[1].outcome, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn survives_a_sink_that_panics() {
    let reader = operation("counting_reader", json!({}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({"panics": true}))]).await;
    let result = bench.run().await;
    let message = "operation 1 (memory_sink): panicked: the sink panics on purpose";
    assert_eq!(error(&result), message);
}

#[tokio::test]
async fn survives_a_panic_on_a_compute_thread() {
    let job = fake::job(pipeline(vec![failing("panic", &json!({"times": 1}))]), Vec::new());
    let mut bench = Bench::make(job, Context::system(), |_| {}).await;
    bench.lease(1..=2);
    let results = bench.results(2).await;
    assert_eq!(error(&results[0]), "operation 1 (failing_processor): panicked: panics on purpose");
    assert_eq!(results[1].outcome, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn tries_again_when_a_commit_or_the_reader_fails() {
    let cases = [(json!({"fail_opens": 1}), json!({})), (json!({}), json!({"fail_commits": 1}))];
    for (reader, sink) in cases {
        let operations = vec![operation("counting_reader", reader), operation("memory_sink", sink)];
        let mut bench = Bench::start(operations).await;
        let result = bench.run().await;
        assert_eq!((result.outcome, result.retry_count), (Outcome::Completed, 1));
        assert_eq!(bench.commits.of("main", bench.id(1)).unwrap().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn fails_a_slice_with_a_refused_record_where_the_job_says_throw() {
    let mut bench = Bench::start(pipeline(vec![failing("reject", &json!({}))])).await;
    let result = bench.run().await;
    assert_eq!(error(&result), "operation 1 (failing_processor): refused a record: refused on purpose");
    assert_eq!(result.retry_count, 2);
}

#[tokio::test(start_paused = true)]
async fn keeps_a_record_that_breaks_an_operation_unless_the_job_says_throw() {
    let mut bench = Bench::start(pipeline(vec![failing("break", &json!({}))])).await;
    let result = bench.run().await;
    assert_eq!(result.outcome, Outcome::Completed);
    assert_eq!(result.dead_letters[0].record, "{\"n\":1}");
    let strict = refusing("failing_processor", json!({"at": 1, "how": "break"}), "throw");
    let mut bench = Bench::start(pipeline(vec![strict])).await;
    let result = bench.run().await;
    assert_eq!(error(&result), "operation 1 (failing_processor): refused a record: refused on purpose");
}

#[tokio::test(start_paused = true)]
async fn throws_refused_records_away_where_the_job_says_so() {
    for action in ["log", "none"] {
        let reject = refusing("failing_processor", json!({"at": 1, "how": "reject"}), action);
        let mut bench = Bench::start(pipeline(vec![reject])).await;
        let result = bench.run().await;
        assert_eq!(result.outcome, Outcome::Completed);
        assert_eq!(sums(&result.operations[1]), [3, 2, 0, 1, 0, 0], "{action}");
        assert_eq!(result.dead_letters, []);
    }
}

#[tokio::test(start_paused = true)]
async fn hands_refused_records_to_the_store() {
    let reader = refusing("counting_reader", json!({"unreadable": 2}), "store");
    let reject = refusing("failing_processor", json!({"at": 1, "how": "reject"}), "store");
    let mut bench = Bench::start(vec![reader, reject, operation("memory_sink", json!({}))]).await;
    let result = bench.run().await;
    assert_eq!(result.outcome, Outcome::Completed);
    assert_eq!(sums(&result.operations[0]), [0, 2, 0, 0, 1, 3]);
    assert_eq!(sums(&result.operations[1]), [2, 1, 0, 0, 1, 0]);
    let letters: Vec<_> =
        result.dead_letters.iter().map(|letter| (letter.operation, &*letter.record)).collect();
    assert_eq!(letters, [(1, "{\"n\":1}"), (0, "{\"n\":2}")]);
    assert_eq!(result.dead_letters[0].reason, "refused on purpose");
    assert_eq!(result.dead_letters[0].op, "failing_processor");
}

#[tokio::test(start_paused = true)]
async fn fails_a_slice_with_more_dead_letters_than_may_wait() {
    let reader = refusing("counting_reader", json!({"unreadable": 2}), "store");
    let reject = refusing("failing_processor", json!({"at": 1, "how": "reject"}), "store");
    let job = fake::job(vec![reader, reject], Vec::new());
    let few = |options: &mut WorkerOptions| options.dead_letters_max.letters = 1;
    let mut bench = Bench::make(job, Context::simulated(1), few).await;
    let result = bench.run().await;
    let message = "operation 0 (counting_reader): the slice has too many dead letters to store";
    assert!(error(&result).starts_with(message), "{}", error(&result));
    assert_eq!(result.retry_count, 0);
}

#[tokio::test(start_paused = true)]
async fn posts_refused_records_to_an_api_with_the_slice() {
    let reject = refusing("failing_processor", json!({"at": 1, "how": "reject"}), "memory_sender_api:dead");
    let api = fake::api("memory_sender_api:dead", json!({"target": "dead"}));
    let mut bench = Bench::with_api(pipeline(vec![reject]), api).await;
    let result = bench.run().await;
    assert_eq!(result.outcome, Outcome::Completed);
    assert_eq!(sums(&result.operations[1]), [3, 2, 0, 0, 1, 0]);
    let letters = bench.commits.of("dead", bench.id(1)).unwrap();
    let letter: Value = serde_json::from_str(&letters[0]).unwrap();
    let expected = json!({
        "record": {"n": 1},
        "error": "refused on purpose",
        "operation": "failing_processor",
        "slice_id": bench.id(1).to_string(),
    });
    assert_eq!((letters.len(), letter), (1, expected));
}

#[tokio::test(start_paused = true)]
async fn aborts_the_letters_of_a_slice_that_fails() {
    let reject = refusing("failing_processor", json!({"at": 1, "how": "reject"}), "memory_sender_api");
    let fail = operation("failing_processor", json!({"at": 2, "how": "slice"}));
    let api = fake::api("memory_sender_api", json!({"target": "dead"}));
    let mut bench = Bench::with_api(pipeline(vec![reject, fail]), api).await;
    assert_eq!(error(&bench.run().await), "operation 2 (failing_processor): cannot be done");
    assert_eq!(bench.commits.calls(), ["main begin", "dead begin", "main abort", "dead abort"]);
}

#[tokio::test(start_paused = true)]
async fn finishes_the_slice_at_work_and_releases_the_others_when_drained() {
    let reader = operation("counting_reader", json!({"pause_ms": 1_000}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=3);
    bench.wait_for_calls(1).await;
    bench.controller.send(bench.session, ToWorker::Drain);
    let outcomes: Vec<_> =
        bench.results(3).await.into_iter().map(|result| (result.slice_id, result.outcome)).collect();
    let [one, two, three] = [1, 2, 3].map(|order| bench.id(order));
    let expected = [(two, Outcome::Released), (three, Outcome::Released), (one, Outcome::Completed)];
    assert_eq!(outcomes, expected);
    assert_eq!(bench.message().await, FromWorker::Goodbye);
    assert_eq!(bench.commits.calls(), ["main begin", "main commit", "main close"]);
    assert_eq!(bench.end().await, WorkerEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn releases_a_slice_that_rests_between_two_tries_when_drained() {
    let mut bench = Bench::start(pipeline(vec![failing("retry", &json!({}))])).await;
    bench.lease(1..=1);
    bench.wait_for_calls(2).await;
    bench.controller.send(bench.session, ToWorker::Drain);
    assert_eq!(bench.results(1).await[0].outcome, Outcome::Released);
    assert_eq!(bench.message().await, FromWorker::Goodbye);
}

#[tokio::test(start_paused = true)]
async fn tries_again_when_an_operation_is_interrupted_for_no_reason() {
    let mut bench = Bench::start(pipeline(vec![failing("interrupt", &json!({"times": 1}))])).await;
    let result = bench.run().await;
    assert_eq!((result.outcome, result.retry_count), (Outcome::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn releases_a_slice_that_does_not_end_in_time() {
    let reader = operation("counting_reader", json!({"hangs": true}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=2);
    bench.wait_for_calls(1).await;
    bench.stop.cancel();
    let results = bench.results(2).await;
    assert!(results.iter().all(|result| result.outcome == Outcome::Released));
    assert_eq!(bench.message().await, FromWorker::Goodbye);
    assert_eq!(bench.commits.calls(), ["main begin", "main abort", "main close"]);
    assert_eq!(bench.end().await, WorkerEnd::Stopped);
}

#[tokio::test(start_paused = true)]
async fn drops_the_slice_at_work_when_the_link_closes() {
    let reader = operation("counting_reader", json!({"hangs": true}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=2);
    bench.wait_for_calls(1).await;
    let commits = bench.commits.clone();
    bench.controller.close(bench.session);
    assert_eq!(bench.end().await, WorkerEnd::LinkClosed);
    assert_eq!(commits.calls(), ["main begin", "main abort", "main close"]);
}

#[tokio::test(start_paused = true)]
async fn leaves_when_the_execution_is_over() {
    let mut bench = Bench::start(pipeline(Vec::new())).await;
    assert_eq!(bench.run().await.outcome, Outcome::Completed);
    bench.controller.send(bench.session, ToWorker::Finished);
    assert_eq!(bench.message().await, FromWorker::Goodbye);
    assert_eq!(bench.end().await, WorkerEnd::Finished);
}

#[tokio::test(start_paused = true)]
async fn gives_back_leases_that_come_while_it_leaves() {
    let reader = operation("counting_reader", json!({"hangs": true}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=1);
    bench.controller.send(bench.session, ToWorker::Drain);
    bench.lease(2..=2);
    let results = bench.results(2).await;
    assert_eq!(results[0].slice_id, bench.id(2));
    assert!(results.iter().all(|result| result.outcome == Outcome::Released));
}

#[tokio::test(start_paused = true)]
async fn sends_signs_of_life_while_a_slice_takes_long() {
    let reader = operation("counting_reader", json!({"hangs": true}));
    let mut bench = Bench::start(vec![reader, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=1);
    for _ in 0..3 {
        let event = timeout(Duration::from_secs(4), bench.controller.next()).await.unwrap();
        let session = bench.session;
        assert_eq!(event, Some(LinkEvent::Message { session, message: FromWorker::Heartbeat }));
    }
}

#[tokio::test(start_paused = true)]
async fn ends_the_slice_at_work_with_its_future() {
    let reader = operation("counting_reader", json!({}));
    let middle = failing("retry", &json!({"times": 1}));
    let mut bench = Bench::start(vec![reader, middle, operation("memory_sink", json!({}))]).await;
    bench.lease(1..=1);
    bench.wait_for_calls(2).await;
    bench.worker.abort();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.commits.len("main"), 0);
}

#[tokio::test(start_paused = true)]
async fn asks_for_more_leases_when_slices_are_quick() {
    let mut pace = Pace { credits: 5, since: Instant::now(), finished: 0 };
    tokio::time::advance(Duration::from_millis(5)).await;
    assert_eq!(pace.finished(Instant::now(), 20, 64), 0, "too early to tell");
    tokio::time::advance(Duration::from_millis(5)).await;
    assert_eq!(pace.finished(Instant::now(), 5, 64), 45);
    tokio::time::advance(Duration::from_millis(10)).await;
    assert_eq!(pace.finished(Instant::now(), 1_000, 64), 14, "no more than the limit");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(pace.finished(Instant::now(), 1, 64), 0);
}

#[tokio::test(start_paused = true)]
async fn waits_longer_before_each_try_and_never_too_long() {
    let context = Context::simulated(3);
    let backoff = Backoff::default();
    for (tries, longest) in [(0, 100), (1, 200), (5, 3_200), (10, 60_000), (400, 60_000)] {
        let longest = Duration::from_millis(longest);
        let pause = backoff.pause(&context, tries);
        assert!(pause <= longest && pause >= longest / 2, "{tries}: {pause:?}");
    }
}
