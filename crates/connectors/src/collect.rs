//! `collect`: gathers the batches of a slice into larger ones.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use teraslice_core::{
    operation::{
        OperationError, OperationInfo, OperationKind, Processed, Processor, ProcessorFactory, Scope,
        SliceContext, StepCounts,
    },
    registry::NativeProcessor,
};
use teraslice_model::{
    batch::{Batch, FrameBuilder, FrameError},
    job::OperationConfig,
    problem::Problem,
};

/// Bytes that are gathered at the most, whatever `size` says.
const BYTES_MAX: usize = 64 << 20;

/// Gathers the batches of a slice until `size` records are together.
///
/// Nothing is held past the end of the slice: a slice that is reported as completed has its records written. So `wait`,
/// which the original needs for records held between slices, has no effect.
#[derive(Clone, Copy, Debug)]
pub struct Collect;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct CollectConfig {
    /// Records to gather.
    pub size: usize,
    /// Accepted for jobs of the original; without effect.
    #[serde(default)]
    pub wait: u64,
}

impl NativeProcessor for Collect {
    type Config = CollectConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {
            "size": {"type": "integer", "minimum": 1, "description": "records to gather"},
            "wait": {"type": "integer", "description": "without effect"},
        }, "required": ["size"]});
        let description = "Gathers the batches of a slice into larger ones.";
        let info = OperationInfo::built_in("collect", OperationKind::Processor, description, settings);
        OperationInfo { scope: Scope::Slice, ..info }
    }

    fn factory(
        &self,
        config: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        if config.size == 0 {
            return Err(vec![Problem::new("/size", "size is 0, at least 1 is needed")]);
        }
        Ok(Arc::new(Factory { size: config.size }))
    }
}

#[derive(Debug)]
struct Factory {
    size: usize,
}

impl ProcessorFactory for Factory {
    fn steps(&self) -> usize {
        1
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(Gatherer { size: self.size, held: Held::default() }))
    }
}

struct Gatherer {
    size: usize,
    held: Held,
}

#[derive(Default)]
struct Held {
    records: FrameBuilder,
    metadata: FrameBuilder,
    has_metadata: bool,
}

impl Held {
    fn push(&mut self, batch: &Batch, index: usize) -> Result<(), FrameError> {
        self.records.push(batch.records().get(index))?;
        let metadata = batch.metadata_of(index).unwrap_or_default();
        self.has_metadata |= !metadata.is_empty();
        self.metadata.push(metadata)
    }

    fn take(&mut self) -> Result<Batch, FrameError> {
        let held = std::mem::take(self);
        if held.has_metadata {
            return Batch::with_metadata(held.records.finish(), held.metadata.finish());
        }
        Ok(Batch::new(held.records.finish()))
    }
}

impl Processor for Gatherer {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        let too_large = |error: FrameError| OperationError::slice(error.to_string());
        let mut batches = Vec::new();
        for index in 0..batch.len() {
            self.held.push(batch, index).map_err(too_large)?;
            if self.held.records.len() >= self.size || self.held.records.bytes() >= BYTES_MAX {
                batches.push(self.held.take().map_err(too_large)?);
            }
        }
        Ok(released(batches, batch.len()))
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        let rest = self.held.take().map_err(|error| OperationError::slice(error.to_string()))?;
        Ok(released(if rest.is_empty() { Vec::new() } else { vec![rest] }, 0))
    }
}

fn released(batches: Vec<Batch>, received: usize) -> Processed {
    let emitted = batches.iter().map(|batch| batch.len() as u64).sum();
    let counts = StepCounts { received: received as u64, emitted, ..StepCounts::default() };
    Processed { batches, rejected: Vec::new(), counts: vec![counts] }
}

#[cfg(test)]
mod tests {
    use teraslice_model::batch::Frame;

    use super::*;

    #[test]
    fn gathers_across_batches_and_lets_go_at_the_end() {
        let mut gatherer = Gatherer { size: 3, held: Held::default() };
        let batch = Batch::new(Frame::of(["1", "2"]).unwrap());
        assert_eq!(gatherer.process(&batch).unwrap().batches.len(), 0);
        let full = gatherer.process(&batch).unwrap();
        assert_eq!(full.batches[0].len(), 3);
        assert_eq!(gatherer.finish().unwrap().batches[0].record(0), b"2");
    }

    #[test]
    fn keeps_the_metadata_beside_its_record() {
        let mut gatherer = Gatherer { size: 9, held: Held::default() };
        let plain = Batch::new(Frame::of(["1"]).unwrap());
        let keyed =
            Batch::with_metadata(Frame::of(["2"]).unwrap(), Frame::of(["{\"_key\":1}"]).unwrap()).unwrap();
        gatherer.process(&plain).unwrap();
        gatherer.process(&keyed).unwrap();
        let batch = gatherer.finish().unwrap().batches.remove(0);
        assert_eq!(batch.metadata_of(0), None);
        assert_eq!(batch.metadata_of(1), Some(&b"{\"_key\":1}"[..]));
    }
}
