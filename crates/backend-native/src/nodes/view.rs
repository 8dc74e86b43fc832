//! Nodes as people see them.

use serde::Serialize;
use teraslice_model::id::{ExId, JobId};

use crate::limits::Enforced;

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub node_id: String,
    /// The name of its machine.
    pub hostname: String,
    /// Where its processes can be reached.
    pub host: String,
    /// The number of its own process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its slots.
    pub total: u32,
    /// Whether it is in reach.
    pub state: NodeState,
    /// Slots that are free; none where it is out of reach or about to end.
    pub available: u32,
    /// What limits it enforces.
    pub limits: Enforced,
    /// What runs there.
    pub active: Vec<ActiveProcess>,
}

/// Whether a node is in reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It is.
    Connected,
    /// It is not, and may come back.
    Disconnected,
}

/// A process on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveProcess {
    /// Its number among those of the node.
    pub worker_id: u32,
    /// What it is: `execution_controller` or `worker`.
    pub assignment: &'static str,
    /// Its process number, once it runs.
    pub pid: Option<i32>,
    /// Its execution.
    pub ex_id: ExId,
    /// The execution's job.
    pub job_id: JobId,
}
