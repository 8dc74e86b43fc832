//! What a backend of a third party starts processes with, and how these are known when they come.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use teraslice_api::cluster::{NodeState, Process, WorkerName};
use teraslice_backend_plugin::{PluginBackend, PluginOptions, ProcessTemplate};
use teraslice_core::{
    backend::{
        ClusterBackend, DesiredExecution, Instance, Role,
        health::Trouble,
        variables::{
            AUTHORITY, CLUSTER, EX_ID, GENERATION, INCARNATION, JOB_ID, MASTER, NODE_TYPE, RUN_DIRECTORY,
            TOKEN,
        },
    },
    store::StateStore,
};
use teraslice_model::id::{ExId, JobId};
use teraslice_rpc::{
    introduce::{Introduction, Stranger},
    secret::ClusterKey,
};

use super::dress::Dress;
use crate::config::{BackendConfig, Config};

/// How this program is started again as another role.
#[derive(Clone, Debug)]
pub struct ProcessCommand {
    /// This program.
    pub program: PathBuf,
    /// The arguments that come before the role.
    pub arguments: Vec<String>,
}

/// Returns what the backend is made with.
pub(super) fn options(
    config: &Config,
    (name, backend): (&str, &BackendConfig),
    state_directory: &Path,
    command: ProcessCommand,
    dress: &Dress,
) -> PluginOptions {
    let folder = state_directory.join("backends").join(name);
    let program = backend.program.clone().unwrap_or_else(|| command.program.display().to_string());
    let starter = Starter {
        program,
        arguments: command.arguments,
        cluster: config.cluster.name.clone(),
        master: config.cluster.master_url(),
        env_vars: config.env_vars.clone(),
        run_directory: folder.join("run").display().to_string(),
        key: dress.key.clone(),
        authority: dress.authority_pem(),
    };
    let dress = Arc::new(move |desired: &DesiredExecution, role| starter.template(desired, role));
    let mut options =
        PluginOptions::new(name, backend.transport.clone(), config.cluster.name.clone(), folder, dress);
    options.config = backend.config.clone();
    options.config_pointer.clone_from(&backend.config_pointer);
    options.drain_grace = config.shutdown_timeout;
    options
}

/// Says how processes are started.
struct Starter {
    program: String,
    arguments: Vec<String>,
    cluster: String,
    master: String,
    env_vars: BTreeMap<String, String>,
    run_directory: String,
    key: ClusterKey,
    authority: Option<String>,
}

impl Starter {
    fn template(&self, desired: &DesiredExecution, role: Role) -> ProcessTemplate {
        let mut arguments = self.arguments.clone();
        arguments.push(word(role).to_owned());
        let ex_id = desired.ex_id;
        let secret = self.key.execution(ex_id);
        let own = [
            (CLUSTER, self.cluster.clone()),
            (EX_ID, ex_id.to_string()),
            (JOB_ID, desired.job_id.to_string()),
            (GENERATION, desired.generation.to_string()),
            (NODE_TYPE, role.node_type().to_owned()),
            (INCARNATION, "0".to_owned()),
            (RUN_DIRECTORY, self.run_directory.clone()),
            (MASTER, self.master.clone()),
            (TOKEN, format!("{ex_id}.{}.{}", word(role), secret.expose())),
        ];
        // The job's own variables come before ours: none of them may pass for one.
        let mut environment = self.env_vars.clone();
        environment.extend(desired.job.env_vars.clone());
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(self.authority.clone().map(|pem| (AUTHORITY.to_owned(), pem)));
        ProcessTemplate { program: self.program.clone(), arguments, environment }
    }
}

/// Returns the word for a role in commands and tokens.
const fn word(role: Role) -> &'static str {
    match role {
        Role::Controller => "controller",
        Role::Worker => "worker",
    }
}

/// Tells processes what they are for.
pub(super) struct PluginIntroducer {
    pub(super) dress: Dress,
    pub(super) store: Arc<dyn StateStore>,
}

impl PluginIntroducer {
    pub(super) async fn introduce(&self, token: &str) -> Result<Introduction, Stranger> {
        let (ex_id, role) = purpose(token, &self.dress.key).ok_or_else(|| Stranger::Unknown {
            reason: "it is not that of an execution of this cluster".to_owned(),
        })?;
        self.dress.introduce(self.store.as_ref(), ex_id, role).await
    }
}

/// Reads what a token stands for, if it is a right one: `EX_ID.ROLE.SECRET`.
fn purpose(token: &str, key: &ClusterKey) -> Option<(ExId, Role)> {
    let (ex_id, rest) = token.split_once('.')?;
    let (role, secret) = rest.split_once('.')?;
    let ex_id: ExId = ex_id.parse().ok()?;
    let role = [Role::Controller, Role::Worker].into_iter().find(|it| word(*it) == role)?;
    key.execution(ex_id).matches(secret).then_some((ex_id, role))
}

/// Shows what the backend runs, and how it does. On which machines is its own business: all is on one, named after it, which is
/// there while something runs.
pub(super) struct PluginOfMaster(pub(super) PluginBackend);

impl teraslice_server::nodes::Nodes for PluginOfMaster {
    fn state(&self) -> BTreeMap<String, NodeState> {
        let name = self.0.describe().name;
        let active: Vec<_> = self.0.instances().into_iter().map(process).collect();
        let node = (!active.is_empty()).then(|| NodeState { active, ..NodeState::foreign(name.clone()) });
        node.map(|node| (name, node)).into_iter().collect()
    }

    fn are_ours(&self) -> bool {
        false
    }

    fn trouble(&self) -> Option<Trouble> {
        self.0.trouble().borrow().clone()
    }
}

fn process((instance, job_id): (Instance, Option<JobId>)) -> Process {
    Process {
        worker_id: WorkerName::Name(instance.id.0),
        assignment: instance.role.node_type().to_owned(),
        pid: None,
        ex_id: Some(instance.ex_id),
        job_id,
        assets: Some(Vec::new()),
        pod_name: None,
        pod_ip: None,
        image: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_process_by_its_token_and_no_other() {
        let key = ClusterKey::from_text(&"ab".repeat(32)).unwrap();
        let ex_id = ExId::from_random([1; 16]);
        let secret = key.execution(ex_id).expose().to_owned();
        let right = format!("{ex_id}.worker.{secret}");
        assert_eq!(purpose(&right, &key), Some((ex_id, Role::Worker)));
        let other = ExId::from_random([2; 16]);
        for wrong in [
            format!("{other}.worker.{secret}"),
            format!("{ex_id}.master.{secret}"),
            format!("{ex_id}.worker."),
            format!("{ex_id}.worker"),
            String::new(),
        ] {
            assert_eq!(purpose(&wrong, &key), None, "{wrong}");
        }
    }
}
