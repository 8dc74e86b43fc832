//! `teraslice nodes`: the nodes of a cluster, and what runs on them.

use serde_json::{Value, json};
use teraslice_node::exit_code;

use super::cluster::{Site, of_client};
use crate::{
    args::{
        Common,
        cluster::{Nodes, OneCluster},
    },
    failure::Failure,
};

/// Lists nodes; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Nodes) -> Result<u8, Failure> {
    let Nodes::List(OneCluster { alias, access }) = command;
    let site = Site::new(common, access)?;
    let state = site.client(alias)?.get(&["cluster", "state"], &[]).map_err(of_client)?;
    let nodes: Vec<_> = nodes(&state).map(with_count).collect();
    let columns = [
        ("node_id", "node_id"),
        ("state", "state"),
        ("hostname", "hostname"),
        ("total", "total"),
        ("active", "active_count"),
        ("pid", "pid"),
        ("teraslice", "teraslice_version"),
    ];
    site.list(&Value::Array(nodes), "node_id", &columns)?;
    Ok(exit_code::DONE)
}

/// Returns the nodes of a cluster's state, which is keyed by their ids.
pub(crate) fn nodes(state: &Value) -> impl Iterator<Item = &Value> {
    state.as_object().into_iter().flatten().map(|(_, node)| node)
}

fn with_count(node: &Value) -> Value {
    let mut node = node.clone();
    let count = node.get("active").and_then(Value::as_array).map(Vec::len);
    if let Some(node) = node.as_object_mut() {
        node.insert("active_count".to_owned(), json!(count));
    }
    node
}
