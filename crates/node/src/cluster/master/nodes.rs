//! The nodes of the cluster in the shape of the API.

use std::{collections::BTreeMap, process};

use teraslice_api::cluster::{NodeState, Process, WorkerName};
use teraslice_backend_native::nodes::{NodeState as Reach, NodeView, Nodes};

use super::NODE_VERSION;

/// Shows the nodes, and on the one that shares the master's process also the master and its assets service.
pub(super) struct NodesOfMaster {
    nodes: Nodes,
    has_node: bool,
}

impl NodesOfMaster {
    pub(super) const fn new(nodes: Nodes, has_node: bool) -> Self {
        Self { nodes, has_node }
    }

    fn node(&self, view: NodeView) -> NodeState {
        let mut active: Vec<_> = view
            .active
            .into_iter()
            .map(|process| Process {
                worker_id: WorkerName::Number(process.worker_id.into()),
                pid: process.pid.and_then(|pid| u64::try_from(pid).ok()),
                ex_id: Some(process.ex_id),
                job_id: Some(process.job_id),
                ..nameless(process.assignment)
            })
            .collect();
        let is_here = self.has_node && view.pid == process::id();
        if is_here {
            let roles = ["cluster_master", "assets_service"];
            active.splice(0..0, roles.map(|role| Process { pid: Some(view.pid.into()), ..nameless(role) }));
        }
        NodeState {
            node_id: view.node_id,
            hostname: view.host,
            pid: Some(view.pid.into()),
            node_version: NODE_VERSION.to_owned(),
            teraslice_version: format!("v{}", view.version),
            // The master's own entries have slots of their own, which no execution gets.
            total: Some(u64::from(view.total) + if is_here { 2 } else { 0 }),
            state: match view.state {
                Reach::Connected => "connected",
                Reach::Disconnected => "disconnected",
            }
            .to_owned(),
            available: Some(view.available.into()),
            active,
        }
    }
}

impl teraslice_server::nodes::Nodes for NodesOfMaster {
    fn state(&self) -> BTreeMap<String, NodeState> {
        let nodes = self.nodes.state().into_iter().map(|view| self.node(view));
        nodes.map(|node| (node.node_id.clone(), node)).collect()
    }
}

fn nameless(assignment: &str) -> Process {
    Process {
        worker_id: WorkerName::Number(0),
        assignment: assignment.to_owned(),
        pid: None,
        ex_id: None,
        job_id: None,
        assets: None,
        pod_name: None,
        pod_ip: None,
        image: None,
    }
}
