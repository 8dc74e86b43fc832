//! `data_generator`: makes sample records.

mod records;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use teraslice_core::{
    context::Context,
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, SliceContext, Sliced,
        Slicer, SlicerContext,
    },
    registry::{Reader, WorkerContext},
};
use teraslice_model::{
    batch::{Batch, FrameBuilder},
    job::{CheckedJob, Lifecycle, OperationConfig},
    problem::Problem,
    slice::Request,
};

use records::{DateFormat, Generator, IdKind};

/// Makes sample records.
///
/// Records are a function of `seed` (or of the execution, without one) and of their slice, so that every attempt of a slice
/// makes the same ones.
#[derive(Clone, Copy, Debug)]
pub struct DataGenerator;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct DataGeneratorConfig {
    /// `once`: records in all; `persistent`: records per slice.
    #[serde(default = "default_size")]
    size: u64,
    /// The original's module with an own record; cannot be run here.
    json_schema: Option<Value>,
    start: Option<Value>,
    end: Option<Value>,
    format: Option<DateFormat>,
    #[serde(default = "default_date_key")]
    date_key: String,
    set_id: Option<IdKind>,
    id_start_key: Option<String>,
    #[serde(default)]
    stress_test: bool,
    /// Seconds to wait before each slice.
    #[serde(default)]
    delay: f64,
    /// Makes the records the same on every run.
    seed: Option<u64>,
}

const fn default_size() -> u64 {
    5_000
}

fn default_date_key() -> String {
    "created".to_owned()
}

/// What a slice asks for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Portion {
    count: u64,
    /// Records of all slices so far, this one included.
    processed: u64,
}

impl DataGeneratorConfig {
    fn dates(&self) -> Result<(i64, Option<i64>), Problem> {
        let start = records::date(self.start.as_ref(), "/start")?.unwrap_or(0);
        let end = records::date(self.end.as_ref(), "/end")?;
        if end.is_some_and(|end| start > end) {
            return Err(Problem::new("/start", "start is after end"));
        }
        Ok((start, end))
    }
}

#[async_trait]
impl Reader for DataGenerator {
    type Config = DataGeneratorConfig;

    fn info(&self) -> OperationInfo {
        let description = "Makes sample records.";
        OperationInfo::built_in("data_generator", OperationKind::Reader, description, schema())
    }

    fn check(&self, config: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let mut problems = Vec::new();
        if config.size == 0 {
            problems.push(Problem::new("/size", "size is 0, at least 1 record is needed"));
        }
        if config.json_schema.is_some() {
            let message = "json_schema names a JavaScript module, which cannot be run here";
            problems.push(Problem::new("/json_schema", message).with_hint("remove it"));
        }
        if config.id_start_key.is_some() && config.set_id.is_none() {
            problems.push(Problem::new("/id_start_key", "id_start_key needs set_id"));
        }
        if !(0.0..=86_400.0).contains(&config.delay) {
            let message = format!("delay is {}, it must be 0 to 86400 seconds", config.delay);
            problems.push(Problem::new("/delay", message));
        }
        if config.stress_test && config.delay > 0.0 {
            problems.push(Problem::new("/delay", "stress_test and delay exclude each other"));
        }
        problems.extend(config.dates().err());
        problems
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
        let processed = context.checkpoint(0).position.and_then(|position| position.parse().ok());
        let slice_size = slice_size(&context.job).unwrap_or(config.size).max(1);
        let total = (context.lifecycle == Lifecycle::Once).then_some(config.size);
        Ok(vec![Box::new(GeneratorSlicer { total, slice_size, processed: processed.unwrap_or_default() })])
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        let (start, end) = config.dates().map_err(OperationError::job)?;
        let seed = config.seed.unwrap_or_else(|| context.ex_id.uuid().as_u64_pair().0);
        Ok(Box::new(GeneratorFetcher { config, start, end, seed, context: context.context }))
    }
}

