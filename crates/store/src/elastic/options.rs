//! What the store is opened with.

use std::time::Duration;

use teraslice_core::context::Context;
use teraslice_model::timestamp::Timestamp;

/// What an [`ElasticStore`](super::ElasticStore) is opened with.
#[derive(Clone, Debug)]
pub struct ElasticOptions {
    /// Gives the time for what the store dates itself, and starts its tasks.
    pub context: Context,
    /// The cluster's name; that of every index begins with it.
    pub name: String,
    /// How the indices are made.
    pub indices: Indices,
    /// The least time from the start of one append of an execution to that of the next; what comes meanwhile goes together
    /// into the next (default 100 ms).
    pub append_interval: Duration,
    /// How long finished slices may wait for their records in `<name>__state-*` (default 1 s).
    pub settle_interval: Duration,
}

/// How the indices of a cluster are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// The shards of `<name>__jobs`.
    pub jobs: Shards,
    /// The shards of `<name>__ex`.
    pub execution: Shards,
    /// The shards of each `<name>__state-*`.
    pub state: Shards,
    /// The shards of each `<name>__analytics-*`.
    pub analytics: Shards,
    /// The shards of `<name>__assets`.
    pub assets: Shards,
    /// How often there is a new index for slices (default monthly).
    pub rollover: Rollover,
}

/// The shards of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// How many (default 5).
    pub count: u32,
    /// Copies of each beyond the first (default 1).
    pub replicas: u32,
}

/// How often there is a new index for slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rollover {
    /// Every day: `<name>__state-2020.09.13`.
    Daily,
    /// Every month: `<name>__state-2020.09`.
    #[default]
    Monthly,
    /// Every year: `<name>__state-2020`.
    Yearly,
}

impl ElasticOptions {
    /// Returns the defaults for the cluster `name`.
    #[must_use]
    pub fn new(context: Context, name: impl Into<String>) -> Self {
        Self {
            context,
            name: name.into(),
            indices: Indices::default(),
            append_interval: Duration::from_millis(100),
            settle_interval: Duration::from_secs(1),
        }
    }
}

impl Indices {
    /// Returns indices that all have the same shards.
    #[must_use]
    pub fn alike(shards: Shards) -> Self {
        Self {
            jobs: shards,
            execution: shards,
            state: shards,
            analytics: shards,
            assets: shards,
            rollover: Rollover::default(),
        }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self { count: 5, replicas: 1 }
    }
}

impl Rollover {
    /// Returns how the index of what was made at a time is told from others, as in `2020.09`.
    pub(super) fn period(self, created: Timestamp) -> String {
        let text = created.to_string();
        let len = match self {
            Self::Daily => 10,
            Self::Monthly => 7,
            Self::Yearly => 4,
        };
        text.get(..len).unwrap_or(&text).replace('-', ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_periods_as_the_original_does() {
        let created = Timestamp::from_millis(1_600_000_000_000);
        let periods = [Rollover::Daily, Rollover::Monthly, Rollover::Yearly].map(|it| it.period(created));
        assert_eq!(periods, ["2020.09.13", "2020.09", "2020"]);
    }
}
