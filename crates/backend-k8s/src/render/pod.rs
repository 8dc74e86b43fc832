//! The pod of a controller or a worker: the restricted security profile, and one container.

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, LocalObjectReference, PodSecurityContext, PodSpec, Probe,
        SeccompProfile, SecurityContext, TCPSocketAction,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use teraslice_core::backend::{DesiredExecution, Role};
use teraslice_model::job::CONTROLLER_PORT;

use super::{CONTAINER, CONTROLLER_PORT_NAME, environment, overlay, placement, resources, volumes};
use crate::{ports, settings::KubernetesSettings};

/// The user and group of the image.
const USER: i64 = 10_001;
/// How much longer than the process may take to end its pod is left alone.
const GRACE_SECONDS: u64 = 10;

/// Returns the pod of a role, the override of the job applied.
pub(super) fn spec(desired: &DesiredExecution, settings: &KubernetesSettings, role: Role) -> PodSpec {
    let job = &*desired.job;
    let is_important = role == Role::Controller || job.stateful;
    let secrets = settings.image_pull_secrets.iter();
    let secrets: Vec<_> = secrets.map(|name| LocalObjectReference { name: name.clone() }).collect();
    let spec = PodSpec {
        affinity: placement::affinity(job, settings, role),
        automount_service_account_token: Some(false),
        containers: vec![container(desired, settings, role)],
        enable_service_links: Some(false),
        image_pull_secrets: Some(secrets).filter(|secrets| !secrets.is_empty()),
        priority_class_name: settings.priority_class.clone().filter(|_| is_important),
        restart_policy: Some("Never".to_owned()),
        security_context: Some(pod_security()),
        service_account_name: settings.service_account.clone(),
        termination_grace_period_seconds: Some(grace_seconds(settings)),
        tolerations: Some(placement::tolerations(job, settings, role)),
        topology_spread_constraints: placement::spread(desired, settings, role),
        volumes: Some(volumes::volumes(job, settings)),
        ..PodSpec::default()
    };
    if settings.has_overrides { overlay::apply(spec, &job.resources.pod_spec_override) } else { spec }
}

fn container(desired: &DesiredExecution, settings: &KubernetesSettings, role: Role) -> Container {
    let job = &*desired.job;
    let (argument, probe) = match role {
        Role::Controller => ("controller", Some(readiness())),
        Role::Worker => ("worker", None),
    };
    let ports = container_ports(desired, role);
    Container {
        args: Some(vec![argument.to_owned()]),
        env: Some(environment::variables(desired, settings, role)),
        image: Some(job.resources.image.clone().unwrap_or_else(|| settings.image.clone())),
        name: CONTAINER.to_owned(),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
        readiness_probe: probe,
        resources: resources::requirements(job, settings, role),
        security_context: Some(container_security()),
        volume_mounts: Some(volumes::mounts(job, settings)),
        ..Container::default()
    }
}

fn container_ports(desired: &DesiredExecution, role: Role) -> Vec<ContainerPort> {
    let port = |name: Option<&str>, number: u16| ContainerPort {
        container_port: number.into(),
        name: name.map(str::to_owned),
        ..ContainerPort::default()
    };
    let mut all = Vec::new();
    if role == Role::Controller {
        all.push(port(Some(CONTROLLER_PORT_NAME), CONTROLLER_PORT));
    }
    let external = &desired.job.resources.external_ports;
    all.extend(external.iter().map(|opened| port(opened.name.as_deref(), opened.port)));
    if let Some(number) = ports::metrics(&desired.job)
        && !external.iter().any(|opened| opened.port == number)
    {
        let is_taken = external.iter().any(|opened| opened.name.as_deref() == Some(ports::METRICS));
        all.push(port(Some(ports::METRICS).filter(|_| !is_taken), number));
    }
    all
}

/// Returns the probe that tells whether a controller takes workers.
fn readiness() -> Probe {
    Probe {
        failure_threshold: Some(3),
        // What listens there speaks HTTP/2 only, which probes by HTTP do not.
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(CONTROLLER_PORT.into()), host: None }),
        initial_delay_seconds: Some(1),
        period_seconds: Some(2),
        timeout_seconds: Some(1),
        ..Probe::default()
    }
}

/// Returns how long a pod may take to leave.
pub(crate) fn grace_seconds(settings: &KubernetesSettings) -> i64 {
    let shutdown = settings.shutdown_timeout;
    let seconds = shutdown.as_secs() + u64::from(shutdown.subsec_nanos() > 0);
    i64::try_from(seconds.saturating_add(GRACE_SECONDS)).unwrap_or(i64::MAX)
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Returns what every container may do, those of overrides too.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::render::tests::desired;

    #[test]
    fn rounds_the_grace_period_up() {
        for (shutdown, grace) in [(60_000, 70), (60_001, 71), (0, 10)] {
            let mut settings = KubernetesSettings::new("c");
            settings.shutdown_timeout = Duration::from_millis(shutdown);
            assert_eq!(grace_seconds(&settings), grace, "{shutdown}");
        }
    }

    #[test]
    fn opens_the_port_of_metrics_once() {
        for (job, ports) in [
            (json!({"prom_metrics_port": 4000}), vec![]),
            (json!({"prom_metrics_enabled": true}), vec![(Some("metrics"), 3333)]),
            (json!({"prom_metrics_enabled": true, "prom_metrics_port": 4000}), vec![(Some("metrics"), 4000)]),
            (json!({"prom_metrics_enabled": true, "external_ports": [3333]}), vec![(None, 3333)]),
            (
                json!({"prom_metrics_enabled": true, "external_ports": [{"name": "metrics", "port": 80}]}),
                vec![(Some("metrics"), 80), (None, 3333)],
            ),
        ] {
            let found = container_ports(&desired(job.clone()), Role::Worker);
            let found: Vec<_> =
                found.iter().map(|port| (port.name.as_deref(), port.container_port)).collect();
            assert_eq!(found, ports, "{job}");
        }
    }

    #[test]
    fn gives_priority_to_controllers_and_to_workers_with_state() {
        let mut settings = KubernetesSettings::new("c");
        settings.priority_class = Some("high".to_owned());
        let class = |job, role| spec(&desired(job), &settings, role).priority_class_name;
        assert_eq!(class(json!({}), Role::Controller).as_deref(), Some("high"));
        assert_eq!(class(json!({}), Role::Worker), None);
        assert_eq!(class(json!({"stateful": true}), Role::Worker).as_deref(), Some("high"));
    }
}
