//! One sink as a pipeline sees it: which records it takes, and whether a slice is open on it.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use teraslice_model::{
    batch::{Batch, FrameBuilder},
    counts::Counts,
};

use super::failure::{Failure, Place};
use crate::{
    context::Context,
    operation::{OperationError, Rejected, Sink, SliceContext},
};

/// A sink, and how far it is with the current slice.
pub(super) struct SinkStage {
    context: Context,
    place: Place,
    sink: Box<dyn Sink>,
    is_open: bool,
}

impl SinkStage {
    pub(super) fn new(context: Context, place: Place, sink: Box<dyn Sink>) -> Self {
        Self { context, place, sink, is_open: false }
    }

    pub(super) const fn operation(&self) -> usize {
        self.place.operation
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn failed(&self, error: OperationError) -> Failure {
        self.place.failed(error)
    }

    pub(super) async fn begin(&mut self, slice: &SliceContext) -> Result<(), Failure> {
        // Set first: a beginning that fails half way is aborted too.
        self.is_open = true;
        self.place.run(self.sink.begin(slice)).await
    }

    /// Writes batches; returns the records that were refused.
    pub(super) async fn write(
        &mut self,
        batches: &[Batch],
        counts: &mut Counts,
    ) -> Result<Vec<Vec<Rejected>>, Failure> {
        let start = self.context.now();
        let mut refused = Vec::new();
        for batch in batches {
            let written = self.place.run(self.sink.write(batch)).await?;
            let records = batch.len() as u64;
            let emitted = records.checked_sub(written.rejected.len() as u64).ok_or_else(|| {
                let listed = written.rejected.len();
                self.place.broken(format!("refused {listed} of {records} records"))
            })?;
            counts.received += records;
            counts.emitted += emitted;
            counts.bytes += written.bytes;
            refused.push(written.rejected);
        }
        counts.micros += u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(refused)
    }

    /// Returns the batches without the records that were refused.
    pub(super) fn remaining(
        &self,
        batches: Vec<Batch>,
        refused: &[Vec<Rejected>],
    ) -> Result<Vec<Batch>, Failure> {
        let rest = |(batch, refused): (Batch, &Vec<Rejected>)| {
            if refused.is_empty() {
                return Ok(batch);
            }
            without(&batch, refused).map_err(|error| self.place.failed(error))
        };
        batches.into_iter().zip(refused).map(rest).collect()
    }

    pub(super) async fn commit(&mut self, counts: &mut Counts) -> Result<(), Failure> {
        let start = self.context.now();
        self.place.run(self.sink.commit()).await?;
        self.is_open = false;
        counts.micros += u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Forgets the slice, if one is open.
    pub(super) async fn abort(&mut self) {
        if std::mem::take(&mut self.is_open) {
            // The failure that led here is what is reported; a pipeline with a panic is made anew anyway.
            let _panicked = AssertUnwindSafe(self.sink.abort()).catch_unwind().await;
        }
    }

    pub(super) async fn close(&mut self) -> Result<(), Failure> {
        self.place.run(self.sink.close()).await
    }
}

/// Returns a batch without the refused records, which are in its order.
fn without(batch: &Batch, refused: &[Rejected]) -> Result<Batch, OperationError> {
    let mut refused =
        refused.iter().map(|one| one.record.strip_suffix(b"\n").unwrap_or(&one.record)).peekable();
    let (mut records, mut metadata) = (FrameBuilder::default(), FrameBuilder::default());
    let large = |error| OperationError::slice(format!("cannot build a batch: {error}"));
    for at in 0..batch.len() {
        if refused.next_if(|refused| *refused == batch.record(at)).is_some() {
            continue;
        }
        records.push(batch.records().get(at)).map_err(large)?;
        if let Some(frame) = batch.metadata() {
            metadata.push(frame.get(at)).map_err(large)?;
        }
    }
    if refused.next().is_some() {
        return Err(OperationError::slice("refused a record that it was not given, or not in order"));
    }
    match batch.metadata() {
        None => Ok(Batch::new(records.finish())),
        Some(_) => Batch::with_metadata(records.finish(), metadata.finish()).map_err(large),
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::batch::Frame;

    use super::*;

    fn refused(record: &str) -> Rejected {
        Rejected { step: 0, reason: String::new(), record: record.into(), metadata: None, is_fault: false }
    }

    #[test]
    fn leaves_refused_records_out_and_keeps_metadata_beside_its_record() {
        let records = Frame::of(["a\n", "b\n", "a\n", "c\n"]).unwrap();
        let metadata = Frame::of(["1", "2", "3", "4"]).unwrap();
        let batch = Batch::with_metadata(records, metadata).unwrap();
        let rest = without(&batch, &[refused("b"), refused("a")]).unwrap();
        assert_eq!((rest.record(0), rest.metadata_of(0)), (&b"a"[..], Some(&b"1"[..])));
        assert_eq!((rest.record(1), rest.metadata_of(1)), (&b"c"[..], Some(&b"4"[..])));
    }

    #[test]
    fn does_not_believe_in_a_refused_record_that_was_never_there() {
        let batch = Batch::new(Frame::of(["a"]).unwrap());
        let error = without(&batch, &[refused("z")]).unwrap_err();
        assert_eq!(error.to_string(), "refused a record that it was not given, or not in order");
    }
}
