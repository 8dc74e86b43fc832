//! A worker process: what `teraslice worker` runs.

use teraslice_backend_native::{
    child::{Assignment, ChildError, bind_to_parent},
    socket::{SECRET, Secret, SocketError, SocketOptions, connect},
};
use teraslice_core::{
    context::Context,
    worker::{Worker, WorkerEnd, WorkerOptions},
};
use teraslice_model::{id::WorkerId, problem::Problem};
use tokio_util::sync::CancellationToken;

use crate::parts::{Parts, Prepared};

/// A worker process before it has a runtime.
#[derive(Debug)]
pub struct WorkerProcess {
    assignment: Assignment,
    prepared: Prepared,
    secret: Secret,
}

/// Why a worker process cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was not started as a worker process.
    #[error("failed to start as a worker process")]
    Child(#[from] ChildError),
    /// It was not told the secret.
    #[error("the environment variable {SECRET} is not set")]
    NoSecret,
    /// The job does not run here, although it does where the controller is.
    #[error("the job cannot run in this process")]
    Job(Vec<Problem>),
    /// The controller cannot be reached.
    #[error("failed to connect to the execution controller")]
    Link(#[from] SocketError),
}

impl WorkerProcess {
    /// Reads what the process was started for, and has it end with the process that started it.
    ///
    /// To be called on the main thread, before anything else.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub fn start(parts: &Parts) -> Result<Self, WorkerError> {
        let assignment = Assignment::from_environment()?;
        bind_to_parent(assignment.parent)?;
        let secret = Secret::from_environment().ok_or(WorkerError::NoSecret)?;
        let prepared =
            parts.prepare(&assignment.job()?).map_err(|refused| WorkerError::Job(refused.problems))?;
        Ok(Self { assignment, prepared, secret })
    }

    /// Runs slices until the execution is over or `stop` is set.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`].
    pub async fn run(self, context: &Context, stop: CancellationToken) -> Result<WorkerEnd, WorkerError> {
        let Self { assignment, prepared, secret } = self;
        let link = connect(&assignment.socket(), SocketOptions::new(secret), context).await?;
        let id = WorkerId::new(format!("worker-{}", assignment.ordinal));
        let mut options = WorkerOptions::new(assignment.ex_id, id);
        options.job_id = assignment.job_id;
        Ok(Worker::new(options, context.clone(), prepared.plan, Box::new(link)).run(stop).await)
    }
}
