//! What the master and an execution controller tell each other.

use serde::{Deserialize, Serialize};
use teraslice_model::{
    execution::Stats,
    id::{Epoch, ExId, Generation},
};
use tokio::sync::mpsc;

/// From a controller to the master. The first message of every connection is `Hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromController {
    /// Who it is and where its workers find it. Repeated on every connection, and when something of it has changed.
    Hello(Hello),
    /// Its statistics; sent when they have changed, a few times a second at the most.
    Stats(Box<Stats>),
    /// A command was carried out.
    Done {
        /// The number of the command.
        command: u64,
        /// Why it was not, if so.
        error: Option<String>,
    },
}

impl FromController {
    /// Tells whether this says that a command was carried out.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { error: None, .. })
    }
}

/// Who a controller is, where its workers find it, and how they log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The execution.
    pub ex_id: ExId,
    /// The controller object.
    pub generation: Generation,
    /// The controller process.
    pub epoch: Epoch,
    /// The host on which it listens for workers.
    pub host: String,
    /// The port on which it listens for workers.
    pub port: u16,
    /// The level that it was told to log at, which its workers take over; none: each its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
}

/// From the master to a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToController {
    /// Do something, then say `Done`.
    Command {
        /// Numbers the commands of a connection.
        number: u64,
        /// What.
        command: ControlCommand,
    },
}

/// What the master asks of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlCommand {
    /// Hold slices back.
    Pause,
    /// Go on.
    Resume,
    /// End for good.
    Stop,
    /// Log at this level from now on, and have workers do so.
    LogLevel(String),
}

impl ControlCommand {
    /// Returns the level, if this sets one.
    #[must_use]
    pub fn log_level(&self) -> Option<&str> {
        match self {
            Self::LogLevel(level) => Some(level),
            Self::Pause | Self::Resume | Self::Stop => None,
        }
    }
}

/// A connection to a controller, on the master's side. It ends when either channel does.
#[derive(Debug)]
pub struct ControlSession {
    /// What the controller says.
    pub from: mpsc::Receiver<FromController>,
    /// What it is told.
    pub to: mpsc::Sender<ToController>,
}
