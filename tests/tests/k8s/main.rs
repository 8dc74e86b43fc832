//! Jobs on a real Kubernetes cluster: what users' documents promise, and what happens when pods, master and API server go.
//!
//! `make test-k8s` starts the cluster; each case sets up an installation of its own. All but those of `alone` can run at once.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};
use teraslice_tests::{
    Stage, flights,
    k8s::{Installation, WAIT_MAX},
    root,
};

mod alone;
mod fields;
mod healing;
mod masters;
mod rights;

/// A job whose records are numbered, and written one line each into the claim `out`.
fn numbered(records: u64, workers: u64, delay_ms: u64) -> Value {
    json!({
        "name": "numbered", "lifecycle": "once", "workers": workers, "assets": ["standard"],
        "cpu": 0.1, "memory": 256_000_000, "cpu_execution_controller": 0.1, "memory_execution_controller": 256_000_000,
        "volumes": [{"name": "out", "path": "/out"}], "labels": {"records": records.to_string()},
        "operations": [
            {"_op": "file_reader", "path": "/out/input", "format": "ldjson", "size": 2_000},
            {"_op": "delay", "ms": delay_ms},
            {"_op": "set_field", "field": "checked", "value": true},
            {"_op": "file_exporter", "path": "/out/done", "format": "ldjson"},
        ],
    })
}

/// Makes the claim `out` with so many numbered lines as input; returns its folder.
fn input(teraslice: &Installation, records: u64) -> std::path::PathBuf {
    let folder = teraslice.claim("out");
    fs::create_dir_all(folder.join("input")).expect("the case wrote it so");
    let lines: String = (0..records).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    fs::write(folder.join("input/lines.ldjson"), lines).expect("the case wrote it so");
    folder
}

/// Checks that every number is there, once.
fn check(folder: &std::path::Path, records: u64) {
    let mut seen = Vec::new();
    for file in fs::read_dir(folder.join("done")).expect("the case wrote it so").flatten() {
        if file.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        for line in fs::read_to_string(file.path()).expect("the case wrote it so").lines() {
            let record: Value = serde_json::from_str(line).expect("the case wrote it so");
            assert_eq!(record["checked"], true, "{line}");
            seen.push(record["n"].as_u64().expect("the case wrote it so"));
        }
    }
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(
        (seen.len() as u64, once.len() as u64),
        (records, records),
        "written, and how many of them differ"
    );
}

fn processed(teraslice: &Installation, ex_id: &str) -> u64 {
    // Not there while the controller or the master is away.
    let answer = teraslice.request("GET", &format!("/v1/ex/{ex_id}/controller"), None);
    let stats = answer.filter(|answer| answer.status == 200).map(|answer| answer.body[0].clone());
    stats.and_then(|stats| stats["processed"].as_u64()).unwrap_or(0)
}

/// Waits for more slices than there are.
fn progress(teraslice: &Installation, ex_id: &str) {
    let before = processed(teraslice, ex_id);
    teraslice.wait("slices to go on", WAIT_MAX, |it| (processed(it, ex_id) > before).then_some(()));
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().expect("it has a name").to_owned()
}

