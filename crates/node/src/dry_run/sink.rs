//! Sinks that write nowhere.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use teraslice_core::{
    operation::{OperationError, OperationInfo, OperationKind, Sink, SliceContext, Written},
    registry::{SinkKind, WorkerContext},
};
use teraslice_model::{
    batch::Batch,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

/// The first few records of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    records: Arc<Mutex<Vec<String>>>,
    max: usize,
}

impl Samples {
    /// Makes room for `max` records.
    pub(super) fn new(max: usize) -> Self {
        Self { records: Arc::default(), max }
    }

    /// Returns the records taken so far.
    pub(super) fn taken(&self) -> Vec<String> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, batch: &Batch) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.max.saturating_sub(records.len());
        records.extend(
            batch
                .records()
                .iter()
                .take(room)
                .map(|record| String::from_utf8_lossy(record).trim_end().to_owned()),
        );
    }
}

/// Stands in for a sink of the same name; takes any settings.
#[derive(Debug)]
pub(super) struct StubSink {
    info: OperationInfo,
    samples: Option<Samples>,
}

impl StubSink {
    /// Stands in for the sink that `info` is of.
    pub(super) fn new(info: OperationInfo, samples: Option<Samples>) -> Self {
        Self { info, samples }
    }

    /// Makes a sink of its own that keeps a few records; no job can name it.
    pub(super) fn sampling(samples: Samples) -> Self {
        let info =
            OperationInfo::built_in(".samples", OperationKind::Sink, "Keeps a few records.", json!({}));
        Self::new(info, Some(samples))
    }

    /// Returns its name.
    pub(super) fn name(&self) -> &str {
        &self.info.name
    }
}

#[async_trait]
impl SinkKind for StubSink {
    type Config = Map<String, Value>;

    fn info(&self) -> OperationInfo {
        self.info.clone()
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
    }

    async fn sink(
        &self,
        _: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        Ok(Box::new(Stub { samples: self.samples.clone() }))
    }
}

struct Stub {
    samples: Option<Samples>,
}

#[async_trait]
impl Sink for Stub {
    async fn begin(&mut self, _: &SliceContext) -> Result<(), OperationError> {
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        if let Some(samples) = &self.samples {
            samples.take(batch);
        }
        Ok(Written { bytes: batch.records().payload().len() as u64, rejected: Vec::new() })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        Ok(())
    }

    async fn abort(&mut self) {}
}
