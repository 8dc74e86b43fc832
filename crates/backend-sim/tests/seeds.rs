//! Many runs, each with its own crashes, cuts, outages, delays, doubled and reordered messages.

use std::convert::Infallible;

use teraslice_backend_sim::{
    faults::Faults,
    scenario::{NAMES, Sabotage, Scenario},
    simulation::{Report, Simulation},
};

/// Seeds of each scenario that are always run; `TERASLICE_SIM_SEEDS` asks for more, `TERASLICE_SIM_SEED` for one.
const SEEDS: u64 = 150;

/// Every seed under which a law was broken once; what it was is in `docs/decisions/simulator.md`.
const FAILED: [(&str, u64); 19] = [
    ("cluster", 15_322),
    ("failover", 278),
    ("failover", 892),
    ("failover", 1_058),
    ("failover", 1_869),
    ("failover", 2_316),
    ("failover", 3_453),
    ("failover", 3_835),
    ("held", 16),
    ("held", 413),
    ("held", 1_463),
    ("held", 2_398),
    ("held", 3_552),
    ("held", 3_710),
    ("leaving", 922),
    ("leaving", 961),
    ("leaving", 1_513),
    ("leaving", 2_588),
    ("leaving", 3_453),
];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(name: &str, seed: u64) -> Report {
    Simulation::new(seed).run(name).expect("a scenario that is listed")
}

fn broken(name: &str, seed: u64) -> Option<String> {
    run(name, seed).broken.map(|law| format!("--scenario {name} --seed {seed}: {law}"))
}

#[test]
fn keeps_its_laws_under_any_seed() {
    let seeds = match variable("TERASLICE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("TERASLICE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let runs = NAMES.iter().flat_map(|(name, _)| seeds.clone().map(|seed| (*name, seed)));
    let violations: Vec<_> = runs.filter_map(|(name, seed)| broken(name, seed)).collect();
    assert_eq!(violations, Vec::<String>::new(), "replay one with `teraslice sim`");
}

#[test]
fn keeps_its_laws_under_every_seed_that_has_failed() {
    let violations: Vec<_> = FAILED.iter().filter_map(|(name, seed)| broken(name, *seed)).collect();
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn repeats_itself_under_the_same_seed() {
    for (name, _) in NAMES {
        for seed in 0..10 {
            assert_eq!(run(name, seed), run(name, seed), "{name} {seed}");
        }
    }
    let (hashes, count) = (NAMES.map(|(name, _)| run(name, 1).trace), NAMES.len());
    let unique: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(unique.len(), count, "other scenarios are other runs");
}

#[test]
fn really_strikes() {
    let reports: Vec<_> = (0..SEEDS).map(|seed| run("cluster", seed)).collect();
    let ends = || reports.iter().flat_map(|report| &report.ends);
    let (executions, controllers) = (ends().count() as u64, ends().map(|end| end.epochs.0).sum::<u64>());
    assert!(controllers > executions * 5 / 4, "{controllers} controllers of {executions} executions");
    let masters: u64 = reports.iter().map(|report| report.terms.0).sum();
    assert!(masters > SEEDS * 3 / 2, "{masters} masters in {SEEDS} runs");
    let completed: u64 = ends().map(|end| end.counts.completed).sum();
    assert!(completed > executions * 20, "{completed} slices of {executions} executions");
}

/// Runs seeds of a scenario with something broken on purpose; returns the laws that were broken.
fn sabotaged(name: &str, sabotage: Sabotage, faults: Option<&Faults>) -> Vec<String> {
    let seeds = if sabotage == Sabotage::FenceNobody { 1_000 } else { 20 };
    let run = |seed| {
        let drawn = Simulation::new(seed).run_with(|context| {
            let scenario = Scenario::draw(name, context).expect("a scenario that is listed");
            let faults = faults.cloned().unwrap_or_else(|| scenario.faults.clone());
            Ok::<_, Infallible>(Scenario { sabotage, faults, ..scenario })
        });
        drawn.unwrap_or_else(|never| match never {}).broken
    };
    (0..seeds).filter_map(run).collect()
}

#[test]
fn notices_a_cluster_that_loses_wishes() {
    let broken = sabotaged("calm", Sabotage::LoseWishes, None);
    assert_eq!(broken.len(), 20);
    assert!(broken.iter().all(|law| law.contains("after the calm")), "{broken:?}");
}

#[test]
fn notices_a_cluster_that_retires_nothing() {
    let broken = sabotaged("calm", Sabotage::RetireNothing, None);
    assert!(broken.iter().any(|law| law.contains("after the end of all executions")), "{broken:?}");
}

#[test]
fn notices_a_store_that_fences_nobody() {
    let broken = sabotaged("cluster", Sabotage::FenceNobody, None);
    assert!(broken.iter().any(|law| law.contains("of the fenced epoch")), "{broken:?}");
}

#[test]
fn notices_a_sink_that_loses_slices() {
    let broken = sabotaged("calm", Sabotage::LoseSlice, None);
    assert!(broken.len() > 10 && broken.iter().all(|law| law.contains("is in the output")), "{broken:?}");
}

#[test]
fn notices_work_that_is_disturbed() {
    let faults = Faults { node_crash: 0.2, calm_after: std::time::Duration::from_secs(60), ..Faults::none() };
    let broken = sabotaged("calm", Sabotage::None, Some(&faults));
    assert!(broken.iter().any(|law| law.contains("controllers")), "{broken:?}");
}
