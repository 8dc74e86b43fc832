//! Where the slicers stand, and how far they run ahead of the workers.

use std::time::Duration;

use teraslice_model::{checkpoint::Checkpoint, job::Lifecycle};

/// A slicer is asked for at most this many slices at once.
const ASK_MAX: usize = 1_000;
/// A slicer with nothing to make is asked again after this.
const IDLE_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Slicer {
    checkpoint: Checkpoint,
    is_asked: bool,
    /// Not to be asked before.
    rests_until: Duration,
}

/// The slicers of an execution.
#[derive(Debug)]
pub(super) struct Slicers {
    all: Vec<Slicer>,
    lifecycle: Lifecycle,
    queue_len_max: usize,
    /// Slices finished in this flush interval and in the one before.
    pace: [usize; 2],
}

impl Slicers {
    pub(super) fn new(checkpoints: Vec<Checkpoint>, lifecycle: Lifecycle, queue_len_max: usize) -> Self {
        let all = checkpoints
            .into_iter()
            .map(|checkpoint| Slicer { checkpoint, is_asked: false, rests_until: Duration::ZERO })
            .collect();
        Self { all, lifecycle, queue_len_max: queue_len_max.max(1), pace: [0; 2] }
    }

    /// Notes that `count` slices have finished.
    pub(super) const fn finished(&mut self, count: usize) {
        self.pace[0] += count;
    }

    /// Begins a flush interval.
    pub(super) const fn next_interval(&mut self) {
        self.pace = [0, self.pace[0]];
    }

    /// Returns how many slices should wait: all the queue holds while work is slow; at speed only what keeps the workers
    /// busy, so that most slices are made and finished within one flush, and written once.
    fn target(&self, window: usize) -> usize {
        let pace = self.pace[0].max(self.pace[1]);
        let fast = 100;
        if pace < fast {
            return self.queue_len_max;
        }
        self.queue_len_max.min((2 * window).max(2 * pace))
    }

    /// Returns which slicers to ask, each for how many slices.
    pub(super) fn ask(&mut self, now: Duration, waiting: usize, window: usize) -> Vec<(u32, usize)> {
        let target = self.target(window);
        // Asked when half of it is used up: slices then come in large portions.
        if waiting > target / 2 || (waiting >= target) {
            return Vec::new();
        }
        let willing = |slicer: &&mut Slicer| {
            !slicer.is_asked && !slicer.checkpoint.is_exhausted && slicer.rests_until <= now
        };
        let count = self.all.iter_mut().filter(willing).count();
        let share = ((target - waiting) / count.max(1)).clamp(1, ASK_MAX);
        let asked = self.all.iter_mut().filter(willing).map(|slicer| {
            slicer.is_asked = true;
            (slicer.checkpoint.slicer_id, share)
        });
        asked.collect()
    }

    /// Takes an answer of `made` slices; returns the order of the first of them, and the new checkpoint.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        slicer_id: u32,
        made: usize,
        position: teraslice_model::slice::Request,
        is_exhausted: bool,
    ) -> Option<(u64, Checkpoint)> {
        let lifecycle = self.lifecycle;
        let slicer = self.all.iter_mut().find(|slicer| slicer.checkpoint.slicer_id == slicer_id)?;
        slicer.is_asked = false;
        let first = slicer.checkpoint.order + 1;
        slicer.checkpoint.order += made as u64;
        slicer.checkpoint.position = Some(position);
        slicer.checkpoint.is_exhausted = is_exhausted && lifecycle == Lifecycle::Once;
        if made == 0 && !slicer.checkpoint.is_exhausted {
            slicer.rests_until = now + IDLE_PAUSE;
        }
        Some((first, slicer.checkpoint.clone()))
    }

    /// Returns when a resting slicer is to be asked again.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let resting = self.all.iter().filter(|slicer| slicer.rests_until > now && !slicer.is_asked);
        resting.map(|slicer| slicer.rests_until).min()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.all.iter().all(|slicer| slicer.checkpoint.is_exhausted)
    }

    /// Returns how many slicers still make slices.
    pub(super) fn active(&self) -> usize {
        self.all.iter().filter(|slicer| !slicer.checkpoint.is_exhausted).count()
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::slice::Request;

    use super::*;

    fn slicers(count: u32, lifecycle: Lifecycle) -> Slicers {
        Slicers::new((0..count).map(Checkpoint::start).collect(), lifecycle, 100)
    }

    fn answer(slicers: &mut Slicers, made: usize, is_exhausted: bool) -> (u64, Checkpoint) {
        slicers.answered(Duration::ZERO, 0, made, Request::from_json("7"), is_exhausted).unwrap()
    }

    #[test]
    fn shares_the_room_between_slicers_and_asks_each_once() {
        let mut slicers = slicers(2, Lifecycle::Once);
        assert_eq!(slicers.ask(Duration::ZERO, 0, 4), [(0, 50), (1, 50)]);
        assert_eq!(slicers.ask(Duration::ZERO, 0, 4), []);
    }

    #[test]
    fn asks_for_nothing_while_enough_slices_wait() {
        assert_eq!(slicers(1, Lifecycle::Once).ask(Duration::ZERO, 51, 4), []);
    }

    #[test]
    fn counts_orders_on_from_the_checkpoint() {
        let mut slicers = slicers(1, Lifecycle::Once);
        assert_eq!(answer(&mut slicers, 3, false).0, 1);
        let (first, checkpoint) = answer(&mut slicers, 2, true);
        assert_eq!((first, checkpoint.order, checkpoint.is_exhausted), (4, 5, true));
        assert!(slicers.is_exhausted());
    }

    #[test]
    fn asks_an_empty_slicer_of_a_persistent_job_again_after_a_pause() {
        let mut slicers = slicers(1, Lifecycle::Persistent);
        answer(&mut slicers, 0, true);
        assert!(!slicers.is_exhausted());
        assert_eq!(slicers.ask(Duration::ZERO, 0, 4), []);
        assert_eq!(slicers.due(Duration::ZERO), Some(IDLE_PAUSE));
        assert_eq!(slicers.ask(IDLE_PAUSE, 0, 4).len(), 1);
    }

    #[test]
    fn runs_less_far_ahead_of_fast_workers() {
        let mut slicers = Slicers::new(vec![Checkpoint::start(0)], Lifecycle::Once, 10_000);
        slicers.finished(500);
        assert_eq!(slicers.ask(Duration::ZERO, 0, 64), [(0, 1_000)]);
        answer(&mut slicers, 1_000, false);
        assert_eq!(slicers.ask(Duration::ZERO, 1_000, 64), []);
    }
}
