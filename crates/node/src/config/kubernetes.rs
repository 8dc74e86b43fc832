//! What only clusters on Kubernetes use.

use serde_json::{Map, Value};
use teraslice_backend_k8s::KubernetesSettings;
use teraslice_model::{job::Target, problem::Problem};

use super::{
    ClusterConfig,
    keys::Report,
    values::{Set, flag, names, text, whole},
};

/// Reads what pods are made with. Times and variables are added by who knows them.
pub(super) fn settings(ours: &Set<'_>, cluster: &ClusterConfig, report: &mut Report) -> KubernetesSettings {
    let defaults = KubernetesSettings::new(&cluster.name);
    let assets = names(ours, "assets_directory").and_then(|names| names.into_iter().next());
    let cores = |key: &str, report: &mut Report| {
        let value = ours.get(key).copied().and_then(number)?;
        if value > 0.0 {
            return Some(value);
        }
        let message = format!("{key} must be more than 0, found {value}");
        report.problems.push(Problem::new(format!("/teraslice/{key}"), message));
        None
    };
    KubernetesSettings {
        namespace: text(ours, "kubernetes_namespace").unwrap_or(defaults.namespace),
        image: text(ours, "kubernetes_image").unwrap_or(defaults.image),
        image_pull_secrets: names(ours, "kubernetes_image_pull_secret").unwrap_or_default(),
        config_map: text(ours, "kubernetes_config_map_name").unwrap_or(defaults.config_map),
        service_account: text(ours, "kubernetes_service_account"),
        assets_directory: assets.unwrap_or(defaults.assets_directory),
        assets_volume: text(ours, "assets_volume"),
        priority_class: text(ours, "kubernetes_priority_class_name"),
        spreads_workers: flag(ours, "kubernetes_worker_antiaffinity"),
        has_overrides: flag(ours, "kubernetes_overrides_enabled"),
        controller_targets: targets(ours, report),
        cpu: cores("cpu", report),
        memory: whole(ours, "memory"),
        cpu_controller: cores("cpu_execution_controller", report).unwrap_or(defaults.cpu_controller),
        memory_controller: whole(ours, "memory_execution_controller").unwrap_or(defaults.memory_controller),
        master_url: cluster.master_url(),
        ..defaults
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn targets(ours: &Set<'_>, report: &mut Report) -> Vec<Target> {
    let pointer = "/teraslice/execution_controller_targets";
    let entries = ours.get("execution_controller_targets").and_then(|targets| targets.as_array());
    let mut targets = Vec::new();
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        match target(entry) {
            Some(target) => targets.push(target),
            None => {
                let message = format!("an entry must have a key and a value, found {entry}");
                report.problems.push(Problem::new(format!("{pointer}/{index}"), message));
            }
        }
    }
    targets
}

fn target(entry: &Value) -> Option<Target> {
    let entry: &Map<String, Value> = entry.as_object()?;
    let text = |key: &str| match entry.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        scalar @ (Value::Number(_) | Value::Bool(_)) => Some(scalar.to_string()),
        _ => None,
    };
    Some(Target { key: text("key")?, value: text("value")?, constraint: Default::default() })
}