/// Returns the records per slice: the `size` of the last operation, whose settings hold those of its API.
fn slice_size(job: &CheckedJob) -> Option<u64> {
    let (_, others) = job.operations.split_first()?;
    others.last()?.settings.get("size")?.as_u64()
}

struct GeneratorSlicer {
    /// Absent: endless.
    total: Option<u64>,
    slice_size: u64,
    processed: u64,
}

#[async_trait]
impl Slicer for GeneratorSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let mut requests = Vec::with_capacity(max);
        while requests.len() < max {
            let left = self.total.map_or(u64::MAX, |total| total.saturating_sub(self.processed));
            let count = self.slice_size.min(left);
            if count == 0 {
                break;
            }
            self.processed += count;
            let processed = self.processed;
            requests.push(Request::from_json(format!("{{\"count\":{count},\"processed\":{processed}}}")));
        }
        let position = Request::from_json(self.processed.to_string());
        let is_exhausted = self.total.is_some_and(|total| self.processed >= total);
        Ok(Sliced { requests, position, is_exhausted })
    }
}

struct GeneratorFetcher {
    config: DataGeneratorConfig,
    start: i64,
    end: Option<i64>,
    seed: u64,
    context: Context,
}

#[async_trait]
impl Fetcher for GeneratorFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let portion: Portion = slice.slice.request.parse().map_err(|error| {
            OperationError::slice(format!("the slice's request is not of data_generator: {error}"))
        })?;
        if self.config.delay > 0.0 {
            tokio::time::sleep(std::time::Duration::from_secs_f64(self.config.delay)).await;
        }
        let created = slice.slice.created.as_millis();
        let generator = Generator {
            random: fastrand::Rng::with_seed(
                self.seed ^ portion.processed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ),
            now: created,
            start: self.start,
            end: self.end.unwrap_or(created).max(self.start),
            format: self.config.format,
            date_key: self.config.date_key.clone(),
            id: self.config.set_id,
            id_start: self.config.id_start_key.clone().unwrap_or_default(),
        };
        let stress_test = self.config.stress_test;
        Ok(Box::new(GeneratorStream { generator, left: portion.count, stress_test, same: None }))
    }
}

impl std::fmt::Debug for GeneratorFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeneratorFetcher").field("context", &self.context).finish_non_exhaustive()
    }
}

struct GeneratorStream {
    generator: Generator,
    left: u64,
    stress_test: bool,
    /// The one record of a stress test.
    same: Option<Vec<u8>>,
}

#[async_trait]
impl RecordStream for GeneratorStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut builder = FrameBuilder::default();
        let mut record = Vec::new();
        while self.left > 0 && builder.len() < Batch::RECORDS_MAX && builder.bytes() < Batch::BYTES_TARGET {
            match &self.same {
                Some(same) => record.clone_from(same),
                None => self.generator.write(&mut record),
            }
            if self.stress_test && self.same.is_none() {
                self.same = Some(record.clone());
            }
            builder.push(&record).map_err(|error| OperationError::slice(error.to_string()))?;
            self.left -= 1;
        }
        Ok(Some(Fetched { batch: Batch::new(builder.finish()), rejected: Vec::new() }))
    }
}

fn schema() -> Value {
    json!({"properties": {
        "size": {"type": "integer", "default": 5_000, "minimum": 1},
        "json_schema": {"type": "string", "description": "not supported"},
        "start": {"description": "date"},
        "end": {"description": "date"},
        "format": {"enum": ["dateNow", "isoBetween", "utcDate", "utcBetween"]},
        "date_key": {"type": "string", "default": "created"},
        "set_id": {"enum": ["base64url", "hexadecimal", "HEXADECIMAL"]},
        "id_start_key": {"type": "string"},
        "stress_test": {"type": "boolean", "default": false},
        "delay": {"type": "number", "default": 0, "description": "seconds"},
        "seed": {"type": "integer", "description": "makes the records the same on every run"},
    }})
}

#[cfg(test)]
mod tests;
