//! Checks jobs against what this cluster can run.

use async_trait::async_trait;
use serde_json::{Map, Value};
use teraslice_model::{
    job::{RawJob, Warning},
    problem::Problem,
};

/// Knows every operation and asset of the cluster.
#[async_trait]
pub trait Checker: Send + Sync + 'static {
    /// Checks a job: its properties, its assets, its operations and their settings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    async fn check(&self, job: RawJob) -> Result<Checked, Refused>;
}

/// A job that can run on this cluster.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The job of an execution: defaults filled in, `assets` and every `@…` resolved to ids.
    pub document: Map<String, Value>,
    /// What to look at.
    pub warnings: Vec<Warning>,
    /// Whether its reader can go on where an earlier execution has stopped.
    pub is_recoverable: bool,
}

/// Everything that is wrong with a job.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// Faults, each with its place in the job.
    pub problems: Vec<Problem>,
}
