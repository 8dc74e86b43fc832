//! Runs a few slices of a job without writing, to see what a whole run would take.

mod link;
mod sink;

use std::{fs, num::NonZero, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};
use serde_json::Map;
use teraslice_core::{
    context::Context,
    link::{Lease, Outcome, SliceResult},
    operation::{OperationError, OperationKind, SlicerContext},
    plan::Plan,
    worker::{Worker, WorkerOptions},
};
use teraslice_model::{
    counts::Counts,
    dead_letter::DeadLetterAction,
    id::{ExId, WorkerId},
    job::{CheckedJob, OperationConfig},
    problem::Problem,
    slice::{Request, Slice},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use link::SampleLink;
use sink::{Samples, StubSink};

/// Slices that are looked at, at most; beyond that their number is a lower bound.
const SLICES_MAX: usize = 100_000;
/// How long slicing may take.
const SLICING_MAX: Duration = Duration::from_secs(5);
/// Slices asked for at once.
const ASK: usize = 1_000;
/// Output records that are shown.
const RECORDS_MAX: usize = 5;
/// Refused records that are shown.
const REFUSED_MAX: usize = 5;

/// What a dry run has found.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// Slices of the whole job.
    pub slices: u64,
    /// Whether there may be more: the job is persistent, or slicing was cut short.
    pub is_lower_bound: bool,
    /// Slices that were run.
    pub sampled: usize,
    /// Reasons of those that failed.
    pub failures: Vec<String>,
    /// The operations in the job's order, with their counts over the sampled slices that completed.
    pub operations: Vec<SampledOperation>,
    /// Time that the sampled slices took, one after the other.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
    /// Estimated time of the whole job with its workers on this machine.
    #[serde(rename = "seconds_estimate", serialize_with = "seconds")]
    pub time_estimate: Duration,
    /// Memory of this process at its peak, in bytes, if the system tells.
    pub memory: Option<u64>,
    /// The first output records, as text.
    pub records: Vec<String>,
    /// The first refused records that were kept.
    pub refused: Vec<RefusedRecord>,
}

