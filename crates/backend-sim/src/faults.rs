//! How much goes wrong, drawn from the seed.

use std::time::Duration;

use teraslice_core::context::Context;

/// How often things go wrong. `*_error`, `duplicate`, `reorder`, `hint_lost`,
/// `deadly_write`: a probability per occasion; the others per second.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A message, a call of the store or of the cluster takes at most this long, each way.
    pub delay_max: Duration,
    /// A message is delivered twice.
    pub duplicate: f64,
    /// A message of a worker overtakes the ones before it.
    pub reorder: f64,
    /// The store answers with an error, before or after it has written.
    pub store_error: f64,
    /// Whoever has written to the store is killed before it hears that it was done.
    pub deadly_write: f64,
    /// The store is down, slow or full for a while.
    pub store_outage: f64,
    /// The cluster answers the master with an error, before or after it has obeyed.
    pub api_error: f64,
    /// The cluster does not answer the master for a while, or with errors only.
    pub api_outage: f64,
    /// A hint of the cluster does not reach the master.
    pub hint_lost: f64,
    /// Some process of a node is killed.
    pub process_crash: f64,
    /// A process that is killed by its node takes a while to die; a probability per kill.
    pub lingers: f64,
    /// A node is lost with all that runs there, for a while.
    pub node_crash: f64,
    /// A node leaves in order, for a while.
    pub node_leave: f64,
    /// A node, the master or the store is cut off from all others for a while.
    pub cut: f64,
    /// The master dies, or another takes over while it still runs.
    pub master_crash: f64,
    /// Wall clocks are off by so much at most.
    pub skew_max: Duration,
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
            store_error: 0.0,
            deadly_write: 0.0,
            store_outage: 0.0,
            api_error: 0.0,
            api_outage: 0.0,
            hint_lost: 0.0,
            process_crash: 0.0,
            lingers: 0.0,
            node_crash: 0.0,
            node_leave: 0.0,
            cut: 0.0,
            master_crash: 0.0,
            skew_max: Duration::ZERO,
            calm_after: Duration::ZERO,
        }
    }

    /// Draws faults: each kind is absent in about half of all runs.
    #[must_use]
    pub fn draw(context: &Context) -> Self {
        // Some storms are worse than others, and some last longer.
        let (force, slowness, calm_after) = context.random(|random| {
            let force = *random.choice(&[0.3, 1.0, 1.0, 4.0]).unwrap_or(&1.0);
            let slowness = *random.choice(&[10, 100, 300, 5_000]).unwrap_or(&100);
            (force, slowness, if random.u32(..5) == 0 { random.u64(300..900) } else { random.u64(20..120) })
        });
        let draw = |most: f64| {
            context.random(|random| if random.bool() { 0.0 } else { (random.f64() * most * force).min(0.8) })
        };
        let skews = [0, 0, 1_000, 3_600_000];
        Self {
            delay_max: Duration::from_millis(context.random(|random| random.u64(1..slowness))),
            duplicate: draw(0.2),
            reorder: draw(0.2),
            store_error: draw(0.1),
            deadly_write: draw(0.03),
            store_outage: draw(0.03),
            api_error: draw(0.2),
            api_outage: draw(0.03),
            hint_lost: draw(0.5),
            process_crash: draw(0.5),
            lingers: draw(0.3),
            node_crash: draw(0.05),
            node_leave: draw(0.03),
            cut: draw(0.1),
            master_crash: draw(0.05),
            skew_max: Duration::from_millis(context.random(|random| *random.choice(&skews).unwrap_or(&0))),
            calm_after: Duration::from_secs(calm_after),
        }
    }

    /// Returns these faults as far as they concern the master and what it talks to; nothing that runs is touched.
    #[must_use]
    pub fn of_the_master(self) -> Self {
        let none = Self::none();
        let delay_max = self.delay_max.min(Duration::from_millis(300));
        let Self { calm_after, skew_max, .. } = self;
        let Self { duplicate, api_error, api_outage, hint_lost, master_crash, .. } = self;
        Self {
            delay_max,
            calm_after,
            skew_max,
            duplicate,
            api_error,
            api_outage,
            hint_lost,
            master_crash,
            ..none
        }
    }

    /// Returns these faults as far as what the master hears is late or lost, while many nodes leave in order.
    #[must_use]
    pub fn of_leaving(self) -> Self {
        let none = Self::none();
        let Self { delay_max, calm_after, skew_max, .. } = self;
        let Self { duplicate, api_error, hint_lost, .. } = self;
        let node_leave = self.node_leave.max(0.02) * 5.0;
        Self { delay_max, calm_after, skew_max, duplicate, api_error, hint_lost, node_leave, ..none }
    }

    /// Draws how far a wall clock is off, in milliseconds.
    #[must_use]
    pub fn skew_ms(&self, context: &Context) -> i64 {
        let most = i64::try_from(self.skew_max.as_millis()).unwrap_or(0);
        context.random(|random| random.i64(-most..=most))
    }
}
