//! Schemathesis tries what the OpenAPI document allows, and what it does not: a master answers only what is documented.

use std::process::Command;

use serde_json::{Value, json};
use teraslice_tests::{
    cluster::{Cluster, ClusterOptions},
    root, tell,
};

/// The exit code of the script where Schemathesis cannot be installed.
const NOT_INSTALLED: i32 = 75;

#[test]
fn a_master_answers_only_what_is_documented() {
    let cluster = Cluster::start(ClusterOptions::default());
    let (jobs, executions) = prepare(&cluster);
    let assets = cluster.get("/v1/assets/standard");
    let ran = Command::new(root().join("tests/openapi/run.sh"))
        .args([&cluster.url(), &jobs.join(","), &executions.join(","), assets[0]["id"].as_str().unwrap()])
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.code() == Some(NOT_INSTALLED) {
        tell("NOT RUN: Schemathesis cannot be installed here (python3 with venv, a registry)");
        return;
    }
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{}: {said}\n{errors}\n{}", ran.status, cluster.logs());
    assert_eq!(cluster.get("/v1/health/ready")["status"], "ready");
    tell(
        said.lines().rev().find(|line| line.contains("generated")).unwrap_or("Schemathesis says no figures"),
    );
}

/// Makes jobs and executions of all kinds, so that requests find something; returns their ids.
fn prepare(cluster: &Cluster) -> (Vec<String>, Vec<String>) {
    let stage = &cluster.stage;
    stage.write("input.ldjson", "{\"n\":1}\nnot JSON\n");
    let reader = |action: &str| {
        let path = stage.path("input.ldjson");
        json!({"_op": "file_reader", "path": path, "format": "ldjson", "_dead_letter_action": action})
    };
    let job = |lifecycle: &str, reader: Value| {
        let operations = json!([reader, {"_op": "delay", "ms": 20}, {"_op": "noop"}]);
        json!({"name": lifecycle, "lifecycle": lifecycle, "workers": 1, "max_retries": 0, "operations": operations})
    };
    let all = [
        (job("once", reader("store")), "completed"),
        (job("once", reader("throw")), "failed"),
        (job("persistent", json!({"_op": "data_generator", "size": 10})), "running"),
    ];
    let (mut jobs, mut executions) = (Vec::new(), Vec::new());
    for (job, status) in all {
        let (job_id, ex_id) = cluster.submit(&job);
        cluster.await_status(&ex_id, &[status]);
        jobs.push(job_id);
        executions.push(ex_id);
    }
    (jobs, executions)
}
