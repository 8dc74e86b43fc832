//! The laws of a state store, one function each; every implementation runs all of them.

mod access;
mod listing;

use std::sync::Arc;

use teraslice_model::{
    checkpoint::Checkpoint,
    counts::Counts,
    dead_letter::{DeadLetter, Encoding},
    execution::{Execution, JobRecord, Stats},
    id::{Epoch, ExId, Generation, JobId},
    slice::{Request, Slice, SliceState},
    status::Status,
    timestamp::Timestamp,
};

use crate::store::{
    Claim, ExecutionQuery, Flush, Ledger, Letters, Page, SliceCounts, SliceRecord, StateStore, StatusChange,
    StoreError, Totals, Writer,
};

const ALL: Page = Page { from: 0, size: u64::MAX };
/// The writer that the execution of [`execution`] accepts from the start.
const FIRST: Writer = Writer { generation: Generation(1), epoch: Epoch(0) };

/// Checks every law, each on an empty store.
///
/// # Panics
///
/// When the store breaks a law.
pub async fn run(make: impl AsyncFn() -> Arc<dyn StateStore>) {
    keeps_jobs(&*make().await).await;
    keeps_executions_as_they_were_made(&*make().await).await;
    refuses_an_id_that_is_taken(&*make().await).await;
    lists_executions_newest_first(&*make().await).await;
    pages_without_skipping(&*make().await).await;
    compares_before_it_sets_a_status(&*make().await).await;
    refuses_illegal_moves(&*make().await).await;
    lets_one_of_two_win(make().await).await;
    raises_epochs(&*make().await).await;
    fences_earlier_epochs(&*make().await).await;
    fences_earlier_generations(&*make().await).await;
    fences_changes_of_status(&*make().await).await;
    says_what_does_not_exist(&*make().await).await;
    starts_with_an_empty_ledger(&*make().await).await;
    returns_what_a_controller_starts_from(&*make().await).await;
    keeps_one_record_per_slice(&*make().await).await;
    keeps_slices_whole(&*make().await).await;
    lists_slices_by_slicer_and_order(&*make().await).await;
    moves_checkpoints(&*make().await).await;
    keeps_executions_apart(&*make().await).await;
    keeps_dead_letters_in_order(&*make().await).await;
    replaces_dead_letters_of_a_slice(&*make().await).await;
    hands_dead_letters_to_one_replay(&*make().await).await;
    appends_all_or_nothing_beside_readers(make().await).await;
    listing::run(&make).await;
    access::run(&make).await;
}

/// Returns an execution for tests: the `number`-th, pending, at generation 1 and epoch 0.
///
/// # Panics
///
/// Never: its job is a JSON object.
#[must_use]
pub fn execution(number: u8) -> Execution {
    let job = serde_json::json!({"name": "law", "operations": [{"_op": "test-reader"}, {"_op": "noop"}]});
    Execution {
        generation: FIRST.generation,
        epoch: FIRST.epoch,
        ..Execution::new(
            ExId::from_random([number; 16]),
            JobId::from_random([200; 16]),
            job.as_object().expect("the literal is an object").clone(),
            Timestamp::from_millis(1_600_000_000_000),
        )
    }
}

/// Returns the `order`-th slice of a slicer of an execution.
#[must_use]
pub fn record(ex_id: ExId, slicer_id: u32, order: u64, state: SliceState) -> SliceRecord {
    let request = Request::from_json(format!("{{\"start\":{order},\"name\":\"größer\"}}"));
    let slice = Slice::new(ex_id, slicer_id, order, request, Timestamp::from_millis(1_600_000_000_001));
    SliceRecord { slice, state, error: None, retry_count: 0, deaths: 0 }
}

fn flush_of(slices: Vec<SliceRecord>) -> Flush {
    Flush { slices, ..Flush::default() }
}

fn letter(record: &SliceRecord, reason: &str) -> DeadLetter {
    DeadLetter {
        slice_id: record.slice.id,
        operation: 1,
        op: "filter".to_owned(),
        reason: reason.to_owned(),
        record: "{\"a\":\"\u{0}\n\"}".to_owned(),
        encoding: Encoding::Text,
        metadata: Some("{\"_key\":\"k\"}".to_owned()),
    }
}

async fn create(store: &dyn StateStore, number: u8) -> ExId {
    let execution = execution(number);
    let id = execution.ex_id;
    store.create_execution(execution).await.expect("a free id is accepted");
    id
}

