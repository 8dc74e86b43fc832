//! Slicers: cut the input of a job into slices.

use std::sync::Arc;

use async_trait::async_trait;
use teraslice_model::{
    checkpoint::Checkpoint,
    id::ExId,
    job::{CheckedJob, Lifecycle},
    slice::Request,
};

use super::OperationError;
use crate::{context::Context, store::StateStore};

/// What a reader's slicers are made of.
#[derive(Clone, Debug)]
pub struct SlicerContext {
    /// Clock and randomness.
    pub context: Context,
    /// The execution.
    pub ex_id: ExId,
    /// Whether the job ends when the slicers are exhausted.
    pub lifecycle: Lifecycle,
    /// How many slicers are wanted; a reader may make fewer, never more.
    pub slicers: u32,
    /// The workers of the job.
    pub workers: u32,
    /// The job, for readers that look at its other operations.
    pub job: Arc<CheckedJob>,
    /// Where each slicer stands, by slicer id; empty on the first start.
    pub checkpoints: Vec<Checkpoint>,
    /// The state store, for readers of what it keeps; a dry run has none.
    pub store: Option<Arc<dyn StateStore>>,
}

impl SlicerContext {
    /// Returns where slicer `slicer_id` stands.
    #[must_use]
    pub fn checkpoint(&self, slicer_id: u32) -> Checkpoint {
        let found = self.checkpoints.iter().find(|checkpoint| checkpoint.slicer_id == slicer_id);
        found.cloned().unwrap_or_else(|| Checkpoint::start(slicer_id))
    }
}

/// Cuts the input of a job into slices.
///
/// # Guarantees
///
/// - A slicer made from the `position` of an earlier answer makes exactly the slices that would have followed that
///   answer: none again, none left out. Slices are a function of the input and the position, not of time or chance
///   (a reader of something that grows may make more of them).
/// - After `is_exhausted` nothing more comes, unless the job is persistent: then it is asked again after a pause.
///
/// # Cancel safety
///
/// Dropping the future of [`next`](Slicer::next) loses nothing: the next call makes the same slices.
#[async_trait]
pub trait Slicer: Send {
    /// Makes up to `max` slices; waits while there is nothing to make and the input may grow.
    ///
    /// # Errors
    ///
    /// Any error ends the execution; passing troubles are retried inside.
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError>;
}

/// Some slices, and where the slicer stands behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// The requests, in order; at most as many as asked for.
    pub requests: Vec<Request>,
    /// Where to go on after all of them.
    pub position: Request,
    /// Whether there is nothing more.
    pub is_exhausted: bool,
}
