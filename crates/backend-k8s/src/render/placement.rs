//! Which machines pods may run on, would rather run on, and how long they stay on one that is lost.

use k8s_openapi::{
    api::core::v1::{
        Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
        PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use teraslice_core::backend::{DesiredExecution, Role};
use teraslice_model::job::{CheckedJob, Constraint, Target};

use crate::{labels, settings::KubernetesSettings};

/// How long a worker stays on a machine that does not answer.
const WORKER_LOST_SECONDS: i64 = 30;
/// How long a controller stays there.
const CONTROLLER_LOST_SECONDS: i64 = 60;

/// Returns where pods of a role must run, and where they would rather run.
///
/// Required targets are one term, so a machine must meet them all.
pub(super) fn affinity(job: &CheckedJob, settings: &KubernetesSettings, role: Role) -> Option<Affinity> {
    let mut required: Vec<_> = with(job, Constraint::Required).map(is_in).collect();
    for target in of_role(settings, role) {
        let target = is_in(target);
        if !required.contains(&target) {
            required.push(target);
        }
    }
    let preferred = with(job, Constraint::Preferred)
        .map(|target| PreferredSchedulingTerm { preference: term(vec![is_in(target)]), weight: 1 });
    let preferred: Vec<_> = preferred.collect();
    if required.is_empty() && preferred.is_empty() {
        return None;
    }
    let selector = (!required.is_empty()).then(|| NodeSelector { node_selector_terms: vec![term(required)] });
    Some(Affinity {
        node_affinity: Some(NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(preferred)
                .filter(|preferred| !preferred.is_empty()),
            required_during_scheduling_ignored_during_execution: selector,
        }),
        ..Affinity::default()
    })
}

/// Returns which taints pods of a role bear: for a while those of a lost machine, and those of accepted targets.
pub(super) fn tolerations(job: &CheckedJob, settings: &KubernetesSettings, role: Role) -> Vec<Toleration> {
    let seconds = match role {
        Role::Controller => CONTROLLER_LOST_SECONDS,
        Role::Worker => WORKER_LOST_SECONDS,
    };
    let lost = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    let mut all: Vec<_> = lost
        .map(|key| Toleration {
            effect: Some("NoExecute".to_owned()),
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: Some(seconds),
            value: None,
        })
        .into();
    for target in with(job, Constraint::Accepted).chain(of_role(settings, role)) {
        let toleration = Toleration {
            effect: Some("NoSchedule".to_owned()),
            key: Some(target.key.clone()),
            operator: Some("Equal".to_owned()),
            toleration_seconds: None,
            value: Some(target.value.clone()),
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// Returns how the workers of an execution spread over machines, if they do.
pub(super) fn spread(
    desired: &DesiredExecution,
    settings: &KubernetesSettings,
    role: Role,
) -> Option<Vec<TopologySpreadConstraint>> {
    let constraint = || TopologySpreadConstraint {
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::of_workers(desired)),
            ..LabelSelector::default()
        }),
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    };
    (role == Role::Worker && settings.spreads_workers).then(|| vec![constraint()])
}

fn with(job: &CheckedJob, constraint: Constraint) -> impl Iterator<Item = &Target> {
    job.resources.targets.iter().filter(move |target| target.constraint == constraint)
}

/// Returns the targets that the cluster has for a role.
fn of_role(settings: &KubernetesSettings, role: Role) -> &[Target] {
    match role {
        Role::Controller => &settings.controller_targets,
        Role::Worker => &[],
    }
}

fn is_in(target: &Target) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: target.key.clone(),
        operator: "In".to_owned(),
        values: Some(vec![target.value.clone()]),
    }
}

fn term(expressions: Vec<NodeSelectorRequirement>) -> NodeSelectorTerm {
    NodeSelectorTerm { match_expressions: Some(expressions), match_fields: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::tests::job;

    /// Returns the required expressions, the preferred keys and the tolerated keys, as `key=value`.
    fn places(targets: Value, settings: &KubernetesSettings, role: Role) -> [Vec<String>; 3] {
        let job = job(json!({ "targets": targets }));
        let shown = |expression: &NodeSelectorRequirement| {
            format!("{}={}", expression.key, expression.values.as_ref().unwrap().join(","))
        };
        let all = |term: &NodeSelectorTerm| -> Vec<String> {
            term.match_expressions.as_ref().unwrap().iter().map(shown).collect()
        };
        let nodes = affinity(&job, settings, role).and_then(|affinity| affinity.node_affinity);
        let nodes = nodes.unwrap_or_default();
        let required = nodes.required_during_scheduling_ignored_during_execution;
        let required = required.map(|selector| {
            assert_eq!(selector.node_selector_terms.len(), 1);
            all(&selector.node_selector_terms[0])
        });
        let preferred = nodes.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
        let tolerated = tolerations(&job, settings, role)
            .into_iter()
            .filter(|toleration| toleration.effect.as_deref() == Some("NoSchedule"))
            .map(|toleration| format!("{}={}", toleration.key.unwrap(), toleration.value.unwrap()));
        [
            required.unwrap_or_default(),
            preferred.iter().flat_map(|preferred| all(&preferred.preference)).collect(),
            tolerated.collect(),
        ]
    }

    #[test]
    fn targets_become_affinity_and_tolerations() {
        let bare = KubernetesSettings::new("c");
        let mut settings = bare.clone();
        settings.controller_targets =
            vec![Target { key: "pool".into(), value: "exc".into(), constraint: Constraint::Required }];
        let zone = json!({"key": "zone", "value": "west"});
        let disk = json!({"key": "disk", "value": "ssd", "constraint": "preferred"});
        let spot = json!({"key": "spot", "value": "true", "constraint": "accepted"});
        let pool = json!({"key": "pool", "value": "exc"});
        let all = json!([zone, disk, spot, {"key": "rack", "value": "3", "constraint": "required"}]);
        for (targets, settings, role, wanted) in [
            (json!([]), &bare, Role::Controller, [vec![], vec![], vec![]]),
            (
                all.clone(),
                &bare,
                Role::Worker,
                [vec!["zone=west", "rack=3"], vec!["disk=ssd"], vec!["spot=true"]],
            ),
            (
                all,
                &settings,
                Role::Controller,
                [vec!["zone=west", "rack=3", "pool=exc"], vec!["disk=ssd"], vec!["spot=true", "pool=exc"]],
            ),
            (json!([pool]), &settings, Role::Controller, [vec!["pool=exc"], vec![], vec!["pool=exc"]]),
            (json!([spot]), &settings, Role::Worker, [vec![], vec![], vec!["spot=true"]]),
        ] {
            assert_eq!(places(targets.clone(), settings, role), wanted, "{targets} {role:?}");
        }
    }
}
