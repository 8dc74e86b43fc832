//! What a node and the master tell each other.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use teraslice_core::backend::{ExitReason, Role};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    timestamp::Timestamp,
};

use crate::limits::{Allowance, Enforced};

/// From a node to the master. The first message of every connection is `Hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromNode {
    /// Who it is, and everything that runs there.
    Hello(Box<Hello>),
    /// Everything that runs there, and what has ended and was not forgotten; sent every few seconds.
    Processes(Vec<ProcessReport>),
    /// A process has changed; sent at once.
    Changed(ProcessReport),
    /// The node is about to end: it wants no more processes.
    Leaving,
}

/// From the master to a node. Everything may be said twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNode {
    /// Run this process.
    Start(Box<ProcessSpec>),
    /// Ask it to leave, and kill it after the grace.
    Stop {
        /// The process.
        process: ProcessKey,
        /// How long it may take.
        grace: Duration,
    },
    /// Kill it.
    Kill {
        /// The process.
        process: ProcessKey,
    },
    /// The master has taken note of its end.
    Forget {
        /// The process.
        process: ProcessKey,
    },
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name, the same for ever.
    pub node_id: String,
    /// The name of its machine.
    pub hostname: String,
    /// Where its processes can be reached.
    pub host: String,
    /// The number of its own process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How many processes it runs at the most.
    pub slots: u32,
    /// What limits it can enforce.
    pub limits: Enforced,
    /// Everything that runs there, and what has ended and was not forgotten.
    pub processes: Vec<ProcessReport>,
}

/// Names a process of a cluster, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// The execution it works for.
    pub ex_id: ExId,
    /// The controller object it belongs to.
    pub generation: Generation,
    /// What it is.
    pub role: Role,
    /// Which of the workers it is; 0 for the controller.
    pub ordinal: u32,
    /// Grows with every process that the master wants, whichever execution it is for.
    pub incarnation: u64,
}

/// What a process is started for, and with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Its name.
    #[serde(flatten)]
    pub key: ProcessKey,
    /// Its job's id.
    pub job_id: JobId,
    /// Its job, defaults filled in.
    pub job: Map<String, Value>,
    /// Environment variables beyond those of the node.
    pub env: BTreeMap<String, String>,
    /// What it may use.
    pub resources: Allowance,
    /// Assets that it needs.
    pub assets: Vec<String>,
}

/// How a process stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Its name.
    #[serde(flatten)]
    pub key: ProcessKey,
    /// Its job's id.
    pub job_id: JobId,
    /// Its number, once it runs.
    pub pid: Option<i32>,
    /// Where it stands.
    pub stage: ReportedStage,
    /// Since when.
    pub since: Timestamp,
}

/// Where a process stands, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedStage {
    /// What it needs is being fetched.
    Preparing,
    /// At work.
    Running,
    /// Asked to leave.
    Leaving,
    /// Ended, and how.
    Exited(ExitReason),
}

impl ProcessKey {
    /// Tells whether both are for the same place of an execution, one instead of the other.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    pub(crate) const fn place(&self) -> Place {
        Place { ex_id: self.ex_id, generation: self.generation, role: self.role, ordinal: self.ordinal }
    }
}

/// `EX_ID/ROLE-ORDINAL/INCARNATION`.
impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.node_type();
        write!(f, "{}/{role}-{}/{}", self.ex_id, self.ordinal, self.incarnation)
    }
}

/// A place of an execution that one live process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) ex_id: ExId,
    pub(crate) generation: Generation,
    pub(crate) role: Role,
    pub(crate) ordinal: u32,
}

impl Place {
    pub(crate) const fn with(self, incarnation: u64) -> ProcessKey {
        let Self { ex_id, generation, role, ordinal } = self;
        ProcessKey { ex_id, generation, role, ordinal, incarnation }
    }
}

impl ReportedStage {
    /// Tells whether the process may still do something.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Exited(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> ProcessKey {
        ProcessKey {
            ex_id: ExId::from_random([1; 16]),
            generation: Generation(2),
            role: Role::Worker,
            ordinal: 3,
            incarnation: 4,
        }
    }

    #[test]
    fn keeps_its_form_on_the_wire() {
        let report = ProcessReport {
            key: key(),
            job_id: JobId::from_random([2; 16]),
            pid: Some(7),
            stage: ReportedStage::Exited(ExitReason::Signal(9)),
            since: Timestamp::from_millis(0),
        };
        let sample = json!({"changed": {
            "ex_id": "01010101-0101-4101-8101-010101010101", "generation": 2, "role": "worker", "ordinal": 3,
            "incarnation": 4, "job_id": "02020202-0202-4202-8202-020202020202", "pid": 7,
            "stage": {"exited": {"signal": 9}}, "since": "1970-01-01T00:00:00.000Z",
        }});
        assert_eq!(serde_json::to_value(FromNode::Changed(report.clone())).unwrap(), sample);
        let text = sample.to_string();
        assert_eq!(serde_json::from_str::<FromNode>(&text).unwrap(), FromNode::Changed(report));
    }

    #[test]
    fn reads_a_start_back() {
        let spec = ProcessSpec {
            key: key(),
            job_id: JobId::from_random([2; 16]),
            job: Map::new(),
            env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            resources: Allowance { memory_bytes: Some(1), cpu_cores: Some(0.5) },
            assets: vec!["a".to_owned()],
        };
        let start = ToNode::Start(Box::new(spec));
        let text = serde_json::to_string(&start).unwrap();
        assert_eq!(serde_json::from_str::<ToNode>(&text).unwrap(), start);
    }

    #[test]
    fn knows_who_takes_whose_place() {
        assert!(key().is_same_place(&ProcessKey { incarnation: 9, ..key() }));
        assert!(!key().is_same_place(&ProcessKey { ordinal: 9, ..key() }));
    }
}
