//! Many runs, each with its own crashes, cuts, outages, delays, doubled and reordered messages.

use teraslice_backend_sim::{
    scenario::NAMES,
    simulation::{Report, Simulation},
};

const SEEDS: u64 = 150;

fn run(name: &str, seed: u64) -> Report {
    Simulation::new(seed).run(name).expect("a scenario that is listed")
}

#[test]
fn keeps_its_laws_under_any_seed() {
    let seeds = match std::env::var("TERASLICE_SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    let mut violations = Vec::new();
    for (name, _) in NAMES {
        for seed in seeds.clone() {
            violations.extend(run(name, seed).broken.map(|law| format!("{name} {seed}: {law}")));
        }
    }
    assert_eq!(violations, Vec::<String>::new());
}
