//! `test-reader`: ten fixed slices of fixed records, for trying things out.

use std::{fs, path::PathBuf};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use teraslice_core::{
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, SliceContext, Sliced,
        Slicer, SlicerContext,
    },
    registry::{Reader, WorkerContext},
};
use teraslice_model::{
    batch::{Batch, Frame},
    job::{CheckedJob, OperationConfig},
    problem::Problem,
    slice::Request,
};

/// Slices and records when the job names no files.
const COUNT: u64 = 10;

/// Makes fixed slices of fixed records, or those of two files, each a JSON array.
#[derive(Clone, Copy, Debug)]
pub struct TestReader;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct TestReaderConfig {
    /// A file with the records of every slice.
    fetcher_data_file_path: Option<PathBuf>,
    /// A file with the requests of the slices.
    slicer_data_file_path: Option<PathBuf>,
    /// Whether a slice's request is its records.
    #[serde(default)]
    passthrough_slice: bool,
}

#[async_trait]
impl Reader for TestReader {
    type Config = TestReaderConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {
            "fetcher_data_file_path": {"type": "string"},
            "slicer_data_file_path": {"type": "string"},
            "passthrough_slice": {"type": "boolean", "default": false},
        }});
        let description = "Makes fixed slices of fixed records.";
        OperationInfo::built_in("test-reader", OperationKind::Reader, description, settings)
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
        let requests = array(config.slicer_data_file_path.as_ref(), "/slicer_data_file_path")?;
        let requests =
            requests.unwrap_or_else(|| (0..COUNT).map(|id| json!({"id": id}).to_string()).collect());
        let position = context.checkpoint(0).position;
        let next = position.and_then(|position| position.parse().ok()).unwrap_or_default();
        Ok(vec![Box::new(FixedSlicer { requests, next })])
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        let records = array(config.fetcher_data_file_path.as_ref(), "/fetcher_data_file_path")?;
        let records = records.unwrap_or_else(|| {
            (0..COUNT).map(|id| json!({"id": id, "data": {"a": id}}).to_string()).collect()
        });
        Ok(Box::new(FixedFetcher { records, passthrough_slice: config.passthrough_slice }))
    }
}

/// Reads a file with a JSON array; the texts of its elements.
fn array(path: Option<&PathBuf>, pointer: &str) -> Result<Option<Vec<String>>, OperationError> {
    let Some(path) = path else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| {
        OperationError::job(Problem::new(pointer, format!("{} is no JSON array: {error}", path.display())))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let elements: Vec<Box<RawValue>> = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(Some(elements.iter().map(|element| element.get().to_owned()).collect()))
}

struct FixedSlicer {
    requests: Vec<String>,
    next: usize,
}

#[async_trait]
impl Slicer for FixedSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let some = self.requests.iter().skip(self.next).take(max);
        let requests: Vec<_> = some.map(|request| Request::from_json(request.as_str())).collect();
        self.next += requests.len();
        let position = Request::from_json(self.next.to_string());
        Ok(Sliced { requests, position, is_exhausted: self.next >= self.requests.len() })
    }
}

struct FixedFetcher {
    records: Vec<String>,
    passthrough_slice: bool,
}

#[async_trait]
impl Fetcher for FixedFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let own = self.passthrough_slice.then(|| slice.slice.request.parse::<Value>());
        let own = own.transpose().map_err(|error| OperationError::slice(error.to_string()))?;
        let frame = match own {
            None => Frame::of(&self.records),
            Some(Value::Array(records)) => Frame::of(records.iter().map(Value::to_string)),
            Some(record) => Frame::of([record.to_string()]),
        };
        let frame = frame.map_err(|error| OperationError::slice(error.to_string()))?;
        let mut batches = Batch::new(frame).split();
        batches.reverse();
        Ok(Box::new(FixedStream { batches }))
    }
}

struct FixedStream {
    batches: Vec<Batch>,
}

#[async_trait]
impl RecordStream for FixedStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        Ok(self.batches.pop().map(|batch| Fetched { batch, rejected: Vec::new() }))
    }
}
