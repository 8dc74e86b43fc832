//! The flights job of `examples/flights`, and what an independent script makes of the same table.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use teraslice_model::job::Format;

use crate::{cache, root};

/// Rows of the table.
pub const ROWS: u64 = 336_776;

/// Returns the table, fetched if it is not there.
///
/// # Panics
///
/// When it cannot be had.
#[must_use]
pub fn table() -> PathBuf {
    let table = cache("demo").join("flights.csv");
    let fetch = root().join("examples/flights/fetch.sh");
    let fetched = Command::new(fetch).arg(&table).status().expect("the script runs");
    assert!(fetched.success(), "the flights table could not be had");
    table
}

/// Returns the job, which reads and writes relative paths.
///
/// # Panics
///
/// When it is not there.
#[must_use]
pub fn job() -> Value {
    let text = fs::read_to_string(root().join("examples/flights/job.yaml")).expect("the example is there");
    Format::of("job.yaml".as_ref()).parse(&text).expect("the example is right")
}

/// Returns the job with these paths, in small slices.
///
/// # Panics
///
/// When the example has other operations.
#[must_use]
pub fn job_with(table: &Path, out: &Path, workers: u32) -> Value {
    let mut job = job();
    job["workers"] = workers.into();
    let operations = job["operations"].as_array_mut().expect("a job has operations");
    let (first, last) = (0, operations.len() - 1);
    operations[first]["path"] = table.to_string_lossy().into();
    operations[first]["size"] = 100_000.into();
    operations[last]["path"] = out.to_string_lossy().into();
    job
}

/// Returns the lines that the script writes for a table, in order, and what it says of bad ones.
///
/// # Panics
///
/// When it fails.
#[must_use]
pub fn expected(table: &Path) -> (Vec<String>, String) {
    let script = root().join("examples/flights/reference.py");
    let ended = Command::new("python3").arg(script).arg(table).output().expect("it runs");
    let mut lines: Vec<_> = String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert!(lines.len() > 300_000, "{} records", lines.len());
    (lines, String::from_utf8_lossy(&ended.stderr).into_owned())
}

/// Checks written lines against those of the script.
///
/// # Panics
///
/// When they differ.
pub fn check(written: &[String], expected: &[String]) {
    assert_eq!(written.len(), expected.len());
    let differs = written.iter().zip(expected).find(|(written, expected)| written != expected);
    assert_eq!(differs, None);
}