/// Waits until an execution has completed without a failed slice, checks its output, and that nothing is left.
fn complete(teraslice: &Installation, ex_id: &str, folder: &std::path::Path, records: u64) {
    let record = teraslice.await_status(ex_id, &["completed"]);
    assert_eq!(record["_slicer_stats"]["failed"], 0);
    check(folder, records);
    teraslice.await_gone(ex_id);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn shows_pods_by_machine_and_scales_them() {
    let teraslice = Installation::start("scale", &[]);
    drop(input(&teraslice, 100_000));
    let (job_id, ex_id) = teraslice.submit(&numbered(100_000, 2, 500));
    teraslice.await_pods(&ex_id, "worker", 2);
    teraslice.await_status(&ex_id, &["running"]);
    let active = |teraslice: &Installation| {
        let state = teraslice.get("/v1/cluster/state");
        let mut count = 0;
        for machine in state.as_object().unwrap().values() {
            for key in ["pid", "node_version", "teraslice_version", "total", "available"] {
                assert_eq!(machine[key], "N/A", "{key}");
            }
            let active = machine["active"].as_array().unwrap();
            count += active.iter().filter(|process| process["ex_id"] == ex_id.as_str()).count();
        }
        count
    };
    teraslice.wait("three pods in the state", WAIT_MAX, |it| (active(it) == 3).then_some(()));
    for (query, workers, count) in [("add=1", 3, 4), ("remove=2", 1, 2), ("total=2", 2, 3)] {
        teraslice.post(&format!("/v1/jobs/{job_id}/_workers?{query}"), None);
        teraslice.await_pods(&ex_id, "worker", workers);
        teraslice
            .wait(&format!("{count} pods after {query}"), WAIT_MAX, |it| (active(it) == count).then_some(()));
    }
    teraslice.stop(&job_id, &ex_id);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn pauses_and_resumes_one_job_beside_another() {
    let teraslice = Installation::start("pause", &[]);
    drop(input(&teraslice, 100_000));
    let (first, first_ex) = teraslice.submit(&numbered(100_000, 1, 200));
    let mut other = numbered(100_000, 1, 200);
    other["operations"][3]["path"] = json!("/out/other");
    let (second, second_ex) = teraslice.submit(&other);
    for (job_id, ex_id) in [(&first, &first_ex), (&second, &second_ex)] {
        teraslice.await_status(ex_id, &["running"]);
        teraslice.post(&format!("/v1/jobs/{job_id}/_pause"), None);
        teraslice.await_status(ex_id, &["paused"]);
        teraslice.post(&format!("/v1/jobs/{job_id}/_resume"), None);
        teraslice.await_status(ex_id, &["running"]);
    }
    for (job_id, ex_id) in [(&first, &first_ex), (&second, &second_ex)] {
        teraslice.stop(job_id, ex_id);
    }
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn says_why_pods_wait() {
    let teraslice = Installation::start("wait", &[]);
    let plain = json!({
        "name": "waiting", "workers": 1, "cpu_execution_controller": 0.05,
        "operations": [{"_op": "test-reader"}, {"_op": "noop"}],
    });
    let with = |key: &str, value: Value| {
        let mut job = plain.clone();
        job[key] = value;
        job
    };
    for (job, said) in [
        (with("volumes", json!([{"name": "nowhere", "path": "/data"}])), "nowhere"),
        (with("targets", json!([{"key": "planet", "value": "mars"}])), "affinity"),
        (with("kubernetes_image", json!("localhost/nothing:1")), "nothing:1"),
        (with("cpu_execution_controller", json!(900)), "cpu"),
    ] {
        let (job_id, ex_id) = teraslice.submit(&job);
        let path = format!("/v1/ex/{ex_id}/explain");
        teraslice.wait(&format!("explain to name {said}"), Duration::from_secs(20), |it| {
            it.get(&path).to_string().contains(said).then_some(())
        });
        teraslice.stop(&job_id, &ex_id);
    }
    let refused = with("targets", json!([{"key": "zone", "value": "a"}, {"key": "zone", "value": "b"}]));
    let answer = teraslice.request("POST", "/v1/jobs", Some(&refused)).unwrap();
    assert!(
        answer.status >= 400 && answer.body.to_string().contains("zone"),
        "{} {}",
        answer.status,
        answer.body
    );
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn writes_the_flights_as_run_does() {
    let teraslice = Installation::start("flights", &[("kubernetes_overrides_enabled", "true")]);
    let table = flights::table();
    // As `run` does it.
    let stage = Stage::default();
    stage.write("flights.csv", fs::read(&table).unwrap());
    stage.write("job.yaml", fs::read(root().join("examples/flights/job.yaml")).unwrap());
    assert_eq!(stage.run(&["run", "job.yaml"]).code, Some(0));
    // The same job in pods: its paths are relative, so they work in the volume.
    let folder = teraslice.claim("flights");
    fs::copy(&table, folder.join("flights.csv")).unwrap();
    let mut job = flights::job();
    job["volumes"] = json!([{"name": "flights", "path": "/flights"}]);
    job["pod_spec_override"] = json!({"containers": [{"name": "teraslice", "workingDir": "/flights"}]});
    let (_, ex_id) = teraslice.submit(&job);
    teraslice.await_status(&ex_id, &["completed"]);
    let pods: Vec<_> = fs::read_dir(folder.join("flights-out")).unwrap().flatten().collect();
    let mut lines: Vec<String> = Vec::new();
    for file in pods.into_iter().filter(|file| !file.file_name().to_string_lossy().starts_with('.')) {
        lines.extend(fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned));
    }
    lines.sort_unstable();
    let run = stage.lines("flights-out");
    assert!(run.len() > 300_000, "{} records", run.len());
    assert!(lines == run, "{} records in pods, {} by run", lines.len(), run.len());
}
