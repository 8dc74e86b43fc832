//! What is answered to those who submit, start and stop.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use teraslice_model::id::{ExId, JobId};

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status, again.
    pub error: u16,
    /// What is wrong.
    pub message: String,
}

/// A job was stored, and perhaps started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The job.
    pub job_id: JobId,
    /// Its new execution; absent: it was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ex_id: Option<ExId>,
    /// What to look at in the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Value>,
}

/// The status of an execution after a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// What was done; only with `force`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The status.
    pub status: String,
}

/// Something was done, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAnswer {
    /// What was done.
    pub message: String,
}

/// The log level of an execution was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsAnswer {
    /// The execution.
    #[serde(rename = "exId")]
    pub ex_id: ExId,
    /// Its log level from now on.
    pub level: String,
}

/// An asset was published or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetAnswer {
    /// Its id.
    pub asset_id: String,
}

/// Which dead letters are to be replayed; an empty body means all that no execution replays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// Only those with these numbers; empty: all.
    pub numbers: Vec<u64>,
    /// Only those that this operation has refused.
    pub op: Option<String>,
    /// Those that an earlier replay has ended without, instead of those that none has taken.
    pub again: bool,
}

/// Replays that were started: one for each operation at which letters enter the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayAnswer {
    /// The new executions; none when there is nothing to replay.
    pub replays: Vec<Replay>,
}

/// One replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its job, which was made for it.
    pub job_id: JobId,
    /// Its execution.
    pub ex_id: ExId,
    /// The operation that the letters go into, by its place in the replayed job.
    pub operation: usize,
    /// How many letters it was given.
    pub letters: u64,
}