/// What became of the records at one operation.
#[derive(Clone, Debug, Serialize)]
pub struct SampledOperation {
    /// Its name.
    pub op: String,
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A record that an operation refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedRecord {
    /// Why.
    pub reason: String,
    /// The record as text.
    pub record: String,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Why a dry run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// The slicers could not start or go on.
    #[error("failed to slice the input")]
    Slicing(#[source] OperationError),
    /// The job cannot run without its sinks.
    #[error("the job cannot be run without writing")]
    Job(Vec<Problem>),
}

/// Slices the input, runs `samples` slices spread over it, and estimates the rest.
///
/// # Errors
///
/// See [`DryRunError`]; failing slices are part of the result.
pub async fn dry_run(
    context: &Context,
    parts: &Parts,
    plan: &Plan,
    samples: usize,
) -> Result<DryRun, DryRunError> {
    let ex_id = context.ex_id();
    let (slices, is_lower_bound) = slice(context, ex_id, plan).await.map_err(DryRunError::Slicing)?;
    let (count, chosen) = (slices.len(), spread(slices, samples));
    let sampled = chosen.len();
    let records = Samples::new(RECORDS_MAX);
    let stubbed = stub(parts, plan, &records).map_err(DryRunError::Job)?;
    let start = context.now();
    let results = run(context, ex_id, stubbed, chosen).await;
    let time = context.now() - start;
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let parallel = (plan.job().workers as usize).min(cpus);
    let factor = count as f64 / (sampled.max(1) * parallel) as f64;
    let names = plan.operations().iter().map(|info| info.name.clone());
    let mut found = DryRun {
        slices: count as u64,
        is_lower_bound,
        sampled,
        failures: Vec::new(),
        operations: names.map(|op| SampledOperation { op, counts: Counts::default() }).collect(),
        time,
        time_estimate: time.mul_f64(factor),
        memory: memory_peak(),
        records: records.taken(),
        refused: Vec::new(),
    };
    results.into_iter().for_each(|result| found.add(result));
    Ok(found)
}

impl DryRun {
    fn add(&mut self, result: SliceResult) {
        match result.outcome {
            Outcome::Completed => {}
            Outcome::Failed { error } | Outcome::JobFault { error } => self.failures.push(error),
            Outcome::Released => self.failures.push("the slice was not run".to_owned()),
        }
        for (sum, counts) in self.operations.iter_mut().zip(&result.operations) {
            sum.counts += counts;
        }
        let room = REFUSED_MAX.saturating_sub(self.refused.len());
        let letters = result.dead_letters.into_iter().take(room);
        self.refused
            .extend(letters.map(|letter| RefusedRecord { reason: letter.reason, record: letter.record }));
    }
}

/// Makes the job's slices, as far as the bounds allow; tells whether there may be more.
async fn slice(context: &Context, ex_id: ExId, plan: &Plan) -> Result<(Vec<Slice>, bool), OperationError> {
    let job = plan.job();
    let slicers = plan.slicers(SlicerContext {
        context: context.clone(),
        ex_id,
        lifecycle: job.lifecycle,
        slicers: job.slicers,
        workers: job.workers,
        job: Arc::clone(job),
        checkpoints: Vec::new(),
        store: None,
    });
    let deadline = context.now() + SLICING_MAX;
    let mut slices = Vec::new();
    let mut is_lower_bound = false;
    for (id, mut slicer) in slicers.await?.into_iter().enumerate() {
        let id = u32::try_from(id).expect("a reader makes few slicers");
        let mut order = 0;
        loop {
            let left = deadline.saturating_duration_since(context.now());
            if slices.len() >= SLICES_MAX || left.is_zero() {
                return Ok((slices, true));
            }
            // A slicer that waits for its input to grow has given all there is.
            let Ok(sliced) = timeout(left, slicer.next(ASK)).await else { return Ok((slices, true)) };
            let sliced = sliced?;
            let is_idle = sliced.requests.is_empty();
            slices.extend(sliced.requests.into_iter().map(|request: Request| {
                order += 1;
                Slice::new(ex_id, id, order, request, context.wall())
            }));
            if sliced.is_exhausted || is_idle {
                is_lower_bound |= !sliced.is_exhausted;
                break;
            }
        }
    }
    Ok((slices, is_lower_bound))
}

/// Chooses `count` slices: the first, the last, and others evenly between.
fn spread(slices: Vec<Slice>, count: usize) -> Vec<Slice> {
    let last = slices.len().saturating_sub(1);
    let count = count.min(slices.len());
    let places: Vec<_> = (0..count).map(|nth| nth * last / count.saturating_sub(1).max(1)).collect();
    let all = slices.into_iter().enumerate();
    all.filter(|(place, _)| places.binary_search(place).is_ok()).map(|(_, slice)| slice).collect()
}

/// Binds the job to operations of which the sinks write nowhere, with one more sink that keeps a few records.
fn stub(parts: &Parts, plan: &Plan, records: &Samples) -> Result<Plan, Vec<Problem>> {
    let mut registry = parts.registry(plan.job())?;
    for info in registry.operations() {
        if info.kind == OperationKind::Sink {
            registry.sink(StubSink::new(info, None));
        }
    }
    let sample = StubSink::sampling(records.clone());
    let mut job = CheckedJob::clone(plan.job());
    job.max_retries = 0;
    for operation in &mut job.operations {
        if matches!(operation.dead_letter_action, Some(DeadLetterAction::Api(_))) {
            operation.dead_letter_action = Some(DeadLetterAction::Store);
        }
    }
    job.operations.push(OperationConfig {
        op: sample.name().to_owned(),
        asset: None,
        encoding: job.operations.last().map(|last| last.encoding).unwrap_or_default(),
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: Map::new(),
    });
    registry.sink(sample);
    registry.plan(Arc::new(job))
}

async fn run(context: &Context, ex_id: ExId, plan: Plan, slices: Vec<Slice>) -> Vec<SliceResult> {
    let leases = slices.into_iter().map(|slice| Lease { slice, attempt: 0 });
    let (link, mut results) = SampleLink::new(leases.collect());
    let options = WorkerOptions::new(ex_id, WorkerId::new("dry-run"));
    let worker = Worker::new(options, context.clone(), plan, Box::new(link));
    let _end = worker.run(CancellationToken::new()).await;
    let mut all = Vec::new();
    while let Ok(result) = results.try_recv() {
        all.push(result);
    }
    all
}

/// Returns the peak of this process's memory in bytes.
fn memory_peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests;
