//! Pods of a job and its master go; of two masters one leads.

use std::time::Duration;

use serde_json::json;
use teraslice_tests::{
    k8s::{Installation, SearchServer, WAIT_MAX},
    tell,
};

use crate::{complete, input, name, numbered, processed};

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn loses_nothing_when_pods_and_the_master_go() {
    let teraslice = Installation::start("faults", &[]);
    let records = 150_000;
    let folder = input(&teraslice, records);
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 200));
    let progress = |teraslice: &Installation, from: u64| {
        teraslice.wait("slices to go on", WAIT_MAX, |it| {
            (processed(it, &ex_id) > from).then(|| processed(it, &ex_id))
        })
    };
    teraslice.await_pods(&ex_id, "worker", 2);
    let done = progress(&teraslice, 0);
    // A worker without a word, and one that is asked.
    let workers = teraslice.await_pods(&ex_id, "worker", 2);
    teraslice.kubectl(&["delete", "pod", &name(&workers[0]), "--grace-period", "1", "--wait=false"]);
    let done = progress(&teraslice, done);
    teraslice.wait("the worker to be replaced", WAIT_MAX, |it| {
        let now = it.pods(&ex_id, "worker");
        let running = now.iter().filter(|pod| pod["status"]["phase"] == "Running");
        (running.count() == 2).then_some(())
    });
    // The controller.
    let controllers = teraslice.pods(&ex_id, "execution_controller");
    teraslice.kubectl(&["delete", "pod", &name(&controllers[0]), "--grace-period", "1", "--wait=false"]);
    let done = progress(&teraslice, done + 4);
    // The master.
    teraslice.delete_master();
    progress(&teraslice, done + 4);
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn lets_one_of_two_masters_lead() {
    let teraslice = Installation::start("two", &[]);
    let holder = |it: &Installation| it.objects("lease/teraslice-teraslice")["spec"].clone();
    let first = holder(&teraslice);
    teraslice.kubectl(&["patch", "deployment/teraslice-master", "--patch", r#"{"spec": {"replicas": 2}}"#]);
    teraslice.wait("a second master", WAIT_MAX, |it| (it.masters().len() == 2).then_some(()));
    // It waits: the first goes on.
    let (_, ex_id) = teraslice.submit(&json!({
        "name": "led", "lifecycle": "once", "workers": 1, "cpu_execution_controller": 0.05,
        "operations": [{"_op": "data_generator", "size": 1_000}, {"_op": "noop"}],
    }));
    teraslice.await_status(&ex_id, &["completed"]);
    assert_eq!(holder(&teraslice)["holderIdentity"], first["holderIdentity"]);
    let leader = first["holderIdentity"].as_str().unwrap().split('_').next().unwrap().to_owned();
    teraslice.kubectl(&["delete", "pod", &leader, "--grace-period", "1"]);
    teraslice.wait("the other one to lead", WAIT_MAX, |it| {
        let now = holder(it);
        let is_later = now["leaseTransitions"].as_u64() > first["leaseTransitions"].as_u64();
        (is_later && now["holderIdentity"] != first["holderIdentity"]).then_some(())
    });
}

/// Writes the connection of a search server as the documents do, in place of the later form.
fn as_documented(text: String) -> String {
    let (later, documented) = ("  elasticsearch-next:\n", "  elasticsearch:\n");
    assert!(text.contains(later), "{text}");
    text.replace(later, documented).replace("node: [", "host: [")
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn keeps_its_state_on_a_search_server_when_the_master_goes() {
    let Some(server) = SearchServer::start() else {
        return tell(
            "NOT RUN: state on a search server: set TERASLICE_SERVICES to the folder that starts one",
        );
    };
    let teraslice = Installation::start_on("server", &server);
    for map in ["teraslice-master", "teraslice-worker"] {
        teraslice.rewrite(map, as_documented);
    }
    teraslice.restart_master();
    teraslice.await_ready();
    let records = 20_000;
    let (_, ex_id) = teraslice.submit(&json!({
        "name": "indexed", "lifecycle": "once", "workers": 2,
        "cpu": 0.1, "memory": 256_000_000, "cpu_execution_controller": 0.1, "memory_execution_controller": 256_000_000,
        "operations": [
            {"_op": "data_generator", "size": records},
            {"_op": "delay", "ms": 200},
            {"_op": "elasticsearch_bulk", "index": "indexed", "size": 100},
        ],
    }));
    teraslice.wait("slices", WAIT_MAX, |it| (processed(it, &ex_id) > 2).then_some(()));
    teraslice.delete_master();
    let record = teraslice.await_status(&ex_id, &["completed"]);
    let slices = record["_slicer_stats"]["processed"].as_u64().unwrap();
    assert_eq!((slices, &record["_slicer_stats"]["failed"]), (records / 100, &json!(0)));
    assert_eq!(server.count("indexed"), records);
    assert_eq!(server.count("teraslice__ex"), 1);
    // Its slices settle there a second later.
    teraslice.wait("a record of each slice", Duration::from_secs(20), |_| {
        (server.count("teraslice__state-*") == slices).then_some(())
    });
    teraslice.await_gone(&ex_id);
}
