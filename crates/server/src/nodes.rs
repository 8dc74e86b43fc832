//! The nodes of the cluster, as the backend knows them.

use std::collections::BTreeMap;

use teraslice_api::cluster::NodeState;
use teraslice_core::backend::health::Trouble;

/// Knows the nodes of the cluster.
pub trait Nodes: Send + Sync + 'static {
    /// Returns every node, by its id.
    fn state(&self) -> BTreeMap<String, NodeState>;

    /// Tells whether places are on our own nodes; otherwise the machines are somebody else's business.
    fn are_ours(&self) -> bool {
        true
    }

    /// Returns what keeps the cluster backend from doing what it should.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// Returns the free slots of all connected nodes; none when slots are not counted.
    fn free_slots(&self) -> Option<u64> {
        let nodes = self.state();
        nodes.values().filter(|node| node.is_connected()).map(|node| node.available).sum()
    }
}

/// A double for tests: the nodes it is made of.
impl Nodes for BTreeMap<String, NodeState> {
    fn state(&self) -> BTreeMap<String, NodeState> {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(state: &str, available: Option<u64>) -> NodeState {
        NodeState {
            node_id: "n".to_owned(),
            hostname: "n".to_owned(),
            pid: Some(1),
            node_version: "v24.0.0".to_owned(),
            teraslice_version: "v0.1.0".to_owned(),
            total: Some(8),
            state: state.to_owned(),
            available,
            active: Vec::new(),
        }
    }

    #[test]
    fn adds_up_free_slots_of_connected_nodes() {
        let nodes = BTreeMap::from([
            ("a".to_owned(), node("connected", Some(3))),
            ("b".to_owned(), node("disconnected", Some(8))),
            ("c".to_owned(), node("connected", Some(2))),
        ]);
        assert_eq!(nodes.free_slots(), Some(5));
    }

    #[test]
    fn does_not_count_slots_that_are_not_known() {
        let nodes = BTreeMap::from([("a".to_owned(), node("connected", None))]);
        assert_eq!(nodes.free_slots(), None);
    }
}
