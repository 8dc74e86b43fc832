//! Record counts per operation, and the sum that has to balance.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What became of the records that reached one operation.
///
/// Balance: `received + created = emitted + dropped + failed + dead_lettered`. For a reader `received` is 0 and
/// `created` counts what it found; for a sink that ends the pipeline `emitted` counts what it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that came in.
    pub received: u64,
    /// Records passed on.
    pub emitted: u64,
    /// Records left out on purpose, as by a filter.
    pub dropped: u64,
    /// Records refused and thrown away (`_dead_letter_action` `none` or `log`).
    pub failed: u64,
    /// Records refused and kept elsewhere (`store` or a named API).
    pub dead_lettered: u64,
    /// Records made beyond those received.
    pub created: u64,
    /// Bytes of the records passed on.
    pub bytes: u64,
    /// Time spent, in microseconds.
    pub micros: u64,
}

impl Counts {
    /// Tells whether everything that came in is accounted for.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.received + self.created == self.emitted + self.dropped + self.failed + self.dead_lettered
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.received += other.received;
        self.emitted += other.emitted;
        self.dropped += other.dropped;
        self.failed += other.failed;
        self.dead_lettered += other.dead_lettered;
        self.created += other.created;
        self.bytes += other.bytes;
        self.micros += other.micros;
    }
}

/// A pipeline whose counts do not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// One operation lost or doubled records.
    #[error("operation {operation} does not balance: {counts:?}")]
    Operation {
        /// Its place in the job.
        operation: usize,
        /// Its counts.
        counts: Counts,
    },
    /// Records were lost or doubled between two operations.
    #[error("operation {operation} received {received} records, the one before emitted {emitted}")]
    Handover {
        /// The later one's place in the job.
        operation: usize,
        /// What the earlier one emitted.
        emitted: u64,
        /// What the later one received.
        received: u64,
    },
}

/// Checks the counts of a whole pipeline, one entry per operation.
///
/// # Errors
///
/// The first place where records were lost or doubled.
pub fn check_balance(pipeline: &[Counts]) -> Result<(), Imbalance> {
    for (operation, counts) in pipeline.iter().enumerate() {
        if !counts.balances() {
            return Err(Imbalance::Operation { operation, counts: *counts });
        }
    }
    for (before, pair) in pipeline.windows(2).enumerate() {
        let (emitted, received) = (pair[0].emitted, pair[1].received);
        if emitted != received {
            return Err(Imbalance::Handover { operation: before + 1, emitted, received });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(found: u64) -> Counts {
        Counts { created: found, emitted: found, ..Counts::default() }
    }

    #[test]
    fn accepts_a_pipeline_that_accounts_for_each_record() {
        let filter = Counts { received: 10, emitted: 6, dropped: 3, failed: 1, ..Counts::default() };
        assert_eq!(check_balance(&[reader(10), filter]), Ok(()));
    }

    #[test]
    fn finds_an_operation_that_loses_a_record() {
        let leaky = Counts { received: 10, emitted: 9, ..Counts::default() };
        let found = check_balance(&[reader(10), leaky]).unwrap_err();
        assert!(matches!(found, Imbalance::Operation { operation: 1, .. }));
    }

    #[test]
    fn finds_records_lost_between_operations() {
        let next = Counts { received: 9, emitted: 9, ..Counts::default() };
        let found = check_balance(&[reader(10), next]).unwrap_err();
        assert_eq!(found, Imbalance::Handover { operation: 1, emitted: 10, received: 9 });
    }
}
