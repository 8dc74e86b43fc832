//! The messages of the protocol: the same for shared libraries and processes. Unknown fields are passed over.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Capabilities;

/// The first thing that both sides say.
pub const MAGIC: &str = "teraslice-backend";
/// The version of these messages.
pub const PROTOCOL: Version = Version { major: 1, minor: 0 };
/// Bytes of a message at the most, in both directions.
pub const MESSAGE_LEN_MAX: usize = 16 << 20;

/// Codes of errors.
pub mod code {
    /// The message is no JSON.
    pub const PARSE: i32 = -32700;
    /// There is no such method.
    pub const METHOD: i32 = -32601;
    /// The params are not those of the method.
    pub const PARAMS: i32 = -32602;
    /// Something inside went wrong that should not, such as a panic.
    pub const INTERNAL: i32 = -32603;
    /// Passing: the same call later.
    pub const UNAVAILABLE: i32 = -32001;
    /// A later term has begun.
    pub const FENCED: i32 = -32002;
    /// The job cannot run here.
    pub const REFUSED: i32 = -32003;
}

/// A version of the protocol. Sides with different majors do not understand each other; minors only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Raised when something changes or goes.
    pub major: u32,
    /// Raised when something is added.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the host asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Method {
    /// Who are you? [`HandshakeParams`] -> [`Description`].
    Handshake = 1,
    /// Begin. [`StartParams`] -> null.
    Start = 2,
    /// A term of leadership begins. [`AdoptParams`] -> null.
    Adopt = 3,
    /// This is wanted. [`EnsureParams`] -> null.
    Ensure = 4,
    /// Remove this. [`RetireParams`] -> [`Gone`].
    Retire = 5,
    /// What is there? [`ObserveParams`] -> [`Snapshot`].
    Observe = 6,
    /// End. [`StopParams`] -> null.
    Stop = 7,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Handshake, Self::Start, Self::Adopt, Self::Ensure, Self::Retire, Self::Observe, Self::Stop];

    /// Returns its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Start => "start",
            Self::Adopt => "adopt",
            Self::Ensure => "ensure",
            Self::Retire => "retire",
            Self::Observe => "observe",
            Self::Stop => "stop",
        }
    }

    /// Returns its number in calls of a library.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Finds a method by its name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Finds a method by its number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == number)
    }
}

/// What the host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeParams {
    /// [`MAGIC`].
    pub magic: String,
    /// The version that the host speaks.
    pub protocol: Version,
    /// The version of the host.
    pub host_version: String,
}

/// What a backend says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// [`MAGIC`].
    pub magic: String,
    /// The version that it speaks.
    pub protocol: Version,
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it can beyond what it must.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The JSON Schema of its configuration.
    pub config_schema: Value,
    /// The JSON Schema that the jobs it runs have to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_schema: Option<Value>,
}

/// What a backend begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartParams {
    /// Tells the instances of this cluster from those of others.
    pub cluster: String,
    /// A folder of its own, for this user only, that stays.
    pub state_directory: String,
    /// Its configuration, which has passed its schema.
    pub config: Value,
}

/// A term of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptParams {
    /// Counts the leaders of the cluster.
    pub term: u64,
}

/// What is wanted, and who says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnsureParams {
    /// The term of the leader.
    pub term: u64,
    /// What is wanted.
    pub desired: DesiredExecution,
}

/// What is wanted of one execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredExecution {
    /// The execution.
    pub ex_id: String,
    /// Its job.
    pub job_id: String,
    /// The controller object; a higher one replaces a lower.
    pub generation: u64,
    /// Counts the changes of this wish within a term.
    pub revision: u64,
    /// Whether the controller is wanted.
    pub controller: bool,
    /// How many workers are wanted: those with the ordinals from 0 up to this.
    pub workers: u32,
    /// Surplus workers are killed so long after they were asked to leave, in milliseconds.
    pub drain_grace_ms: u64,
    /// How the controller is started.
    pub controller_process: ProcessTemplate,
    /// How each worker is started.
    pub worker_process: ProcessTemplate,
    /// What each worker asks of its machine.
    #[serde(default)]
    pub resources: Value,
    /// The job itself, defaults filled in.
    pub job: Map<String, Value>,
}

impl DesiredExecution {
    /// Returns how many instances of a role are wanted.
    #[must_use]
    pub fn count(&self, role: Role) -> u32 {
        match role {
            Role::Controller => u32::from(self.controller),
            Role::Worker => self.workers,
        }
    }

    /// Returns how an instance of a role is started.
    #[must_use]
    pub const fn process(&self, role: Role) -> &ProcessTemplate {
        match role {
            Role::Controller => &self.controller_process,
            Role::Worker => &self.worker_process,
        }
    }
}

