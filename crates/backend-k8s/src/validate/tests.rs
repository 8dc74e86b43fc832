//! Tests of the check, by tables of jobs and what is said about them.

use serde_json::json;

use super::*;
use crate::render::tests::job;

fn settings() -> KubernetesSettings {
    let mut settings = KubernetesSettings::new("ts");
    settings.has_overrides = true;
    settings
}

/// Returns the places of all problems, else those of all warnings, each as `pointer: message`.
fn said(properties: Value, settings: &KubernetesSettings) -> (bool, Vec<String>) {
    let (is_right, all) = match validate(&job(properties), settings) {
        Ok(warnings) => (true, warnings),
        Err(problems) => (false, problems),
    };
    (is_right, all.into_iter().map(|one| format!("{}: {}", one.pointer, one.message)).collect())
}

/// Asserts that each job is refused, at these places and no others.
fn assert_refused(cases: impl IntoIterator<Item = (Value, Vec<&'static str>)>) {
    for (properties, pointers) in cases {
        let problems = validate(&job(properties.clone()), &settings()).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(found, pointers, "{properties}: {problems:?}");
    }
}

#[test]
fn says_nothing_about_a_plain_job() {
    assert_eq!(said(json!({}), &settings()), (true, vec![]));
}

#[test]
fn says_nothing_about_a_job_that_uses_much() {
    let properties = json!({
        "labels": {"team": "data"},
        "env_vars": {"A": "b"},
        "kubernetes_queue": "batch",
        "resources_requests_cpu": 0.1,
        "resources_limits_memory": 16_777_216,
        "volumes": [{"name": "a.claim", "path": "/data/a"}, {"name": "a.claim", "path": "/data/b"}],
        "external_ports": [80, {"name": "web", "port": 81}],
        "targets": [
            {"key": "zone", "value": "west"},
            {"key": "zone", "value": "west"},
            {"key": "zone", "value": "east", "constraint": "preferred"},
        ],
        "pod_spec_override": {"dnsPolicy": "None", "containers": [{"name": "sidecar", "image": "x"}]},
    });
    assert_eq!(said(properties, &settings()), (true, vec![]));
}

#[test]
fn refuses_numbers_that_cannot_be() {
    assert_refused([
        (json!({"workers": 100_001}), vec!["/workers"]),
        (json!({"cpu": 1_025}), vec!["/cpu"]),
        (json!({"resources_limits_cpu": 2_000}), vec!["/resources_limits_cpu"]),
        (json!({"cpu_execution_controller": 2_000}), vec!["/cpu_execution_controller"]),
        (json!({"memory": 512}), vec!["/memory"]),
        (
            json!({"resources_requests_memory": 1, "resources_limits_memory": 2}),
            vec!["/resources_requests_memory", "/resources_limits_memory"],
        ),
        (json!({"memory_execution_controller": 16_777_215}), vec!["/memory_execution_controller"]),
    ]);
}

#[test]
fn refuses_targets_that_no_machine_meets() {
    let zone = |value: &str| json!({"key": "zone", "value": value});
    assert_refused([
        (json!({"targets": [zone("west"), zone("east")]}), vec!["/targets"]),
        (json!({"targets": [{"key": "a b", "value": "c/d"}]}), vec!["/targets/0/key", "/targets/0/value"]),
    ]);
    let mut settings = settings();
    settings.controller_targets =
        vec![Target { key: "zone".into(), value: "east".into(), constraint: Constraint::Required }];
    assert_eq!(
        said(json!({"targets": [zone("west")]}), &settings),
        (
            false,
            vec![
                "/targets: no machine meets the required target zone \"west\" and that of the cluster for \
                 controllers, \"east\""
                    .to_owned()
            ]
        )
    );
}

#[test]
fn refuses_volumes_in_places_that_are_taken() {
    let at = |paths: &[&str]| {
        let volumes: Vec<_> = paths.iter().map(|path| json!({"name": "claim", "path": path})).collect();
        json!({ "volumes": volumes })
    };
    let first = || vec!["/volumes/0/path"];
    let second = || vec!["/volumes/1/path"];
    assert_refused([
        (at(&["data"]), first()),
        (at(&["/data/../tmp"]), first()),
        (at(&["/a:b"]), first()),
        (at(&["/"]), first()),
        (at(&["/app"]), first()),
        (at(&["/app/config/"]), first()),
        (at(&["/app/assets/x"]), first()),
        (at(&["/ephemeral0"]), first()),
        (at(&["/tmp/./x"]), first()),
        (at(&["/var/run/secrets/teraslice"]), first()),
        (at(&["/data", "/data"]), second()),
        (at(&["/data", "/data/inner"]), second()),
        (at(&["/data/inner", "//data/"]), second()),
        (json!({"volumes": [{"name": "My_Claim", "path": "/data"}]}), vec!["/volumes/0/name"]),
    ]);
}

#[test]
fn refuses_ports_that_clash() {
    let named = |name: &str, port: u16| json!({"name": name, "port": port});
    assert_refused([
        (json!({"external_ports": [named("a", 45_680)]}), vec!["/external_ports/0"]),
        (json!({"external_ports": [80, named("a", 80)]}), vec!["/external_ports/1"]),
        (json!({"external_ports": [named("a", 80), named("a", 81)]}), vec!["/external_ports/1/name"]),
        (json!({"external_ports": [named("Web", 80)]}), vec!["/external_ports/0/name"]),
        (json!({"external_ports": [named("links", 80)]}), vec!["/external_ports/0/name"]),
        (json!({"prom_metrics_enabled": true, "prom_metrics_port": 45_680}), vec!["/prom_metrics_port"]),
    ]);
}

#[test]
fn refuses_variables_that_are_reserved_or_too_large() {
    assert_refused([
        (json!({"env_vars": {"NODE_TYPE": "worker"}}), vec!["/env_vars/NODE_TYPE"]),
        (json!({"env_vars": {"A=B/C": "x"}}), vec!["/env_vars/A=B~1C"]),
        (json!({"env_vars": {"BIG": "x".repeat(100_000)}}), vec!["/env_vars"]),
    ]);
}

#[test]
fn refuses_queues_without_a_right_name() {
    assert_refused([
        (json!({"kubernetes_queue": 1}), vec!["/kubernetes_queue"]),
        (json!({"kubernetes_queue": "No Name"}), vec!["/kubernetes_queue"]),
        (json!({"kubernetes_queue": ""}), vec!["/kubernetes_queue"]),
    ]);
}

#[test]
fn warns_of_labels_that_are_written_otherwise() {
    let labels = json!({"labels": {"a b": "c", "a-b": "d e", "--": "x", "p/q": "r", "relocatable": "no"}});
    let (is_right, warnings) = said(labels, &settings());
    assert!(is_right);
    insta::assert_snapshot!(warnings.join("\n"), @r#"
    /labels/--: the label "--" is left out: its key has no letter or digit
    /labels/a b: the key of the label is written as "a-b"
    /labels/a-b: the value of the label "a-b" is written as "d-e"
    /labels/a-b: the label "a-b" takes the place of "a b"
    /labels/p~1q: the key of the label is written as "p-q"
    /labels/relocatable: the controller's label of this key says something else
    "#);
}

#[test]
fn refuses_overrides_that_are_no_part_of_a_pod() {
    let with = |patch: Value| json!({ "pod_spec_override": patch });
    let inside = |path: &str| format!("/pod_spec_override/{path}");
    for (patch, place) in [
        (json!({"hostname": 1}), "hostname"),
        (
            json!({"containers": [{"name": "teraslice", "ports": [{"containerPort": "x"}]}]}),
            "containers/0/ports/0/containerPort",
        ),
        (json!({"containers": null}), "containers"),
        (json!({"containers": [{"image": "x"}]}), "containers/0"),
        (
            json!({"containers": [{"name": "teraslice", "env": [{"name": "POD_IP", "value": "x"}]}]}),
            "containers/0/env/0",
        ),
        (json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}), "volumes/0/hostPath"),
        (json!({"tolerations": {"key": "x"}}), "tolerations"),
    ] {
        let problems = validate(&job(with(patch.clone())), &settings()).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| problem.pointer.clone()).collect();
        assert_eq!(found, [inside(place)], "{patch}: {problems:?}");
    }
}

#[test]
fn warns_of_overrides_without_effect() {
    let patch = json!({
        "hostNetwork": true,
        "dnsPolcy": "None",
        "nodeSelector": {},
        "containers": [{"name": "sidecar", "securityContext": {}, "imagePolicy": "Always"}],
    });
    let (is_right, warnings) = said(json!({ "pod_spec_override": patch }), &settings());
    assert!(is_right);
    insta::assert_snapshot!(warnings.join("\n"), @"
    /pod_spec_override/dnsPolcy: dnsPolcy is not known here and has no effect
    /pod_spec_override/containers/0/imagePolicy: imagePolicy is not known here and has no effect
    /pod_spec_override/hostNetwork: hostNetwork has no effect here: the cluster says what it is
    /pod_spec_override/containers/0/securityContext: securityContext has no effect here: the cluster says what it is
    ");
}
