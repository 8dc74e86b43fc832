//! What a cluster is configured to run controllers and workers with.

use std::{collections::BTreeMap, time::Duration};

use teraslice_model::job::Target;

use crate::{names, render::volumes};

/// The working directory of the image.
const WORKING_DIRECTORY: &str = "/app";

/// What every pod is made with, unless its job says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// The cluster's name (`name`): the label `app.kubernetes.io/instance` tells its objects from those of others.
    pub cluster: String,
    /// Where everything is made (`kubernetes_namespace`, default `default`).
    pub namespace: String,
    /// The image (`kubernetes_image`, default `teraslice:k8sdev`); its entry point is this program.
    pub image: String,
    /// Names of the secrets to pull it with (`kubernetes_image_pull_secret`, a name or a list, default none).
    pub image_pull_secrets: Vec<String>,
    /// The config map whose key `teraslice.yaml` configures pods (`kubernetes_config_map_name`, default `<cluster>-worker`).
    pub config_map: String,
    /// Who pods are (`kubernetes_service_account`, default the namespace's `default`); they have no rights in any case.
    pub service_account: Option<String>,
    /// Where assets lie in a pod (`assets_directory`, default `assets`, below the image's working directory `/app`).
    pub assets_directory: String,
    /// The claim that is mounted there read-only (`assets_volume`); absent: an empty folder, assets come from the master.
    pub assets_volume: Option<String>,
    /// The priority class of controllers and of stateful workers (`kubernetes_priority_class_name`).
    pub priority_class: Option<String>,
    /// Whether workers of an execution spread over machines (`kubernetes_worker_antiaffinity`, default false).
    pub spreads_workers: bool,
    /// Whether `pod_spec_override` of jobs is used (`kubernetes_overrides_enabled`, default false).
    pub has_overrides: bool,
    /// Where controllers run (`execution_controller_targets`): required, and tolerated.
    pub controller_targets: Vec<Target>,
    /// Cores of a worker whose job does not say (`cpu`), request and limit.
    pub cpu: Option<f64>,
    /// Bytes of memory of a worker whose job does not say (`memory`), request and limit.
    pub memory: Option<u64>,
    /// Cores of a controller whose job does not say (`cpu_execution_controller`, default 0.5), request and limit.
    pub cpu_controller: f64,
    /// Bytes of memory of a controller whose job does not say (`memory_execution_controller`, default 512,000,000), request and
    /// limit.
    pub memory_controller: u64,
    /// Environment of every pod (`env_vars`); that of the job wins.
    pub env_vars: BTreeMap<String, String>,
    /// How long a process that is told to end may take (`shutdown_timeout`); a pod is killed 10 seconds later.
    pub shutdown_timeout: Duration,
    /// Where pods find the master: a URL.
    pub master_url: String,
    /// The certificate of the master's own authority, PEM, which pods believe; absent: links are not encrypted, or by other
    /// certificates.
    pub authority: Option<String>,
}

impl KubernetesSettings {
    /// Returns the defaults of a cluster.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        Self {
            namespace: "default".to_owned(),
            image: "teraslice:k8sdev".to_owned(),
            image_pull_secrets: Vec::new(),
            config_map: names::config_map(&cluster),
            service_account: None,
            assets_directory: "assets".to_owned(),
            assets_volume: None,
            priority_class: None,
            spreads_workers: false,
            has_overrides: false,
            controller_targets: Vec::new(),
            cpu: None,
            memory: None,
            cpu_controller: 0.5,
            memory_controller: 512_000_000,
            env_vars: BTreeMap::new(),
            shutdown_timeout: Duration::from_mins(1),
            master_url: "http://localhost:5678".to_owned(),
            authority: None,
            cluster,
        }
    }

    /// Returns the folder of assets in a pod, absolute: relative ones lie below the working directory of the image.
    #[must_use]
    pub fn assets_path(&self) -> String {
        volumes::normalized(&match self.assets_directory.starts_with('/') {
            true => self.assets_directory.clone(),
            false => format!("{WORKING_DIRECTORY}/{}", self.assets_directory),
        })
    }

    /// Returns the folder for compiled assets in a pod: on the shared volume the master has compiled them already.
    #[must_use]
    pub fn cache_directory(&self) -> String {
        match self.assets_volume {
            Some(_) => format!("{}/cache", self.assets_path()),
            None => "/tmp/cache".to_owned(),
        }
    }

    /// Returns the audience of the tokens by which pods of this cluster show who they are.
    #[must_use]
    pub fn audience(&self) -> String {
        format!("teraslice/{}/{}", self.namespace, self.cluster)
    }
}
