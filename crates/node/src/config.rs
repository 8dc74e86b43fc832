//! The system configuration: `terafoundation` and `teraslice`, in one YAML or JSON file.

mod backends;
mod cluster;
mod keys;
mod kubernetes;
mod logs;
mod reference;
mod show;
mod state;
mod values;
mod wasm;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};
use teraslice_backend_k8s::KubernetesSettings;
use teraslice_elastic::Connections;
use teraslice_model::{
    job::{CheckEnvironment, Format, TextError},
    problem::Problem,
};

pub use backends::BackendConfig;
pub use cluster::{ClusterConfig, TlsConfig, UNPROTECTED};
use keys::check_section;
pub use logs::LogConfig;
pub use reference::reference;
pub use state::StateConfig;
use values::{duration, names, text};
pub use wasm::WasmConfig;

/// The cluster backends.
const BACKENDS: [&str; 3] = ["native", "kubernetes", "kubernetesV2"];
/// The variable that names the configuration file.
const VARIABLE: &str = "TERAFOUNDATION_CONFIG";
/// Where a file is looked for that nobody has named.
const FOLDERS: [&str; 2] = ["/app/config", "."];
const NAMES: [&str; 6] =
    ["config.yaml", "config.yml", "config.json", "teraslice.yaml", "teraslice.yml", "teraslice.json"];

/// The configuration of this process, as far as running jobs on this machine needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; absent: the defaults.
    pub path: Option<PathBuf>,
    /// What looks wrong in the file but does no harm, such as unknown keys.
    pub warnings: Vec<Problem>,
    /// Keys that are set and have no effect, with the reason.
    pub without_effect: Vec<String>,
    /// The names of all connections; absent: none are configured, so jobs may name any.
    pub connections: Option<Vec<String>>,
    /// The connections to Elasticsearch and OpenSearch among them.
    pub elastic: Connections,
    /// Where logs go.
    pub logs: LogConfig,
    /// Where the master keeps its state (`teraslice.state`).
    pub state: StateConfig,
    /// Where the state of executions lives that run on this machine alone (`teraslice.state_directory`).
    pub state_directory: Option<PathBuf>,
    /// Where asset zips are looked for (`teraslice.assets_directory`, default `assets`).
    pub assets_directories: Vec<PathBuf>,
    /// Where more asset zips are looked for (`teraslice.autoload_directory`, default `autoload`).
    pub autoload_directory: PathBuf,
    /// The backend (`teraslice.cluster_manager_type`, default `native`).
    pub cluster_manager_type: String,
    /// Backends of third parties, by name (`teraslice.cluster_backends`).
    pub cluster_backends: BTreeMap<String, BackendConfig>,
    /// What pods are made with, on Kubernetes (`teraslice.kubernetes_*` and others).
    pub kubernetes: KubernetesSettings,
    /// Environment of every worker (`teraslice.env_vars`).
    pub env_vars: BTreeMap<String, String>,
    /// The sandbox of assets (`teraslice.wasm`).
    pub wasm: WasmConfig,
    /// How long a controller waits for its first worker (`teraslice.slicer_timeout`, default 3 minutes).
    pub slicer_timeout: Duration,
    /// How long something may be in the way of a controller's start before its execution fails (`teraslice.start_timeout`,
    /// default for ever).
    pub start_timeout: Option<Duration>,
    /// How long it waits once all workers are gone (`teraslice.worker_disconnect_timeout`, default 5 minutes).
    pub worker_disconnect_timeout: Duration,
    /// How long a shutdown may take (`teraslice.shutdown_timeout`, default 1 minute).
    pub shutdown_timeout: Duration,
    /// How this process takes part in a cluster.
    pub cluster: ClusterConfig,
}

/// A configuration that cannot be used: exit with code 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The file is no JSON or YAML.
    #[error("failed to understand the configuration {path}", path = path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: TextError,
    },
    /// Values are wrong.
    #[error("the configuration {path} is wrong", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

