//! Pods in the shape of the API: by the machine that they run on.

use std::collections::BTreeMap;

use teraslice_api::cluster::{NodeState, Process, WorkerName};
use teraslice_backend_k8s::{Kubernetes, PodView};
use teraslice_core::backend::health::Trouble;

/// Shows the pods that run, and the machines that they run on.
pub(super) struct PodsOfMaster {
    pods: Kubernetes,
}

impl PodsOfMaster {
    pub(super) const fn new(pods: Kubernetes) -> Self {
        Self { pods }
    }
}

impl teraslice_server::nodes::Nodes for PodsOfMaster {
    fn state(&self) -> BTreeMap<String, NodeState> {
        by_machine(self.pods.pods())
    }

    fn are_ours(&self) -> bool {
        false
    }

    fn trouble(&self) -> Option<Trouble> {
        self.pods.trouble().borrow().clone()
    }
}

fn by_machine(pods: Vec<PodView>) -> BTreeMap<String, NodeState> {
    let mut machines = BTreeMap::new();
    for pod in pods.into_iter().filter(|pod| pod.is_running) {
        let Some(machine) = pod.node.clone() else { continue };
        let node: &mut NodeState =
            machines.entry(machine.clone()).or_insert_with(|| NodeState::foreign(machine));
        node.active.push(process(pod));
    }
    machines
}

fn process(pod: PodView) -> Process {
    Process {
        worker_id: WorkerName::Name(pod.name.clone()),
        assignment: pod.component,
        pid: None,
        ex_id: pod.purpose.map(|purpose| purpose.ex_id),
        job_id: pod.purpose.map(|purpose| purpose.job_id),
        assets: Some(Vec::new()),
        pod_name: Some(pod.name),
        pod_ip: pod.ip,
        image: Some(pod.image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: Option<&str>, is_running: bool) -> PodView {
        PodView {
            name: name.to_owned(),
            node: node.map(str::to_owned),
            ip: Some("10.1.0.1".to_owned()),
            image: "teraslice:1".to_owned(),
            component: "worker".to_owned(),
            purpose: None,
            is_running,
        }
    }

    #[test]
    fn shows_what_runs_by_machine_and_leaves_out_what_does_not() {
        let pods = vec![
            pod("a", Some("10.0.0.1"), true),
            pod("b", Some("10.0.0.2"), true),
            pod("c", Some("10.0.0.1"), true),
            pod("d", Some("10.0.0.3"), false),
            pod("e", None, true),
        ];
        let machines = by_machine(pods);
        let counts: Vec<_> = machines.iter().map(|(name, node)| (name.as_str(), node.active.len())).collect();
        assert_eq!(counts, [("10.0.0.1", 2), ("10.0.0.2", 1)]);
        let json = serde_json::to_value(&machines["10.0.0.2"]).unwrap();
        assert_eq!((&json["pid"], &json["total"]), (&"N/A".into(), &"N/A".into()));
        assert_eq!(json["active"][0]["worker_id"], "b");
    }
}