async fn append(store: &dyn StateStore, id: ExId, flush: Flush) {
    store.append(id, FIRST, flush).await.expect("the first writer is accepted");
}

async fn ledger(store: &dyn StateStore, id: ExId) -> Ledger {
    store.ledger(id).await.expect("a ledger can be read")
}

async fn slices(store: &dyn StateStore, id: ExId, state: SliceState) -> Vec<SliceRecord> {
    store.slices(id, state, ALL).await.expect("slices can be listed")
}

async fn letters(store: &dyn StateStore, id: ExId) -> Vec<DeadLetter> {
    let kept = store.dead_letters(id, Letters::All, ALL).await.expect("dead letters can be listed");
    kept.into_iter().map(|kept| kept.letter).collect()
}

async fn stored(store: &dyn StateStore, id: ExId) -> Execution {
    store.execution(id).await.expect("an execution can be read").expect("it was created")
}

async fn keeps_jobs(store: &dyn StateStore) {
    let Execution { job, job_id, created, .. } = execution(1);
    let first = JobRecord { job_id, job, deleted: None, created, updated: created };
    assert_eq!(store.job(job_id).await.expect("reads"), None);
    store.put_job(first.clone()).await.expect("a new job is stored");
    assert_eq!(store.job(job_id).await.expect("reads"), Some(first.clone()));
    let mut second = first;
    second.job.insert("name".to_owned(), "renamed".into());
    store.put_job(second.clone()).await.expect("a known job is replaced");
    assert_eq!(store.job(job_id).await.expect("reads"), Some(second));
}

async fn keeps_executions_as_they_were_made(store: &dyn StateStore) {
    let mut made = execution(1);
    made.failure = Some("an earlier failure".to_owned());
    made.stats.operations = vec![Counts { received: 7, ..Counts::default() }];
    made.recovered_execution = Some(ExId::from_random([9; 16]));
    made.metadata.insert("note".to_owned(), serde_json::json!([1, null, "x"]));
    store.create_execution(made.clone()).await.expect("a free id is accepted");
    assert_eq!(stored(store, made.ex_id).await, made);
}

async fn refuses_an_id_that_is_taken(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let other = Execution { failure: Some("other".to_owned()), ..execution(1) };
    let refused = store.create_execution(other).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(stored(store, id).await, execution(1), "a refused creation changes nothing");
}

async fn lists_executions_newest_first(store: &dyn StateStore) {
    let mut ids = Vec::new();
    for number in [3, 1, 2] {
        ids.insert(0, create(store, number).await);
    }
    let listed = store.executions(ExecutionQuery::page(ALL)).await.expect("lists");
    assert_eq!(listed.iter().map(|execution| execution.ex_id).collect::<Vec<_>>(), ids);
}

async fn pages_without_skipping(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let made: Vec<_> = (1..=25).map(|order| record(id, 0, order, SliceState::Error)).collect();
    append(store, id, flush_of(made.clone())).await;
    let mut paged = Vec::new();
    loop {
        let page = Page { from: paged.len() as u64, size: 10 };
        let found = store.slices(id, SliceState::Error, page).await.expect("lists");
        assert!(found.len() <= 10, "a page is no longer than asked for");
        if found.is_empty() {
            break;
        }
        paged.extend(found);
    }
    assert_eq!(paged, made);
    let beyond = Page { from: u64::MAX, size: u64::MAX };
    assert!(store.executions(ExecutionQuery::page(beyond)).await.expect("lists").is_empty());
    assert!(store.dead_letters(id, Letters::All, beyond).await.expect("lists").is_empty());
}

async fn compares_before_it_sets_a_status(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let stats = Stats { processed: 5, ..Stats::default() };
    let change = StatusChange {
        failure: Some("first".to_owned()),
        stats: Some(stats.clone()),
        ..StatusChange::new(Status::Pending, Status::Running)
    };
    store.set_status(id, change.clone()).await.expect("the expected status is there");
    let refused = store.set_status(id, change).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    store
        .set_status(id, StatusChange::new(Status::Running, Status::Failing))
        .await
        .expect("the expected status is there");
    let now = stored(store, id).await;
    assert_eq!(now.status, Status::Failing);
    assert_eq!(now.failure.as_deref(), Some("first"), "an absent failure leaves the stored one");
    assert_eq!(now.stats, stats, "absent statistics leave the stored ones");
    assert!(now.updated > now.created, "a change is dated");
}

