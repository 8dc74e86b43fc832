//! Statistics of all executions, added up by differences so that nothing is counted twice.

use std::collections::BTreeMap;

use teraslice_api::cluster::ClusterSums;
use teraslice_core::store::Sums;
use teraslice_model::{execution::Stats, id::ExId};

/// The sums, and what each execution that has not ended has added to them.
#[derive(Debug, Default)]
pub(super) struct Totals {
    sums: ClusterSums,
    /// The last statistics of each execution that were added.
    known: BTreeMap<ExId, ClusterSums>,
}

impl Totals {
    /// Starts with what the store has added up.
    pub(super) fn new(stored: Sums) -> Self {
        let Sums { processed, failed, queued, job_duration, workers_joined, .. } = stored;
        let sums = ClusterSums {
            processed,
            failed,
            queued,
            job_duration,
            workers_joined,
            workers_disconnected: stored.workers_disconnected,
            workers_reconnected: stored.workers_reconnected,
        };
        Self { sums, known: BTreeMap::new() }
    }

    pub(super) fn sums(&self) -> ClusterSums {
        self.sums
    }

    /// Takes note of what the sums contain of an execution already.
    pub(super) fn know(&mut self, ex_id: ExId, stats: &Stats) {
        self.known.insert(ex_id, of(stats));
    }

    /// Adds what an execution has done since its last report.
    pub(super) fn report(&mut self, ex_id: ExId, stats: &Stats) {
        let now = of(stats);
        let before = self.known.insert(ex_id, now).unwrap_or_default();
        let sums = &mut self.sums;
        sums.processed += grown(before.processed, now.processed);
        sums.failed += grown(before.failed, now.failed);
        sums.job_duration += grown(before.job_duration, now.job_duration);
        sums.workers_joined += grown(before.workers_joined, now.workers_joined);
        sums.workers_disconnected += grown(before.workers_disconnected, now.workers_disconnected);
        sums.workers_reconnected += grown(before.workers_reconnected, now.workers_reconnected);
        sums.queued = (sums.queued + now.queued).saturating_sub(before.queued);
    }

    /// Adds the last statistics of an execution, and forgets it.
    pub(super) fn end(&mut self, ex_id: ExId, stats: &Stats) {
        self.report(ex_id, stats);
        self.known.remove(&ex_id);
    }
}

/// Returns how much a count has grown; one that has shrunk was begun anew by another process.
const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

fn of(stats: &Stats) -> ClusterSums {
    ClusterSums {
        processed: stats.processed,
        failed: stats.failed,
        queued: stats.queued,
        job_duration: stats.job_duration,
        workers_joined: stats.workers_joined,
        workers_disconnected: stats.workers_disconnected,
        workers_reconnected: stats.workers_reconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(processed: u64, queued: u64, workers_joined: u64) -> Stats {
        Stats { processed, queued, workers_joined, ..Stats::default() }
    }

    fn id(number: u8) -> ExId {
        ExId::from_random([number; 16])
    }

    #[test]
    fn adds_differences_only() {
        let mut totals = Totals::default();
        totals.report(id(1), &stats(5, 10, 2));
        totals.report(id(1), &stats(8, 4, 2));
        totals.report(id(2), &stats(1, 1, 1));
        let sums = totals.sums();
        assert_eq!((sums.processed, sums.queued, sums.workers_joined), (9, 5, 3));
    }

    #[test]
    fn does_not_count_again_what_was_stored_before_a_restart() {
        let stored = Sums { processed: 100, queued: 7, ..Sums::default() };
        let mut totals = Totals::new(stored);
        totals.know(id(1), &stats(40, 7, 0));
        totals.report(id(1), &stats(45, 5, 0));
        assert_eq!((totals.sums().processed, totals.sums().queued), (105, 5));
    }

    #[test]
    fn goes_on_counting_when_a_controller_begins_anew() {
        let mut totals = Totals::default();
        totals.report(id(1), &stats(5, 0, 3));
        totals.report(id(1), &stats(5, 0, 1));
        assert_eq!((totals.sums().processed, totals.sums().workers_joined), (5, 4));
    }

    #[test]
    fn adds_the_last_report() {
        let mut totals = Totals::default();
        totals.report(id(1), &stats(5, 3, 1));
        let last = Stats { job_duration: 9, ..stats(8, 0, 1) };
        totals.end(id(1), &last);
        assert_eq!((totals.sums().processed, totals.sums().queued, totals.sums().job_duration), (8, 0, 9));
        assert!(totals.known.is_empty());
    }
}
