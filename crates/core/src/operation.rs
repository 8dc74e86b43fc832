//! Operations: what a job's pipeline is made of.

pub mod error;
pub mod fetcher;
pub mod info;
pub mod processor;
pub mod sink;
pub mod slicer;

pub use error::OperationError;
pub use fetcher::{Fetched, Fetcher, RecordStream, Rejected};
pub use info::{OperationInfo, OperationKind, Scope};
pub use processor::{Processed, Processor, ProcessorFactory, StepCounts};
pub use sink::{Sink, Written};
pub use slicer::{Sliced, Slicer, SlicerContext};

use teraslice_model::{
    id::{ExId, JobId, WorkerId},
    slice::Slice,
};

/// The slice at work, as operations see it.
#[derive(Clone, Debug)]
pub struct SliceContext {
    /// The execution.
    pub ex_id: ExId,
    /// Its job.
    pub job_id: JobId,
    /// The worker that runs the slice.
    pub worker: WorkerId,
    /// The slice.
    pub slice: Slice,
    /// The attempt, from 0; nothing an operation writes may depend on it.
    pub attempt: u32,
}

impl SliceContext {
    /// Returns a seed for random numbers: the same on every attempt of the slice.
    #[must_use]
    pub fn seed(&self) -> u64 {
        let bytes = self.slice.id.uuid().as_bytes();
        u64::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[9], bytes[10], bytes[11], bytes[12],
        ])
    }
}
