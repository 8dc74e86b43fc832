//! The summary of a run: what became of its slices and of the records at each operation.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;
use serde_json::Value;
use teraslice_core::store::SliceRecord;
use teraslice_model::{
    counts::Counts,
    execution::Execution,
    id::{ExId, SliceId},
    slice::Request,
    status::Status,
};

use crate::{
    table::{Align, Table},
    units,
};

/// What became of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) ex_id: ExId,
    pub(crate) job: String,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    pub(crate) slices: Slices,
    /// Seconds that this part of the run took.
    pub(crate) seconds: f64,
    pub(crate) operations: Vec<Operation>,
    /// The first slices that were given up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<SliceError>,
}

/// A slice that was given up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SliceError {
    pub(crate) slice_id: SliceId,
    pub(crate) request: Request,
    pub(crate) error: String,
}

/// What became of its slices.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slices {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Made, and left for `resume`.
    pub(crate) unfinished: u64,
}

/// What became of the records at one operation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Operation {
    pub(crate) op: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

impl Summary {
    /// Failed slices that a summary shows at the most.
    pub(crate) const ERRORS_MAX: u64 = 3;

    /// Sums up a run that took so long, `failed` being some of its failed slices.
    pub(crate) fn new(execution: &Execution, failed: &[SliceRecord], time: Duration) -> Self {
        let stats = &execution.stats;
        let operations = execution.job.get("operations").and_then(Value::as_array).into_iter().flatten();
        let names = operations.map(|op| op.get("_op").and_then(Value::as_str).unwrap_or_default().to_owned());
        let counts = stats.operations.iter().copied().chain(std::iter::repeat(Counts::default()));
        let error = |record: &SliceRecord| SliceError {
            slice_id: record.slice.id,
            request: record.slice.request.clone(),
            error: record.error.as_deref().unwrap_or_default().to_owned(),
        };
        Self {
            ex_id: execution.ex_id,
            job: job_name(execution).to_owned(),
            status: execution.status,
            failure: execution.failure.clone(),
            slices: Slices {
                completed: stats.processed.saturating_sub(stats.failed),
                failed: stats.failed,
                unfinished: stats.queued + stats.leased,
            },
            seconds: time.as_secs_f64(),
            operations: names.zip(counts).map(|(op, counts)| Operation { op, counts }).collect(),
            errors: failed.iter().map(error).collect(),
        }
    }

    /// Writes the summary for people.
    pub(crate) fn render(&self) -> String {
        let Slices { completed, failed, unfinished } = self.slices;
        let mut text = format!("execution {} of job {:?}: {}\n", self.ex_id, self.job, self.word());
        if let Some(failure) = &self.failure {
            let _infallible = writeln!(text, "reason: {failure}");
        }
        let _infallible =
            write!(text, "slices: {} completed, {} failed", units::count(completed), units::count(failed));
        if unfinished > 0 {
            let _infallible = write!(text, ", {} unfinished", units::count(unfinished));
        }
        let _infallible = writeln!(text, " in {}\n", units::duration(Duration::from_secs_f64(self.seconds)));
        text.push_str(&self.table().render());
        if !self.errors.is_empty() {
            text.push_str("\nfirst failed slices:\n");
        }
        for SliceError { slice_id, request, error } in &self.errors {
            let _infallible = writeln!(text, "  {slice_id} {}\n    {error}", request.json());
        }
        if self.operations.iter().any(|operation| operation.counts.dead_lettered > 0) {
            let _infallible =
                writeln!(text, "\nkept dead letters: teraslice dead-letters list {}", self.ex_id);
        }
        text
    }

    /// Returns how the run stands.
    fn word(&self) -> String {
        if self.status.is_terminal() {
            self.status.to_string()
        } else {
            format!("{}, not finished", self.status)
        }
    }

    fn table(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("operation", Left),
            ("received", Right),
            ("emitted", Right),
            ("dropped", Right),
            ("failed", Right),
            ("dead letters", Right),
            ("time", Right),
            ("records/s", Right),
        ]);
        for (index, Operation { op, counts }) in self.operations.iter().enumerate() {
            // A reader receives nothing: what it reads is what it makes.
            let records = counts.received + if index == 0 { counts.created } else { 0 };
            let time = Duration::from_micros(counts.micros);
            table.row([
                op.clone(),
                units::count(records),
                units::count(counts.emitted),
                units::count(counts.dropped),
                units::count(counts.failed),
                units::count(counts.dead_lettered),
                // Neighbours of one asset run as one; their time is on the first of them.
                if time.is_zero() { "-".to_owned() } else { units::duration(time) },
                units::rate(records, time),
            ]);
        }
        table
    }
}

/// Returns the name of an execution's job.
pub(crate) fn job_name(execution: &Execution) -> &str {
    execution.job.get("name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_core::store::SliceRecord;

    use super::*;

    fn execution() -> Execution {
        let ex_id = ExId::from_random([1; 16]);
        serde_json::from_value(json!({
            "ex_id": ex_id, "job_id": ex_id, "_status": "failed", "generation": 0, "epoch": 1,
            "job": {"name": "flights", "operations": [{"_op": "file_reader"}, {"_op": "filter"}]},
            "_failureReason": "2 slices failed",
            "_slicer_stats": {
                "workers_available": 0, "workers_active": 0, "workers_joined": 2, "workers_reconnected": 0,
                "workers_disconnected": 0, "job_duration": 2, "failed": 2, "subslices": 0, "queued": 3,
                "slice_range_expansion": 0, "processed": 12, "slicers": 1, "subslice_by_key": 0,
                "operations": [
                    Counts { created: 1_500, emitted: 1_500, micros: 500_000, ..Counts::default() },
                    Counts {
                        received: 1_500, emitted: 1_200, dropped: 290, failed: 4, dead_lettered: 6,
                        micros: 2_000_000, ..Counts::default()
                    },
                ],
            },
            "_created": "2026-01-01T00:00:00.000Z", "_updated": "2026-01-01T00:00:02.500Z",
        }))
        .unwrap()
    }

    #[test]
    fn shows_a_line_per_operation_and_what_has_failed() {
        let execution = execution();
        let slice = teraslice_model::slice::Slice::new(
            execution.ex_id,
            0,
            1,
            Request::from_json("{\"count\":5}"),
            execution.created,
        );
        let failed = SliceRecord {
            slice,
            state: teraslice_model::slice::SliceState::Error,
            error: Some("the disk is full".into()),
            retry_count: 3,
            deaths: 0,
        };
        let summary = Summary::new(&execution, &[failed], Duration::from_millis(2_500));
        let wanted = "\
execution 01010101-0101-4101-8101-010101010101 of job \"flights\": failed
reason: 2 slices failed
slices: 10 completed, 2 failed, 3 unfinished in 2.5 s

operation    received  emitted  dropped  failed  dead letters    time  records/s
file_reader     1,500    1,500        0       0             0  500 ms      3,000
filter          1,500    1,200      290       4             6   2.0 s        750

first failed slices:
  SLICE {\"count\":5}
    the disk is full

kept dead letters: teraslice dead-letters list 01010101-0101-4101-8101-010101010101
";
        let slice_id = summary.errors[0].slice_id.to_string();
        assert_eq!(summary.render(), wanted.replace("SLICE", &slice_id));
    }
}
