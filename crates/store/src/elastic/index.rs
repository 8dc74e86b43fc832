//! The indices of a cluster name: what they are called, how they are made.

use serde_json::{Value, json};

use super::options::{ElasticOptions, Rollover, Shards};

/// What a template of ours has to come before: those of others for all indices.
const PRIORITY: u32 = 500;

/// A kind of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// Jobs as submitted.
    Jobs,
    /// Executions.
    Executions,
    /// Assets, without their bundles.
    Assets,
    /// Slices, one index per period.
    State,
    /// Statistics per operation and slice, one index per period; nothing here writes any.
    Analytics,
    /// The journals of executions; see [`Entry`](super::entry::Entry).
    Ledger,
    /// Records that operations refused.
    DeadLetters,
    /// Tokens and the audit log.
    Access,
}

impl Index {
    pub(super) const COUNT: usize = 8;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Jobs,
        Self::Executions,
        Self::Assets,
        Self::State,
        Self::Analytics,
        Self::Ledger,
        Self::DeadLetters,
        Self::Access,
    ];

    /// Returns its place among all.
    pub(super) const fn at(self) -> usize {
        self as usize
    }

    /// Tells whether there is one index per period.
    pub(super) const fn is_periodic(self) -> bool {
        matches!(self, Self::State | Self::Analytics)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Executions => "ex",
            Self::Assets => "assets",
            Self::State => "state",
            Self::Analytics => "analytics",
            Self::Ledger => "ledger",
            Self::DeadLetters => "dead_letters",
            Self::Access => "access",
        }
    }

    /// Returns the mapping as JSON: the fields that searches and dashboards look into.
    pub(super) const fn mapping(self) -> &'static str {
        match self {
            Self::Jobs => include_str!("mapping/jobs.json"),
            Self::Executions => include_str!("mapping/executions.json"),
            Self::Assets => include_str!("mapping/assets.json"),
            Self::State => include_str!("mapping/state.json"),
            Self::Analytics => include_str!("mapping/analytics.json"),
            Self::Ledger => include_str!("mapping/ledger.json"),
            Self::DeadLetters => include_str!("mapping/dead_letters.json"),
            Self::Access => include_str!("mapping/access.json"),
        }
    }
}

/// Names and settings of the indices of a cluster name.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    cluster: String,
    shards: [Shards; Index::COUNT],
    pub(super) rollover: Rollover,
}

impl Layout {
    pub(super) fn new(options: &ElasticOptions) -> Self {
        let indices = &options.indices;
        let shards = |index| match index {
            Index::Jobs => indices.jobs,
            Index::Executions => indices.execution,
            Index::Assets => indices.assets,
            Index::State => indices.state,
            Index::Analytics => indices.analytics,
            // The entries of a journal are seen in their order, which holds within a shard.
            Index::Ledger => Shards { count: 1, replicas: indices.state.replicas },
            Index::DeadLetters => indices.state,
            Index::Access => Shards { count: 1, replicas: indices.jobs.replicas },
        };
        Self { cluster: options.name.clone(), shards: Index::ALL.map(shards), rollover: indices.rollover }
    }

    /// Returns the name of an index of which there is one.
    pub(super) fn name(&self, index: Index) -> String {
        format!("{}__{}", self.cluster, index.word())
    }

    /// Returns the name of the index of a period.
    pub(super) fn name_of_period(&self, index: Index, period: &str) -> String {
        format!("{}__{}-{period}", self.cluster, index.word())
    }

    /// Returns a name for all indices of a kind.
    pub(super) fn pattern(&self, index: Index) -> String {
        if index.is_periodic() { self.name_of_period(index, "*") } else { self.name(index) }
    }

    /// Tells whether an index is of a kind.
    pub(super) fn is_one(&self, index: Index, name: &str) -> bool {
        match self.pattern(index).strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.name(index),
        }
    }

    /// Returns a name for all indices.
    pub(super) fn everything(&self) -> String {
        format!("{}__*", self.cluster)
    }

    /// Returns the settings and the mapping that an index is made with.
    pub(super) fn body(&self, index: Index) -> Value {
        let Shards { count, replicas } = self.shards[index.at()];
        let mapping: Value =
            serde_json::from_str(index.mapping()).expect("a mapping is JSON: a test reads each");
        json!({
            "settings": {"index": {"number_of_shards": count, "number_of_replicas": replicas}},
            "mappings": mapping,
        })
    }

    /// Returns the name and the body of the template by which an index is made that somebody writes to.
    pub(super) fn template(&self, index: Index) -> (String, Value) {
        let name = format!("{}_{}_template", self.cluster, index.word());
        let body = json!({
            "index_patterns": [self.pattern(index)], "priority": PRIORITY, "template": self.body(index),
        });
        (name, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_mapping() {
        for index in Index::ALL {
            let mapping: Value = serde_json::from_str(index.mapping()).unwrap();
            assert_eq!(mapping["dynamic"], "false", "{index:?}");
            assert_eq!(Index::ALL[index.at()], index);
        }
    }
}
