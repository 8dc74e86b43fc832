//! How much goes wrong, drawn from the seed.

use std::time::Duration;

use teraslice_core::context::Context;

/// How often things go wrong; each number is a probability per occasion.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A message between worker and controller takes at most this long.
    pub delay_max: Duration,
    /// A message is delivered twice.
    pub duplicate: f64,
    /// A message overtakes the ones before it.
    pub reorder: f64,
    /// A worker's messages are held up for longer than its leases last.
    pub partition: f64,
    /// The store answers with an error, before or after it has written.
    pub store_error: f64,
    /// A worker is killed, per second and worker.
    pub worker_crash: f64,
    /// The controller is killed, per second.
    pub controller_crash: f64,
    /// From then on nothing goes wrong any more.
    pub calm_after: Duration,
}

impl Faults {
    /// Returns faults that never happen.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            delay_max: Duration::from_millis(1),
            duplicate: 0.0,
            reorder: 0.0,
            partition: 0.0,
            store_error: 0.0,
            worker_crash: 0.0,
            controller_crash: 0.0,
            calm_after: Duration::ZERO,
        }
    }

    /// Draws faults: each kind is absent in about half of all runs.
    #[must_use]
    pub fn draw(context: &Context) -> Self {
        let draw = |most: f64| context.random(|random| if random.bool() { 0.0 } else { random.f64() * most });
        Self {
            delay_max: Duration::from_millis(context.random(|random| random.u64(1..300))),
            duplicate: draw(0.2),
            reorder: draw(0.2),
            partition: draw(0.02),
            store_error: draw(0.1),
            worker_crash: draw(0.3),
            controller_crash: draw(0.1),
            calm_after: Duration::from_secs(60),
        }
    }

    /// Tells whether something of probability `chance` happens now.
    #[must_use]
    pub fn strike(&self, context: &Context, since_start: Duration, chance: f64) -> bool {
        chance > 0.0 && since_start < self.calm_after && context.random(|random| random.f64()) < chance
    }

    /// Draws the delay of a message.
    #[must_use]
    pub fn delay(&self, context: &Context) -> Duration {
        self.delay_max.mul_f64(context.random(|random| random.f64()))
    }
}
