//! What a backend of a third party is made with.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use teraslice_core::backend::{DesiredExecution, Role};
use teraslice_plugin_sdk::message::ProcessTemplate;

/// Says how the processes of an execution are started.
pub type Dress = Arc<dyn Fn(&DesiredExecution, Role) -> ProcessTemplate + Send + Sync>;

/// What a backend of a third party is made with.
#[derive(Clone)]
pub struct PluginOptions {
    /// Its name in the configuration.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Its own configuration.
    pub config: Value,
    /// Where that stands in the file of the user, as a JSON pointer; problems begin with it.
    pub config_pointer: String,
    /// Tells the processes of this cluster from those of others.
    pub cluster: String,
    /// Where it keeps its state. Made when it is absent, for this user only.
    pub state_directory: PathBuf,
    /// A call may take this long (default 10 s).
    pub call_max: Duration,
    /// Loading or starting it may take this long, and each step until it is ready (default 10 s).
    pub open_max: Duration,
    /// Surplus workers are killed after this (default 30 s).
    pub drain_grace: Duration,
    /// A backend that says no hints is looked at this often (default 2 s).
    pub look_every: Duration,
    /// Says how processes are started.
    pub dress: Dress,
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A shared library in this process.
    Library {
        /// The file.
        path: PathBuf,
        /// Its SHA-256 in hexadecimal, if it is pinned.
        sha256: Option<String>,
    },
    /// A process of its own.
    Process {
        /// The program, then its arguments.
        command: Vec<String>,
        /// The SHA-256 of the program in hexadecimal, if it is pinned.
        sha256: Option<String>,
    },
}

impl PluginOptions {
    /// Returns options with the defaults.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        transport: Transport,
        cluster: impl Into<String>,
        state_directory: impl Into<PathBuf>,
        dress: Dress,
    ) -> Self {
        Self {
            name: name.into(),
            transport,
            config: Value::Object(Map::new()),
            config_pointer: String::new(),
            cluster: cluster.into(),
            state_directory: state_directory.into(),
            call_max: Duration::from_secs(10),
            open_max: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
            look_every: Duration::from_secs(2),
            dress,
        }
    }
}

impl fmt::Debug for PluginOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginOptions")
            .field("name", &self.name)
            .field("transport", &self.transport)
            .field("cluster", &self.cluster)
            .field("state_directory", &self.state_directory)
            .finish_non_exhaustive()
    }
}