impl Config {
    /// Reads the configuration: of `named`, else of the file in `TERAFOUNDATION_CONFIG`, else of `config.yaml`, `.yml` or
    /// `.json` in `/app/config` or the current folder, else the defaults.
    ///
    /// A file that is only found, not named, and has none of the two sections is not ours and is passed over.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = named.map(Path::to_owned).or(variable) {
            let content = read(&path)?;
            return Self::of(path, &content);
        }
        let places = FOLDERS.iter().flat_map(|folder| NAMES.map(|name| Path::new(folder).join(name)));
        for path in places.filter(|path| path.is_file()) {
            let content = read(&path)?;
            if content.contains_key("terafoundation") || content.contains_key("teraslice") {
                return Self::of(path, &content);
            }
        }
        Ok(Self::default())
    }

    /// Reads a configuration from its file's content.
    ///
    /// # Errors
    ///
    /// Wrong types and values.
    pub fn of(path: PathBuf, content: &Map<String, Value>) -> Result<Self, ConfigError> {
        let mut report = keys::Report::default();
        let sections = check_section(content, "", keys::SECTIONS, &mut report);
        let empty = Map::new();
        let section = |name| sections.get(name).and_then(|value| value.as_object()).unwrap_or(&empty);
        let (foundation, ours) = (section("terafoundation"), section("teraslice"));
        let foundation = check_section(foundation, "/terafoundation", keys::TERAFOUNDATION, &mut report);
        let ours = check_section(ours, "/teraslice", keys::TERASLICE, &mut report);
        let wasm = ours.get("wasm").and_then(|value| value.as_object()).unwrap_or(&empty);
        let wasm = WasmConfig::of(wasm, &mut report);
        let cluster = ClusterConfig::of(&ours, &foundation, &mut report);
        let elastic = values::elastic(foundation.get("connectors").copied(), &mut report);
        let logs = LogConfig::of(&foundation, &mut report);
        let kubernetes = kubernetes::settings(&ours, &cluster, &mut report);
        let state = StateConfig::of(&ours, foundation.contains_key("connectors"), &elastic, &mut report);
        let cluster_backends = backends::backends(ours.get("cluster_backends").copied(), &mut report);
        check_backend(&ours, &mut report);
        if !report.problems.is_empty() {
            return Err(ConfigError::Wrong { path, problems: report.problems });
        }
        let defaults = Self::default();
        let folder = |key| text(&ours, key).map(PathBuf::from);
        let shutdown_timeout = duration(&ours, "shutdown_timeout").unwrap_or(defaults.shutdown_timeout);
        let env_vars: BTreeMap<_, _> =
            ours.get("env_vars").map(|vars| values::text_map(vars)).unwrap_or_default();
        Ok(Self {
            warnings: report.warnings,
            without_effect: without_effect(ours.keys().chain(foundation.keys())),
            connections: foundation.get("connectors").map(|connectors| values::connections(connectors)),
            elastic,
            logs,
            state,
            state_directory: folder("state_directory"),
            assets_directories: names(&ours, "assets_directory")
                .map(|names| names.into_iter().map(PathBuf::from).collect())
                .unwrap_or(defaults.assets_directories),
            autoload_directory: folder("autoload_directory").unwrap_or(defaults.autoload_directory),
            cluster_manager_type: text(&ours, "cluster_manager_type")
                .unwrap_or(defaults.cluster_manager_type),
            cluster_backends,
            kubernetes: KubernetesSettings { env_vars: env_vars.clone(), shutdown_timeout, ..kubernetes },
            env_vars,
            wasm,
            slicer_timeout: duration(&ours, "slicer_timeout").unwrap_or(defaults.slicer_timeout),
            start_timeout: duration(&ours, "start_timeout"),
            worker_disconnect_timeout: duration(&ours, "worker_disconnect_timeout")
                .unwrap_or(defaults.worker_disconnect_timeout),
            shutdown_timeout,
            cluster,
            path: Some(path),
        })
    }

    /// Returns what the check of a job has to know of the configuration and of this machine.
    #[must_use]
    pub fn check_environment(&self) -> CheckEnvironment {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        CheckEnvironment {
            known_connections: self.connections.clone(),
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            is_kubernetes: self.is_kubernetes(),
            overrides_enabled: self.kubernetes.has_overrides,
        }
    }

    /// Returns the folder that published assets lie in: the first of `assets_directory`.
    #[must_use]
    pub fn assets_folder(&self) -> PathBuf {
        self.assets_directories.first().cloned().unwrap_or_else(|| PathBuf::from("assets"))
    }

    /// Tells whether controllers and workers are pods (`cluster_manager_type: kubernetes`, or `kubernetesV2`).
    #[must_use]
    pub fn is_kubernetes(&self) -> bool {
        matches!(self.cluster_manager_type.as_str(), "kubernetes" | "kubernetesV2")
    }

    /// Returns the backend of a third party that is to be used (`cluster_manager_type`), if it is one.
    #[must_use]
    pub fn plugin(&self) -> Option<(&str, &BackendConfig)> {
        let (name, backend) = self.cluster_backends.get_key_value(&self.cluster_manager_type)?;
        Some((name, backend))
    }

    /// Returns where compiled assets are kept: with the assets where pods share them, else with this user's caches.
    #[must_use]
    pub fn compile_cache(&self) -> Option<PathBuf> {
        let folder = match self.is_kubernetes() && self.kubernetes.assets_volume.is_some() {
            true => Some(Path::new(&self.kubernetes.cache_directory()).join("teraslice")),
            false => crate::state::cache_directory(),
        };
        folder.map(|folder| folder.join("wasm"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            warnings: Vec::new(),
            without_effect: Vec::new(),
            connections: None,
            elastic: Connections::default(),
            logs: LogConfig::default(),
            state: StateConfig::default(),
            state_directory: None,
            assets_directories: vec![PathBuf::from("assets")],
            autoload_directory: PathBuf::from("autoload"),
            cluster_manager_type: "native".to_owned(),
            cluster_backends: BTreeMap::new(),
            kubernetes: KubernetesSettings::new(ClusterConfig::default().name),
            env_vars: BTreeMap::new(),
            wasm: WasmConfig::default(),
            slicer_timeout: Duration::from_mins(3),
            start_timeout: None,
            worker_disconnect_timeout: Duration::from_mins(5),
            shutdown_timeout: Duration::from_mins(1),
            cluster: ClusterConfig::default(),
        }
    }
}

