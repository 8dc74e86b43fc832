//! Pods carry what jobs ask for, in the fields that the documents name.

use serde_json::{Value, json};
use teraslice_tests::{
    k8s::{Installation, SearchServer},
    tell,
};

use crate::{complete, input, numbered};

/// Asks for processors, memory, a labelled node and the claim `out`.
fn place(teraslice: &Installation, mut job: Value) -> Value {
    teraslice.kubectl(&["label", "node", "n1", "zone=west", "disk=fast", "--overwrite"]);
    let more = json!({
        "cpu": 0.2, "memory": 300_000_000, "cpu_execution_controller": 0.1, "memory_execution_controller": 256_000_000,
        "volumes": [{"name": "out", "path": "/out"}], "labels": {"team": "search"},
        "targets": [
            {"key": "zone", "value": "west"},
            {"key": "disk", "value": "fast", "constraint": "required"},
            {"key": "rack", "value": "r1", "constraint": "preferred"},
            {"key": "spot", "value": "yes", "constraint": "accepted"},
        ],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        job[key] = value.clone();
    }
    job
}

/// Checks the pods of a job that was placed so, while it runs.
fn check_placed(teraslice: &Installation, name: &str, (job_id, ex_id): (&str, &str)) {
    let workers = teraslice.await_pods(ex_id, "worker", 2);
    let controllers = teraslice.await_pods(ex_id, "execution_controller", 1);
    for (pods, cpu, memory) in [(&workers, "200m", "300M"), (&controllers, "100m", "256M")] {
        for pod in pods {
            let resources = json!({"cpu": cpu, "memory": memory});
            let found = &pod["spec"]["containers"][0]["resources"];
            assert_eq!((&found["requests"], &found["limits"]), (&resources, &resources));
            check_spec(&pod["spec"]);
            let labels = &pod["metadata"]["labels"];
            for (label, value) in [
                ("app.kubernetes.io/name", "teraslice"),
                ("app.kubernetes.io/instance", "teraslice"),
                ("teraslice.terascope.io/jobId", job_id),
                ("teraslice.terascope.io/exId", ex_id),
                ("teraslice.terascope.io/jobName", name),
                ("job.teraslice.terascope.io/team", "search"),
            ] {
                assert_eq!(labels[label], value, "{label}");
            }
        }
    }
}

fn check_spec(spec: &Value) {
    let affinity = &spec["affinity"]["nodeAffinity"];
    let required = json!([{"matchExpressions": [
        {"key": "zone", "operator": "In", "values": ["west"]},
        {"key": "disk", "operator": "In", "values": ["fast"]},
    ]}]);
    assert_eq!(affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"], required);
    assert_eq!(affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"], 1);
    let accepts = json!({"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"});
    assert!(
        spec["tolerations"].as_array().is_some_and(|all| all.contains(&accepts)),
        "{}",
        spec["tolerations"]
    );
    let volumes = spec["volumes"].as_array().expect("a pod has volumes").iter();
    let claims: Vec<_> =
        volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()).collect();
    assert_eq!(claims, ["teraslice-assets", "out"]);
    let container = &spec["containers"][0];
    let mounts = container["volumeMounts"].as_array().expect("a container has mounts");
    let of = |path: &str| mounts.iter().find(|mount| mount["mountPath"] == path).expect("it is mounted");
    assert_eq!(of("/app/assets")["readOnly"], true);
    assert_eq!(of("/out").get("readOnly"), None);
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["serviceAccountName"], "teraslice-worker");
    assert!(!container.to_string().contains("\"EX\""), "no execution in the environment");
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn runs_a_job_in_pods_with_the_fields_of_the_documents() {
    let teraslice = Installation::start("fields", &[]);
    let folder = input(&teraslice, 2_000);
    let (job_id, ex_id) = teraslice.submit(&place(&teraslice, numbered(2_000, 2, 2_000)));
    check_placed(&teraslice, "numbered", (&job_id, &ex_id));
    complete(&teraslice, &ex_id, &folder, 2_000);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn reindexes_in_pods_with_the_fields_of_the_documents() {
    let Some(server) = SearchServer::start() else {
        return tell("NOT RUN: a reindex in pods: set TERASLICE_SERVICES to the folder that starts a server");
    };
    let teraslice = Installation::start_on("reindex", &server);
    teraslice.claim("out");
    let documents = 20_000;
    let (_, made) = teraslice.submit(&json!({
        "name": "made", "lifecycle": "once", "workers": 1,
        "operations": [{"_op": "data_generator", "size": documents}, {"_op": "elasticsearch_bulk", "index": "made", "size": 1_000}],
    }));
    teraslice.await_status(&made, &["completed"]);
    assert_eq!(server.count("made"), documents);
    let copy = json!({
        "name": "reindex", "lifecycle": "once", "workers": 2, "assets": ["standard"],
        "operations": [
            {"_op": "elasticsearch_reader", "index": "made", "date_field_name": "created", "size": 500, "interval": "auto"},
            {"_op": "delay", "ms": 500},
            {"_op": "set_field", "field": "checked", "value": true},
            {"_op": "elasticsearch_bulk", "index": "copied", "size": 500},
        ],
    });
    let (job_id, ex_id) = teraslice.submit(&place(&teraslice, copy));
    check_placed(&teraslice, "reindex", (&job_id, &ex_id));
    let record = teraslice.await_status(&ex_id, &["completed"]);
    assert_eq!(record["_slicer_stats"]["failed"], 0);
    assert_eq!(server.count("copied"), documents);
    assert_eq!(server.count_where("copied", "checked:true"), documents);
    teraslice.await_gone(&ex_id);
}
