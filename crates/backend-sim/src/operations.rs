//! A reader and a sink whose every record can be told beforehand.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use teraslice_core::{
    context::Context,
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, Sink, SliceContext,
        Sliced, Slicer, SlicerContext, Written,
    },
    registry::{Reader, SinkKind, WorkerContext},
};
use teraslice_model::{
    batch::{Batch, Frame},
    id::SliceId,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
    slice::Request,
};
use tokio::time::sleep;

use crate::scenario::Sabotage;

/// Reads numbers: slice `n` holds `n % 7` records, `"n-0"`, `"n-1"`, ...; each slice takes a random while.
#[derive(Clone, Debug)]
pub struct SimReader;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct SimReaderConfig {
    /// Slices of each slicer.
    pub slices: u64,
    /// Every so many slices one cannot be read; 0: none.
    pub bad_every: u64,
    /// Every so many slices one cannot be read at the first try; 0: none.
    pub flaky_every: u64,
}

/// What a slice of [`SimReader`] asks for.
#[derive(Clone, Copy, Debug, serde::Serialize, Deserialize)]
pub struct SimRequest {
    /// The slicer.
    pub slicer: u32,
    /// The slice, from 0.
    pub number: u64,
}

impl SimRequest {
    /// Returns the records of the slice.
    #[must_use]
    pub fn records(self) -> Vec<String> {
        (0..self.number % 7).map(|at| format!("\"{}-{}-{at}\"", self.slicer, self.number)).collect()
    }
}

impl SimReaderConfig {
    /// Tells whether slice `number` cannot be read.
    #[must_use]
    pub const fn is_bad(&self, number: u64) -> bool {
        self.bad_every > 0 && number % self.bad_every == self.bad_every - 1
    }

    const fn is_flaky(&self, number: u64) -> bool {
        self.flaky_every > 0 && number.is_multiple_of(self.flaky_every)
    }
}

#[async_trait]
impl Reader for SimReader {
    type Config = SimReaderConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {"slices": {}, "bad_every": {}, "flaky_every": {}}});
        OperationInfo::built_in("sim_reader", OperationKind::Reader, "Reads numbers.", settings)
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
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
        let slicer = |id: u32| {
            let position = context.checkpoint(id).position;
            let next = position.map_or(Ok(0), |position| position.parse());
            let next = next.map_err(|error| OperationError::slice(error.to_string()))?;
            let (context, slices) = (context.context.clone(), config.slices);
            Ok(Box::new(SimSlicer { id, next, slices, context }) as Box<dyn Slicer>)
        };
        (0..context.slicers).map(slicer).collect()
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        Ok(Box::new(SimFetcher { config, context: context.context }))
    }
}

struct SimSlicer {
    id: u32,
    next: u64,
    slices: u64,
    context: Context,
}

#[async_trait]
impl Slicer for SimSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        sleep(Duration::from_millis(self.context.random(|random| random.u64(0..20)))).await;
        let most = self.context.random(|random| random.u64(1..=20)).min(max as u64);
        let until = self.slices.min(self.next + most);
        let request = |number| Request::new(&SimRequest { slicer: self.id, number });
        let requests = (self.next..until).map(request).collect::<Result<_, _>>();
        let requests = requests.map_err(|error| OperationError::slice(error.to_string()))?;
        self.next = until;
        let position = Request::from_json(until.to_string());
        Ok(Sliced { requests, position, is_exhausted: until == self.slices })
    }
}

struct SimFetcher {
    config: SimReaderConfig,
    context: Context,
}

#[async_trait]
impl Fetcher for SimFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let request: SimRequest =
            slice.slice.request.parse().map_err(|error| OperationError::slice(error.to_string()))?;
        sleep(Duration::from_millis(self.context.random(|random| random.u64(0..500)))).await;
        if self.config.is_bad(request.number) {
            return Err(OperationError::slice("cannot be read"));
        }
        if self.config.is_flaky(request.number) && self.context.random(|random| random.bool()) {
            return Err(OperationError::retry("not now"));
        }
        Ok(Box::new(SimStream { records: request.records() }))
    }
}

struct SimStream {
    records: Vec<String>,
}

#[async_trait]
impl RecordStream for SimStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let rest = self.records.split_off(self.records.len().min(3));
        let records = std::mem::replace(&mut self.records, rest);
        let frame = Frame::of(records).map_err(|error| OperationError::slice(error.to_string()))?;
        Ok(Some(Fetched { batch: Batch::new(frame), rejected: Vec::new() }))
    }
}

/// What all workers have written, by slice: a slice written again replaces itself.
pub type Output = Arc<Mutex<BTreeMap<SliceId, Vec<String>>>>;

/// Writes to an [`Output`].
#[derive(Clone, Debug)]
pub struct SimSink {
    /// Where to.
    pub output: Output,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

#[async_trait]
impl SinkKind for SimSink {
    type Config = serde_json::Map<String, serde_json::Value>;

    fn info(&self) -> OperationInfo {
        OperationInfo::built_in("sim_sink", OperationKind::Sink, "Keeps records.", json!({}))
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
    }

    async fn sink(
        &self,
        _: Self::Config,
        _: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        let Self { output, sabotage } = self.clone();
        Ok(Box::new(Writer { output, sabotage, context: context.context, open: None, records: Vec::new() }))
    }
}

struct Writer {
    output: Output,
    sabotage: Sabotage,
    context: Context,
    open: Option<SliceId>,
    records: Vec<String>,
}

#[async_trait]
impl Sink for Writer {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        self.open = Some(slice.slice.id);
        self.records.clear();
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        sleep(Duration::from_millis(self.context.random(|random| random.u64(0..50)))).await;
        let record = |at| String::from_utf8_lossy(batch.record(at)).into_owned();
        self.records.extend((0..batch.len()).map(record));
        Ok(Written { bytes: batch.bytes() as u64, rejected: Vec::new() })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        let Some(slice) = self.open.take() else {
            return Err(OperationError::slice("no slice is open"));
        };
        let records = std::mem::take(&mut self.records);
        if self.sabotage == Sabotage::LoseSlice && !records.is_empty() {
            return Ok(());
        }
        self.output.lock().unwrap_or_else(PoisonError::into_inner).insert(slice, records);
        Ok(())
    }

    async fn abort(&mut self) {
        self.open = None;
    }
}
