//! Runs one execution on this machine: its controller and its workers.

use std::sync::Arc;

use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    execution::{Controller, ControllerError, ControllerHandle, ControllerOptions, ExecutionEnd},
    link::channel::{ChannelDialer, channel},
    plan::Plan,
    store::{StateStore, StoreError},
    worker::{Worker, WorkerOptions},
};
use teraslice_model::{
    execution::{Execution, JobRecord, Stats},
    id::{Epoch, ExId, Generation, WorkerId},
    status::Status,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// An execution at work in this process.
#[derive(Debug)]
pub struct Local {
    handle: ControllerHandle,
    controller: JoinHandle<Result<ExecutionEnd, ControllerError>>,
    workers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Local {
    /// Starts the controller and the workers of an execution that the store has.
    #[must_use]
    pub fn start(context: &Context, store: Arc<dyn StateStore>, plan: &Plan, execution: &Execution) -> Self {
        let (link, dialer) = channel();
        let options = ControllerOptions::new(execution.ex_id, execution.generation);
        let (controller, handle) =
            Controller::new(options, context.clone(), store, plan.clone(), Box::new(link));
        let stop = CancellationToken::new();
        let workers = (0..plan.job().workers).map(|ordinal| {
            let mut options = WorkerOptions::new(execution.ex_id, WorkerId::new(format!("worker-{ordinal}")));
            options.job_id = execution.job_id;
            let work = work(context.clone(), dialer.clone(), plan.clone(), options, stop.clone());
            context.spawn(work)
        });
        let workers = workers.collect();
        Self { handle, controller: context.spawn(controller.run()), workers, stop }
    }

    /// Returns the statistics, renewed a few times a second.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.handle.stats()
    }

    /// Lets the slices at work finish, then ends and leaves the execution to a later run; [`wait`](Self::wait) tells when.
    pub async fn release(&self) {
        // It has ended by itself in the meantime, which `wait` will tell.
        let _ended = self.handle.release().await;
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// When the controller could not go on.
    ///
    /// # Panics
    ///
    /// When the controller panicked.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again until it has returned once.
    pub async fn wait(&mut self) -> Result<ExecutionEnd, ControllerError> {
        let end = match (&mut self.controller).await {
            Ok(end) => end,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.stop.cancel();
        for worker in self.workers.drain(..) {
            // A worker that panicked was replaced or reported by the controller.
            let _ended = worker.await;
        }
        end
    }
}

async fn work(
    context: Context,
    dialer: ChannelDialer,
    plan: Plan,
    options: WorkerOptions,
    stop: CancellationToken,
) {
    if let Ok(link) = dialer.connect().await {
        let end = Worker::new(options, context, plan, Box::new(link)).run(stop).await;
        tracing::debug!(?end, "worker ended");
    }
}

/// Stores a job and a new execution of it.
///
/// # Errors
///
/// When the store cannot be written.
pub async fn create(
    context: &Context,
    store: &dyn StateStore,
    plan: &Plan,
    submitted: Map<String, Value>,
    metadata: Map<String, Value>,
) -> Result<Execution, StoreError> {
    let (job_id, now) = (context.job_id(), context.wall());
    store.put_job(JobRecord { job_id, job: submitted, created: now, updated: now }).await?;
    let execution = Execution {
        ex_id: context.ex_id(),
        job_id,
        status: Status::Initializing,
        generation: Generation::default(),
        epoch: Epoch::default(),
        job: plan.job().document.clone(),
        failure: None,
        stats: Stats::default(),
        recovered_execution: None,
        recovered_slice_type: None,
        metadata,
        created: now,
        updated: now,
    };
    store.create_execution(execution.clone()).await?;
    Ok(execution)
}

/// Returns the latest execution that can go on.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn latest_resumable(store: &dyn StateStore) -> Result<Option<ExId>, StoreError> {
    let mut page = teraslice_core::store::Page::default();
    loop {
        let found = store.executions(page).await?;
        if let Some(open) = found.iter().find(|execution| !execution.status.is_terminal()) {
            return Ok(Some(open.ex_id));
        }
        if found.is_empty() {
            return Ok(None);
        }
        page.from += page.size;
    }
}
