//! Stores answer alike, whatever is asked of them: random calls under a seed.

use std::fmt::Debug;

use serde_json::{Map, json};
use teraslice_core::{
    conformance::store::{execution, record},
    store::{
        ErrorQuery, ExecutionQuery, ExecutionUpdate, Flush, JobQuery, Letters, Page, Sort, StateStore,
        StatusChange, Writer,
    },
};
use teraslice_model::{
    checkpoint::Checkpoint,
    dead_letter::{DeadLetter, Encoding},
    execution::{JobRecord, Stats},
    filter::Filter,
    id::{Epoch, ExId, Generation, JobId},
    slice::SliceState,
    status::Status,
    timestamp::Timestamp,
};

const CALLS: usize = 60;

/// Does the same random calls on two stores; `redacted` leaves out of an answer what may differ.
pub(crate) async fn compare(
    one: &dyn StateStore,
    other: &dyn StateStore,
    seed: u64,
    redacted: impl Fn(String) -> String,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    for turn in 0..CALLS {
        let mut same = random.clone();
        let answer = call(one, &mut random).await;
        assert_eq!(redacted(answer), redacted(call(other, &mut same).await), "seed {seed}, call {turn}");
    }
}

fn pick<T: Clone>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())].clone()
}

fn change(random: &mut fastrand::Rng) -> StatusChange {
    let usual = [Status::Pending, Status::Running, Status::Failing, Status::Stopped, Status::Completed];
    StatusChange {
        from: pick(random, &usual),
        to: pick(random, &usual),
        failure: random.bool().then(|| "why".to_owned()),
        stats: random.bool().then(|| Stats { processed: random.u64(..9), ..Stats::default() }),
        writer: random.bool().then(|| writer(random)),
    }
}

fn writer(random: &mut fastrand::Rng) -> Writer {
    Writer { generation: Generation(random.u64(0..=2)), epoch: Epoch(random.u64(0..=3)) }
}

fn random_flush(random: &mut fastrand::Rng, id: ExId) -> Flush {
    let states = [SliceState::Pending, SliceState::Completed, SliceState::Completed, SliceState::Error];
    let mut flush = Flush::default();
    for _ in 0..random.usize(..6) {
        let mut slice = record(id, random.u32(..3), random.u64(1..8), pick(random, &states));
        slice.deaths = random.u32(..3);
        slice.error = random.bool().then(|| "error".into());
        if slice.state == SliceState::Completed && random.bool() {
            flush.dead_letters.push(DeadLetter {
                slice_id: slice.slice.id,
                operation: random.u32(..5),
                op: "filter".to_owned(),
                reason: random.u64(..).to_string(),
                record: "{}".to_owned(),
                encoding: Encoding::Text,
                metadata: random.bool().then(|| "{}".to_owned()),
            });
        }
        flush.slices.push(slice);
    }
    for slicer_id in 0..random.u32(..3) {
        flush.checkpoints.push(Checkpoint { order: random.u64(..9), ..Checkpoint::start(slicer_id) });
    }
    flush.totals.completed = random.u64(..100);
    flush
}

fn random_job(random: &mut fastrand::Rng) -> JobRecord {
    let mut job = json!({"name": pick(random, &["one", "two", "three"]), "workers": random.u8(..3)});
    if random.bool() {
        job["active"] = json!(random.bool());
    }
    let time = |random: &mut fastrand::Rng| Timestamp::from_millis(1_600_000_000_000 + random.i64(0..3));
    JobRecord {
        job_id: JobId::from_random([random.u8(..9); 16]),
        job: job.as_object().unwrap().clone(),
        deleted: random.u8(..4).eq(&0).then(|| time(random)),
        created: time(random),
        updated: time(random),
    }
}

fn maybe<T: Clone>(random: &mut fastrand::Rng, of: &[T]) -> Option<T> {
    random.bool().then(|| pick(random, of))
}

fn random_filter(random: &mut fastrand::Rng) -> Option<Filter> {
    let texts = [
        "name:(one OR law)",
        "workers:>0 OR _status:pending",
        "NOT _slicer_stats.processed:5",
        "slicer_id:0",
    ];
    maybe(random, &texts).map(|text| Filter::parse(text).unwrap())
}

fn random_sort(random: &mut fastrand::Rng) -> Option<Sort> {
    let fields = ["_created", "_updated", "workers", "name", "slicer_order", "_slicer_stats.processed"];
    maybe(random, &fields).map(|field| Sort { field: field.to_owned(), is_descending: random.bool() })
}

fn random_update(random: &mut fastrand::Rng) -> ExecutionUpdate {
    let mut metadata = Map::new();
    metadata.insert(pick(random, &["a", "b"]).to_owned(), json!(random.u8(..)));
    ExecutionUpdate {
        slicer: random.bool().then(|| ("host".to_owned(), random.u16(..))),
        workers_wanted: maybe(random, &[0, 7]),
        deleted: random.u8(..5).eq(&0).then(|| Timestamp::from_millis(7)),
        metadata,
        stats: random.bool().then(|| Stats { processed: random.u64(..9), queued: 1, ..Stats::default() }),
    }
}

/// Asks for one random list.
async fn list(store: &dyn StateStore, random: &mut fastrand::Rng, page: Page) -> String {
    let (filter, sort) = (random_filter(random), random_sort(random));
    let is_deleted = maybe(random, &[true, false]);
    match random.u32(..3) {
        0 => {
            let is_active = maybe(random, &[true, false]);
            said(store.jobs(JobQuery { is_deleted, is_active, filter, sort, page }).await)
        }
        1 => {
            let count = random.usize(..5);
            let statuses = random.choose_multiple(Status::ALL, count);
            let job_id = maybe(random, &[execution(1).job_id, JobId::from_random([9; 16])]);
            said(store.executions(ExecutionQuery { job_id, statuses, is_deleted, filter, sort, page }).await)
        }
        _ => {
            let ex_id = maybe(random, &[execution(1).ex_id, execution(2).ex_id]);
            said(store.errors(ErrorQuery { ex_id, filter, sort, page }).await)
        }
    }
}

fn said(result: impl Debug) -> String {
    format!("{result:?}")
}

/// Does one random call on a store and returns all that can be said about its outcome.
async fn call(store: &dyn StateStore, random: &mut fastrand::Rng) -> String {
    let number = random.u8(1..4);
    let id = execution(number).ex_id;
    let page = Page { from: random.u64(..4), size: random.u64(..6) };
    match random.u32(..18) {
        0 => said(store.create_execution(execution(number)).await),
        1 => said(store.execution(id).await),
        2 => said(store.sums().await),
        3 => said(store.set_status(id, change(random)).await),
        4 => said(store.begin_epoch(id, Generation(random.u64(0..=2))).await),
        5..8 => said(store.append(id, writer(random), random_flush(random, id)).await),
        8 => said(store.ledger(id).await),
        9 => {
            let states = [SliceState::Pending, SliceState::Completed, SliceState::Error];
            said(store.slices(id, pick(random, &states), page).await)
        }
        10 => said(store.slice_counts(id).await),
        11 => said(store.put_job(random_job(random)).await),
        12 => said(store.update_execution(id, random_update(random)).await),
        13..17 => list(store, random, page).await,
        _ => {
            let kept = store.dead_letters(id, Letters::All, page).await;
            // How they are numbered is up to the store.
            said(kept.map(|kept| kept.into_iter().map(|kept| kept.letter).collect::<Vec<_>>()))
        }
    }
}
