//! What an event stream says of an execution (`GET /v1/ex/:id/events`, server-sent events).
//!
//! ```text
//! event: status      {"ex_id", "status", "failure"?}      at the start, and on each change
//! event: progress    {"ex_id", "stats": {..}}             when the statistics have changed, at most each second
//! event: end         {"ex_id", "status", "failure"?}      last; then the stream ends
//! : comment                                               while nothing happens
//! ```

use serde::{Deserialize, Serialize};
use teraslice_model::{execution::Stats, id::ExId, status::Status};

/// The name of the event that tells a status.
pub const STATUS: &str = "status";
/// The name of the event that tells statistics.
pub const PROGRESS: &str = "progress";
/// The name of the last event.
pub const END: &str = "end";

/// The status of an execution: the data of the events `status` and `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEvent {
    /// The execution.
    pub ex_id: ExId,
    /// The status.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The statistics of an execution: the data of the event `progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressEvent {
    /// The execution.
    pub ex_id: ExId,
    /// The statistics.
    pub stats: Stats,
}
