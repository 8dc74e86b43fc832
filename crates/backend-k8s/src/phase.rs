//! What a pod's status says about the process in it.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition, PodStatus};
use teraslice_core::backend::{ExitReason, Phase};

use crate::render::CONTAINER;

/// Exit codes above this are signals.
const SIGNAL_BASE: i32 = 128;
/// Reasons of a waiting container that say no more than that it is on its way.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Tells where the process of a pod stands.
pub(crate) fn of(pod: &Pod) -> Phase {
    let Some(status) = &pod.status else { return Phase::Starting };
    match status.phase.as_deref() {
        Some("Succeeded") => Phase::Exited(ExitReason::Completed),
        Some("Failed") => Phase::Exited(ended(status)),
        _ if is_lost(pod, status) => Phase::Lost,
        _ if pod.metadata.deletion_timestamp.is_some() => Phase::Draining,
        Some("Running") => Phase::Running,
        _ => waiting(status).map_or(Phase::Starting, Phase::Waiting),
    }
}

/// Tells whether the machine of a pod is out of reach.
///
/// The pod itself does not say so. But whoever watches over machines then takes back that the pod is ready, and nothing else: a
/// kubelet would have said the same of its containers.
fn is_lost(pod: &Pod, status: &PodStatus) -> bool {
    let is = |kind: &str, wanted: &str| condition(status, kind).is_some_and(|it| it.status == wanted);
    let has_gates =
        pod.spec.as_ref().is_some_and(|spec| spec.readiness_gates.as_ref().is_some_and(|it| !it.is_empty()));
    let is_silent = is("Ready", "False") && is("ContainersReady", "True") && !has_gates;
    is_silent || matches!(status.reason.as_deref(), Some("NodeLost"))
}

fn ended(status: &PodStatus) -> ExitReason {
    let message = || status.message.clone().or_else(|| status.reason.clone());
    let terminated = container(status).and_then(|container| container.state.as_ref()?.terminated.as_ref());
    let Some(terminated) = terminated else {
        return message().map_or(ExitReason::Unknown, ExitReason::NotStarted);
    };
    match (terminated.reason.as_deref(), terminated.exit_code) {
        (Some("OOMKilled"), _) => ExitReason::OutOfMemory,
        // The program is not in the image, or cannot be run.
        (Some("StartError" | "ContainerCannotRun"), _) => {
            ExitReason::NotStarted(terminated.message.clone().or_else(message).unwrap_or_default())
        }
        (_, 0) => ExitReason::Completed,
        (_, code) if code > SIGNAL_BASE => ExitReason::Signal(code - SIGNAL_BASE),
        (_, code) => ExitReason::Code(code),
    }
}

/// Returns why a pod has not started, if something is in the way.
fn waiting(status: &PodStatus) -> Option<String> {
    let unscheduled = condition(status, "PodScheduled").filter(|it| it.status == "False");
    if let Some(PodCondition { reason, message, .. }) = unscheduled {
        return said(reason.as_deref().unwrap_or("not scheduled"), message.as_deref());
    }
    let waiting = container(status).and_then(|it| it.state.as_ref()).and_then(|state| match state {
        ContainerState { waiting: Some(waiting), .. } => Some(waiting),
        _ => None,
    })?;
    let reason = waiting.reason.as_deref().filter(|reason| !ON_ITS_WAY.contains(reason))?;
    said(reason, waiting.message.as_deref())
}

fn said(reason: &str, message: Option<&str>) -> Option<String> {
    Some(message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn container(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn phase(status: Value) -> Phase {
        of(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    fn container(state: Value) -> Value {
        json!([{"name": "teraslice", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    fn failed(code: i32, reason: &str) -> Phase {
        let state = json!({"terminated": {"exitCode": code, "reason": reason}});
        phase(json!({"phase": "Failed", "containerStatuses": container(state)}))
    }

    #[test]
    fn tells_how_a_process_ended() {
        assert_eq!(phase(json!({"phase": "Succeeded"})), Phase::Exited(ExitReason::Completed));
        assert_eq!(failed(75, "Error"), Phase::Exited(ExitReason::Code(75)));
        assert_eq!(failed(137, "Error"), Phase::Exited(ExitReason::Signal(9)));
        assert_eq!(failed(137, "OOMKilled"), Phase::Exited(ExitReason::OutOfMemory));
        let evicted = phase(json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}));
        assert_eq!(evicted, Phase::Exited(ExitReason::NotStarted("disk pressure".to_owned())));
    }

    #[test]
    fn says_what_a_pod_waits_for() {
        let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no claim"}]);
        let unscheduled = phase(json!({"phase": "Pending", "conditions": condition}));
        assert_eq!(unscheduled, Phase::Waiting("Unschedulable: no claim".to_owned()));
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let pull = phase(json!({"phase": "Pending", "containerStatuses": container(pull)}));
        assert_eq!(pull, Phase::Waiting("ImagePullBackOff: no such image".to_owned()));
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        let creating = phase(json!({"phase": "Pending", "containerStatuses": container(creating)}));
        assert_eq!(creating, Phase::Starting);
    }

    #[test]
    fn takes_a_pod_on_a_silent_machine_for_lost() {
        let running = |ready: &str, containers: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers}]);
            json!({"phase": "Running", "conditions": conditions})
        };
        assert_eq!(phase(running("False", "True")), Phase::Lost);
        assert_eq!(phase(running("False", "False")), Phase::Running);
        assert_eq!(phase(running("True", "True")), Phase::Running);
        let gated = json!({"spec": {"containers": [], "readinessGates": [{"conditionType": "x"}]}, "status": running("False", "True")});
        assert_eq!(of(&serde_json::from_value(gated).unwrap()), Phase::Running);
    }

    #[test]
    fn knows_a_pod_that_is_about_to_leave() {
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        assert_eq!(of(&serde_json::from_value(leaving).unwrap()), Phase::Draining);
        assert_eq!(phase(json!({"phase": "Running"})), Phase::Running);
    }
}
