//! What a process in a pod is told by its environment; no secrets, and not the job itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use teraslice_core::backend::{
    DesiredExecution, Role,
    variables::{
        AUTHORITY, CLUSTER, EX_ID, GENERATION, HOST, INCARNATION, JOB_ID, MASTER, NODE_TYPE, ORDINAL,
        RUN_DIRECTORY, TOKEN_FILE, WORKER_ID,
    },
};
use teraslice_model::job::CheckedJob;

use crate::settings::KubernetesSettings;

/// The pod.
const POD_NAME: &str = "POD_NAME";
/// The address of the pod.
const POD_IP: &str = "POD_IP";
/// What neither a job nor the cluster may set.
pub(crate) const RESERVED: [&str; 15] = [
    NODE_TYPE,
    CLUSTER,
    EX_ID,
    JOB_ID,
    GENERATION,
    ORDINAL,
    INCARNATION,
    RUN_DIRECTORY,
    WORKER_ID,
    POD_NAME,
    POD_IP,
    HOST,
    MASTER,
    AUTHORITY,
    TOKEN_FILE,
];

/// What is set unless the cluster or the job says otherwise: the file system is read-only elsewhere.
const HOME: (&str, &str) = ("HOME", "/tmp");
/// Where compiled assets are kept.
const CACHE: &str = "XDG_CACHE_HOME";

/// Where a worker's ordinal is found in its pod.
const INDEX_FIELD: &str = "metadata.annotations['batch.kubernetes.io/job-completion-index']";

/// Returns the whole environment of a role.
pub(super) fn variables(
    desired: &DesiredExecution,
    settings: &KubernetesSettings,
    role: Role,
) -> Vec<EnvVar> {
    let mut all = vec![
        value(NODE_TYPE, role.node_type()),
        value(CLUSTER, &settings.cluster),
        value(EX_ID, &desired.ex_id.to_string()),
        value(JOB_ID, &desired.job_id.to_string()),
        value(GENERATION, &desired.generation.to_string()),
    ];
    match role {
        Role::Controller => all.push(value(ORDINAL, "0")),
        Role::Worker => all.extend([field(ORDINAL, INDEX_FIELD), field(WORKER_ID, "metadata.name")]),
    }
    all.extend([
        value(INCARNATION, "0"),
        value(RUN_DIRECTORY, "/tmp"),
        field(POD_NAME, "metadata.name"),
        field(POD_IP, "status.podIP"),
        field(HOST, "status.podIP"),
        value(MASTER, &settings.master_url),
        value(TOKEN_FILE, "/var/run/secrets/teraslice/token"),
    ]);
    all.extend(settings.authority.as_ref().map(|pem| value(AUTHORITY, pem)));
    all.extend(given(&desired.job, settings).into_iter().map(|(name, text)| value(&name, &text)));
    all
}

/// Returns what the job and the cluster set, the job's in front, and the defaults; none of it is reserved.
pub(crate) fn given(job: &CheckedJob, settings: &KubernetesSettings) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (HOME.0.to_owned(), HOME.1.to_owned()),
        (CACHE.to_owned(), settings.cache_directory()),
    ]);
    let given = settings.env_vars.iter().chain(&job.env_vars);
    all.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    all.retain(|name, _| !RESERVED.contains(&name.as_str()));
    all
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::render::tests::desired;

    #[test]
    fn names_every_variable_once_whoever_sets_it() {
        let mut settings = KubernetesSettings::new("c");
        settings.env_vars = BTreeMap::from([
            ("A".to_owned(), "cluster".to_owned()),
            ("B".to_owned(), "cluster".to_owned()),
            ("NODE_TYPE".to_owned(), "cluster".to_owned()),
        ]);
        let desired = desired(json!({"env_vars": {"B": "job", "HOME": "/data", "POD_IP": "job"}}));
        for role in [Role::Controller, Role::Worker] {
            let all = variables(&desired, &settings, role);
            let names: BTreeSet<_> = all.iter().map(|variable| &variable.name).collect();
            assert_eq!(names.len(), all.len());
            let found = |name| all.iter().find(|variable| variable.name == name).unwrap().value.as_deref();
            assert_eq!(found("A"), Some("cluster"));
            assert_eq!(found("B"), Some("job"));
            assert_eq!(found("HOME"), Some("/data"));
            assert_eq!(found("XDG_CACHE_HOME"), Some("/tmp/cache"));
            assert_eq!(found("POD_IP"), None);
            assert_ne!(found("NODE_TYPE"), Some("cluster"));
        }
    }

    #[test]
    fn reserves_every_name_that_it_sets() {
        let settings = KubernetesSettings::new("c");
        for role in [Role::Controller, Role::Worker] {
            for variable in variables(&desired(json!({"memory": 99_000_000})), &settings, role) {
                let is_default = [HOME.0, CACHE].contains(&variable.name.as_str());
                assert!(is_default || RESERVED.contains(&variable.name.as_str()), "{}", variable.name);
            }
        }
    }
}
