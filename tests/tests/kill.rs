//! Runs are killed at random moments and resumed: nothing is lost, nothing is doubled.

use std::{fmt::Write, process::Child, thread::sleep, time::Duration};

use teraslice_tests::{Ended, Stage, balanced, children, finish, kill};

/// Runs that are killed, every other one with worker processes.
const RUNS: u64 = 100;
/// Runs that lose worker processes, two each.
const RUNS_WITH_LOSSES: u64 = 50;
/// Records of the input; 1 in 10 is dropped.
const RECORDS: u64 = 3_000;
/// A killed run was at work for at most this long; an undisturbed one takes about as long.
const WORK_MAX: Duration = Duration::from_millis(400);
const RUN_MAX: Duration = Duration::from_mins(1);

const JOB: &str = r#"
name: killed
workers: 2
max_retries: 0
operations:
  - _op: file_reader
    path: input.ldjson
    format: ldjson
    size: 1000
  - _op: filter
    field: kind
    value: 0
  - _op: set_field
    field: seen
    value: true
  - _op: delay
    ms: 3
  - _op: file_exporter
    path: out
    format: ldjson
"#;

fn stage() -> Stage {
    let stage = Stage::default();
    let mut input = String::new();
    for n in 0..RECORDS {
        writeln!(input, "{{\"n\":{n},\"kind\":{}}}", n % 10).expect("memory can be written");
    }
    stage.write("input.ldjson", input);
    stage.write("job.yaml", JOB);
    stage
}

fn expected() -> Vec<String> {
    let kept = (0..RECORDS).filter(|n| n % 10 != 0);
    let mut lines: Vec<_> =
        kept.map(|n| format!("{{\"n\":{n},\"kind\":{},\"seen\":true}}", n % 10)).collect();
    lines.sort_unstable();
    lines
}

/// Goes on until nothing is left to resume; returns the last run.
fn resume(stage: &Stage) -> Ended {
    let runs = stage.run(&["history", "-o", "json"]).json();
    let is_resumable = runs.as_array().is_some_and(|runs| runs.iter().any(|run| run["is_resumable"] == true));
    let has_run = runs.as_array().is_some_and(|runs| !runs.is_empty());
    match (has_run, is_resumable) {
        (true, true) => stage.run(&["resume", "-o", "json"]),
        // Killed after its end.
        (true, false) => stage.run(&["history", runs[0]["ex_id"].as_str().unwrap_or_default(), "-o", "json"]),
        // Killed before it was written down that it runs.
        (false, _) => stage.run(&["run", "job.yaml", "-o", "json"]),
    }
}

fn check(stage: &Stage, ended: &Ended, seed: u64, round: u64) {
    let place = format!("seed {seed}, round {round}: {}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{place}");
    let lines = stage.lines("out");
    assert_eq!(lines.len(), expected().len(), "{place}");
    assert_eq!(lines, expected(), "{place}");
    let counts = balanced(&ended.json());
    assert_eq!(counts[0]["created"], RECORDS, "{place}");
    assert_eq!(counts[1]["dropped"], RECORDS / 10, "{place}");
}

fn start(stage: &Stage, arguments: &[&str]) -> Child {
    stage.command(arguments).spawn().expect("the binary starts")
}

fn seed() -> u64 {
    let given = std::env::var("TERASLICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}

#[test]
fn a_killed_run_goes_on_where_it_stopped() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..RUNS {
        let stage = stage();
        let mode: &[&str] = if round % 2 == 0 { &[] } else { &["--processes"] };
        let run = start(&stage, &[&["run", "job.yaml", "-o", "json"], mode].concat());
        sleep(WORK_MAX.mul_f64(random.f64()));
        kill(run.id());
        let _killed = finish(run, RUN_MAX);
        check(&stage, &resume(&stage), seed, round);
    }
}

#[test]
fn a_run_outlives_its_worker_processes() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    for round in 0..RUNS_WITH_LOSSES {
        let stage = stage();
        let slower = ["--processes", "--set", "operations.3.ms=15"];
        let run = start(&stage, &[&["run", "job.yaml", "-o", "json"], &slower[..]].concat());
        for _ in 0..2 {
            sleep(WORK_MAX.mul_f64(random.f64() / 2.0));
            let workers = children(run.id());
            if !workers.is_empty() {
                kill(workers[random.usize(..workers.len())]);
                kills += 1;
            }
        }
        let ended = finish(run, RUN_MAX);
        check(&stage, &ended, seed, round);
    }
    assert!(kills >= RUNS_WITH_LOSSES, "{kills} workers were killed");
}
