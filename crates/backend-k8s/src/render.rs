//! The objects of an execution: one Job with the controller's pod, one with those of the workers.

pub(crate) mod environment;
pub(crate) mod overlay;
mod placement;
mod pod;
pub(crate) mod resources;
pub(crate) mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
            PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
        },
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;
use teraslice_core::backend::{DesiredExecution, Role};
use teraslice_model::job::CheckedJob;

pub(crate) use self::pod::grace_seconds;
use crate::{labels, names, settings::KubernetesSettings};

/// The name of the container that runs the controller or a worker.
///
/// The same in every pod, other than in the original: exit codes are judged by the container's name, and overrides meet it by
/// that name.
pub const CONTAINER: &str = "teraslice";
/// The name of the port where a controller answers its workers and probes.
pub(crate) const CONTROLLER_PORT_NAME: &str = "links";
/// The property of a job that names the Kueue queue of its workers.
pub(crate) const QUEUE_PROPERTY: &str = "kubernetes_queue";

/// Exit codes after which it makes no sense to try again: a bad configuration or asset (64, 78), a newer generation (76).
const FINAL_CODES: [i32; 3] = [64, 76, 78];
/// The exit code of a process that was told to end before its work was done.
const INTERRUPTED_CODE: i32 = 75;
/// How many crashes of a controller Kubernetes mends by itself; the engine gives up earlier.
const CONTROLLER_BACKOFF: i32 = 6;
/// How long an ended Job stays, for people to look at.
const TTL_SECONDS: i32 = 3_600;

/// The objects of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Runs the controller.
    pub controller: Job,
    /// Runs the workers, as many as are wanted.
    ///
    /// Kubernetes refuses a change of `completions` to anything but the new `parallelism`: to scale an existing Job to no
    /// workers, change its `parallelism` alone.
    pub workers: Job,
}

/// Makes the objects of an execution; the same wish makes the same objects.
///
/// Which of them to apply is up to the caller. The job is one that [`validate`](crate::validate) has passed: what it refuses is
/// left out here.
#[must_use]
pub fn render(desired: &DesiredExecution, settings: &KubernetesSettings) -> Rendered {
    Rendered {
        controller: object(desired, settings, Role::Controller),
        workers: object(desired, settings, Role::Worker),
    }
}

fn object(desired: &DesiredExecution, settings: &KubernetesSettings, role: Role) -> Job {
    let mut all = labels::of(desired, settings, role);
    let name = names::object_name(role, &desired.job.name, desired.ex_id, desired.generation);
    let annotations = BTreeMap::from([(labels::JOB_NAME_ANNOTATION.to_owned(), desired.job.name.clone())]);
    let mut of_pods = all.clone();
    if role == Role::Worker {
        if desired.job.stateful {
            of_pods.insert(labels::STATEFUL.to_owned(), true.to_string());
        }
        // Only workers wait in a queue: a controller that was admitted alone would hold its share for nothing.
        if let Some(queue) = queue(&desired.job).and_then(Value::as_str) {
            all.insert(labels::QUEUE.to_owned(), queue.to_owned());
        }
    }
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(of_pods),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod::spec(desired, settings, role)),
    };
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(settings.namespace.clone()),
            labels: Some(all),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec { template, ..how_often(desired, role) }),
        status: None,
    }
}

/// Says how many pods there are, and what happens when one ends.
///
/// Workers are indexed, so that each has an ordinal that a replacement takes over; a Job wants at least one index, so no
/// workers are one that never starts.
fn how_often(desired: &DesiredExecution, role: Role) -> JobSpec {
    let (mode, parallelism, backoff_limit) = match role {
        Role::Controller => ("NonIndexed", 1, CONTROLLER_BACKOFF),
        // The engine counts the failures of workers.
        Role::Worker => ("Indexed", i32::try_from(desired.workers).unwrap_or(i32::MAX), i32::MAX),
    };
    JobSpec {
        backoff_limit: Some(backoff_limit),
        completion_mode: Some(mode.to_owned()),
        completions: Some(parallelism.max(1)),
        parallelism: Some(parallelism),
        pod_failure_policy: Some(failure_policy()),
        // The next pod starts when the last has ended: two controllers of one execution never overlap.
        pod_replacement_policy: Some("Failed".to_owned()),
        ttl_seconds_after_finished: Some(TTL_SECONDS),
        ..JobSpec::default()
    }
}

/// Returns what becomes of a Job when a pod of it fails; the first rule that fits decides, and without one it counts.
fn failure_policy() -> PodFailurePolicy {
    let by_code = |action: &str, values: Vec<i32>| PodFailurePolicyRule {
        action: action.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(CONTAINER.to_owned()),
            operator: "In".to_owned(),
            values,
        }),
        on_pod_conditions: None,
    };
    let disruption = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            status: "True".to_owned(),
            type_: "DisruptionTarget".to_owned(),
        }]),
    };
    let rules =
        vec![by_code("FailJob", FINAL_CODES.to_vec()), disruption, by_code("Ignore", vec![INTERRUPTED_CODE])];
    PodFailurePolicy { rules }
}

/// Returns the Kueue queue that the job names, whatever it is.
pub(crate) fn queue(job: &CheckedJob) -> Option<&Value> {
    job.extra.get(QUEUE_PROPERTY).or_else(|| job.document.get(QUEUE_PROPERTY))
}

#[cfg(test)]
pub(crate) mod tests;