/// How a process of a role is started. Add its ordinal as `TERASLICE_ORDINAL`. `Debug` hides values of variables.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessTemplate {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment variables; some are secrets.
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for ProcessTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.keys().collect();
        f.debug_struct("ProcessTemplate")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .finish()
    }
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Makes slices and hands them out.
    Controller,
    /// Runs slices.
    Worker,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Controller, Self::Worker];
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireParams {
    /// The term of the leader.
    pub term: u64,
    /// The execution.
    pub ex_id: String,
    /// Up to this generation.
    pub generation_max: u64,
    /// How.
    pub how: Retire,
    /// Those that drain are killed after this, in milliseconds; 0 with `kill`.
    pub grace_ms: u64,
}

/// How to end instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retire {
    /// Ask, wait, then kill.
    Drain,
    /// Kill.
    Kill,
}

/// Whether instances are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// These may still run; with none everything is gone.
    pub unconfirmed: Vec<String>,
}

/// How much to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveParams {
    /// One execution; absent: all of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ex_id: Option<String>,
}

/// What exists, as of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Milliseconds since 1970. Absent: when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_ms: Option<i64>,
    /// What exists, and what has exited and was not retired yet.
    pub instances: Vec<Instance>,
}

/// A process, task or pod that a backend runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Unique for ever.
    pub id: String,
    /// The execution that it works for.
    pub ex_id: String,
    /// The controller object that it belongs to.
    pub generation: u64,
    /// What it is.
    pub role: Role,
    /// Which of the workers it is; 0 for the controller.
    pub ordinal: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Since when, in milliseconds since 1970; absent: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not started, and why.
    Waiting(String),
    /// On its way.
    Starting,
    /// At work.
    Running,
    /// Asked to leave.
    Draining,
    /// Ended.
    Exited(ExitReason),
    /// Out of sight; may still run.
    Lost,
}

impl Phase {
    /// Tells whether the instance may still do something.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Exited(_))
    }
}

/// Why an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// Its work was done: exit code 0.
    Completed,
    /// With another exit code.
    Code(i32),
    /// Ended by a signal.
    Signal(i32),
    /// For lack of memory.
    OutOfMemory,
    /// It could not be started, and why.
    NotStarted(String),
    /// Nobody knows.
    Unknown,
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopParams {
    /// The term of the leader.
    pub term: u64,
    /// What happens to what runs.
    pub how: Stop,
}

/// What happens to what runs when a backend ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It goes on, where the backend can.
    Detach,
    /// It ends, and is gone when this is answered.
    Terminate,
}

/// A hint that something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The execution; absent: anything may have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ex_id: Option<String>,
}

/// A line for the log of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says; no secrets.
    pub message: String,
}

/// How much a line of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something has happened.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

/// A failure, as in JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// One of [`code`].
    pub code: i32,
    /// What happened, for people.
    pub message: String,
    /// More, for the host.
    #[serde(default)]
    pub data: ErrorData,
}

/// What an error says to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The least time to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorObject {
    /// Makes an error.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: ErrorData::default() }
    }
}

/// A line that the host writes to a process, as in JSON-RPC 2.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `2.0`.
    pub jsonrpc: String,
    /// Names the call; absent for `cancel`, which is not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The name of a [`Method`], or [`CANCEL`].
    pub method: String,
    /// What the method asks for.
    pub params: Value,
}

/// The notification that nobody waits for a call any more.
pub const CANCEL: &str = "cancel";
/// The notification of an [`Event`].
pub const EVENT: &str = "event";
/// The notification of a [`Log`].
pub const LOG: &str = "log";

/// Which call nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelParams {
    /// Its id.
    pub id: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_methods_by_name_and_number() {
        for method in Method::ALL {
            assert_eq!(Method::of_name(method.name()), Some(method));
            assert_eq!(Method::of_number(method.number()), Some(method));
        }
        assert_eq!((Method::of_name("later"), Method::of_number(99)), (None, None));
    }

    #[test]
    fn writes_phases_as_words() {
        let words = [
            (Phase::Running, json!("running")),
            (Phase::Waiting("queue".to_owned()), json!({"waiting": "queue"})),
            (Phase::Exited(ExitReason::Completed), json!({"exited": "completed"})),
            (Phase::Exited(ExitReason::Code(3)), json!({"exited": {"code": 3}})),
        ];
        for (phase, word) in words {
            assert_eq!(serde_json::to_value(&phase).unwrap(), word);
            assert_eq!(serde_json::from_value::<Phase>(word).unwrap(), phase);
        }
    }

    #[test]
    fn keeps_secrets_out_of_messages() {
        let environment = [("SECRET".to_owned(), "hunter2".to_owned())].into();
        let template = ProcessTemplate { environment, ..ProcessTemplate::default() };
        let shown = format!("{template:?}");
        assert!(shown.contains("SECRET") && !shown.contains("hunter2"), "{shown}");
    }
}
