//! Memory is bounded by batches and queues, whatever the number of slices.

use std::{fs, thread::sleep, time::Duration};

use teraslice_tests::{Stage, balanced, finish};

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

/// Returns the most memory that a process had so far, while it is there.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn stays_the_same_over_many_slices() {
    let stage = Stage::default();
    stage.write("job.yaml", JOB);
    let lines: String = (0..SLICES).map(|n| format!("{{\"n\":{}}}\n", 100 + n % 900)).collect();
    assert_eq!(lines.len() as u64, SLICES * 10);
    stage.write("in.ldjson", lines);
    let child = stage.command(&["run", "job.yaml", "-o", "json"]).spawn().unwrap();
    let pid = child.id();
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = peak_kib(pid) {
            peak = now;
            sleep(Duration::from_millis(20));
        }
        peak
    });
    let ended = finish(child, Duration::from_mins(5));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = ended.json();
    assert_eq!(run["slices"]["completed"], SLICES);
    assert_eq!(balanced(&run)[2]["received"], SLICES);
    let peak = watch.join().unwrap();
    assert!((1..=RESIDENT_KIB_MAX).contains(&peak), "{peak} KiB resident");
}
