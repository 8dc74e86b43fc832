//! Answers as the memory store does.

use super::*;
use crate::{MemoryStore, alike};

const SEEDS: u64 = 60;

#[tokio::test(start_paused = true)]
async fn answers_as_the_memory_store_does() {
    let context = Context::simulated(1);
    for seed in 0..SEEDS {
        let directory = tempdir().unwrap();
        let sqlite = SqliteStore::open(directory.path(), SqliteOptions::new(context.clone())).unwrap();
        alike::compare(&MemoryStore::new(context.clone()), &sqlite, seed, |answer| answer).await;
    }
}
