//! `teraslice sim`: a whole simulated cluster under a seed, or many of them.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use serde::Serialize;
use teraslice_backend_sim::{
    scenario::NAMES,
    simulation::{Report, Simulation},
};
use teraslice_node::exit_code;

use crate::{
    args::{Common, Sim},
    failure::Failure,
    output, units,
};

/// Runs what is asked for; returns the exit code.
pub(crate) fn execute(common: &Common, arguments: &Sim) -> Result<u8, Failure> {
    if !NAMES.iter().any(|(name, _)| *name == arguments.scenario) {
        let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        let unknown = format!("there is no scenario \"{}\"", arguments.scenario);
        let hint = format!("the scenarios are: {}", known.join(", "));
        return Err(Failure::text(exit_code::BAD_JOB, unknown).with_hint(hint));
    }
    match arguments.seeds {
        None => one(common, arguments),
        Some(count) => many(common, arguments, count),
    }
}

/// One run, with all that happened.
#[derive(Serialize)]
struct Run {
    seed: u64,
    scenario: String,
    broken: Option<String>,
    /// The hash of all that happened: the same for the same seed.
    hash: String,
    events: Vec<String>,
}

fn one(common: &Common, arguments: &Sim) -> Result<u8, Failure> {
    let simulation = Simulation::new(arguments.seed).with_lines();
    let report = run(&simulation, &arguments.scenario)?;
    let found = Run {
        seed: report.seed,
        scenario: arguments.scenario.clone(),
        broken: report.broken,
        hash: format!("{:016x}", report.trace.0),
        events: report.lines,
    };
    output::print(common.output, &found, || {
        let mut text = found.events.join("\n");
        let verdict =
            found.broken.as_deref().map_or("all laws were kept".to_owned(), |law| format!("BROKEN: {law}"));
        let _infallible =
            writeln!(text, "\nseed {} of {}: {verdict}, trace {}", found.seed, found.scenario, found.hash);
        text
    })?;
    Ok(verdict(found.broken.is_none()))
}

/// Many runs, in numbers.
#[derive(Serialize)]
struct Summary {
    scenario: String,
    first_seed: u64,
    seeds: u64,
    broken: Vec<Broken>,
    events: u64,
    seconds: f64,
    seeds_per_minute: f64,
}

/// A run that broke a law.
#[derive(Serialize)]
struct Broken {
    seed: u64,
    law: String,
}

#[expect(clippy::disallowed_methods, reason = "how fast it is, is told in real time")]
fn many(common: &Common, arguments: &Sim, seeds: u64) -> Result<u8, Failure> {
    let start = Instant::now();
    let reports = run_all(arguments, seeds)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut broken: Vec<_> = reports
        .iter()
        .filter_map(|report| Some(Broken { seed: report.seed, law: report.broken.clone()? }))
        .collect();
    broken.sort_by_key(|broken| broken.seed);
    let found = Summary {
        scenario: arguments.scenario.clone(),
        first_seed: arguments.seed,
        seeds,
        broken,
        events: reports.iter().map(|report| report.trace.1).sum(),
        seconds,
        seeds_per_minute: seeds as f64 * 60.0 / seconds.max(f64::EPSILON),
    };
    output::print(common.output, &found, || render(&found))?;
    Ok(verdict(found.broken.is_empty()))
}

fn render(found: &Summary) -> String {
    let mut text = String::new();
    for Broken { seed, law } in &found.broken {
        let _infallible = writeln!(text, "seed {seed}: {law}");
    }
    let _infallible = writeln!(
        text,
        "{} seeds of {} from {}: {} broke a law, {} events, {:.0} seeds per minute",
        units::count(found.seeds),
        found.scenario,
        found.first_seed,
        units::count(found.broken.len() as u64),
        units::count(found.events),
        found.seeds_per_minute,
    );
    text
}

/// Runs seeds on all processors.
fn run_all(arguments: &Sim, seeds: u64) -> Result<Vec<Report>, Failure> {
    let (next, reports) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), Failure> {
        loop {
            let done = next.fetch_add(1, Ordering::Relaxed);
            if done >= seeds {
                return Ok(());
            }
            let report = run(&Simulation::new(arguments.seed.wrapping_add(done)), &arguments.scenario)?;
            reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        started
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(reports.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn run(simulation: &Simulation, scenario: &str) -> Result<Report, Failure> {
    simulation.run(scenario).map_err(|unknown| Failure::new(exit_code::BAD_JOB, unknown))
}

const fn verdict(is_kept: bool) -> u8 {
    if is_kept { exit_code::DONE } else { exit_code::FAILED }
}
