//! Spans for traces, apart from those that give log lines their context: made only where somebody takes them.

use serde_json::{Value, json};
use teraslice_model::{
    execution::Stats,
    id::{Epoch, ExId},
};
use tracing::{Span, field::Empty};

use crate::{
    execution::{ControllerError, ExecutionEnd},
    link::{Lease, Outcome, SliceResult},
    plan::Plan,
    worker::WorkerOptions,
};

/// The target of the spans that are meant for traces. Logs leave it out; exporters take nothing else.
pub const TARGET: &str = "teraslice::trace";

/// Begins the span of one controller's part in an execution; it ends when it is dropped.
pub(crate) fn execution(ex_id: ExId, epoch: Epoch, plan: &Plan) -> Span {
    tracing::trace_span!(
        target: TARGET,
        parent: None,
        "execution",
        teraslice.ex_id = %ex_id,
        teraslice.epoch = %epoch,
        teraslice.job = plan.job().name,
        teraslice.status = Empty,
        teraslice.slices.processed = Empty,
        teraslice.slices.failed = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Notes down how a controller's part in an execution ended.
pub(crate) fn note_execution(span: &Span, end: &Result<ExecutionEnd, ControllerError>) {
    if span.is_disabled() {
        return;
    }
    let failure = match end {
        Ok(ExecutionEnd { status, failure, stats: Stats { processed, failed, .. }, .. }) => {
            span.record("teraslice.status", status.to_string());
            span.record("teraslice.slices.processed", processed);
            span.record("teraslice.slices.failed", failed);
            failure.clone()
        }
        Err(error) => Some(error.to_string()),
    };
    if let Some(failure) = failure {
        note_failure(span, &failure);
    }
}

/// Begins the span of a lease at work; it ends when it is dropped.
///
/// It is the first of a trace of its own: one trace with all slices of an execution would be too large to look at, and could be
/// sampled only as a whole.
pub(crate) fn slice(options: &WorkerOptions, lease: &Lease) -> Span {
    tracing::trace_span!(
        target: TARGET,
        parent: None,
        "slice",
        otel.kind = "consumer",
        teraslice.ex_id = %options.ex_id,
        teraslice.job_id = %options.job_id,
        teraslice.worker = %options.id,
        teraslice.slice_id = %lease.slice.id,
        teraslice.slicer_id = lease.slice.slicer_id,
        teraslice.slicer_order = lease.slice.slicer_order,
        teraslice.attempt = lease.attempt,
        teraslice.outcome = Empty,
        teraslice.retries = Empty,
        teraslice.operations = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Notes down what became of a lease, with the counts and the time of each operation.
pub(crate) fn note_slice(span: &Span, plan: &Plan, result: &SliceResult) {
    if span.is_disabled() {
        return;
    }
    let (outcome, failure) = match &result.outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Released => ("released", None),
        Outcome::Failed { error } => ("failed", Some(error)),
        Outcome::JobFault { error } => ("job_fault", Some(error)),
    };
    span.record("teraslice.outcome", outcome);
    span.record("teraslice.retries", result.retry_count);
    let operations: Vec<Value> = plan
        .operations()
        .iter()
        .zip(&result.operations)
        .map(|(operation, counts)| json!({"op": operation.name, "counts": counts}))
        .collect();
    if !operations.is_empty() {
        span.record("teraslice.operations", Value::from(operations).to_string());
    }
    if let Some(failure) = failure {
        note_failure(span, failure);
    }
}

fn note_failure(span: &Span, failure: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", failure);
}