/// Names the backends that there are if the configuration asks for another.
fn check_backend(ours: &values::Set<'_>, report: &mut keys::Report) {
    let entries = ours.get("cluster_backends").and_then(|entries| entries.as_object());
    let others = entries.into_iter().flat_map(|entries| entries.keys().map(String::as_str));
    let known: Vec<_> = BACKENDS.into_iter().chain(others).collect();
    if let Some(name) = text(ours, "cluster_manager_type")
        && !known.contains(&name.as_str())
    {
        let problem = Problem::unknown("/teraslice/cluster_manager_type", "cluster backend", &name, &known);
        report.problems.push(problem);
    }
}

/// Says of each key that has no effect why.
fn without_effect<'a>(set: impl Iterator<Item = &'a &'static str>) -> Vec<String> {
    let why = |key: &str| keys::WITHOUT_EFFECT.iter().find(|(name, _)| *name == key);
    set.filter_map(|key| why(key)).map(|(key, why)| format!("{key} has no effect: {why}")).collect()
}

fn read(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let parsed = Format::of(path).parse(&text);
    match parsed.map_err(|source| ConfigError::Text { path: path.to_owned(), source })? {
        Value::Object(content) => Ok(content),
        Value::Null => Ok(Map::new()),
        _ => {
            let problems = vec![Problem::new("", "a configuration is an object")];
            Err(ConfigError::Wrong { path: path.to_owned(), problems })
        }
    }
}

#[cfg(test)]
mod tests;
