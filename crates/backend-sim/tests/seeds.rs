//! A thousand runs, each with its own crashes, delays, doubled and reordered messages.

use std::sync::Arc;

use teraslice_backend_sim::simulation::{Report, Simulation, Violation};
use teraslice_store::MemoryStore;

const SEEDS: u64 = 1_000;

fn run(seed: u64) -> Result<Report, Violation> {
    Simulation::run(seed, |context| Arc::new(MemoryStore::new(context.clone())))
}

/// Returns the seeds to run: all, or the one that is to be replayed.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("TERASLICE_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    }
}

#[test]
fn loses_and_doubles_nothing_under_any_seed() {
    let mut violations = Vec::new();
    let mut epochs = 0;
    for seed in seeds() {
        match run(seed) {
            Ok(report) => epochs += report.epochs.0,
            Err(violation) => violations.push(violation.to_string()),
        }
    }
    assert_eq!(violations, Vec::<String>::new(), "replay one with TERASLICE_SIM_SEED");
    let runs = seeds().count() as u64;
    assert!(runs == 1 || epochs > runs * 5 / 4, "{epochs} controllers in {runs} runs: too few were killed");
}

#[test]
fn repeats_itself_under_the_same_seed() {
    for seed in [3, 77, 500] {
        assert_eq!(run(seed), run(seed));
    }
}
