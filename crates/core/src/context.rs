//! Clock, randomness and spawning: the only ways in which the engine reaches for them.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use teraslice_model::{
    id::{ExId, JobId},
    timestamp::Timestamp,
};
use tokio::{task::JoinHandle, time::Instant};

/// What a part needs of its surroundings. Cheap to clone.
///
/// Under a simulated context, with tokio's clock paused, a run is a function of its seed.
#[derive(Clone, Debug)]
pub struct Context {
    shared: Arc<Shared>,
    /// What the wall clock showed at the start.
    start_wall: Timestamp,
}

#[derive(Debug)]
struct Shared {
    random: Mutex<fastrand::Rng>,
    start: Instant,
    compute: Compute,
}

/// Where processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compute {
    /// On threads of their own, so that a busy processor stalls nobody's heartbeat.
    Threads,
    /// On the calling thread, one thing at a time.
    Inline,
}

impl Context {
    /// Returns the context of a real process. Must be called inside a tokio runtime.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    pub fn system() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        Self::new(fastrand::Rng::new(), Timestamp::from_millis(wall), Compute::Threads)
    }

    /// Returns a context that a seed determines. Must be called inside a tokio runtime with a paused clock.
    #[must_use]
    pub fn simulated(seed: u64) -> Self {
        let wall = Timestamp::from_millis(1_700_000_000_000);
        Self::new(fastrand::Rng::with_seed(seed), wall, Compute::Inline)
    }

    fn new(random: fastrand::Rng, start_wall: Timestamp, compute: Compute) -> Self {
        let start = Instant::now();
        let shared = Shared { random: Mutex::new(random), start, compute };
        Self { shared: Arc::new(shared), start_wall }
    }

    /// Returns the same context on a machine whose wall clock is ahead by so many milliseconds, or behind.
    #[must_use]
    pub fn skewed(&self, by_ms: i64) -> Self {
        let start_wall = Timestamp::from_millis(self.start_wall.as_millis().saturating_add(by_ms));
        Self { shared: Arc::clone(&self.shared), start_wall }
    }

    /// Returns the monotonic time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Returns the wall-clock time; it advances with the monotonic clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        let millis = self.shared.start.elapsed().as_millis();
        let millis = i64::try_from(millis).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.start_wall.as_millis().saturating_add(millis))
    }

    /// Draws from the random numbers.
    pub fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.shared.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a new execution id.
    #[must_use]
    pub fn ex_id(&self) -> ExId {
        ExId::from_random(self.random(random_bytes))
    }

    /// Makes a new job id.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        JobId::from_random(self.random(random_bytes))
    }

    /// Returns a random duration between half of `around` and all of it.
    #[must_use]
    pub fn jittered(&self, around: Duration) -> Duration {
        around.mul_f64(0.5 + self.random(fastrand::Rng::f64) / 2.0)
    }

    /// Starts a task.
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(task)
    }

    /// Runs work that keeps a thread busy, such as a batch in a processor.
    ///
    /// # Panics
    ///
    /// When `work` panics.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.shared.compute {
            Compute::Inline => work(),
            Compute::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
}

fn random_bytes(random: &mut fastrand::Rng) -> [u8; 16] {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeats_itself_under_the_same_seed() {
        let (one, two) = (Context::simulated(7), Context::simulated(7));
        assert_eq!(one.ex_id(), two.ex_id());
        assert_eq!(one.wall(), two.wall());
    }

    #[tokio::test(start_paused = true)]
    async fn moves_the_wall_clock_with_the_monotonic_one() {
        let context = Context::simulated(0);
        let before = context.wall();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(context.wall().as_millis() - before.as_millis(), 5_000);
    }

    #[tokio::test(start_paused = true)]
    async fn shares_all_but_the_wall_clock_with_a_skewed_one() {
        let (context, alone) = (Context::simulated(7), Context::simulated(7));
        let behind = context.skewed(-3_000);
        assert_eq!(context.wall().as_millis() - behind.wall().as_millis(), 3_000);
        assert_eq!([behind.ex_id(), context.ex_id()], [alone.ex_id(), alone.ex_id()]);
    }
}
