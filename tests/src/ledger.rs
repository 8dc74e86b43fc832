//! A job whose every record is accounted for: numbered lines in, the same lines marked out, one in ten dropped.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{Stage, balanced, cluster::Cluster};

/// The job and its input.
#[derive(Clone, Copy, Debug)]
pub struct LedgerJob {
    /// Lines of the input.
    pub records: u64,
    /// Bytes of a slice.
    pub slice: u64,
    /// Milliseconds that each slice takes at the least.
    pub delay: u64,
    /// Workers.
    pub workers: u64,
}

impl Default for LedgerJob {
    fn default() -> Self {
        Self { records: 20_000, slice: 2_000, delay: 5, workers: 2 }
    }
}

impl LedgerJob {
    /// Writes the input; returns the job that reads it and writes into the folder `out` of the stage.
    #[must_use]
    pub fn prepare(&self, stage: &Stage) -> Value {
        let mut input = String::new();
        for n in 0..self.records {
            writeln!(input, "{{\"n\":{n},\"kind\":{}}}", n % 10).expect("memory can be written");
        }
        stage.write("input.ldjson", input);
        json!({
            "name": "ledger",
            "lifecycle": "once",
            "workers": self.workers,
            "max_retries": 0,
            "operations": [
                {"_op": "file_reader", "path": stage.path("input.ldjson"), "format": "ldjson", "size": self.slice},
                {"_op": "filter", "field": "kind", "value": 0},
                {"_op": "set_field", "field": "seen", "value": true},
                {"_op": "delay", "ms": self.delay},
                {"_op": "file_exporter", "path": stage.path("out"), "format": "ldjson"},
            ],
        })
    }

    /// Checks the output and the books of an execution that has completed: every record is there once.
    ///
    /// # Panics
    ///
    /// When one is lost or doubled.
    pub fn check(&self, cluster: &Cluster, ex_id: &str) {
        self.check_lines(cluster);
        let record = cluster.execution(ex_id);
        assert_eq!(record["_status"], "completed");
        let stats = &record["_slicer_stats"];
        let counts = balanced(stats);
        assert_eq!(counts[0]["created"], self.records, "{stats}");
        assert_eq!(counts[1]["dropped"], self.records / 10, "{stats}");
        assert_eq!(stats["failed"], 0, "{stats}");
    }

    /// Checks the output alone, for a job that took more than one execution.
    ///
    /// # Panics
    ///
    /// When a record is lost or doubled.
    pub fn check_lines(&self, cluster: &Cluster) {
        let kept = (0..self.records).filter(|n| n % 10 != 0);
        let mut expected: Vec<_> =
            kept.map(|n| format!("{{\"n\":{n},\"kind\":{},\"seen\":true}}", n % 10)).collect();
        expected.sort_unstable();
        let written = cluster.stage.lines("out");
        assert_eq!(written.len(), expected.len(), "lines of the output\n{}", cluster.logs());
        assert!(written == expected, "other lines in the output\n{}", cluster.logs());
    }
}
