//! Memory is bounded by batches and queues, whatever the number of slices.

use std::time::Duration;

use teraslice_tests::{Stage, balanced, finish, peak_kib};

/// Slices of one line each.
const SLICES: u64 = 30_000;
/// Two workers with the standard asset; the bench report holds the same for a million slices.
const RESIDENT_KIB_MAX: u64 = 120 * 1024;

const JOB: &str = "
name: small
workers: 2
operations:
  - {_op: file_reader, path: in.ldjson, format: ldjson, size: 10}
  - {_op: set_field, field: seen, value: true}
  - {_op: file_exporter, path: out, format: ldjson}
";

#[test]
fn stays_the_same_over_many_slices() {
    let stage = Stage::default();
    stage.write("job.yaml", JOB);
    let lines: String = (0..SLICES).map(|n| format!("{{\"n\":{}}}\n", 100 + n % 900)).collect();
    assert_eq!(lines.len() as u64, SLICES * 10);
    stage.write("in.ldjson", lines);
    // Compiles the asset, if need be.
    assert_eq!(stage.run(&["validate", "job.yaml"]).code, Some(0));
    let child = stage.command(&["run", "job.yaml", "-o", "json"]).spawn().unwrap();
    let pid = child.id();
    let watch = std::thread::spawn(move || peak_kib(pid));
    let ended = finish(child, Duration::from_mins(5));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = ended.json();
    assert_eq!(run["slices"]["completed"], SLICES);
    assert_eq!(balanced(&run)[2]["received"], SLICES);
    let peak = watch.join().unwrap();
    assert!((1..=RESIDENT_KIB_MAX).contains(&peak), "{peak} KiB resident");
}
