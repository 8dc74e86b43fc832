//! The override of a job (`pod_spec_override`), laid over the pods of both roles, last.
//!
//! A strategic merge: objects merge, null removes, lists of named things merge by that name, and other lists replace. What keeps
//! pods harmless is set once more afterwards.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

use super::{CONTAINER, pod};

/// What an override cannot change, at the top of a pod.
pub(crate) const KEPT: [&str; 9] = [
    "automountServiceAccountToken",
    "ephemeralContainers",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "restartPolicy",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
];

/// Lists of objects, and the property that tells their entries apart.
const KEYED: [(&str, &str); 7] = [
    ("containers", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// Lists whose entries are one of several things, so that a new one takes the place of the old.
const EXCLUSIVE: [&str; 2] = ["env", "volumes"];

/// Lays an override over a pod.
///
/// One that makes no pod of it changes nothing: [`validate`](crate::validate) refuses it.
pub(super) fn apply(spec: PodSpec, patch: &Map<String, Value>) -> PodSpec {
    if patch.is_empty() {
        return spec;
    }
    match merged(&spec, patch) {
        Some(merged) => kept(merged, spec),
        None => spec,
    }
}

fn merged(spec: &PodSpec, patch: &Map<String, Value>) -> Option<PodSpec> {
    let Ok(Value::Object(mut target)) = serde_json::to_value(spec) else { return None };
    merge(&mut target, patch);
    let merged: PodSpec = serde_json::from_value(Value::Object(target)).ok()?;
    merged.containers.iter().any(|container| container.name == CONTAINER).then_some(merged)
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (target.get_mut(key), value) {
            (_, Value::Null) => {
                target.shift_remove(key);
            }
            (Some(Value::Object(target)), Value::Object(patch)) => merge(target, patch),
            (Some(Value::Array(target)), Value::Array(patch)) => merge_list(key, target, patch),
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

fn merge_list(list: &str, target: &mut Vec<Value>, patch: &[Value]) {
    let Some((_, key)) = KEYED.iter().find(|(keyed, _)| *keyed == list) else {
        patch.clone_into(target);
        return;
    };
    for entry in patch {
        let same = target.iter_mut().find(|old| entry.get(key).is_some() && old.get(key) == entry.get(key));
        match (same, entry) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                if EXCLUSIVE.contains(&list) {
                    old.retain(|property, _| new.contains_key(property));
                }
                merge(old, new);
            }
            _ => target.push(entry.clone()),
        }
    }
}

/// Sets once more what no override may change.
fn kept(mut merged: PodSpec, ours: PodSpec) -> PodSpec {
    for container in merged.containers.iter_mut().chain(merged.init_containers.iter_mut().flatten()) {
        container.security_context = Some(pod::container_security());
    }
    if let Some(volumes) = &mut merged.volumes {
        volumes.retain(|volume| volume.host_path.is_none());
    }
    PodSpec {
        automount_service_account_token: ours.automount_service_account_token,
        ephemeral_containers: None,
        host_ipc: None,
        host_network: None,
        host_pid: None,
        restart_policy: ours.restart_policy,
        security_context: ours.security_context,
        service_account: None,
        service_account_name: ours.service_account_name,
        ..merged
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_core::backend::Role;

    use super::*;
    use crate::{render::tests::desired, settings::KubernetesSettings};

    /// Returns a worker's pod as JSON with an override, and the place in it that a test looks at.
    fn overlaid(patch: &Value, pointer: &str) -> Value {
        let mut settings = KubernetesSettings::new("c");
        settings.has_overrides = true;
        settings.image_pull_secrets = vec!["first".to_owned()];
        let desired =
            desired(json!({"pod_spec_override": patch, "external_ports": [{"name": "web", "port": 80}]}));
        let spec = serde_json::to_value(pod::spec(&desired, &settings, Role::Worker)).unwrap();
        spec.pointer(pointer).cloned().unwrap_or_default()
    }

    #[test]
    fn merges_as_kubernetes_does() {
        let env = json!({"containers": [{"name": "teraslice", "env": [
            {"name": "POD_IP", "value": "here"}, {"name": "NEW", "value": "1"},
        ]}]});
        let name = json!({"containers": [{"name": "teraslice", "image": "other:1"}]});
        let ports = json!({"containers": [{"name": "teraslice", "ports": [
            {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81},
        ]}]});
        let volume = json!({"volumes": [{"name": "tmp", "hostPath": null, "persistentVolumeClaim": {"claimName": "x"}}]});
        for (patch, pointer, wanted) in [
            (json!({"hostname": "h"}), "/hostname", json!("h")),
            (json!({"nodeSelector": {"a": "b"}}), "/nodeSelector", json!({"a": "b"})),
            (
                json!({"imagePullSecrets": [{"name": "second"}]}),
                "/imagePullSecrets",
                json!([{"name": "first"}, {"name": "second"}]),
            ),
            (json!({"imagePullSecrets": null}), "/imagePullSecrets", Value::Null),
            (
                json!({"tolerations": [{"operator": "Exists"}]}),
                "/tolerations",
                json!([{"operator": "Exists"}]),
            ),
            (name.clone(), "/containers/0/image", json!("other:1")),
            (name, "/containers/0/args", json!(["worker"])),
            (env.clone(), "/containers/0/env/10", json!({"name": "POD_IP", "value": "here"})),
            (env, "/containers/0/env/16", json!({"name": "NEW", "value": "1"})),
            (
                ports,
                "/containers/0/ports",
                json!([{"containerPort": 80, "name": "web", "protocol": "UDP"}, {"containerPort": 81}]),
            ),
            (volume, "/volumes/2", json!({"name": "tmp", "persistentVolumeClaim": {"claimName": "x"}})),
        ] {
            assert_eq!(overlaid(&patch, pointer), wanted, "{patch} {pointer}");
        }
    }

    #[test]
    fn keeps_what_makes_pods_harmless() {
        let patch = json!({
            "automountServiceAccountToken": true,
            "hostNetwork": true, "hostPID": true, "hostIPC": true,
            "restartPolicy": "Always",
            "securityContext": {"runAsUser": 0},
            "serviceAccount": "admin", "serviceAccountName": "admin",
            "ephemeralContainers": [{"name": "debug"}],
            "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
            "containers": [
                {"name": "teraslice", "securityContext": {"privileged": true}},
                {"name": "sidecar", "securityContext": {"runAsUser": 0}},
            ],
            "initContainers": [{"name": "first", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}],
        });
        let plain = |pointer: &str| overlaid(&json!({}), pointer);
        for key in KEPT {
            let pointer = format!("/{key}");
            assert_eq!(overlaid(&patch, &pointer), plain(&pointer), "{key}");
        }
        let security = plain("/containers/0/securityContext");
        for container in ["/containers/0", "/containers/1", "/initContainers/0"] {
            assert_eq!(overlaid(&patch, &format!("{container}/securityContext")), security, "{container}");
        }
        assert_eq!(overlaid(&patch, "/volumes"), plain("/volumes"));
    }

    #[test]
    fn changes_nothing_where_no_pod_would_be_left() {
        for patch in
            [json!({"containers": null, "hostname": "h"}), json!({"containers": "none", "hostname": "h"})]
        {
            assert_eq!(overlaid(&patch, ""), overlaid(&json!({}), ""), "{patch}");
        }
    }

    #[test]
    fn is_not_used_unless_the_cluster_allows_it() {
        let settings = KubernetesSettings::new("c");
        let desired = desired(json!({"pod_spec_override": {"hostname": "h"}}));
        assert_eq!(pod::spec(&desired, &settings, Role::Worker).hostname, None);
    }
}
