//! Prints what the last run of the benches has measured, as one table.
#![expect(clippy::print_stdout, reason = "a command line program")]

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Group, case, what it is, the target, and what is measured.
const ROWS: [(&str, &str, &str, &str, Unit); 18] = [
    ("slicing", "machine", "state machine alone", ">= 1,000,000 slices/s", Unit::Slices),
    ("dispatch", "sqlite", "dispatch, SQLite ledger", ">= 100,000 slices/s", Unit::Slices),
    ("dispatch_rpc", "remote", "dispatch over gRPC, 2 workers", ">= 50,000 slices/s", Unit::Slices),
    ("submit_latency", "cluster", "POST to first slice, warm node", "<= 100 ms", Unit::Time),
    ("plugin", "library_p99", "call of a library, 99 %", "<= 20 us", Unit::Time),
    ("plugin", "process_p99", "call of a process, 99 %", "<= 300 us", Unit::Time),
    ("state_store", "sqlite", "SQLite ledger alone", "", Unit::Slices),
    ("chain", "sandboxed", "five-operation chain, one core", ">= 3 x, 400 MiB/s", Unit::Bytes),
    ("pipeline", "teraslice", "file to file, one worker", "", Unit::Bytes),
    ("native", "default", "five steps against native", ">= 0.5 x", Unit::Bytes),
    ("native", "trusted", "the same, trusted tier", ">= 0.65 x", Unit::Bytes),
    ("single", "chain", "chain against single steps", ">= 3 x", Unit::Bytes),
    ("abi", "component", "component against core ABI", ">= 0.91 x", Unit::Bytes),
    ("instance", "c", "fresh instance, C", "<= 20 us", Unit::Time),
    ("instance", "rust", "fresh instance, Rust", "<= 20 us", Unit::Time),
    ("load", "c", "cached asset, C, 28 KB", "< 1 ms", Unit::Time),
    ("load", "standard", "cached asset, Rust, 7 MB", "", Unit::Time),
    ("load", "large", "cached asset, 30 MB", "< 10 ms", Unit::Time),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Slices,
    Bytes,
    /// Of one go; most have no baseline.
    Time,
}

fn main() -> Result<()> {
    println!("{:<32}{:>22}{:>24}{:>20}", "what", "figure", "target", "x baseline");
    for (group, case, what, target, unit) in ROWS {
        let Ok(figure) = per_second(group, case) else {
            println!("{what:<32}{:>22}{target:>24}", "NOT MEASURED");
            continue;
        };
        let text = match unit {
            Unit::Slices => format!("{:.0} k slices/s", figure / 1e3),
            Unit::Bytes => format!("{:.0} MiB/s", figure / f64::from(1 << 20)),
            Unit::Time if figure < 1e3 => format!("{:.1} ms", 1e3 / figure),
            Unit::Time => format!("{:.1} us", 1e6 / figure),
        };
        let ratio = match (unit, per_second(group, "baseline")) {
            (Unit::Time, Err(_)) => String::new(),
            (_, baseline) => format!("{:.2}", figure / baseline?),
        };
        println!("{what:<32}{text:>22}{target:>24}{ratio:>20}");
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
