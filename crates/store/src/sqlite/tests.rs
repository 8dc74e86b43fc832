//! Tests of the SQLite store, each in a directory of its own.

mod alike;
mod durable;
mod full;
mod kill;
mod lists;
mod refusals;
mod versions;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::{TempDir, tempdir};
use teraslice_core::{
    conformance::store::{execution, record, run},
    store::{Flush, Page, StateStore, StoreError, Totals, Writer},
};
use teraslice_model::{
    checkpoint::Checkpoint,
    id::{Epoch, ExId, Generation},
    slice::SliceState,
};

use super::*;

const ALL: Page = Page { from: 0, size: u64::MAX };
const FIRST: Writer = Writer { generation: Generation(1), epoch: Epoch(0) };

fn options() -> SqliteOptions {
    SqliteOptions::new(Context::system())
}

fn open(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(directory.path(), options()).unwrap()
}

/// A directory that holds a closed store with one execution and ten slices.
async fn used() -> (TempDir, ExId) {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    store.create_execution(execution(1)).await.unwrap();
    let id = execution(1).ex_id;
    store.append(id, FIRST, flush(id, 1, 10)).await.unwrap();
    (directory, id)
}

/// The slices from `first` to `last`, every second one pending, and the checkpoint after them.
fn flush(id: ExId, first: u64, last: u64) -> Flush {
    let state =
        |order: u64| if order.is_multiple_of(2) { SliceState::Pending } else { SliceState::Completed };
    Flush {
        slices: (first..=last).map(|order| record(id, 0, order, state(order))).collect(),
        checkpoints: vec![Checkpoint { order: last, ..Checkpoint::start(0) }],
        totals: Totals { completed: last.div_ceil(2), ..Totals::default() },
        ..Flush::default()
    }
}

async fn check_laws(durability: Durability) {
    let directories = tempdir().unwrap();
    let made = AtomicUsize::new(0);
    run(async || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let directory = directories.path().join(number.to_string());
        let options = SqliteOptions { durability, ..options() };
        let store: Arc<dyn StateStore> = Arc::new(SqliteStore::open(&directory, options).unwrap());
        store
    })
    .await;
}

#[tokio::test]
async fn keeps_the_laws_of_a_state_store() {
    check_laws(Durability::Process).await;
}

#[tokio::test]
async fn keeps_the_laws_when_each_write_waits_for_the_disk() {
    check_laws(Durability::Machine).await;
}
