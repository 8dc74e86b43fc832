//! Whether an execution counts as failing, and for how long.

use std::time::Duration;

use teraslice_model::job::Lifecycle;

/// Watches failed slices.
///
/// `once`: failing from the first failed slice to the end. `persistent`: failing until one probation window has passed
/// without a new failure and with at least one completed slice.
#[derive(Debug)]
pub(super) struct Health {
    lifecycle: Lifecycle,
    window: Duration,
    probation: Option<Probation>,
}

#[derive(Debug)]
struct Probation {
    ends: Duration,
    has_completed: bool,
}

impl Health {
    /// Starts as failing when slices have failed before.
    pub(super) fn new(now: Duration, lifecycle: Lifecycle, window: Duration, has_failed: bool) -> Self {
        let probation = has_failed.then(|| Probation { ends: now + window, has_completed: false });
        Self { lifecycle, window, probation }
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.probation.is_some()
    }

    pub(super) fn failed(&mut self, now: Duration) {
        self.probation = Some(Probation { ends: now + self.window, has_completed: false });
    }

    pub(super) const fn completed(&mut self) {
        if let Some(probation) = &mut self.probation {
            probation.has_completed = true;
        }
    }

    /// Ends the probation when its window has passed well; begins another when nothing has completed.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.probation = match &self.probation {
            Some(window) if !window.has_completed => {
                Some(Probation { ends: now + self.window, has_completed: false })
            }
            _ => None,
        };
    }

    /// Returns when the window ends.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.lifecycle {
            Lifecycle::Once => None,
            Lifecycle::Persistent => self.probation.as_ref().map(|probation| probation.ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn health(lifecycle: Lifecycle) -> Health {
        Health::new(Duration::ZERO, lifecycle, WINDOW, false)
    }

    #[test]
    fn a_job_that_runs_once_stays_failing() {
        let mut health = health(Lifecycle::Once);
        health.failed(Duration::ZERO);
        health.completed();
        health.tick(WINDOW * 10);
        assert!(health.is_failing());
    }

    #[test]
    fn a_persistent_job_recovers_after_a_good_window() {
        let mut health = health(Lifecycle::Persistent);
        health.failed(Duration::ZERO);
        health.completed();
        health.tick(WINDOW / 2);
        assert!(health.is_failing());
        health.tick(WINDOW);
        assert!(!health.is_failing());
    }

    #[test]
    fn a_window_without_a_completed_slice_proves_nothing() {
        let mut health = health(Lifecycle::Persistent);
        health.failed(Duration::ZERO);
        health.tick(WINDOW);
        assert!(health.is_failing());
        assert_eq!(health.due(), Some(WINDOW * 2));
    }

    #[test]
    fn a_new_failure_begins_the_window_anew() {
        let mut health = health(Lifecycle::Persistent);
        health.failed(Duration::ZERO);
        health.completed();
        health.failed(WINDOW / 2);
        health.tick(WINDOW);
        assert!(health.is_failing());
    }
}
