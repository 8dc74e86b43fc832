//! Jobs and executions as clients see them: one flat JSON object each, in the names of the original's records.

use serde_json::{Map, Value, json};

use crate::{
    execution::{Execution, JobRecord},
    timestamp::Timestamp,
};

/// The version that records and answers carry (`vX.Y.Z`).
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

impl JobRecord {
    /// Returns the job as submitted with its identity and times: what filters and sort orders look into.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        let mut document = self.job.clone();
        document.insert("job_id".to_owned(), json!(self.job_id));
        document.insert("_context".to_owned(), json!("job"));
        document.insert("_created".to_owned(), json!(self.created));
        document.insert("_updated".to_owned(), json!(self.updated));
        if let Some(deleted) = self.deleted {
            mark_deleted(&mut document, deleted);
            document.insert("active".to_owned(), json!(false));
        }
        document
    }
}

impl Execution {
    /// Returns the checked job with everything known of its run: what filters and sort orders look into.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        let mut document = self.job.clone();
        let has_errors = self.failure.is_some() || self.stats.failed > 0;
        let entries = [
            ("ex_id", json!(self.ex_id)),
            ("job_id", json!(self.job_id)),
            ("_context", json!("ex")),
            ("_created", json!(self.created)),
            ("_updated", json!(self.updated)),
            ("_status", json!(self.status)),
            ("_has_errors", json!(has_errors)),
            ("_failureReason", json!(self.failure.as_deref().unwrap_or_default())),
            ("_slicer_stats", json!(self.stats)),
            ("metadata", json!(self.metadata)),
            ("teraslice_version", json!(VERSION)),
        ];
        for (key, value) in entries {
            document.insert(key.to_owned(), value);
        }
        let optional = [
            ("workers", self.workers_wanted.map(|workers| json!(workers))),
            ("slicer_hostname", self.slicer_hostname.as_ref().map(|host| json!(host))),
            ("slicer_port", self.slicer_port.map(|port| json!(port))),
            ("recovered_execution", self.recovered_execution.map(|ex_id| json!(ex_id))),
            ("recovered_slice_type", self.recovered_slice_type.map(|cleanup| json!(cleanup))),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                document.insert(key.to_owned(), value);
            }
        }
        if let Some(deleted) = self.deleted {
            mark_deleted(&mut document, deleted);
        }
        document
    }
}

fn mark_deleted(document: &mut Map<String, Value>, deleted: Timestamp) {
    document.insert("_deleted".to_owned(), json!(true));
    document.insert("_deleted_on".to_owned(), json!(deleted));
}
