//! What is asked of lists in the state store, and what lists are made of.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use teraslice_model::{
    filter::Filter,
    id::{ExId, JobId},
    status::Status,
    timestamp::Timestamp,
};

use super::SliceRecord;

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// How many to skip.
    pub from: u64,
    /// How many to return at most.
    pub size: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { from: 0, size: 100 }
    }
}

/// The order of a list. Records without the field come last; of equals the newest comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    /// A field of the record, such as `_updated`; paths into it are dotted.
    pub field: String,
    /// Whether the largest comes first.
    pub is_descending: bool,
}

/// Which jobs are listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobQuery {
    /// Only deleted ones, or only those that are not; absent: both.
    pub is_deleted: Option<bool>,
    /// Only those whose `active` is not false, or only those where it is; absent: both.
    pub is_active: Option<bool>,
    /// Only those that a filter over [`JobRecord::document`](teraslice_model::execution::JobRecord::document) lets pass.
    pub filter: Option<Filter>,
    /// In which order; absent: the newest first.
    pub sort: Option<Sort>,
    /// Which part.
    pub page: Page,
}

/// Which executions are listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutionQuery {
    /// Only those of a job.
    pub job_id: Option<JobId>,
    /// Only those in one of these statuses; empty: in any.
    pub statuses: Vec<Status>,
    /// Only deleted ones, or only those that are not; absent: both.
    pub is_deleted: Option<bool>,
    /// Only those that a filter over [`Execution::document`](teraslice_model::execution::Execution::document) lets pass.
    pub filter: Option<Filter>,
    /// In which order; absent: the newest first.
    pub sort: Option<Sort>,
    /// Which part.
    pub page: Page,
}

impl ExecutionQuery {
    /// Asks for a part of all executions, the newest first.
    #[must_use]
    pub fn page(page: Page) -> Self {
        Self { page, ..Self::default() }
    }

    /// Asks for the latest execution of a job.
    #[must_use]
    pub fn latest_of(job_id: JobId) -> Self {
        Self { job_id: Some(job_id), page: Page { from: 0, size: 1 }, ..Self::default() }
    }
}

/// What changes of an execution; absent: it stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutionUpdate {
    /// Where the controller listens for workers.
    pub slicer: Option<(String, u16)>,
    /// How many workers are wanted from now on.
    pub workers_wanted: Option<u32>,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// Entries to set in `metadata`.
    pub metadata: Map<String, Value>,
    /// The last statistics.
    pub stats: Option<teraslice_model::execution::Stats>,
}

/// Which given up slices are listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorQuery {
    /// Only those of an execution; absent: of all that are not deleted.
    pub ex_id: Option<ExId>,
    /// Only those that a filter over [`ErrorRecord::document`] lets pass.
    pub filter: Option<Filter>,
    /// In which order; absent: by slicer and order.
    pub sort: Option<Sort>,
    /// Which part.
    pub page: Page,
}

/// A slice that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The execution that gave it up.
    pub ex_id: ExId,
    /// The slice.
    #[serde(flatten)]
    pub slice: SliceRecord,
    /// When it was given up.
    #[serde(rename = "_updated")]
    pub updated: Timestamp,
}

impl ErrorRecord {
    /// Returns the record in the names of the original's state records; `request` is JSON in a text.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        let SliceRecord { slice, state, error, retry_count, .. } = &self.slice;
        let mut document = Map::new();
        let entries = [
            ("slice_id", Value::from(slice.id.to_string())),
            ("slicer_id", slice.slicer_id.into()),
            ("slicer_order", slice.slicer_order.into()),
            ("request", slice.request.json().into()),
            ("state", state.as_str().into()),
            ("ex_id", self.ex_id.to_string().into()),
            ("_created", slice.created.to_string().into()),
            ("_updated", self.updated.to_string().into()),
            ("error", error.as_deref().unwrap_or_default().into()),
        ];
        for (key, value) in entries {
            document.insert(key.to_owned(), value);
        }
        if *retry_count > 0 {
            document.insert("retry_count".to_owned(), (*retry_count).into());
        }
        document
    }
}

/// The statistics of all executions, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Slices finished, failed ones included.
    pub processed: u64,
    /// Slices given up.
    pub failed: u64,
    /// Slices waiting.
    pub queued: u64,
    /// Seconds from start to end.
    pub job_duration: u64,
    /// Workers that ever joined.
    pub workers_joined: u64,
    /// Workers that went away.
    pub workers_disconnected: u64,
    /// Workers that came back.
    pub workers_reconnected: u64,
}
