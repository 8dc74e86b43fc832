//! What the container of a role asks for, and what it may use at most.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use teraslice_core::backend::Role;
use teraslice_model::job::CheckedJob;

use crate::settings::KubernetesSettings;

/// Processor time and memory, asked for and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Needs {
    cpu: (Option<f64>, Option<f64>),
    memory: (Option<u64>, Option<u64>),
}

/// Returns the requests and limits of a container, if there are any.
pub(super) fn requirements(
    job: &CheckedJob,
    settings: &KubernetesSettings,
    role: Role,
) -> Option<ResourceRequirements> {
    let Needs { cpu, memory } = needs(job, settings, role);
    let requests = quantities(cpu.0, memory.0);
    let limits = quantities(cpu.1, memory.1);
    (requests.is_some() || limits.is_some()).then(|| ResourceRequirements {
        requests,
        limits,
        ..ResourceRequirements::default()
    })
}

/// Returns what is asked for: what the job says, else what the cluster says.
///
/// Memory is limited to what is asked for unless a limit is given: to run out of it, known beforehand, beats to be killed
/// because others run out. Processor time is not: to be slow is no failure.
fn needs(job: &CheckedJob, settings: &KubernetesSettings, role: Role) -> Needs {
    let asked = &job.resources;
    match role {
        Role::Controller => {
            let cpu = asked.cpu_controller.unwrap_or(settings.cpu_controller);
            let memory = asked.memory_controller.unwrap_or(settings.memory_controller);
            Needs { cpu: (Some(cpu), Some(cpu)), memory: (Some(memory), Some(memory)) }
        }
        Role::Worker => Needs {
            cpu: match (asked.cpu_request, asked.cpu_limit) {
                (None, None) => (settings.cpu, settings.cpu),
                given => given,
            },
            memory: match (asked.memory_request, asked.memory_limit) {
                (None, None) => (settings.memory, settings.memory),
                (request, limit) => (request, limit.or(request)),
            },
        },
    }
}

fn quantities(cpu: Option<f64>, memory: Option<u64>) -> Option<BTreeMap<String, Quantity>> {
    let cpu = cpu.map(|cores| ("cpu".to_owned(), Quantity(millicores(cores))));
    let memory = memory.map(|bytes| ("memory".to_owned(), Quantity(bytes.to_string())));
    let all: BTreeMap<_, _> = cpu.into_iter().chain(memory).collect();
    Some(all).filter(|all| !all.is_empty())
}

/// Writes cores as thousandths, rounded up.
fn millicores(cores: f64) -> String {
    // 0.069 * 1000 is a little more than 69, and no whole thousandth more is meant.
    format!("{:.0}m", (cores * 1_000.0 - 1e-6).ceil().max(1.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::tests::job;

    #[test]
    fn writes_cores_as_thousandths() {
        for (cores, text) in [
            (0.5, "500m"),
            (1.0, "1000m"),
            (0.000_1, "1m"),
            (0.069, "69m"),
            (2.01, "2010m"),
            (0.033_3, "34m"),
            (1_024.0, "1024000m"),
        ] {
            assert_eq!(millicores(cores), text, "{cores}");
        }
    }

    #[test]
    fn asks_for_what_the_job_says_else_the_cluster() {
        let mut settings = KubernetesSettings::new("c");
        let bare = settings.clone();
        settings.cpu = Some(0.25);
        settings.memory = Some(300_000_000);
        let controller = json!({"requests": {"cpu": "500m", "memory": "512000000"}, "limits": {"cpu": "500m", "memory": "512000000"}});
        for (settings, job_keys, role, wanted) in [
            (&bare, json!({}), Role::Worker, Value::Null),
            (&bare, json!({"resources_limits_cpu": 2}), Role::Worker, json!({"limits": {"cpu": "2000m"}})),
            (
                &bare,
                json!({"resources_requests_memory": 1_000_000_000}),
                Role::Worker,
                json!({"requests": {"memory": "1000000000"}, "limits": {"memory": "1000000000"}}),
            ),
            (
                &bare,
                json!({"resources_requests_memory": 100_000_000, "resources_limits_memory": 200_000_000}),
                Role::Worker,
                json!({"requests": {"memory": "100000000"}, "limits": {"memory": "200000000"}}),
            ),
            (
                &settings,
                json!({"resources_requests_cpu": 1}),
                Role::Worker,
                json!({"requests": {"cpu": "1000m", "memory": "300000000"}, "limits": {"memory": "300000000"}}),
            ),
            (
                &settings,
                json!({"cpu": 0.1, "memory": 100_000_000}),
                Role::Worker,
                json!({"requests": {"cpu": "100m", "memory": "100000000"}, "limits": {"cpu": "100m", "memory": "100000000"}}),
            ),
            (&settings, json!({"cpu": 0.1}), Role::Controller, controller),
            (
                &bare,
                json!({"cpu_execution_controller": 1, "memory_execution_controller": 600_000_000}),
                Role::Controller,
                json!({"requests": {"cpu": "1000m", "memory": "600000000"}, "limits": {"cpu": "1000m", "memory": "600000000"}}),
            ),
        ] {
            let found = requirements(&job(job_keys.clone()), settings, role);
            assert_eq!(serde_json::to_value(found).unwrap(), wanted, "{job_keys} {role:?}");
        }
    }
}
