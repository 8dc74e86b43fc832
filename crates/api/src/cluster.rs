//! The cluster as clients see it: who the master is, its nodes, its totals.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use teraslice_model::{
    execution::Stats,
    id::{ExId, JobId},
};

/// What is written for a number that a backend does not know.
const NOT_KNOWN: &str = "N/A";

/// Who the master is (`GET /`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// The processor, in Node's words: `x64`, `arm64`.
    pub arch: String,
    /// The cluster backend (`cluster_manager_type`).
    pub clustering_type: String,
    /// The name of the cluster.
    pub name: String,
    /// A fixed version of Node.js, which existing clients parse; has no meaning here.
    pub node_version: String,
    /// The operating system, in Node's words: `linux`.
    pub platform: String,
    /// The version of the master (`vX.Y.Z`).
    pub teraslice_version: String,
}

/// A node of the cluster (an entry of `GET /cluster/state`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Names the node.
    pub node_id: String,
    /// Its host name or address.
    pub hostname: String,
    /// The process id of its daemon, if it has one.
    #[serde(with = "known")]
    pub pid: Option<u64>,
    /// A fixed version of Node.js, which existing clients parse.
    pub node_version: String,
    /// The version that runs there.
    pub teraslice_version: String,
    /// Its slots, if it counts them.
    #[serde(with = "known")]
    pub total: Option<u64>,
    /// `connected` or `disconnected`.
    pub state: String,
    /// Its free slots, if it counts them.
    #[serde(with = "known")]
    pub available: Option<u64>,
    /// What runs there.
    pub active: Vec<Process>,
}

impl NodeState {
    /// Makes a machine that is not one of our own nodes, of which little is known: `N/A`.
    #[must_use]
    pub fn foreign(name: String) -> Self {
        let not_known = || "N/A".to_owned();
        Self {
            node_id: name.clone(),
            hostname: name,
            pid: None,
            node_version: not_known(),
            teraslice_version: not_known(),
            total: None,
            state: "connected".to_owned(),
            available: None,
            active: Vec::new(),
        }
    }

    /// Tells whether something can be started there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == "connected"
    }
}

/// A process on a node, or a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Names it on its node.
    pub worker_id: WorkerName,
    /// What it is: `cluster_master`, `node_master`, `execution_controller`, `worker`.
    pub assignment: String,
    /// Its process id; absent for pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// The execution it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ex_id: Option<ExId>,
    /// The job of that execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The assets it has loaded, if the backend knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Vec<String>>,
    /// The name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The address of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// The image of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// What a backend calls a process: a number on our own nodes, the name of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WorkerName {
    /// A number, unique on its node.
    Number(u64),
    /// The name of a pod.
    Name(String),
}

/// The statistics of all executions, added up (`GET /cluster/stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStats {
    /// The sums.
    pub controllers: ClusterSums,
    /// The same, under the name of 2018.
    pub slicer: ClusterSums,
}

/// What is added up over all executions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSums {
    /// Slices finished, failed ones included.
    pub processed: u64,
    /// Slices given up.
    pub failed: u64,
    /// Slices waiting.
    pub queued: u64,
    /// Seconds from start to end.
    pub job_duration: u64,
    /// Workers that ever joined.
    pub workers_joined: u64,
    /// Workers that went away.
    pub workers_disconnected: u64,
    /// Workers that came back.
    pub workers_reconnected: u64,
}

/// A connected controller with its statistics (an entry of `GET /cluster/controllers`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerState {
    /// The execution.
    pub ex_id: ExId,
    /// Its job.
    pub job_id: JobId,
    /// The label of the job.
    pub name: String,
    /// The statistics.
    #[serde(flatten)]
    pub stats: Stats,
}

/// Numbers that may not be known: written as `N/A` then, as existing clients expect.
mod known {
    use super::{Deserialize, Deserializer, NOT_KNOWN, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => number.serialize(serializer),
            None => NOT_KNOWN.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::NumberOrText::deserialize(deserializer).and_then(super::NumberOrText::number)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn number<E: serde::de::Error>(self) -> Result<Option<u64>, E> {
        match self {
            Self::Number(number) => Ok(Some(number)),
            Self::Text(text) if text == NOT_KNOWN => Ok(None),
            Self::Text(text) => Err(E::custom(format!("not a number: {text:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_what_is_not_known_as_clients_expect() {
        let node = NodeState {
            node_id: "10.0.0.1".to_owned(),
            hostname: "10.0.0.1".to_owned(),
            pid: None,
            node_version: "N/A".to_owned(),
            teraslice_version: "N/A".to_owned(),
            total: None,
            state: "connected".to_owned(),
            available: Some(2),
            active: Vec::new(),
        };
        let json = serde_json::to_value(&node).unwrap();
        assert_eq!(json["pid"], "N/A");
        assert_eq!(json["available"], 2);
        assert_eq!(serde_json::from_value::<NodeState>(json).unwrap(), node);
    }

    #[test]
    fn refuses_text_that_is_no_number() {
        let wrong = json!({"node_id": "a", "hostname": "a", "pid": "many", "node_version": "", "teraslice_version": "",
            "total": 1, "state": "connected", "available": 1, "active": []});
        assert!(serde_json::from_value::<NodeState>(wrong).is_err());
    }

    #[test]
    fn names_processes_by_number_or_by_text() {
        let read = |name: serde_json::Value| serde_json::from_value::<WorkerName>(name).unwrap();
        assert_eq!(read(json!(3)), WorkerName::Number(3));
        assert_eq!(read(json!("ts-wkr-1")), WorkerName::Name("ts-wkr-1".to_owned()));
    }
}
