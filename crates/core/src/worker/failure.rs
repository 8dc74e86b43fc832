//! Why a try of a slice failed, and which operation it was.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use teraslice_model::problem::Problem;
use tracing::Instrument;

use crate::operation::OperationError;

/// Why a try of a slice failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// Worth another try.
    Retry { reason: String, after: Option<Duration> },
    /// The slice cannot succeed.
    Slice { reason: String },
    /// The job cannot succeed.
    Job { reason: String },
    /// An operation is shutting down.
    Interrupted,
    /// An operation panicked: nothing of the pipeline can be trusted any more.
    Panic { reason: String },
}

/// An operation's place in the job and its name, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) operation: usize,
    pub(super) op: String,
}

impl Place {
    /// Awaits what the operation does, under a span of its own; names the operation in errors and catches panics.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, OperationError>>,
    ) -> Result<T, Failure> {
        let span = tracing::debug_span!("operation", operation = self.operation, op = self.op);
        match AssertUnwindSafe(work.instrument(span)).catch_unwind().await {
            Ok(done) => done.map_err(|error| self.failed(error)),
            Err(panic) => {
                let reason = format!(
                    "{}: panicked: {}",
                    self.text(),
                    panic_text(panic.as_ref()).unwrap_or("no message")
                );
                Err(Failure::Panic { reason })
            }
        }
    }

    /// Names the operation in an error.
    pub(super) fn failed(&self, error: OperationError) -> Failure {
        let text = self.text();
        match error {
            OperationError::Retry { reason, after } => {
                Failure::Retry { reason: format!("{text}: {reason}"), after }
            }
            OperationError::Slice { reason } => Failure::Slice { reason: format!("{text}: {reason}") },
            OperationError::Job { problems } => {
                let below = |problem: Problem| problem.below(&format!("/operations/{}", self.operation));
                let problems = problems.into_iter().map(below).collect();
                Failure::Job { reason: format!("{text}: {}", OperationError::Job { problems }) }
            }
            OperationError::Interrupted => Failure::Interrupted,
        }
    }

    /// Makes the failure of an operation that breaks the rules of operations.
    pub(super) fn broken(&self, what: impl std::fmt::Display) -> Failure {
        Failure::Slice { reason: format!("{}: {what}", self.text()) }
    }

    pub(super) fn text(&self) -> String {
        format!("operation {} ({})", self.operation, self.op)
    }
}

/// Returns the text of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}