async fn refuses_illegal_moves(store: &dyn StateStore) {
    let id = create(store, 1).await;
    store.set_status(id, StatusChange::new(Status::Pending, Status::Completed)).await.expect("a legal move");
    let refused = store.set_status(id, StatusChange::new(Status::Completed, Status::Running)).await;
    assert!(matches!(refused, Err(StoreError::IllegalMove { .. })), "{refused:?}");
    assert_eq!(stored(store, id).await.status, Status::Completed);
}

async fn lets_one_of_two_win(store: Arc<dyn StateStore>) {
    let id = create(&*store, 1).await;
    let (one, two) = tokio::join!(
        store.set_status(id, StatusChange::new(Status::Pending, Status::Running)),
        store.set_status(id, StatusChange::new(Status::Pending, Status::Stopping))
    );
    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
    let winner = if one.is_ok() { Status::Running } else { Status::Stopping };
    assert_eq!(stored(&*store, id).await.status, winner);
}

async fn raises_epochs(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let first = store.begin_epoch(id, FIRST.generation).await.expect("the generation is right");
    let second = store.begin_epoch(id, FIRST.generation).await.expect("the generation is right");
    assert!(FIRST.epoch < first && first < second);
    assert_eq!(stored(store, id).await.epoch, second);
    for wrong in [0, 2] {
        let refused = store.begin_epoch(id, Generation(wrong)).await;
        let current = Writer { generation: FIRST.generation, epoch: second };
        assert!(matches!(refused, Err(StoreError::Fenced { current: c, .. }) if c == current), "{refused:?}");
    }
    assert_eq!(stored(store, id).await.epoch, second, "a refused start changes nothing");
}

async fn fences_earlier_epochs(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let epoch = store.begin_epoch(id, FIRST.generation).await.expect("the generation is right");
    let flush = full_flush(id);
    let refused = store.append(id, FIRST, flush.clone()).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(ledger(store, id).await, Ledger::default(), "a fenced write changes nothing");
    assert!(letters(store, id).await.is_empty(), "a fenced write changes nothing");
    let writer = Writer { epoch, ..FIRST };
    store.append(id, writer, flush).await.expect("the current writer is accepted");
}

async fn fences_changes_of_status(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let epoch = store.begin_epoch(id, FIRST.generation).await.expect("the generation is right");
    let by = |writer| StatusChange {
        stats: Some(Stats { processed: 5, ..Stats::default() }),
        writer,
        ..StatusChange::new(Status::Pending, Status::Running)
    };
    let refused = store.set_status(id, by(Some(FIRST))).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    let now = stored(store, id).await;
    assert_eq!((now.status, now.stats.processed), (Status::Pending, 0), "a fenced change changes nothing");
    store.set_status(id, by(Some(Writer { epoch, ..FIRST }))).await.expect("the current writer is accepted");
    let stop = StatusChange::new(Status::Running, Status::Stopping);
    store.set_status(id, stop).await.expect("who is no controller is not fenced");
}

async fn fences_earlier_generations(store: &dyn StateStore) {
    let made = Execution { generation: Generation(2), epoch: Epoch(0), ..execution(1) };
    let id = made.ex_id;
    store.create_execution(made).await.expect("a free id is accepted");
    let late = Writer { generation: Generation(1), epoch: Epoch(9) };
    let refused = store.append(id, late, full_flush(id)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "a late epoch does not help: {refused:?}");
    assert_eq!(ledger(store, id).await, Ledger::default());
}

async fn says_what_does_not_exist(store: &dyn StateStore) {
    let id = execution(1).ex_id;
    assert_eq!(store.execution(id).await.expect("reads"), None);
    assert!(store.executions(ExecutionQuery::page(ALL)).await.expect("lists").is_empty());
    let change = StatusChange::new(Status::Pending, Status::Running);
    let refusals = [
        store.set_status(id, change).await.err(),
        store.begin_epoch(id, FIRST.generation).await.err(),
        store.append(id, FIRST, Flush::default()).await.err(),
        store.ledger(id).await.err(),
        store.slices(id, SliceState::Pending, ALL).await.err(),
        store.slice_counts(id).await.err(),
        store.dead_letters(id, Letters::All, ALL).await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(StoreError::NotFound { .. })), "{refusal:?}");
    }
}

async fn starts_with_an_empty_ledger(store: &dyn StateStore) {
    let id = create(store, 1).await;
    assert_eq!(ledger(store, id).await, Ledger::default());
    assert_eq!(store.slice_counts(id).await.expect("counts"), SliceCounts::default());
    append(store, id, Flush::default()).await;
    assert_eq!(ledger(store, id).await, Ledger::default());
}

