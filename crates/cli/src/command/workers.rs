//! `teraslice workers`: the processes of a cluster.

use serde_json::{Value, json};
use teraslice_node::exit_code;

use super::{
    cluster::{Site, of_client},
    nodes::nodes,
};
use crate::{
    args::{
        Common,
        cluster::{ClusterWorkers, OneOf},
    },
    failure::Failure,
};

/// Lists workers; returns the exit code.
pub(crate) fn execute(common: &Common, command: &ClusterWorkers) -> Result<u8, Failure> {
    let ClusterWorkers::List(OneOf { alias, id, access }) = command;
    let site = Site::new(common, access)?;
    let state = site.client(alias)?.get(&["cluster", "state"], &[]).map_err(of_client)?;
    let columns = [
        ("assignment", "assignment"),
        ("job_id", "job_id"),
        ("ex_id", "ex_id"),
        ("node_id", "node_id"),
        ("worker_id", "worker_id"),
        ("pid", "pid"),
    ];
    site.list(&processes(&state, id.as_deref()), "worker_id", &columns)?;
    Ok(exit_code::DONE)
}

/// Returns the processes of all nodes, each with its node; only those of a job or an execution, if one is named.
fn processes(state: &Value, id: Option<&str>) -> Value {
    let mut found = Vec::new();
    for node in nodes(state) {
        for process in node.get("active").and_then(Value::as_array).into_iter().flatten() {
            let is = |key: &str| process.get(key).and_then(Value::as_str) == id;
            if id.is_some() && !is("ex_id") && !is("job_id") {
                continue;
            }
            let mut process = process.clone();
            if let Some(process) = process.as_object_mut() {
                process.insert("node_id".to_owned(), node.get("node_id").cloned().unwrap_or_default());
            }
            found.push(process);
        }
    }
    json!(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_processes_of_a_job_or_an_execution() {
        let state = json!({
            "a": {"node_id": "a", "active": [{"worker_id": 1, "assignment": "cluster_master"}, {"worker_id": 2, "ex_id": "e", "job_id": "j"}]},
            "b": {"node_id": "b", "active": [{"worker_id": 3, "ex_id": "f", "job_id": "j"}]},
            "c": {"node_id": "c"},
        });
        let ids = |id| {
            let found = processes(&state, id);
            found
                .as_array()
                .unwrap()
                .iter()
                .map(|p| format!("{}{}", p["node_id"].as_str().unwrap(), p["worker_id"]))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(None), ["a1", "a2", "b3"]);
        assert_eq!(ids(Some("e")), ["a2"]);
        assert_eq!(ids(Some("j")), ["a2", "b3"]);
        assert_eq!(ids(Some("x")), [""; 0]);
    }
}
