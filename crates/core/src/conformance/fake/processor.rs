//! Processors that fail on purpose, hold records back, or do nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use serde::Deserialize;
use serde_json::json;
use teraslice_model::{
    batch::{Batch, FrameBuilder},
    job::OperationConfig,
    problem::Problem,
};

use super::reader::record;
use crate::{
    operation::{
        OperationError, OperationInfo, OperationKind, Processed, Processor, ProcessorFactory, Rejected,
        SliceContext, StepCounts,
    },
    registry::NativeProcessor,
};

/// Fails at a record of [`CountingReader`](super::CountingReader).
#[derive(Clone, Copy, Debug)]
pub struct FailingProcessor;

/// The settings of [`FailingProcessor`].
#[derive(Clone, Debug, Deserialize)]
pub struct FailingConfig {
    /// The record.
    pub at: u64,
    /// What happens there.
    pub how: How,
    /// How often; absent: every time.
    pub times: Option<u32>,
}

/// What [`FailingProcessor`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Refuses the record.
    Reject,
    /// Rejects the record as one that it broke on.
    Break,
    /// Leaves the record out on purpose.
    Drop,
    /// Leaves the record out and does not count it.
    Lose,
    /// Refuses the record and does not list it.
    Hide,
    /// Counts a record that there is not.
    Inflate,
    /// Fails with [`OperationError::Retry`].
    Retry,
    /// Fails with [`OperationError::Slice`].
    Slice,
    /// Fails with [`OperationError::Job`].
    Job,
    /// Fails with [`OperationError::Interrupted`].
    Interrupt,
    /// Panics.
    Panic,
}

impl NativeProcessor for FailingProcessor {
    type Config = FailingConfig;

    fn info(&self) -> OperationInfo {
        let schema = json!({"properties": {"at": {}, "how": {}, "times": {}}});
        let text = "Fails at a record.";
        OperationInfo::built_in("failing_processor", OperationKind::Processor, text, schema)
    }

    fn factory(
        &self,
        config: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        let left = AtomicU32::new(config.times.unwrap_or(u32::MAX));
        Ok(Arc::new(FailingFactory(Arc::new(Failing { config, left }))))
    }
}

#[derive(Debug)]
struct FailingFactory(Arc<Failing>);

#[derive(Debug)]
struct Failing {
    config: FailingConfig,
    left: AtomicU32,
}

impl ProcessorFactory for FailingFactory {
    fn steps(&self) -> usize {
        1
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(FailingAttempt(Arc::clone(&self.0))))
    }
}

struct FailingAttempt(Arc<Failing>);

impl Processor for FailingAttempt {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        let Failing { config, left } = self.0.as_ref();
        let bad = record(config.at).into_bytes();
        let is_there = (0..batch.len()).any(|at| batch.record(at) == bad);
        let less = |left: u32| left.checked_sub(1);
        if !is_there || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return Ok(passed(vec![batch.clone()]));
        }
        let mut counts = StepCounts { received: batch.len() as u64, ..StepCounts::default() };
        let mut rejected = Vec::new();
        match config.how {
            How::Reject | How::Break => {
                counts.failed = 1;
                let reason = "refused on purpose".to_owned();
                rejected.push(Rejected {
                    step: 0,
                    reason,
                    record: bad.clone(),
                    metadata: None,
                    is_fault: config.how == How::Break,
                });
            }
            How::Drop => counts.dropped = 1,
            How::Lose => {}
            How::Hide => counts.failed = 1,
            How::Inflate => counts.created = 1,
            How::Retry => return Err(OperationError::retry("fails on purpose")),
            How::Slice => return Err(OperationError::slice("cannot be done")),
            How::Job => return Err(OperationError::job(Problem::new("/0/at", "cannot be done ever"))),
            How::Interrupt => return Err(OperationError::Interrupted),
            How::Panic => panic!("panics on purpose"),
        }
        let rest = (0..batch.len()).map(|at| batch.record(at)).filter(|record| *record != bad);
        let rest = batch_of(rest)?;
        counts.emitted = rest.len() as u64;
        if config.how == How::Inflate {
            counts.emitted = counts.received + counts.created;
        }
        Ok(Processed { batches: vec![rest], rejected, counts: vec![counts] })
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        Ok(passed(Vec::new()))
    }
}

/// Holds every record until the slice ends.
#[derive(Clone, Copy, Debug)]
pub struct HoldingProcessor;

impl NativeProcessor for HoldingProcessor {
    type Config = serde_json::Map<String, serde_json::Value>;

    fn info(&self) -> OperationInfo {
        let text = "Holds records until the slice ends.";
        OperationInfo::built_in("holding_processor", OperationKind::Processor, text, json!({}))
    }

    fn factory(
        &self,
        _: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        Ok(Arc::new(HoldingFactory))
    }
}

#[derive(Debug)]
struct HoldingFactory;

impl ProcessorFactory for HoldingFactory {
    fn steps(&self) -> usize {
        1
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(Holding(FrameBuilder::default())))
    }
}

struct Holding(FrameBuilder);

impl Processor for Holding {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        for at in 0..batch.len() {
            self.0.push(batch.record(at)).map_err(|error| OperationError::slice(error.to_string()))?;
        }
        let counts = StepCounts { received: batch.len() as u64, ..StepCounts::default() };
        Ok(Processed { counts: vec![counts], ..Processed::default() })
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        let held = Batch::new(std::mem::take(&mut self.0).finish());
        let counts = StepCounts { emitted: held.len() as u64, ..StepCounts::default() };
        Ok(Processed { batches: vec![held], rejected: Vec::new(), counts: vec![counts] })
    }
}

/// Does nothing, at no cost.
#[derive(Clone, Copy, Debug)]
pub struct PassingProcessor;

impl NativeProcessor for PassingProcessor {
    type Config = serde_json::Map<String, serde_json::Value>;

    fn info(&self) -> OperationInfo {
        OperationInfo::built_in("passing_processor", OperationKind::Processor, "Does nothing.", json!({}))
    }

    fn factory(
        &self,
        _: Self::Config,
        _: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        Ok(Arc::new(PassingFactory))
    }
}

#[derive(Debug)]
struct PassingFactory;

impl ProcessorFactory for PassingFactory {
    fn steps(&self) -> usize {
        1
    }

    fn is_pass_through(&self) -> bool {
        true
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(Passing))
    }
}

struct Passing;

impl Processor for Passing {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        Ok(passed(vec![batch.clone()]))
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        Ok(passed(Vec::new()))
    }
}

fn passed(batches: Vec<Batch>) -> Processed {
    let records = batches.iter().map(|batch| batch.len() as u64).sum();
    let counts = StepCounts { received: records, emitted: records, ..StepCounts::default() };
    Processed { batches, rejected: Vec::new(), counts: vec![counts] }
}

fn batch_of<'a>(records: impl Iterator<Item = &'a [u8]>) -> Result<Batch, OperationError> {
    let frame = teraslice_model::batch::Frame::of(records);
    frame.map(Batch::new).map_err(|error| OperationError::slice(error.to_string()))
}
