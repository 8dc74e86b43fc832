//! A reader of numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use teraslice_model::{
    batch::{Batch, Frame},
    job::{CheckedJob, OperationConfig},
    problem::Problem,
    slice::Request,
};

use crate::{
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, Rejected, SliceContext,
        Sliced, Slicer, SlicerContext,
    },
    registry::{Reader, WorkerContext},
};

/// Reads numbers: each slice has the records `{"n":0}`, `{"n":1}`, and so on.
#[derive(Clone, Copy, Debug)]
pub struct CountingReader;

/// The settings of [`CountingReader`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct CountingReaderConfig {
    /// Slices.
    pub slices: u64,
    /// Records of each slice.
    pub records: u64,
    /// Records of each batch.
    pub batch: u64,
    /// The record that cannot be read, if any.
    pub unreadable: Option<u64>,
    /// Tries to open a slice that fail before one succeeds, per worker.
    pub fail_opens: u32,
    /// Milliseconds before each batch.
    pub pause_ms: u64,
    /// Whether a slice, once open, never gives a record.
    pub hangs: bool,
}

impl Default for CountingReaderConfig {
    fn default() -> Self {
        Self { slices: 1, records: 3, batch: 2, unreadable: None, fail_opens: 0, pause_ms: 0, hangs: false }
    }
}

#[async_trait]
impl Reader for CountingReader {
    type Config = CountingReaderConfig;

    fn info(&self) -> OperationInfo {
        let schema = json!({"properties": {
            "slices": {}, "records": {}, "batch": {}, "unreadable": {}, "fail_opens": {}, "pause_ms": {}, "hangs": {},
        }});
        OperationInfo::built_in("counting_reader", OperationKind::Reader, "Reads numbers.", schema)
    }

    fn check(&self, config: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let is_right = config.batch > 0;
        let problem = Problem::new("/batch", "a batch of 0 records").with_hint("1 or more");
        if is_right { Vec::new() } else { vec![problem] }
    }

    fn is_recoverable(&self, _: &Self::Config) -> bool {
        true
    }

    async fn slicers(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        let next = match context.checkpoint(0).position {
            None => 0,
            Some(position) => position.parse().map_err(|error| OperationError::slice(error.to_string()))?,
        };
        Ok(vec![Box::new(CountingSlicer { next, slices: config.slices })])
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        let opens_to_fail = Arc::new(AtomicU32::new(config.fail_opens));
        Ok(Box::new(CountingFetcher { config, opens_to_fail }))
    }
}

struct CountingSlicer {
    next: u64,
    slices: u64,
}

#[async_trait]
impl Slicer for CountingSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let end = self.slices.min(self.next + max as u64);
        let requests = (self.next..end).map(|slice| Request::from_json(slice.to_string())).collect();
        self.next = end;
        let position = Request::from_json(end.to_string());
        Ok(Sliced { requests, position, is_exhausted: end == self.slices })
    }
}

struct CountingFetcher {
    config: CountingReaderConfig,
    opens_to_fail: Arc<AtomicU32>,
}

#[async_trait]
impl Fetcher for CountingFetcher {
    async fn open(&mut self, _: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let failed =
            self.opens_to_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if failed.is_ok() {
            return Err(OperationError::retry("not open yet"));
        }
        Ok(Box::new(CountingStream { config: self.config.clone(), next: 0 }))
    }
}

struct CountingStream {
    config: CountingReaderConfig,
    next: u64,
}

#[async_trait]
impl RecordStream for CountingStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        if self.config.hangs {
            std::future::pending::<()>().await;
        }
        if self.config.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.config.pause_ms)).await;
        }
        let start = self.next;
        self.next = self.config.records.min(start + self.config.batch);
        if start == self.next {
            return Ok(None);
        }
        let is_good = |n: &u64| self.config.unreadable != Some(*n);
        let records = (start..self.next).filter(is_good).map(record);
        let batch = Frame::of(records).map_err(|error| OperationError::slice(error.to_string()))?;
        let refused = (start..self.next).filter(|n| !is_good(n)).map(|n| Rejected {
            step: 0,
            reason: "cannot be read".to_owned(),
            record: record(n).into_bytes(),
            metadata: None,
            is_fault: false,
        });
        Ok(Some(Fetched { batch: Batch::new(batch), rejected: refused.collect() }))
    }
}

/// Returns the `n`-th record of a slice.
#[must_use]
pub fn record(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}
