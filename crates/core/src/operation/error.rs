//! Why an operation failed, split by what the worker does next.

use std::time::Duration;

use teraslice_model::problem::Problem;

/// A failure of an operation on a whole slice. Refused records are no error: see `Rejected`.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Something passing: the slice is tried again, as often as the job allows.
    #[error("{reason}")]
    Retry {
        /// What happened.
        reason: String,
        /// The least time to wait; absent: the usual backoff.
        after: Option<Duration>,
    },
    /// The slice cannot succeed: it is given up at once.
    #[error("{reason}")]
    Slice {
        /// What happened.
        reason: String,
    },
    /// The job cannot succeed: the execution fails.
    #[error("the job cannot run: {}", list(problems))]
    Job {
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// The execution is shutting down; the slice is released and not counted as tried.
    #[error("interrupted")]
    Interrupted,
}

impl OperationError {
    /// Makes a failure that may pass.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }

    /// Makes a failure that will not pass for this slice.
    pub fn slice(reason: impl Into<String>) -> Self {
        Self::Slice { reason: reason.into() }
    }

    /// Makes a failure that will not pass for any slice.
    #[must_use]
    pub fn job(problem: Problem) -> Self {
        Self::Job { problems: vec![problem] }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
