//! The summary of a run: what became of its slices and of the records at each operation.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;
use teraslice_model::{counts::Counts, execution::Stats, id::ExId, status::Status};

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
    /// Sums up statistics; `names` are the operations in the job's order.
    pub(crate) fn new(
        ex_id: ExId,
        job: String,
        status: Status,
        failure: Option<String>,
        stats: &Stats,
        time: Duration,
        names: &[String],
    ) -> Self {
        let counts = stats.operations.iter().copied().chain(std::iter::repeat(Counts::default()));
        let operations = names.iter().zip(counts).map(|(op, counts)| Operation { op: op.clone(), counts });
        let slices = Slices {
            completed: stats.processed - stats.failed.min(stats.processed),
            failed: stats.failed,
            unfinished: stats.queued + stats.leased,
        };
        let (seconds, operations) = (time.as_secs_f64(), operations.collect());
        Self { ex_id, job, status, failure, slices, seconds, operations }
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
        text + &self.table().render()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_line_per_operation() {
        let stats = Stats {
            processed: 12,
            failed: 2,
            queued: 3,
            operations: vec![
                Counts { created: 1_500, emitted: 1_500, micros: 500_000, ..Counts::default() },
                Counts {
                    received: 1_500,
                    emitted: 1_200,
                    dropped: 290,
                    failed: 4,
                    dead_lettered: 6,
                    micros: 2_000_000,
                    ..Counts::default()
                },
            ],
            ..Stats::default()
        };
        let names = ["file_reader".to_owned(), "filter".to_owned()];
        let ex_id = ExId::from_random([1; 16]);
        let summary = Summary::new(
            ex_id,
            "flights".to_owned(),
            Status::Failed,
            Some("2 slices failed".to_owned()),
            &stats,
            Duration::from_millis(2_500),
            &names,
        );
        let wanted = "\
execution 01010101-0101-4101-8101-010101010101 of job \"flights\": failed
reason: 2 slices failed
slices: 10 completed, 2 failed, 3 unfinished in 2.5 s

operation    received  emitted  dropped  failed  dead letters    time  records/s
file_reader     1,500    1,500        0       0             0  500 ms      3,000
filter          1,500    1,200      290       4             6   2.0 s        750
";
        assert_eq!(summary.render(), wanted);
    }
}
