//! Memory is bounded by batches and queues, whatever the number of slices.

use std::{process::Stdio, time::Duration};

use teraslice_tests::{Stage, balanced, binary, finish, peak_kib};

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

#[test]
fn runs_where_address_space_is_short() {
    let stage = Stage::default();
    stage.write("job.yaml", JOB);
    stage.write("in.ldjson", "{\"n\":1}\n");
    // 40 GiB: room for a few instances, not for a pool of them.
    let script = format!("ulimit -v 40000000; exec {:?} run job.yaml -o json --log-level warn", binary());
    let mut command = stage.command(&[]);
    let folder = command.get_current_dir().map(std::path::Path::to_owned).expect("a stage has a folder");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.envs(command.stdin(Stdio::null()).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = finish(shell.spawn().unwrap(), Duration::from_mins(2));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(balanced(&ended.json())[2]["received"], 1);
    assert!(ended.stderr.contains("no instance pool"), "{}", ended.stderr);
}
