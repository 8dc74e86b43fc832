//! Sinks: write batches of records somewhere, so that a repeat does not double them.

use async_trait::async_trait;
use teraslice_model::batch::Batch;

use super::{OperationError, Rejected, SliceContext};

/// Writes the records of slices. Lives as long as its worker and serves one slice at a time.
///
/// ```text
/// begin -> write* -> commit        nothing is visible before commit where the target allows it
///                \-> abort         after any error, also one of another operation
/// ```
///
/// # Guarantees
///
/// - After `commit` returned, the slice's records outlive a crash of the process.
/// - A slice that is written and committed again, by this or another worker, after a crash at any moment, leaves each record
///   once. Each sink's doc comment says by what: a name or id derived from the slice, or what else.
/// - A sink that takes dead letters sees only the slices that have some.
/// - `abort` leaves nothing visible and cannot fail: what cannot be removed is left under a name that no reader takes.
#[async_trait]
pub trait Sink: Send {
    /// Starts a slice.
    ///
    /// # Errors
    ///
    /// When the target cannot be written.
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError>;

    /// Takes a batch of the slice.
    ///
    /// # Errors
    ///
    /// When the batch as a whole cannot be written.
    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError>;

    /// Makes the slice's records count.
    ///
    /// # Errors
    ///
    /// When that is not certain; the slice is tried again.
    async fn commit(&mut self) -> Result<(), OperationError>;

    /// Forgets the slice; also called when the future of another method was dropped.
    async fn abort(&mut self);

    /// Ends the sink; called once, with no slice open.
    ///
    /// # Errors
    ///
    /// When something committed may be lost.
    async fn close(&mut self) -> Result<(), OperationError> {
        Ok(())
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that went to the target, as encoded there.
    pub bytes: u64,
    /// Records that the target or the format refuses.
    pub rejected: Vec<Rejected>,
}
