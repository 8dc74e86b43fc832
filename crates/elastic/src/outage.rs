//! The circuit breaker of a connection: during an outage one request at a time finds out whether it is over.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// So many requests in a row without an answer are an outage.
const FAILURES: u32 = 3;
/// Between two looks whether an outage is over, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Whether the servers of a connection answer. All its requests share it.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Requests in a row without an answer.
    failures: u32,
    /// During an outage: when the next request may try.
    next: Option<Instant>,
    /// Whether one is trying.
    is_tried: bool,
}

/// Leave to send a request. What came of it is told by [`answered`](Self::answered) or [`lost`](Self::lost); dropped, it
/// counts as neither.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    outage: &'a Outage,
    is_trial: bool,
}

impl Outage {
    /// Waits until a request may be sent; none when `deadline` comes first.
    pub(crate) async fn turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut state = self.state();
                match state.next {
                    None => return Some(Turn { outage: self, is_trial: false }),
                    Some(next) if !state.is_tried && next <= Instant::now() => {
                        state.is_tried = true;
                        return Some(Turn { outage: self, is_trial: true });
                    }
                    Some(next) if !state.is_tried => next,
                    Some(_) => deadline,
                }
            };
            let _changed_or_not = timeout_at(next.min(deadline), changed).await;
            if deadline <= Instant::now() {
                return None;
            }
        }
    }

    /// Tells whether the servers have stopped to answer.
    pub(crate) fn is_on(&self) -> bool {
        self.state().next.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Notes that a server answered, whatever it said. Returns whether that ended an outage.
    pub(crate) fn answered(mut self) -> bool {
        let mut state = self.outage.state();
        let was_on = state.next.is_some();
        *state = State::default();
        drop(state);
        self.is_trial = false;
        if was_on {
            self.outage.changed.notify_waiters();
        }
        was_on
    }

    /// Notes that no server answered. Returns whether that began an outage.
    pub(crate) fn lost(mut self) -> bool {
        let mut state = self.outage.state();
        let was_on = state.next.is_some();
        if was_on && !self.is_trial {
            // Sent before it was known; those who try count.
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        state.is_tried = false;
        self.is_trial = false;
        if state.failures < FAILURES {
            return false;
        }
        let doublings = (state.failures - FAILURES).min(16);
        let pause = PAUSE.0.saturating_mul(1 << doublings).min(PAUSE.1);
        state.next = Some(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
        drop(state);
        self.outage.changed.notify_waiters();
        !was_on
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.outage.state().is_tried = false;
            self.outage.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turn(outage: &Outage) -> Option<Turn<'_>> {
        outage.turn(Instant::now() + Duration::from_secs(1)).await
    }

    #[tokio::test(start_paused = true)]
    async fn lets_one_request_try_during_an_outage() {
        let outage = Outage::default();
        for failure in 1..=FAILURES {
            let began = turn(&outage).await.expect("no outage yet").lost();
            assert_eq!(began, failure == FAILURES);
        }
        assert!(outage.is_on());
        let trial = turn(&outage).await.expect("one may try");
        assert!(turn(&outage).await.is_none(), "the others wait");
        assert!(trial.answered());
        assert!(turn(&outage).await.is_some_and(|turn| !turn.answered()));
    }

    #[tokio::test(start_paused = true)]
    async fn wakes_those_who_wait_when_it_is_over() {
        let outage = Outage::default();
        for _ in 0..FAILURES {
            turn(&outage).await.expect("no outage yet").lost();
        }
        let trial = turn(&outage).await.expect("one may try");
        let began = Instant::now();
        let waiting = outage.turn(began + Duration::from_secs(60));
        let over = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            trial.answered();
        };
        let (woken, ()) = tokio::join!(waiting, over);
        assert!(woken.is_some());
        assert_eq!(began.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_makes_way() {
        let outage = Outage::default();
        for _ in 0..FAILURES {
            turn(&outage).await.expect("no outage yet").lost();
        }
        drop(turn(&outage).await.expect("one may try"));
        assert!(turn(&outage).await.is_some(), "another may");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_less_often_the_longer_it_lasts() {
        let outage = Outage::default();
        let began = Instant::now();
        for _ in 0..20 {
            outage.turn(began + Duration::from_secs(3600)).await.expect("within the hour").lost();
        }
        let lasted = began.elapsed();
        assert!(lasted > Duration::from_secs(25) && lasted < Duration::from_secs(70), "{lasted:?}");
    }
}
