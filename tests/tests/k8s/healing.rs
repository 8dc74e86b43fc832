//! What users and the cluster do to pods: Jobs deleted by hand, quotas, too little memory.

use std::fs;

use serde_json::json;
use teraslice_tests::k8s::{Installation, WAIT_MAX};

use crate::{check, complete, input, numbered, progress};

/// Waits until the explanation of an execution says something.
fn await_word(teraslice: &Installation, ex_id: &str, word: &str) {
    let path = format!("/v1/ex/{ex_id}/explain");
    teraslice.wait(&format!("explain to say {word}"), WAIT_MAX, |it| {
        it.get(&path).to_string().contains(word).then_some(())
    });
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn makes_jobs_again_that_somebody_has_deleted() {
    let teraslice = Installation::start("deleted", &[]);
    let records = 60_000;
    let folder = input(&teraslice, records);
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 150));
    for component in ["worker", "execution_controller"] {
        progress(&teraslice, &ex_id);
        let labels = format!("teraslice.terascope.io/exId={ex_id},app.kubernetes.io/component={component}");
        teraslice.kubectl(&["delete", "jobs", "--selector", &labels, "--grace-period", "1"]);
    }
    progress(&teraslice, &ex_id);
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn runs_with_the_workers_that_a_quota_leaves() {
    let teraslice = Installation::start("quota", &[]);
    let records = 20_000;
    let folder = input(&teraslice, records);
    // The master, a controller, and one worker of three.
    teraslice.apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}},
    }));
    let (_, ex_id) = teraslice.submit(&numbered(records, 3, 200));
    await_word(&teraslice, &ex_id, "quota");
    progress(&teraslice, &ex_id);
    assert_eq!(teraslice.pods(&ex_id, "worker").len(), 1);
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn gives_up_a_record_that_workers_have_no_memory_for_and_nothing_else() {
    let teraslice = Installation::start("memory", &[]);
    let records = 10_000;
    let folder = input(&teraslice, records);
    // One record that is larger than all the memory of a worker.
    let pad = "x".repeat(100_000_000);
    fs::write(folder.join("input/large.ldjson"), format!("{{\"pad\":\"{pad}\"}}\n")).unwrap();
    let mut job = numbered(records, 2, 0);
    job["memory"] = json!(32_000_000);
    job["operations"][0]["size"] = json!(200_000_000);
    let (_, ex_id) = teraslice.submit(&job);
    let record = teraslice.await_status(&ex_id, &["failed"]);
    assert_eq!(record["_slicer_stats"]["failed"], 1);
    let explained = teraslice.get(&format!("/v1/ex/{ex_id}/explain")).to_string();
    assert!(explained.contains("3 workers were lost while they ran this slice"), "{explained}");
    check(&folder, records);
    teraslice.await_gone(&ex_id);
}