/// A flush that has something of everything.
fn full_flush(id: ExId) -> Flush {
    let done = record(id, 0, 1, SliceState::Completed);
    let counts = Counts { created: 3, emitted: 2, failed: 1, bytes: 99, micros: 5, ..Counts::default() };
    Flush {
        dead_letters: vec![letter(&done, "refused")],
        slices: vec![done, record(id, 0, 2, SliceState::Pending), record(id, 0, 3, SliceState::Error)],
        checkpoints: vec![Checkpoint {
            slicer_id: 0,
            order: 3,
            position: Some(Request::from_json("{\"at\":3}")),
            is_exhausted: false,
        }],
        totals: Totals { completed: 1, failed: 1, operations: vec![counts, Counts::default()] },
    }
}

async fn returns_what_a_controller_starts_from(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let flush = full_flush(id);
    append(store, id, flush.clone()).await;
    let wanted = Ledger {
        checkpoints: flush.checkpoints,
        unfinished: vec![record(id, 0, 2, SliceState::Pending)],
        totals: flush.totals,
    };
    assert_eq!(ledger(store, id).await, wanted);
    let counts = SliceCounts { pending: 1, completed: 1, error: 1 };
    assert_eq!(store.slice_counts(id).await.expect("counts"), counts);
}

async fn keeps_one_record_per_slice(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let states = [SliceState::Pending, SliceState::Pending, SliceState::Error, SliceState::Completed];
    for (deaths, state) in (0..).zip(states) {
        let now = SliceRecord { deaths, ..record(id, 0, 1, state) };
        append(store, id, flush_of(vec![now.clone()])).await;
        assert_eq!(slices(store, id, state).await, [now]);
        let counts = store.slice_counts(id).await.expect("counts");
        assert_eq!(counts.pending + counts.completed + counts.error, 1, "{counts:?}");
    }
    append(store, id, flush_of(vec![record(id, 0, 1, SliceState::Completed)])).await;
    let counts = SliceCounts { completed: 1, ..SliceCounts::default() };
    assert_eq!(store.slice_counts(id).await.expect("counts"), counts);
    assert!(ledger(store, id).await.unfinished.is_empty());
}

async fn keeps_slices_whole(store: &dyn StateStore) {
    let id = create(store, 1).await;
    // A recovered slice has the id that its first execution gave it.
    let mut made = record(execution(2).ex_id, u32::MAX, 1 << 60, SliceState::Error);
    made.error = Some("line one\nline two: \u{1F980}".into());
    made.retry_count = u32::MAX;
    made.deaths = 3;
    append(store, id, flush_of(vec![made.clone()])).await;
    assert_eq!(slices(store, id, SliceState::Error).await, [made]);
}

async fn lists_slices_by_slicer_and_order(store: &dyn StateStore) {
    let id = create(store, 1).await;
    for state in [SliceState::Pending, SliceState::Completed, SliceState::Error] {
        let base = 100 * (state as u64);
        let place = |(slicer, order): (u32, u64)| record(id, slicer, base + order, state);
        append(store, id, flush_of([(1, 2), (0, 10)].map(place).into())).await;
        append(store, id, flush_of([(1, 1), (0, 9)].map(place).into())).await;
        let wanted = [(0, 9), (0, 10), (1, 1), (1, 2)].map(place);
        assert_eq!(slices(store, id, state).await, wanted, "{state:?}");
    }
    let pending = slices(store, id, SliceState::Pending).await;
    assert_eq!(ledger(store, id).await.unfinished, pending);
}

async fn moves_checkpoints(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let at = |slicer_id, order| Checkpoint { order, ..Checkpoint::start(slicer_id) };
    for checkpoints in [vec![at(1, 4), at(0, 2)], vec![at(1, 5)], Vec::new()] {
        append(store, id, Flush { checkpoints, ..Flush::default() }).await;
    }
    assert_eq!(ledger(store, id).await.checkpoints, [at(0, 2), at(1, 5)]);
    let end = Checkpoint { is_exhausted: true, ..at(0, 2) };
    append(store, id, Flush { checkpoints: vec![end.clone()], ..Flush::default() }).await;
    assert_eq!(ledger(store, id).await.checkpoints, [end, at(1, 5)]);
}

