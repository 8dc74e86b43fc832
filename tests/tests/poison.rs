//! Records that break an operation: exactly they become dead letters, whatever else happens.

use std::{collections::BTreeSet, fmt::Write, path::Path, thread::sleep, time::Duration};

use serde_json::Value;
use teraslice_tests::{Ended, Stage, balanced, children, finish, kill, peak_kib};

const RUN_MAX: Duration = Duration::from_mins(5);
const RESIDENT_KIB_MAX: u64 = 120 * 1024;

/// A stage with the testing asset, a job whose second operation breaks on some records, and that many slices.
fn stage(op: &str, slices: u64, bad: impl Fn(u64) -> bool) -> Stage {
    let stage = Stage::default();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/dist");
    stage.write("config.yaml", format!("teraslice:\n  assets_directory: {assets:?}\n"));
    let mut input = String::new();
    let records = slices * PER_SLICE;
    for n in 0..records {
        writeln!(input, "{{\"n\":{:06},\"{op}\":{:5}}}", n + 100_000, bad(n)).expect("memory can be written");
    }
    let job = format!(
        "name: poison\nworkers: 2\nmax_retries: 0\nwasm_time_per_batch: 100\nassets: [testing, standard]\noperations:\n  \
         - {{_op: file_reader, path: input.ldjson, format: ldjson, size: {}}}\n  \
         - {{_op: set_field, field: seen, value: true}}\n  - {{_op: test_{op}}}\n  \
         - {{_op: file_exporter, path: out, format: ldjson}}\n",
        input.len() as u64 / slices
    );
    stage.write("input.ldjson", input);
    stage.write("job.yaml", job);
    // Compiles the assets, if need be.
    assert_eq!(stage.run(&["validate", "job.yaml", "-c", "config.yaml"]).code, Some(0));
    stage
}

const PER_SLICE: u64 = 10;

fn numbers<'a>(records: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let number = |record: &str| {
        let record: Value = serde_json::from_str(record).expect("a record is JSON");
        record["n"].as_u64().expect("it has a number") - 100_000
    };
    records.map(number).collect()
}

/// Checks that the bad records are dead letters, each once, and the others are in the output, each once.
fn check(stage: &Stage, ended: &Ended, slices: u64, bad: impl Fn(u64) -> bool) {
    let place = format!("{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{place}");
    let run = ended.json();
    assert_eq!(run["slices"]["completed"], slices, "{place}");
    let records = slices * PER_SLICE;
    let (expected_bad, expected_good): (Vec<u64>, Vec<u64>) = (0..records).partition(|n| bad(*n));
    assert_eq!(balanced(&run)[2]["dead_lettered"], expected_bad.len() as u64, "{place}");
    let lines = stage.lines("out");
    assert_eq!(numbers(lines.iter().map(String::as_str)), expected_good, "{place}");
    let ex_id = run["ex_id"].as_str().expect("a run has an id");
    let letters = stage.run(&["dead-letters", "list", ex_id, "--size", "1000", "-o", "json"]).json();
    let letters = letters.as_array().expect("letters are a list");
    let records: Vec<_> = letters.iter().filter_map(|letter| letter["record"].as_str()).collect();
    let found: BTreeSet<_> = numbers(records.iter().copied()).into_iter().collect();
    assert_eq!(
        (found, records.len()),
        (expected_bad.iter().copied().collect(), expected_bad.len()),
        "{place}"
    );
    for letter in letters {
        assert_eq!(letter["operation"], 2, "{letter}");
    }
}

#[test]
fn traps_in_a_percent_of_ten_thousand_slices_cost_exactly_the_bad_records() {
    const SLICES: u64 = 10_000;
    let bad = |n: u64| n % 1_000 == 777;
    let stage = stage("trap", SLICES, bad);
    let child = stage.command(&["run", "job.yaml", "-c", "config.yaml", "-o", "json"]).spawn().unwrap();
    let pid = child.id();
    let watch = std::thread::spawn(move || peak_kib(pid));
    let ended = finish(child, RUN_MAX);
    check(&stage, &ended, SLICES, bad);
    let peak = watch.join().unwrap();
    assert!((1..=RESIDENT_KIB_MAX).contains(&peak), "{peak} KiB resident");
}

#[test]
fn workers_killed_while_they_look_for_the_record_at_fault_lose_nothing() {
    const SLICES: u64 = 12;
    let bad = |n: u64| n % 10 == 3;
    let mut kills = 0;
    for _ in 0..6 {
        let stage = stage("spin", SLICES, bad);
        // Compiles the assets, if need be: the compiler is a child too, and not meant here.
        assert_eq!(stage.run(&["validate", "job.yaml", "-c", "config.yaml"]).code, Some(0));
        let arguments = ["run", "job.yaml", "-c", "config.yaml", "-o", "json", "--processes"];
        let mut run = stage.command(&arguments).spawn().unwrap();
        for _ in 0..2 {
            sleep(Duration::from_millis(fastrand::u64(200..900)));
            assert_eq!(run.try_wait().unwrap(), None, "it looks for records until it is disturbed");
            let workers = children(run.id());
            if let Some(worker) = workers.get(fastrand::usize(..workers.len().max(1))) {
                kill(*worker);
                kills += 1;
            }
        }
        let ended = finish(run, RUN_MAX);
        check(&stage, &ended, SLICES, bad);
    }
    assert!(kills >= 6, "{kills} workers were killed");
}
