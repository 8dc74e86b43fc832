//! Executions: one run of a job, as the state store keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    counts::Counts,
    id::{Epoch, ExId, Generation, JobId},
    status::Status,
    timestamp::Timestamp,
};

/// One run of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Names the run.
    pub ex_id: ExId,
    /// The job it runs.
    pub job_id: JobId,
    /// Where it stands.
    #[serde(rename = "_status")]
    pub status: Status,
    /// The controller object that may write; see `Generation`.
    pub generation: Generation,
    /// The controller process that may write; see `Epoch`.
    pub epoch: Epoch,
    /// The checked job in its file form, defaults filled in.
    pub job: Map<String, Value>,
    /// Why it failed.
    #[serde(rename = "_failureReason", default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The last statistics.
    #[serde(rename = "_slicer_stats")]
    pub stats: Stats,
    /// The execution whose slices it replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_execution: Option<ExId>,
    /// Which of them; absent: all unfinished ones, then slicing goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_slice_type: Option<Cleanup>,
    /// What operations noted down.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Wanted workers, if somebody has changed them since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_wanted: Option<u32>,
    /// The host on which the controller listens for workers; absent before it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slicer_hostname: Option<String>,
    /// The port on which the controller listens for workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slicer_port: Option<u16>,
    /// When it was deleted, if it was: the record stays, out of sight.
    #[serde(rename = "_deleted_on", default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
    /// When it was last written.
    #[serde(rename = "_updated")]
    pub updated: Timestamp,
}

impl Execution {
    /// Makes one that nobody has begun.
    #[must_use]
    pub fn new(ex_id: ExId, job_id: JobId, job: Map<String, Value>, now: Timestamp) -> Self {
        Self {
            ex_id,
            job_id,
            status: Status::Pending,
            generation: Generation::default(),
            epoch: Epoch::default(),
            job,
            failure: None,
            stats: Stats::default(),
            recovered_execution: None,
            recovered_slice_type: None,
            metadata: Map::new(),
            workers_wanted: None,
            slicer_hostname: None,
            slicer_port: None,
            deleted: None,
            created: now,
            updated: now,
        }
    }
}

/// Which slices a recovery replays before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    /// Everything not completed.
    All,
    /// Slices that failed.
    Errors,
    /// Slices that were never finished.
    Pending,
}

/// Statistics of an execution, under the names that clients know (`_slicer_stats`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Workers without a slice.
    pub workers_available: u64,
    /// Workers at work.
    pub workers_active: u64,
    /// Workers that ever joined.
    pub workers_joined: u64,
    /// Workers that came back.
    pub workers_reconnected: u64,
    /// Workers that went away.
    pub workers_disconnected: u64,
    /// Seconds from start to end; 0 while it runs.
    pub job_duration: u64,
    /// Slices given up.
    pub failed: u64,
    /// Slices that came in groups.
    pub subslices: u64,
    /// Slices waiting.
    pub queued: u64,
    /// Slices in the hands of workers.
    #[serde(default)]
    pub leased: u64,
    /// Times a slicer widened its range.
    pub slice_range_expansion: u64,
    /// Slices finished, failed ones included.
    pub processed: u64,
    /// Slicers at work.
    pub slicers: u64,
    /// Slices cut by key.
    pub subslice_by_key: u64,
    /// When the controller started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When the last slicer was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queuing_complete: Option<Timestamp>,
    /// Record counts per operation, in the order of the job.
    #[serde(default)]
    pub operations: Vec<Counts>,
}

/// A job as the state store keeps it: as submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Names the job.
    pub job_id: JobId,
    /// The job file's content.
    pub job: Map<String, Value>,
    /// When it was deleted, if it was: the record stays, out of sight.
    #[serde(rename = "_deleted_on", default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
    /// When it was last written.
    #[serde(rename = "_updated")]
    pub updated: Timestamp,
}
