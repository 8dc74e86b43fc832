//! Answers as the memory store does.

use super::*;
use crate::{MemoryStore, alike};

const SEEDS: u64 = 6;
/// Later times are those at which something was done.
const NOW: i64 = 1_650_000_000_000;

#[tokio::test]
async fn answers_as_the_memory_store_does() {
    for stage in Stage::all() {
        for seed in 0..SEEDS {
            let store = stage.open().await;
            let memory = MemoryStore::new(Context::system());
            alike::compare(&memory, &store, seed, redacted).await;
            store.close().await.unwrap();
            stage.clear().await;
        }
    }
}

/// Leaves out at which time something was done.
fn redacted(answer: String) -> String {
    let mut parts = answer.split("Timestamp(");
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (millis, rest) = part.split_once(')').unwrap();
        let is_now = millis.parse::<i64>().unwrap() > NOW;
        redacted.push_str(&format!("Timestamp({}){rest}", if is_now { "now" } else { millis }));
    }
    redacted
}
