//! Both stores answer alike, whatever is asked of them: random calls under a seed.

use std::fmt::Debug;
use teraslice_core::store::Letters;

use teraslice_core::store::StatusChange;
use teraslice_model::{
    dead_letter::{DeadLetter, Encoding},
    execution::Stats,
    status::Status,
};

use super::*;
use crate::MemoryStore;

const SEEDS: u64 = 60;
const CALLS: usize = 60;

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

/// Does one random call on a store and returns all that can be said about its outcome.
async fn call(store: &dyn StateStore, random: &mut fastrand::Rng) -> String {
    fn said(result: impl Debug) -> String {
        format!("{result:?}")
    }
    let number = random.u8(1..4);
    let id = execution(number).ex_id;
    let page = Page { from: random.u64(..4), size: random.u64(..6) };
    match random.u32(..12) {
        0 => said(store.create_execution(execution(number)).await),
        1 => said(store.execution(id).await),
        2 => said(store.executions(page).await),
        3 => said(store.set_status(id, change(random)).await),
        4 => said(store.begin_epoch(id, Generation(random.u64(0..=2))).await),
        5..8 => said(store.append(id, writer(random), random_flush(random, id)).await),
        8 => said(store.ledger(id).await),
        9 => {
            let states = [SliceState::Pending, SliceState::Completed, SliceState::Error];
            said(store.slices(id, pick(random, &states), page).await)
        }
        10 => said(store.slice_counts(id).await),
        _ => {
            let kept = store.dead_letters(id, Letters::All, page).await;
            // How they are numbered is up to the store.
            said(kept.map(|kept| kept.into_iter().map(|kept| kept.letter).collect::<Vec<_>>()))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_as_the_memory_store_does() {
    let context = Context::simulated(1);
    for seed in 0..SEEDS {
        let directory = tempdir().unwrap();
        let sqlite = SqliteStore::open(directory.path(), SqliteOptions::new(context.clone())).unwrap();
        let memory = MemoryStore::new(context.clone());
        let mut random = fastrand::Rng::with_seed(seed);
        for turn in 0..CALLS {
            let mut same = random.clone();
            let (one, two) = (call(&memory, &mut random).await, call(&sqlite, &mut same).await);
            assert_eq!(one, two, "seed {seed}, call {turn}");
        }
    }
}
