//! What is wrong at the moment: who cannot reach whom, and how the store and the cluster answer.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use teraslice_core::context::Context;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::faults::Faults;

/// A connection that nothing gets through for so long is over.
const BREAK_AFTER: Duration = Duration::from_secs(30);
/// In the calm a message takes this long at the most.
const CALM_DELAY_MAX: Duration = Duration::from_millis(100);
/// A slow store takes longer by this factor.
const SLOWNESS: u32 = 20;

/// Where something runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// With the master.
    Master,
    /// With the state store.
    Store,
    /// On a node.
    Node(u32),
}

/// How the store or the cluster answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// As it should.
    #[default]
    Well,
    /// Slowly.
    Slowly,
    /// With a passing error.
    Unavailable,
    /// With an error that does not pass by itself: the disk is full.
    Full,
    /// Not at all.
    Never,
}

/// The weather over a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Weather {
    context: Context,
    faults: Arc<Faults>,
    start: Instant,
    state: Arc<Mutex<State>>,
    /// Not a watch channel: that wakes who waits in no certain order.
    changes: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// Cut off from all others.
    cut: BTreeSet<Place>,
    store: Answers,
    api: Answers,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Store => f.write_str("store"),
            Self::Node(number) => write!(f, "node{number}"),
        }
    }
}

impl Weather {
    /// Returns fine weather, for now.
    #[must_use]
    pub fn new(context: Context, faults: Faults) -> Self {
        let (start, changes) = (context.now(), Arc::default());
        Self { context, faults: Arc::new(faults), start, state: Arc::default(), changes }
    }

    /// Returns what may go wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Tells whether nothing goes wrong any more.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.context.now().duration_since(self.start) >= self.faults.calm_after
    }

    /// Tells whether something of probability `chance` happens now.
    #[must_use]
    pub fn strikes(&self, chance: f64) -> bool {
        chance > 0.0 && !self.is_calm() && self.context.random(|random| random.f64()) < chance
    }

    /// Draws the delay of a message.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let most =
            if self.is_calm() { self.faults.delay_max.min(CALM_DELAY_MAX) } else { self.faults.delay_max };
        most.mul_f64(self.context.random(|random| random.f64()))
    }

    /// Returns how the store answers.
    #[must_use]
    pub fn store(&self) -> Answers {
        self.lock().store
    }

    /// Returns how the cluster answers the master.
    #[must_use]
    pub fn api(&self) -> Answers {
        self.lock().api
    }

    /// Changes how the store answers.
    pub fn set_store(&self, answers: Answers) {
        self.lock().store = answers;
        self.changes.notify_waiters();
    }

    /// Changes how the cluster answers the master.
    pub fn set_api(&self, answers: Answers) {
        self.lock().api = answers;
        self.changes.notify_waiters();
    }

    /// Cuts a place off from all others.
    pub fn cut(&self, place: Place) {
        self.lock().cut.insert(place);
        self.changes.notify_waiters();
    }

    /// Lets a place be reached again.
    pub fn heal(&self, place: Place) {
        self.lock().cut.remove(&place);
        self.changes.notify_waiters();
    }

    /// Lets everything be as it should.
    pub fn clear(&self) {
        *self.lock() = State::default();
        self.changes.notify_waiters();
    }

    /// Tells whether one place can reach another.
    #[must_use]
    pub fn is_open(&self, one: Place, other: Place) -> bool {
        let state = self.lock();
        one == other || !(state.cut.contains(&one) || state.cut.contains(&other))
    }

    /// Carries a message from one place to another; false: the connection is over.
    pub async fn carry(&self, from: Place, to: Place) -> bool {
        sleep(self.delay()).await;
        if self.is_open(from, to) {
            return true;
        }
        let opened = async {
            while !self.is_open(from, to) {
                self.changes.notified().await;
            }
        };
        timeout(BREAK_AFTER, opened).await.is_ok()
    }

    /// Waits as long as an answer takes; an answer that never comes is waited for until the weather changes.
    pub async fn answer(&self, what: impl Fn(&Self) -> Answers) -> Answers {
        sleep(self.delay()).await;
        if what(self) == Answers::Slowly {
            sleep(self.delay() * SLOWNESS).await;
        }
        while what(self) == Answers::Never {
            self.changes.notified().await;
        }
        what(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Place; 2] = [Place::Node(1), Place::Node(2)];

    fn weather() -> Weather {
        Weather::new(Context::simulated(1), Faults::none())
    }

    #[tokio::test(start_paused = true)]
    async fn cuts_a_place_off_from_all_others_but_not_from_itself() {
        let weather = weather();
        weather.cut(NODES[0]);
        assert!(!weather.is_open(NODES[0], NODES[1]) && !weather.is_open(Place::Master, NODES[0]));
        assert!(weather.is_open(NODES[0], NODES[0]) && weather.is_open(NODES[1], Place::Store));
        weather.heal(NODES[0]);
        assert!(weather.is_open(NODES[0], NODES[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn carries_what_was_held_up_once_the_cut_is_over() {
        let weather = weather();
        weather.cut(NODES[0]);
        let carried = weather.carry(NODES[0], NODES[1]);
        let healed = async {
            sleep(BREAK_AFTER / 2).await;
            weather.clear();
        };
        assert!(tokio::join!(carried, healed).0);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_a_connection_that_was_cut_for_too_long() {
        let weather = weather();
        weather.cut(NODES[1]);
        assert!(!weather.carry(NODES[0], NODES[1]).await);
    }
}
