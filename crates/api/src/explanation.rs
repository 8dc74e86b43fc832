//! Why is nothing happening: the one cause that keeps an execution from going on (`GET /v1/ex/:id/explain`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use teraslice_model::{id::ExId, status::Status};

/// What keeps an execution from going on, with what shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The execution.
    pub ex_id: ExId,
    /// Where it stands.
    pub status: Status,
    /// What is in the way.
    pub cause: Cause,
    /// The cause in words.
    pub message: String,
    /// The numbers and texts that show it.
    pub evidence: Map<String, Value>,
    /// What would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What can be in the way of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing: it goes on.
    Nothing,
    /// It has ended well, or was stopped.
    Ended,
    /// It has failed.
    Failed,
    /// Somebody has paused it.
    Paused,
    /// It is on its way to the end.
    Stopping,
    /// Nobody looks after it yet.
    NotLookedAfter,
    /// The cluster backend, or the store, does not answer.
    BackendUnavailable,
    /// No node has joined the master.
    NoNode,
    /// Every slot of every node is taken.
    NoFreeSlot,
    /// The backend has not started something yet.
    Waiting,
    /// The controller ends too early, again and again.
    ControllerFailing,
    /// The controller is on its way.
    Initializing,
    /// The controller runs, but is not connected to the master.
    ControllerNotConnected,
    /// No worker has connected to the controller.
    NoWorker,
    /// Workers end soon after they start.
    WorkersFailing,
    /// There is nothing to do: the reader has given no more slices.
    SlicerIdle,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Nothing,
        Self::Ended,
        Self::Failed,
        Self::Paused,
        Self::Stopping,
        Self::NotLookedAfter,
        Self::BackendUnavailable,
        Self::NoNode,
        Self::NoFreeSlot,
        Self::Waiting,
        Self::ControllerFailing,
        Self::Initializing,
        Self::ControllerNotConnected,
        Self::NoWorker,
        Self::WorkersFailing,
        Self::SlicerIdle,
    ];

    /// Returns the word that stands for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::NotLookedAfter => "not_looked_after",
            Self::BackendUnavailable => "backend_unavailable",
            Self::NoNode => "no_node",
            Self::NoFreeSlot => "no_free_slot",
            Self::Waiting => "waiting",
            Self::ControllerFailing => "controller_failing",
            Self::Initializing => "initializing",
            Self::ControllerNotConnected => "controller_not_connected",
            Self::NoWorker => "no_worker",
            Self::WorkersFailing => "workers_failing",
            Self::SlicerIdle => "slicer_idle",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_word_it_writes() {
        for cause in Cause::ALL {
            let word = serde_json::to_value(cause).unwrap();
            assert_eq!(word, cause.as_str());
            assert_eq!(serde_json::from_value::<Cause>(word).unwrap(), cause);
        }
    }
}
