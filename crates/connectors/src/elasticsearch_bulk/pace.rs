//! How large requests to a target are, and how many are under way: as much as pays, and less when the server says so.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// Items per request at first, where the job does not say.
const ITEMS_START: usize = 500;
/// Items per request at most, where the job does not say.
const ITEMS_MAX: usize = 5_000;
/// Items per request at least, unless the job wants fewer.
const ITEMS_MIN: usize = 50;
/// Bytes per request: services limit requests to 10 MiB, some servers to more.
const BYTES_MAX: usize = 8 << 20;
/// Bytes per request at least.
const BYTES_MIN: usize = 64 << 10;
/// Requests under way at first, and at most.
const CONCURRENCY: (usize, usize) = (2, 8);
/// So many requests are looked at together.
const EPOCH: usize = 8;
/// Larger requests stay as long as an item costs no more than this against before.
const HOLDS: f64 = 1.15;
/// One more request at a time stays only where an item costs at most this against before.
const PAYS: f64 = 0.95;
/// Epochs until the next trial: after one that did not pay, and when nothing is left to try.
const REST: (u32, u32) = (10, 50);

/// What is known of a target; all sinks of a process that write to it share it.
#[derive(Debug)]
pub(super) struct Target {
    pace: Mutex<Pace>,
    changed: Notify,
}

/// Leave to have one request under way. Dropped, the request tells nothing.
#[derive(Debug)]
pub(super) struct Permit {
    target: Arc<Target>,
    under_way: usize,
    generation: u64,
}

/// The limits of requests, and how they are found.
///
/// The cost of an item is a request's latency by its items and by the requests under way beside it, so one over the
/// throughput. One limit at a time is raised for an epoch; then it stays or goes back.
#[derive(Debug)]
pub(super) struct Pace {
    items: usize,
    items_max: usize,
    bytes: usize,
    concurrency: usize,
    under_way: usize,
    trial: Trial,
    /// What is tried next.
    next: Limit,
    /// Epochs until then.
    rest: u32,
    epoch: Epoch,
    /// Counts the times the limits were cut; what was sent before a cut tells nothing of them.
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Items,
    Concurrency,
}

