//! From the master's word to a running process.

use std::{future::Future, sync::Arc};

use teraslice_core::backend::{BackendError, ExitReason, Retire};
use teraslice_model::{id::JobId, timestamp::Timestamp};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    super::message::{ProcessKey, ProcessReport, ProcessSpec, ReportedStage},
    Shared,
};
use crate::{
    child,
    processes::{Life, Order, make_private},
};

/// A process that is not started yet, or could not be.
#[derive(Debug)]
pub(super) struct Local {
    job_id: JobId,
    pub(super) stage: ReportedStage,
    since: Timestamp,
    /// Says that it is not wanted any more.
    pub(super) cancel: CancellationToken,
}

impl Local {
    pub(super) fn new(job_id: JobId, stage: ReportedStage, since: Timestamp) -> Self {
        Self { job_id, stage, since, cancel: CancellationToken::new() }
    }

    pub(super) fn report(&self, key: ProcessKey) -> ProcessReport {
        ProcessReport { key, job_id: self.job_id, pid: None, stage: self.stage.clone(), since: self.since }
    }
}

impl Shared {
    /// Starts a process, unless it is known. An earlier one that holds its place is killed.
    pub(super) fn start(self: &Arc<Self>, mut spec: ProcessSpec) {
        let key = spec.key;
        if self.local().contains_key(&key) || self.processes.knows(&key) {
            return;
        }
        if *self.is_leaving.borrow() {
            // It is no fault of the process that its node is about to end.
            return self.note(spec.key, spec.job_id, ReportedStage::Exited(ExitReason::INTERRUPTED));
        }
        match self.processes.holder(&key) {
            Some(later) if later.incarnation > key.incarnation => {
                return self.fail(&spec, "a later process holds its place");
            }
            Some(earlier) => {
                self.processes.end(&earlier, Retire::Kill);
            }
            None => {}
        }
        if let Some(dress) = &self.options.dress {
            dress(&mut spec);
        }
        let local = Local::new(spec.job_id, ReportedStage::Preparing, self.context.wall());
        let cancel = local.cancel.clone();
        self.local().insert(key, local);
        self.hint(key.ex_id);
        let shared = Arc::clone(self);
        drop(self.context.spawn(async move { shared.bring_up(Arc::new(spec), cancel).await }));
    }

    async fn bring_up(self: Arc<Self>, spec: Arc<ProcessSpec>, cancel: CancellationToken) {
        let prepared = cancel.run_until_cancelled(self.prepare(&spec)).await;
        match prepared {
            None => return self.fail(&spec, "it is not wanted any more"),
            Some(Err(reason)) => return self.fail(&spec, &reason),
            Some(Ok(())) => {}
        }
        let order = Order {
            key: spec.key,
            job_id: spec.job_id,
            environment: &spec.env,
            allowance: spec.resources,
            life: Life::Own,
        };
        match self.processes.start(order, self.options.template(spec.key.role)).await {
            Ok(()) => {
                self.local().remove(&spec.key);
                if cancel.is_cancelled() {
                    self.processes.end(&spec.key, Retire::Kill);
                }
                self.hint(spec.key.ex_id);
            }
            Err(BackendError::Refused { reason } | BackendError::Unavailable { reason, .. }) => {
                self.fail(&spec, &reason);
            }
            Err(error) => self.fail(&spec, &error.to_string()),
        }
    }

    /// Brings what the execution needs, once for all its processes.
    fn prepare(&self, spec: &Arc<ProcessSpec>) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let cell = Arc::clone(self.prepared().entry(spec.key.ex_id).or_default());
        let (hook, wait, spec) = (self.options.prepare.clone(), self.options.prepare_max, Arc::clone(spec));
        let directories = self.options.run_directories();
        async move {
            let bring = async || {
                if let Some(hook) = hook {
                    let brought = timeout(wait, hook(Arc::clone(&spec))).await;
                    brought.map_err(|_| "what it needs could not be brought in time".to_owned())??;
                }
                directories.iter().try_for_each(|directory| {
                    make_private(directory)
                        .and_then(|()| child::write_job(directory, spec.key.ex_id, &spec.job))
                        .map_err(|error| format!("failed to write to the run directory: {error}"))
                })
            };
            cell.get_or_try_init(bring).await?;
            Ok(())
        }
    }

    fn fail(&self, spec: &ProcessSpec, reason: &str) {
        tracing::warn!(process = %spec.key, reason, "process is not started");
        let stage = ReportedStage::Exited(ExitReason::NotStarted(reason.to_owned()));
        self.note(spec.key, spec.job_id, stage);
    }
}
