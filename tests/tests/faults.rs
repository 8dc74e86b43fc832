//! Faults on a cluster of real processes: whatever is killed or cut, every record arrives once and the books balance.

use std::{thread::sleep, time::Duration};

use serde_json::json;
use teraslice_tests::{
    cluster::{Cluster, ClusterOptions},
    kill,
    ledger::LedgerJob,
    network, terminate,
};

const JOB: LedgerJob = LedgerJob { records: 20_000, slice: 2_000, delay: 8, workers: 4 };

fn two_nodes() -> ClusterOptions {
    ClusterOptions { nodes: 2, ..ClusterOptions::default() }
}

/// Starts the job and waits until it is well under way.
fn start(cluster: &Cluster) -> String {
    let (_, ex_id) = cluster.submit(&JOB.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    cluster.await_processes(&ex_id, "worker", 4);
    ex_id
}

/// Waits for the end and checks that nothing is lost, doubled, or left over.
fn finish(cluster: &Cluster, ex_id: &str) {
    cluster.await_status(ex_id, &["completed"]);
    JOB.check(cluster, ex_id);
    cluster.await_quiet();
}

/// Says loudly that a case was not run here.
fn has_networks() -> bool {
    let has = network::is_available();
    if !has {
        eprintln!("NOT RUN: this case needs network namespaces (root and iproute2)");
    }
    has
}

#[test]
fn outlives_killed_workers() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..3 {
        for (_, pid) in cluster.await_processes(&ex_id, "worker", 4).into_iter().take(2) {
            kill(pid);
        }
        sleep(Duration::from_millis(150));
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_killed_controllers() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..2 {
        for (_, pid) in cluster.await_processes(&ex_id, "execution_controller", 1) {
            kill(pid);
        }
        sleep(Duration::from_millis(300));
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_workers_and_controllers_that_are_told_to_end() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for (_, pid) in cluster.await_processes(&ex_id, "worker", 4).into_iter().take(2) {
        terminate(pid);
    }
    sleep(Duration::from_millis(100));
    for (_, pid) in cluster.await_processes(&ex_id, "execution_controller", 1) {
        terminate(pid);
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_killed_master() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..2 {
        cluster.kill_master();
        sleep(Duration::from_millis(300));
        cluster.start_master();
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_master_that_is_told_to_end() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    let before = cluster.started().len();
    assert_eq!(cluster.stop_master(), Some(0));
    assert_eq!(cluster.started().len(), before, "what runs goes on");
    cluster.start_master();
    finish(&cluster, &ex_id);
}

#[test]
fn ends_everything_with_the_master_when_asked_to() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    assert_eq!(cluster.stop_master(), Some(0));
    cluster.start_master_with(&["--terminate"]);
    cluster.await_nodes(2);
    assert_eq!(cluster.stop_master(), Some(0));
    cluster.await_quiet();
    cluster.start_master();
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_killed_node_agent() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    cluster.kill_node(0);
    sleep(Duration::from_millis(300));
    cluster.start_node(0);
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_the_loss_of_a_node_with_all_its_processes() {
    let options = ClusterOptions { config: json!({"node_disconnect_timeout": "2 seconds"}), ..two_nodes() };
    let mut cluster = Cluster::start(options);
    let ex_id = start(&cluster);
    let lost = "node-0";
    let mut all = cluster.processes(&ex_id, "worker");
    all.extend(cluster.processes(&ex_id, "execution_controller"));
    cluster.kill_node(0);
    all.into_iter().filter(|(node, _)| node == lost).for_each(|(_, pid)| kill(pid));
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_node_that_is_told_to_end() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    assert_eq!(cluster.stop_node(1), Some(0));
    sleep(Duration::from_millis(200));
    cluster.start_node(1);
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_short_cut_of_a_link() {
    if !has_networks() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions { is_networked: true, ..two_nodes() });
    let ex_id = start(&cluster);
    cluster.network().cut(0);
    sleep(Duration::from_secs(2));
    cluster.network().mend(0);
    finish(&cluster, &ex_id);
}

#[test]
fn replaces_a_node_behind_a_cut_link_and_fences_it_when_it_comes_back() {
    if !has_networks() {
        return;
    }
    let config = json!({"node_disconnect_timeout": "3 seconds", "node_state_interval": "500 ms"});
    let cluster = Cluster::start(ClusterOptions { is_networked: true, config, ..two_nodes() });
    let ex_id = start(&cluster);
    cluster.network().cut(1);
    cluster.await_status(&ex_id, &["completed"]);
    JOB.check(&cluster, &ex_id);
    cluster.network().mend(1);
    cluster.await_nodes(2);
    cluster.await_quiet();
    JOB.check(&cluster, &ex_id);
}
