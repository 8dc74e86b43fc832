//! Tests of whole objects, and the jobs that tests of their parts use.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use teraslice_core::backend::DesiredExecution;
use teraslice_model::{
    id::{ExId, Generation, JobId},
    job::{CheckEnvironment, Constraint, RawJob, Target},
};

use super::*;

/// Returns a job with these properties.
pub(crate) fn job(properties: Value) -> CheckedJob {
    let mut document =
        json!({"name": "My Job v1.2", "operations": [{"_op": "test-reader"}, {"_op": "noop"}]});
    let (Value::Object(all), Value::Object(own)) = (&mut document, properties) else { panic!("no object") };
    all.extend(own);
    let environment =
        CheckEnvironment { known_connections: None, cpus: 2, is_kubernetes: true, overrides_enabled: true };
    RawJob(all.clone()).check(&environment).unwrap().0
}

/// Returns a wish for three workers of a job with these properties.
pub(crate) fn desired(properties: Value) -> DesiredExecution {
    DesiredExecution {
        ex_id: ExId::from_random([0xe1; 16]),
        job_id: JobId::from_random([0x0b; 16]),
        generation: Generation(2),
        revision: 1,
        job: Arc::new(job(properties)),
        controller: true,
        workers: 3,
    }
}

/// Returns settings that use everything.
fn everything() -> KubernetesSettings {
    KubernetesSettings {
        namespace: "ts-prod".to_owned(),
        image: "registry.example.org/teraslice:1".to_owned(),
        image_pull_secrets: vec!["registry".to_owned(), "mirror".to_owned()],
        service_account: Some("teraslice-worker".to_owned()),
        assets_volume: Some("assets-claim".to_owned()),
        priority_class: Some("teraslice-high".to_owned()),
        spreads_workers: true,
        has_overrides: true,
        controller_targets: vec![Target {
            key: "pool".to_owned(),
            value: "controllers".to_owned(),
            constraint: Constraint::Required,
        }],
        env_vars: BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]),
        master_url: "https://teraslice.ts-prod:5678".to_owned(),
        authority: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
        ..KubernetesSettings::new("prod 1")
    }
}

#[test]
fn a_plain_job() {
    let rendered = render(&desired(json!({})), &KubernetesSettings::new("ts"));
    insta::assert_json_snapshot!("plain_controller", rendered.controller);
    insta::assert_json_snapshot!("plain_workers", rendered.workers);
}

#[test]
fn a_job_with_everything() {
    let desired = desired(json!({
        "name": "Ünusual / job.",
        "stateful": true,
        "labels": {"team one": "data & search", "owner": "someone"},
        "env_vars": {"LEVEL": "3", "TZ": "Europe/Paris"},
        "kubernetes_image": "registry.example.org/special:2",
        "kubernetes_queue": "batch",
        "resources_requests_cpu": 0.25,
        "resources_limits_cpu": 1.5,
        "resources_requests_memory": 600_000_000,
        "resources_limits_memory": 700_000_000,
        "cpu_execution_controller": 1,
        "memory_execution_controller": 800_000_000,
        "ephemeral_storage": true,
        "volumes": [{"name": "data.claim", "path": "/data"}],
        "external_ports": [9000, {"name": "web", "port": 8080}],
        "prom_metrics_enabled": true,
        "targets": [
            {"key": "zone", "value": "west"},
            {"key": "disk", "value": "ssd", "constraint": "preferred"},
            {"key": "spot", "value": "true", "constraint": "accepted"},
        ],
        "pod_spec_override": {"dnsPolicy": "None", "containers": [{"name": "sidecar", "image": "proxy:1"}]},
    }));
    let rendered = render(&desired, &everything());
    insta::assert_json_snapshot!("everything_controller", rendered.controller);
    insta::assert_json_snapshot!("everything_workers", rendered.workers);
}

#[test]
fn the_number_of_workers_changes_nothing_but_numbers() {
    let settings = KubernetesSettings::new("ts");
    let workers = |count| {
        let mut workers =
            render(&DesiredExecution { workers: count, ..desired(json!({})) }, &settings).workers;
        let spec = workers.spec.as_mut().unwrap();
        let numbers = (spec.parallelism.take(), spec.completions.take());
        (numbers, workers)
    };
    let (numbers, three) = workers(3);
    assert_eq!(numbers, (Some(3), Some(3)));
    for (count, numbers) in [(0, (0, 1)), (1, (1, 1)), (500, (500, 500))] {
        assert_eq!(workers(count), ((Some(numbers.0), Some(numbers.1)), three.clone()));
    }
}

#[test]
fn labels_of_ours_win_over_those_of_the_job() {
    let desired = desired(json!({"labels": {"relocatable": "never", "---": "gone"}}));
    let labels = render(&desired, &KubernetesSettings::new("ts")).controller.metadata.labels.unwrap();
    assert_eq!(labels[labels::RELOCATABLE], "true");
    assert_eq!(labels.len(), 8);
}

#[test]
fn workers_with_state_are_marked_on_their_pods_only() {
    let rendered = render(&desired(json!({"stateful": true})), &KubernetesSettings::new("ts"));
    let of_pods =
        |job: &Job| job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.clone().unwrap();
    assert_eq!(of_pods(&rendered.workers)[labels::STATEFUL], "true");
    assert!(!of_pods(&rendered.controller).contains_key(labels::STATEFUL));
    assert!(!rendered.workers.metadata.labels.unwrap().contains_key(labels::STATEFUL));
}
