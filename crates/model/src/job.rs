//! Jobs: the pipeline a user describes, before ([`RawJob`]) and after ([`CheckedJob`]) it is checked.

mod check;
mod cluster;
pub mod duration;
mod fields;
mod pipeline;
mod set;
mod text;
mod warning;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::{CheckEnvironment, Inspection};
pub use cluster::CONTROLLER_PORT;
pub use set::SetError;
pub use text::{Format, TextError};
pub use warning::{Deprecation, Subject, Warning};

use crate::dead_letter::DeadLetterAction;

/// A job as a user wrote it: a JSON object, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJob(pub Map<String, Value>);

/// A job whose every property is known to be right. Made by [`RawJob::check`] only.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedJob {
    /// A label.
    pub name: String,
    /// Whether it ends when its slicers are exhausted.
    pub lifecycle: Lifecycle,
    /// The pipeline: a reader, then processors and sinks. At least two.
    pub operations: Vec<OperationConfig>,
    /// Shared settings that operations name by `_api_name`.
    pub apis: Vec<ApiConfig>,
    /// Assets that hold operations: a name, `name:version`, a range or an id.
    pub assets: Vec<String>,
    /// Wanted workers, at least 1.
    pub workers: u32,
    /// Wanted slicers, at least 1.
    pub slicers: u32,
    /// Extra tries of a slice.
    pub max_retries: u32,
    /// Whether statistics per operation are kept.
    pub analytics: bool,
    /// How long a persistent job must run without new errors before it counts as well again.
    pub probation_window: Duration,
    /// Whether a start resumes from the last execution.
    pub autorecover: bool,
    /// A marker for people and filters.
    pub active: bool,
    /// Whether workers keep state.
    pub stateful: bool,
    /// Labels for the cluster's objects.
    pub labels: BTreeMap<String, String>,
    /// Environment of the controller and the workers.
    pub env_vars: BTreeMap<String, String>,
    /// The level of this job's logs.
    pub log_level: Option<String>,
    /// What its operations in assets may use.
    pub sandbox: Sandbox,
    /// What only some backends use.
    pub resources: Resources,
    /// Properties that are not known here, kept as they are.
    pub extra: Map<String, Value>,
    /// The whole job in its file form, defaults filled in.
    pub document: Map<String, Value>,
}

/// What the operations of a job that are in assets may use; absent: as the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Bytes of memory of each instance (`wasm_memory`).
    pub memory: Option<u64>,
    /// How long a batch may take, beside the time for its size (`wasm_time_per_batch`).
    pub time_per_batch: Option<Duration>,
}

/// Whether a job ends by itself (`lifecycle`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Ends when its slicers are exhausted.
    Once,
    /// Runs until it is stopped.
    Persistent,
}

/// One operation of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationConfig {
    /// Its name, without asset and version (`_op`).
    pub op: String,
    /// The asset it is taken from (`op@asset`), if the job says so.
    pub asset: Option<String>,
    /// How bytes and records relate (`_encoding`), its API's where the operation itself is silent.
    pub encoding: Encoding,
    /// What happens to refused records (`_dead_letter_action`); absent: the operation's own default, else `throw`.
    pub dead_letter_action: Option<DeadLetterAction>,
    /// The API it uses (`_api_name`).
    pub api_name: Option<String>,
    /// The connection it uses (`_connection`).
    pub connection: Option<String>,
    /// Its settings without the names above: those of its API, overlaid with its own.
    pub settings: Map<String, Value>,
}

/// One API of a job: settings that operations share by name.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiConfig {
    /// The whole name, tag included (`_name`).
    pub name: String,
    /// How bytes and records relate, if it says so.
    pub encoding: Option<Encoding>,
    /// What happens to refused records, if it says so.
    pub dead_letter_action: Option<DeadLetterAction>,
    /// The connection it uses.
    pub connection: Option<String>,
    /// Its settings without the names above.
    pub settings: Map<String, Value>,
}

impl ApiConfig {
    /// Returns the name without asset and tag, as in `file_reader_api` of `file_reader_api:two`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.name.split(['@', ':']).next().unwrap_or(&self.name)
    }
}

/// How the bytes of a record are to be read (`_encoding`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A JSON object.
    #[default]
    Json,
    /// Bytes that nobody looks into.
    Raw,
}

/// What a job asks of the cluster; backends use what they can and warn about the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores that a worker asks for.
    pub cpu_request: Option<f64>,
    /// Cores that a worker may use.
    pub cpu_limit: Option<f64>,
    /// Bytes of memory that a worker asks for.
    pub memory_request: Option<u64>,
    /// Bytes of memory that a worker may use.
    pub memory_limit: Option<u64>,
    /// Cores of the controller.
    pub cpu_controller: Option<f64>,
    /// Bytes of memory of the controller.
    pub memory_controller: Option<u64>,
    /// Where pods may be placed.
    pub targets: Vec<Target>,
    /// Volumes to mount.
    pub volumes: Vec<Volume>,
    /// Whether to mount scratch space.
    pub ephemeral_storage: bool,
    /// Ports to open.
    pub external_ports: Vec<Port>,
    /// The image instead of the cluster's.
    pub image: Option<String>,
    /// Laid over the pod specification, last.
    pub pod_spec_override: Map<String, Value>,
}

/// A node label that pods want (`targets`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The label.
    pub key: String,
    /// Its value.
    pub value: String,
    /// How strongly.
    #[serde(default)]
    pub constraint: Constraint,
}

/// How strongly a target is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraint {
    /// Nowhere else.
    #[default]
    Required,
    /// Rather there.
    Preferred,
    /// There too, although the node keeps others off.
    Accepted,
}

/// A volume to mount (`volumes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The claim.
    pub name: String,
    /// Where to.
    pub path: String,
}

/// A port to open (`external_ports`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
}