async fn keeps_executions_apart(store: &dyn StateStore) {
    let (one, two) = (create(store, 1).await, create(store, 2).await);
    // A recovery takes slices over under their old ids.
    let mut flush = full_flush(one);
    append(store, one, flush.clone()).await;
    append(store, two, flush.clone()).await;
    flush.dead_letters.clear();
    append(store, two, flush).await;
    assert_eq!(letters(store, one).await.len(), 1, "another execution's dead letters stay");
    assert!(letters(store, two).await.is_empty());
    append(store, two, flush_of(vec![record(one, 0, 2, SliceState::Completed)])).await;
    assert_eq!(ledger(store, one).await.unfinished.len(), 1);
    assert!(ledger(store, two).await.unfinished.is_empty());
}

async fn keeps_dead_letters_in_order(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let mut wanted = Vec::new();
    for order in [2, 1, 3] {
        let done = record(id, 0, order, SliceState::Completed);
        let dead_letters: Vec<_> = ["a", "b"].map(|reason| letter(&done, reason)).into();
        wanted.extend(dead_letters.clone());
        append(store, id, Flush { slices: vec![done], dead_letters, ..Flush::default() }).await;
    }
    assert_eq!(letters(store, id).await, wanted);
    let page = Page { from: 2, size: 3 };
    let listed = store.dead_letters(id, Letters::All, page).await.expect("lists");
    assert_eq!(listed.into_iter().map(|kept| kept.letter).collect::<Vec<_>>(), wanted[2..5]);
}

async fn hands_dead_letters_to_one_replay(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let (first, second) = (ExId::from_random([7; 16]), ExId::from_random([8; 16]));
    let done = record(id, 0, 1, SliceState::Completed);
    let dead_letters = ["a", "b", "c"].map(|reason| letter(&done, reason)).into();
    append(store, id, Flush { slices: vec![done], dead_letters, ..Flush::default() }).await;
    let numbers = async |which| {
        let kept = store.dead_letters(id, which, ALL).await.expect("lists");
        kept.into_iter().map(|kept| kept.number).collect::<Vec<_>>()
    };
    let all = numbers(Letters::All).await;
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    let claim = async |numbers: &[u64], from, by| {
        let numbers = numbers.to_vec();
        store.claim_dead_letters(id, Claim { numbers, from, by }).await.expect("letters can be claimed")
    };
    assert_eq!(claim(&all[..2], None, first).await, 2);
    assert_eq!(claim(&all, None, second).await, 1, "two have gone to the first");
    assert!(numbers(Letters::Open).await.is_empty());
    assert_eq!(numbers(Letters::ReplayedIn(first)).await, all[..2]);
    assert_eq!(claim(&all, Some(first), second).await, 2);
    assert_eq!(numbers(Letters::ReplayedIn(second)).await, all);
    assert_eq!(claim(&[u64::MAX >> 1], None, first).await, 0);
}

async fn replaces_dead_letters_of_a_slice(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let (one, two) = (record(id, 0, 1, SliceState::Completed), record(id, 0, 2, SliceState::Completed));
    let first = Flush {
        dead_letters: vec![letter(&one, "old"), letter(&two, "kept"), letter(&one, "old")],
        slices: vec![one.clone(), two.clone()],
        ..Flush::default()
    };
    append(store, id, first).await;
    let again =
        Flush { dead_letters: vec![letter(&one, "new")], slices: vec![one.clone()], ..Flush::default() };
    append(store, id, again.clone()).await;
    append(store, id, again).await;
    assert_eq!(letters(store, id).await, [letter(&two, "kept"), letter(&one, "new")]);
}

/// Reads while another task writes: every flush moves the checkpoint by ten slices, and no reader sees less.
async fn appends_all_or_nothing_beside_readers(store: Arc<dyn StateStore>) {
    let id = create(&*store, 1).await;
    let write = async {
        for turn in 0..50 {
            let first = turn * 10 + 1;
            let slices = (first..first + 10).map(|order| record(id, 0, order, SliceState::Pending)).collect();
            let checkpoints = vec![Checkpoint { order: first + 9, ..Checkpoint::start(0) }];
            append(&*store, id, Flush { slices, checkpoints, ..Flush::default() }).await;
        }
    };
    let read = async {
        loop {
            let seen = ledger(&*store, id).await;
            let order = seen.checkpoints.first().map_or(0, |checkpoint| checkpoint.order);
            assert_eq!(seen.unfinished.len() as u64, order, "half a flush was visible");
            if order == 500 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, read);
}
