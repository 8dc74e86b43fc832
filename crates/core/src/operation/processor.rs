//! Processors: turn batches of records into batches of records.

use std::fmt;

use teraslice_model::batch::Batch;

use super::{OperationError, Rejected, SliceContext};

/// Makes the processors of one chain: neighbouring operations that run as one. Lives as long as its worker.
pub trait ProcessorFactory: Send + Sync + fmt::Debug {
    /// Returns how many operations the chain has.
    fn steps(&self) -> usize;

    /// Tells whether every step hands each record on as it is: then no processor is made, and batches pass by at no cost.
    fn is_pass_through(&self) -> bool {
        false
    }

    /// Makes a fresh processor for one attempt of a slice. May wait for a free place in a pool; runs on a compute thread.
    ///
    /// # Errors
    ///
    /// When no processor can be made; see [`OperationError`].
    fn open(&self, slice: &SliceContext) -> Result<Box<dyn Processor>, OperationError>;
}

/// Runs the batches of one attempt of a slice through a chain of operations. Runs on a compute thread.
///
/// # Guarantees
///
/// - A function of the slice: the same batches give the same answers on every attempt.
/// - Over the slice, the counts of each step balance, and each record that goes in comes out, or is counted as dropped,
///   or is rejected.
/// - After an error the processor is thrown away; nothing of it is left over for another slice.
pub trait Processor: Send {
    /// Runs one batch through the chain.
    ///
    /// # Errors
    ///
    /// When the batch as a whole fails; nothing of it counts then.
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError>;

    /// Ends the slice: steps that hold records let go of them. Called once, after the last batch, also of an empty slice.
    ///
    /// # Errors
    ///
    /// As for [`process`](Processor::process).
    fn finish(&mut self) -> Result<Processed, OperationError>;
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processed {
    /// The records that leave the chain, in batches of a bounded size.
    pub batches: Vec<Batch>,
    /// Refused records.
    pub rejected: Vec<Rejected>,
    /// One entry per step, in order; what `rejected` lists is `failed` here.
    pub counts: Vec<StepCounts>,
}

/// What became of the records that reached one step of a chain.
///
/// Over a slice: `received + created = emitted + dropped + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Records that came in.
    pub received: u64,
    /// Records passed on.
    pub emitted: u64,
    /// Records left out on purpose.
    pub dropped: u64,
    /// Records refused.
    pub failed: u64,
    /// Records made beyond those received.
    pub created: u64,
}
