//! Prints what the last run of the benches has measured, as one table.
#![expect(clippy::print_stdout, reason = "a command line program")]

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Group, case, what it is, the target, and how one element of throughput is called.
const ROWS: [(&str, &str, &str, &str, Unit); 5] = [
    ("slicing", "machine", "state machine alone", ">= 1,000,000 slices/s", Unit::Slices),
    ("dispatch", "sqlite", "dispatch, SQLite ledger", ">= 100,000 slices/s", Unit::Slices),
    ("state_store", "sqlite", "SQLite ledger alone", "", Unit::Slices),
    ("chain", "sandboxed", "five-operation chain, one core", ">= 3 x, 400 MiB/s", Unit::Bytes),
    ("pipeline", "teraslice", "file to file, one worker", "", Unit::Bytes),
];

#[derive(Clone, Copy)]
enum Unit {
    Slices,
    Bytes,
}

fn main() -> Result<()> {
    println!("{:<32}{:>22}{:>24}{:>20}", "what", "figure", "target", "x baseline");
    for (group, case, what, target, unit) in ROWS {
        let (figure, baseline) = (per_second(group, case)?, per_second(group, "baseline")?);
        let text = match unit {
            Unit::Slices => format!("{:.0} k slices/s", figure / 1e3),
            Unit::Bytes => format!("{:.0} MiB/s", figure / f64::from(1 << 20)),
        };
        println!("{what:<32}{text:>22}{target:>24}{:>20.2}", figure / baseline);
    }
    Ok(())
}

/// Returns the throughput of a case, from its median time.
fn per_second(group: &str, case: &str) -> Result<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("criterion").join(group).join(case).join("new");
    let read = |name: &str| -> Result<Value> {
        let text = fs::read_to_string(folder.join(name)).with_context(|| {
            format!("{group}/{case} was not measured: run `cargo bench -p teraslice-benches`")
        })?;
        Ok(serde_json::from_str(&text)?)
    };
    let nanos = read("estimates.json")?["median"]["point_estimate"].as_f64();
    let throughput = read("benchmark.json")?["throughput"].clone();
    let count = throughput["Elements"].as_f64().or(throughput["Bytes"].as_f64());
    let (nanos, count) = nanos.zip(count).context("criterion's files look different")?;
    Ok(count / nanos * 1e9)
}
