//! Plans: jobs bound to their operations.

use std::sync::Arc;

use teraslice_model::{job::CheckedJob, problem::Problem};

use crate::{
    operation::{OperationError, OperationInfo, ProcessorFactory, Slicer, SlicerContext},
    registry::erased::{BoundReader, BoundSink},
};

/// A job whose operations are found and whose settings are right. Made by [`Registry::plan`](crate::registry::Registry::plan)
/// only; cheap to clone.
#[derive(Clone, Debug)]
pub struct Plan {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    job: Arc<CheckedJob>,
    warnings: Vec<Problem>,
    infos: Vec<OperationInfo>,
    reader: Arc<dyn BoundReader>,
    stages: Vec<Stage>,
    letter_boxes: Vec<LetterBox>,
    refusals: Vec<Refusal>,
}

/// What batches go through at once.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Neighbouring chains, run in one go on a compute thread.
    Chains(Vec<Chain>),
    /// A sink.
    Sink {
        /// Its place in the job.
        operation: usize,
        sink: Arc<dyn BoundSink>,
    },
}

/// Neighbouring operations that run as one.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The place of its first operation in the job.
    pub(crate) first: usize,
    pub(crate) factory: Arc<dyn ProcessorFactory>,
}

/// An API that takes refused records.
#[derive(Debug)]
pub(crate) struct LetterBox {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn BoundSink>,
}

/// What happens to records that an operation refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The slice fails.
    Throw,
    /// They are logged and thrown away.
    Log,
    /// They are thrown away.
    Drop,
    /// The state store keeps them.
    Store,
    /// The letter box at that place takes them.
    Letter(usize),
}

impl Plan {
    pub(crate) fn new(
        job: Arc<CheckedJob>,
        warnings: Vec<Problem>,
        infos: Vec<OperationInfo>,
        reader: Arc<dyn BoundReader>,
        stages: Vec<Stage>,
        letter_boxes: Vec<LetterBox>,
        refusals: Vec<Refusal>,
    ) -> Self {
        let inner = Inner { job, warnings, infos, reader, stages, letter_boxes, refusals };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the job.
    #[must_use]
    pub fn job(&self) -> &Arc<CheckedJob> {
        &self.inner.job
    }

    /// Returns what looks wrong in the job but does no harm, such as unknown settings.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.inner.warnings
    }

    /// Returns what each operation of the job says of itself, in the job's order.
    #[must_use]
    pub fn operations(&self) -> &[OperationInfo] {
        &self.inner.infos
    }

    /// Tells whether a later execution can go on where an earlier one ended.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        self.inner.reader.is_recoverable()
    }

    /// Returns how many slices may wait, as the reader says.
    #[must_use]
    pub fn queue_len_max(&self) -> usize {
        self.inner.reader.queue_len_max(self.inner.job.workers)
    }

    /// Makes the slicers, each from its checkpoint.
    ///
    /// # Errors
    ///
    /// When the input cannot be looked at.
    pub async fn slicers(&self, context: SlicerContext) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        self.inner.reader.slicers(context).await
    }

    pub(crate) fn reader(&self) -> &dyn BoundReader {
        self.inner.reader.as_ref()
    }

    pub(crate) fn stages(&self) -> &[Stage] {
        &self.inner.stages
    }

    pub(crate) fn letter_boxes(&self) -> &[LetterBox] {
        &self.inner.letter_boxes
    }

    /// Returns what happens to records that the operation at `operation` refuses.
    pub(crate) fn refusal(&self, operation: usize) -> Refusal {
        self.inner.refusals[operation]
    }

    /// Returns what happens to records that the operation at `operation` breaks on: as for refused ones, but no slice fails
    /// for them unless the job says so.
    pub(crate) fn fault(&self, operation: usize) -> Refusal {
        let is_said = self.inner.job.operations[operation].dead_letter_action.is_some();
        match self.refusal(operation) {
            Refusal::Throw if !is_said => Refusal::Store,
            refusal => refusal,
        }
    }
}
