//! `noop`: hands records on as they are.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use teraslice_core::{
    operation::{
        OperationError, OperationInfo, OperationKind, Processed, Processor, ProcessorFactory, SliceContext,
        StepCounts,
    },
    registry::NativeProcessor,
};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem};

/// Hands records on as they are, at no cost.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

/// It has no settings.
#[derive(Debug, Deserialize)]
pub struct NoopConfig {}

impl NativeProcessor for Noop {
    type Config = NoopConfig;

    fn info(&self) -> OperationInfo {
        let description = "Hands records on as they are.";
        OperationInfo::built_in("noop", OperationKind::Processor, description, json!({"properties": {}}))
    }

    fn factory(
        &self,
        _: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        Ok(Arc::new(Factory))
    }
}

#[derive(Debug)]
struct Factory;

impl ProcessorFactory for Factory {
    fn steps(&self) -> usize {
        1
    }

    fn is_pass_through(&self) -> bool {
        true
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(PassThrough))
    }
}

struct PassThrough;

impl Processor for PassThrough {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        Ok(handed_on(vec![batch.clone()]))
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        Ok(handed_on(Vec::new()))
    }
}

/// Returns what becomes of batches that one step hands on as they are.
pub(crate) fn handed_on(batches: Vec<Batch>) -> Processed {
    let records = batches.iter().map(|batch| batch.len() as u64).sum();
    let counts = StepCounts { received: records, emitted: records, ..StepCounts::default() };
    Processed { batches, rejected: Vec::new(), counts: vec![counts] }
}
