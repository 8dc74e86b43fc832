//! Progress while a run is on: one line that changes on a terminal, a line every few seconds elsewhere.

use std::{collections::VecDeque, time::Duration};

use teraslice_model::execution::Stats;
use tokio::time::Instant;

use crate::{screen::Screen, units};

/// Elsewhere a line is written this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Rates are over this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Shows how far a run is.
#[derive(Debug)]
pub(crate) struct Progress {
    screen: Screen,
    every: Duration,
    due: Instant,
    samples: VecDeque<Sample>,
}

/// How far the run was at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    slices: u64,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// How often [`look`](Self::look) is to be called.
    pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

    /// Starts; the first line comes after one interval.
    pub(crate) fn new(screen: Screen, now: Instant) -> Self {
        let every = if screen.is_terminal() { Self::LOOK_EVERY } else { PLAIN_EVERY };
        Self { screen, every, due: now + every, samples: VecDeque::new() }
    }

    /// Takes down how far the run is, and shows a line when it is time.
    pub(crate) fn look(&mut self, stats: &Stats, now: Instant) {
        let line = self.line(stats, now);
        if now >= self.due {
            self.due = now + self.every;
            self.screen.show(&line);
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        self.screen.clear();
    }

    fn line(&mut self, stats: &Stats, now: Instant) -> String {
        let reader = stats.operations.first().copied().unwrap_or_default();
        let latest =
            Sample { at: now, slices: stats.processed, records: reader.emitted, bytes: reader.bytes };
        while self.samples.front().is_some_and(|sample| now - sample.at > WINDOW) && self.samples.len() > 1 {
            self.samples.pop_front();
        }
        let oldest = *self.samples.front().unwrap_or(&latest);
        self.samples.push_back(latest);
        let time = now - oldest.at;
        let unfinished = stats.queued + stats.leased;
        let total = stats.processed + unfinished;
        let slices = if stats.queuing_complete.is_some() {
            let percent = (stats.processed * 100).checked_div(total).unwrap_or(100);
            format!("slices {}/{} ({percent} %)", units::count(stats.processed), units::count(total))
        } else {
            format!("slices {} of more than {}", units::count(stats.processed), units::count(total))
        };
        let mut parts = vec![slices, format!("records {}", units::count(latest.records))];
        if !time.is_zero() {
            let bytes = (latest.bytes - oldest.bytes) as f64 / time.as_secs_f64();
            parts.push(format!("{}/s", units::rate(latest.records - oldest.records, time)));
            parts.push(format!("{}/s", units::bytes(bytes)));
        }
        if let Some(left) = eta(stats, latest.slices - oldest.slices, time) {
            parts.push(format!("ETA {}", units::duration(left)));
        }
        parts.push(format!("workers {}", stats.workers_active + stats.workers_available));
        if stats.failed > 0 {
            parts.push(format!("failed {}", units::count(stats.failed)));
        }
        parts.join("  ")
    }
}

/// Estimates the time that is left; only once all slices are known.
fn eta(stats: &Stats, finished: u64, time: Duration) -> Option<Duration> {
    stats.queuing_complete?;
    let left = stats.queued + stats.leased;
    if finished == 0 || time.is_zero() {
        return None;
    }
    Duration::try_from_secs_f64(time.as_secs_f64() * left as f64 / finished as f64).ok()
}

#[cfg(test)]
mod tests {
    use teraslice_model::{counts::Counts, timestamp::Timestamp};

    use super::*;

    fn stats(processed: u64, queued: u64) -> Stats {
        let reader = Counts { emitted: processed * 100, bytes: processed * 104_858, ..Counts::default() };
        Stats { processed, queued, operations: vec![reader], workers_available: 2, ..Stats::default() }
    }

    #[test]
    fn estimates_only_when_all_slices_are_known() {
        let start = Instant::now();
        let mut progress = Progress::new(Screen::new(), start);
        assert_eq!(progress.line(&stats(0, 10), start), "slices 0 of more than 10  records 0  workers 2");
        let later = start + Duration::from_secs(2);
        let known = Stats { queuing_complete: Some(Timestamp::default()), failed: 1, ..stats(20, 30) };
        assert_eq!(
            progress.line(&known, later),
            "slices 20/50 (40 %)  records 2,000  1,000/s  1.0 MiB/s  ETA 3.0 s  workers 2  failed 1"
        );
    }
}