#[derive(Clone, Copy, Debug)]
enum Trial {
    None,
    /// A limit was raised from `before`, where an item had that cost.
    Raised {
        limit: Limit,
        before: usize,
        cost: f64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    requests: usize,
    items: usize,
    /// Seconds.
    cost: f64,
    /// Requests that were sent while no more might be.
    saturated: usize,
}

impl Target {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace: Mutex::new(pace), changed: Notify::new() }
    }

    /// Returns how many items and bytes a request has at most.
    pub(super) fn limits(&self) -> (usize, usize) {
        let pace = self.pace();
        (pace.items, pace.bytes)
    }

    /// Waits until one more request may be under way.
    pub(super) async fn permit(self: &Arc<Self>) -> Permit {
        loop {
            let changed = self.changed.notified();
            {
                let mut pace = self.pace();
                if pace.under_way < pace.concurrency {
                    pace.under_way += 1;
                    let (under_way, generation) = (pace.under_way, pace.generation);
                    return Permit { target: Arc::clone(self), under_way, generation };
                }
            }
            changed.await;
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Notes that the request was answered.
    pub(super) fn answered(self, items: usize, latency: Duration) {
        self.target.pace().answered(items, latency, self.under_way, self.generation);
    }

    /// Notes that the server had no room for all of the request.
    pub(super) fn refused(self) {
        self.target.pace().cut(self.generation);
    }

    /// Notes that the server takes no request of so many bytes.
    pub(super) fn too_large(self, bytes: usize) {
        let mut pace = self.target.pace();
        pace.bytes = pace.bytes.min((bytes / 2).max(BYTES_MIN));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.target.pace().under_way -= 1;
        self.target.changed.notify_waiters();
    }
}

impl Pace {
    /// Makes the pace to begin with; `size`: the items per request that the job sets.
    pub(super) fn new(size: Option<usize>) -> Self {
        Self {
            items: size.unwrap_or(ITEMS_START),
            items_max: size.unwrap_or(ITEMS_MAX),
            bytes: BYTES_MAX,
            concurrency: CONCURRENCY.0,
            under_way: 0,
            trial: Trial::None,
            next: Limit::Items,
            rest: 0,
            epoch: Epoch::default(),
            generation: 0,
        }
    }

    fn answered(&mut self, items: usize, latency: Duration, under_way: usize, generation: u64) {
        if generation != self.generation || items == 0 {
            return;
        }
        self.epoch.requests += 1;
        self.epoch.items += items;
        self.epoch.cost += latency.as_secs_f64() / as_number(under_way);
        self.epoch.saturated += usize::from(under_way >= self.concurrency);
        if self.epoch.requests >= EPOCH {
            let epoch = std::mem::take(&mut self.epoch);
            self.judge(epoch.cost / as_number(epoch.items), epoch.saturated > epoch.requests / 2);
        }
    }

    fn judge(&mut self, cost: f64, is_saturated: bool) {
        if let Trial::Raised { limit, before, cost: cost_before } = self.trial {
            self.trial = Trial::None;
            let bound = if limit == Limit::Items { HOLDS } else { PAYS };
            if cost > cost_before * bound {
                *self.limit(limit) = before;
                self.next = if limit == Limit::Items { Limit::Concurrency } else { Limit::Items };
                self.rest = REST.0;
                return;
            }
        }
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let can_more = |limit| match limit {
            Limit::Items => self.items < self.items_max,
            Limit::Concurrency => is_saturated && self.concurrency < CONCURRENCY.1,
        };
        let other = if self.next == Limit::Items { Limit::Concurrency } else { Limit::Items };
        let Some(limit) = [self.next, other].into_iter().find(|limit| can_more(*limit)) else {
            self.rest = REST.1;
            return;
        };
        let before = *self.limit(limit);
        self.trial = Trial::Raised { limit, before, cost };
        *self.limit(limit) = match limit {
            Limit::Items => (before + before.div_ceil(2)).min(self.items_max),
            Limit::Concurrency => before + 1,
        };
    }

    /// Halves the limits, once for all that was under way together.
    fn cut(&mut self, generation: u64) {
        if generation != self.generation {
            return;
        }
        self.generation += 1;
        self.items = (self.items / 2).max(ITEMS_MIN.min(self.items_max));
        self.concurrency = (self.concurrency / 2).max(1);
        self.trial = Trial::None;
        self.epoch = Epoch::default();
        self.rest = REST.0;
    }

    const fn limit(&mut self, limit: Limit) -> &mut usize {
        match limit {
            Limit::Items => &mut self.items,
            Limit::Concurrency => &mut self.concurrency,
        }
    }
}

fn as_number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends requests to a server where a request takes what `latency` says of its items and those under way.
    fn run(pace: &mut Pace, requests: usize, latency: impl Fn(f64, f64) -> f64) {
        for _ in 0..requests {
            let (items, under_way) = (pace.items, pace.concurrency);
            let took = latency(as_number(items), as_number(under_way));
            pace.answered(items, Duration::from_secs_f64(took), under_way, pace.generation);
        }
    }

    /// A server with so many processors, 20 us per item and 5 ms per request.
    fn server(processors: f64) -> impl Fn(f64, f64) -> f64 {
        move |items, under_way| (0.005 + items * 0.000_02) * (under_way / processors).max(1.0)
    }

    #[test]
    fn grows_as_far_as_it_pays() {
        let mut pace = Pace::new(None);
        run(&mut pace, 20_000, server(4.0));
        assert_eq!((pace.items, pace.concurrency), (ITEMS_MAX, 4));
        let mut set = Pace::new(Some(700));
        run(&mut set, 20_000, server(100.0));
        assert_eq!((set.items, set.concurrency), (700, CONCURRENCY.1), "a size that the job sets is kept");
    }

    #[test]
    fn does_not_grow_where_large_requests_are_slow() {
        let mut pace = Pace::new(None);
        run(&mut pace, 20_000, |items, under_way| 0.000_01 * items * (items / 500.0).max(1.0) * under_way);
        assert!(pace.items < 800 && pace.concurrency <= 3, "{pace:?}");
    }

    #[test]
    fn halves_once_for_what_was_refused_together() {
        let mut pace = Pace::new(None);
        run(&mut pace, 20_000, server(8.0));
        let (items, concurrency) = (pace.items, pace.concurrency);
        let before = pace.generation;
        for _ in 0..concurrency {
            pace.cut(before);
        }
        assert_eq!((pace.items, pace.concurrency), (items / 2, concurrency / 2));
        for _ in 0..20 {
            pace.cut(pace.generation);
        }
        assert_eq!((pace.items, pace.concurrency), (ITEMS_MIN, 1));
        run(&mut pace, 20_000, server(8.0));
        assert_eq!((pace.items, pace.concurrency), (items, concurrency), "and grows again");
        let mut few = Pace::new(Some(10));
        few.cut(0);
        assert_eq!(few.items, 10);
    }

    #[tokio::test]
    async fn has_no_more_under_way_than_allowed() {
        let target = Arc::new(Target::new(Pace::new(None)));
        let first = target.permit().await;
        let second = target.permit().await;
        let mut third = std::pin::pin!(target.permit());
        let waits = tokio::time::timeout(Duration::from_millis(5), third.as_mut()).await;
        assert!(waits.is_err());
        drop(second);
        let third = third.await;
        third.too_large(1 << 20);
        assert_eq!(target.limits(), (ITEMS_START, 1 << 19));
        first.refused();
        assert_eq!(target.pace().concurrency, 1);
    }
}
