//! Jobs: stored as submitted, changed one at a time, started if nothing of them runs.

use serde_json::{Map, Value, json};
use teraslice_core::{
    engine::CommandError,
    store::{ExecutionQuery, ExecutionUpdate, Page},
};
use teraslice_model::{
    execution::{Cleanup, Execution, JobRecord},
    id::{ExId, JobId},
    job::{RawJob, Warning},
};

use crate::{app::App, checker::Checked, documents::NOT_ENDED, endpoint::Changed, refusal::Refusal};

/// Executions are deleted in portions of this size.
const PAGE_LEN: u64 = 500;
/// What records add to a job: not part of the job itself when a client sends a record back.
const ADDED: [&str; 7] = ["job_id", "_context", "_created", "_updated", "_deleted", "_deleted_on", "ex"];

/// A job that was stored or started.
pub(crate) struct Done {
    pub(crate) job_id: JobId,
    pub(crate) ex_id: Option<ExId>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) changed: Changed,
}

/// The earlier execution that a new one goes on from, and which of its slices are replayed.
pub(crate) type Recovery = (ExId, Option<Cleanup>);

impl App {
    /// Returns a job, deleted or not.
    pub(crate) async fn job(&self, job_id: JobId) -> Result<JobRecord, Refusal> {
        let found = self.services.store.job(job_id).await?;
        found.ok_or_else(|| Refusal::not_found(format!("job {job_id}")))
    }

    /// Returns a job that is not deleted.
    pub(crate) async fn kept_job(&self, job_id: JobId, wanted: &str) -> Result<JobRecord, Refusal> {
        let job = self.job(job_id).await?;
        if job.deleted.is_some() {
            return Err(Refusal::gone(format!("Job {job_id} has been deleted and cannot be {wanted}")));
        }
        Ok(job)
    }

    /// Returns the latest execution of a job.
    pub(crate) async fn latest_execution(&self, job_id: JobId) -> Result<Option<Execution>, Refusal> {
        let found = self.services.store.executions(ExecutionQuery::latest_of(job_id)).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the execution of a job that has not ended.
    pub(crate) async fn active_execution(&self, job_id: JobId) -> Result<Option<Execution>, Refusal> {
        let query = ExecutionQuery { statuses: NOT_ENDED.to_vec(), ..ExecutionQuery::latest_of(job_id) };
        let found = self.services.store.executions(query).await?;
        Ok(found.into_iter().next())
    }

    /// Refuses when an execution of the job has not ended.
    pub(crate) async fn check_idle(&self, job_id: JobId) -> Result<(), Refusal> {
        match self.active_execution(job_id).await? {
            None => Ok(()),
            Some(Execution { ex_id, status, .. }) => {
                let message = format!("job {job_id} is running already: execution {ex_id} is {status}");
                Err(Refusal::conflict(message))
            }
        }
    }

    /// Checks a job against what this cluster can run.
    pub(crate) async fn check(&self, job: Map<String, Value>) -> Result<Checked, Refusal> {
        let checked = self.services.checker.check(RawJob(job)).await;
        checked.map_err(|refused| Refusal::problems(&refused.problems))
    }

    /// Stores a new job, and starts it if that is wanted.
    pub(crate) async fn submit_job(
        &self,
        mut job: Map<String, Value>,
        starts: bool,
    ) -> Result<Done, Refusal> {
        if job.contains_key("job_id") {
            let message =
                "a job that is posted must not have a job_id; change the job with PUT /jobs/<job_id>";
            return Err(Refusal::unprocessable(message));
        }
        strip(&mut job);
        let checked = self.check(job.clone()).await?;
        let (job_id, now) = (self.services.context.job_id(), self.now());
        let record = JobRecord { job_id, job, deleted: None, created: now, updated: now };
        let after = Value::Object(record.document());
        self.services.store.put_job(record).await?;
        let ex_id = if starts {
            let execution = self.new_execution(job_id, checked.document, None);
            Some(self.launch(execution).await?)
        } else {
            None
        };
        let changed = Changed { target: job_id.to_string(), before: Value::Null, after };
        Ok(Done { job_id, ex_id, warnings: checked.warnings, changed })
    }

    /// Replaces a job.
    pub(crate) async fn update_job(
        &self,
        job_id: JobId,
        mut job: Map<String, Value>,
    ) -> Result<(JobRecord, Vec<Warning>, Changed), Refusal> {
        let _alone = self.locks.lock(job_id).await;
        let record = self.kept_job(job_id, "updated").await?;
        strip(&mut job);
        let is_inactive = |job: &Map<String, Value>| job.get("active") == Some(&Value::Bool(false));
        let warnings = if is_inactive(&job) && !is_inactive(&record.job) {
            Vec::new()
        } else {
            self.check(job.clone()).await?.warnings
        };
        let (record, changed) = self.replace(record, job).await?;
        Ok((record, warnings, changed))
    }

    /// Marks a job as active, or not.
    pub(crate) async fn mark_job(
        &self,
        job_id: JobId,
        is_active: bool,
    ) -> Result<(JobRecord, Changed), Refusal> {
        let _alone = self.locks.lock(job_id).await;
        let record = self.kept_job(job_id, "updated").await?;
        let mut job = record.job.clone();
        job.insert("active".to_owned(), is_active.into());
        self.replace(record, job).await
    }

    async fn replace(
        &self,
        before: JobRecord,
        job: Map<String, Value>,
    ) -> Result<(JobRecord, Changed), Refusal> {
        let after = JobRecord { job, updated: self.now(), ..before.clone() };
        self.services.store.put_job(after.clone()).await?;
        let changed = Changed {
            target: after.job_id.to_string(),
            before: Value::Object(before.document()),
            after: Value::Object(after.document()),
        };
        Ok((after, changed))
    }

    /// Deletes a job and its executions: the records stay, out of sight.
    pub(crate) async fn delete_job(&self, job_id: JobId) -> Result<(JobRecord, Changed), Refusal> {
        let _alone = self.locks.lock(job_id).await;
        let before = self.job(job_id).await?;
        if before.deleted.is_some() {
            return Err(Refusal::gone(format!("Job {job_id} has already been deleted")));
        }
        self.check_idle(job_id).await?;
        let now = self.now();
        loop {
            let query = ExecutionQuery {
                job_id: Some(job_id),
                is_deleted: Some(false),
                page: Page { from: 0, size: PAGE_LEN },
                ..ExecutionQuery::default()
            };
            let found = self.services.store.executions(query).await?;
            if found.is_empty() {
                break;
            }
            for execution in found {
                let update = ExecutionUpdate { deleted: Some(now), ..ExecutionUpdate::default() };
                self.services.store.update_execution(execution.ex_id, update).await?;
            }
        }
        let after = JobRecord { deleted: Some(now), updated: now, ..before.clone() };
        self.services.store.put_job(after.clone()).await?;
        let changed = Changed {
            target: job_id.to_string(),
            before: Value::Object(before.document()),
            after: Value::Object(after.document()),
        };
        Ok((after, changed))
    }

    /// Starts a job; with `autorecover` it goes on from its last execution.
    pub(crate) async fn start_job(&self, job_id: JobId) -> Result<Done, Refusal> {
        let _alone = self.locks.lock(job_id).await;
        let record = self.kept_job(job_id, "started").await?;
        self.check_idle(job_id).await?;
        let checked = self.check(record.job).await?;
        let last =
            if is_autorecover(&checked.document) { self.latest_execution(job_id).await? } else { None };
        let recovery = last.map(|last| (last.ex_id, Some(Cleanup::Pending)));
        if let Some((source, _)) = recovery {
            self.check_goes_on(source, &checked).await?;
        }
        self.begin(job_id, checked, recovery).await
    }

    /// Makes a new execution of a job and launches it.
    pub(crate) async fn begin(
        &self,
        job_id: JobId,
        checked: Checked,
        recovery: Option<Recovery>,
    ) -> Result<Done, Refusal> {
        let execution = self.new_execution(job_id, checked.document, recovery);
        let after = Value::Object(execution.document());
        let ex_id = self.launch(execution).await?;
        let changed = Changed { target: ex_id.to_string(), before: Value::Null, after };
        Ok(Done { job_id, ex_id: Some(ex_id), warnings: checked.warnings, changed })
    }

    pub(crate) fn new_execution(
        &self,
        job_id: JobId,
        job: Map<String, Value>,
        recovery: Option<Recovery>,
    ) -> Execution {
        Execution {
            recovered_execution: recovery.map(|(ex_id, _)| ex_id),
            recovered_slice_type: recovery.and_then(|(_, cleanup)| cleanup),
            ..Execution::new(self.services.context.ex_id(), job_id, job, self.now())
        }
    }

    /// Stores an execution and has it run.
    async fn launch(&self, execution: Execution) -> Result<ExId, Refusal> {
        let ex_id = execution.ex_id;
        match self.services.engine.submit(execution).await {
            Ok(_) => Ok(ex_id),
            Err(CommandError::EngineGone) => {
                // It is stored: the next engine takes it up.
                tracing::warn!(%ex_id, "execution stored while the engine was ending");
                Ok(ex_id)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tells whether a checked job goes on from its last execution.
pub(crate) fn is_autorecover(job: &Map<String, Value>) -> bool {
    job.get("autorecover") == Some(&Value::Bool(true))
}

/// Returns a job record for an answer, with warnings if there are any.
pub(crate) fn shown(record: &JobRecord, warnings: &[Warning]) -> Map<String, Value> {
    let mut document = record.document();
    if !warnings.is_empty() {
        document.insert("warnings".to_owned(), warnings_shown(warnings).into());
    }
    document
}

/// Returns warnings in the shape that clients know, which is that of deprecations.
pub(crate) fn warnings_shown(warnings: &[Warning]) -> Vec<Value> {
    let shown = |warning: &Warning| match warning {
        Warning::Deprecation(deprecation) => json!(deprecation),
        Warning::Problem(problem) => {
            let field = problem.pointer.trim_start_matches('/');
            let description = match &problem.hint {
                Some(hint) => format!("{} ({hint})", problem.message),
                None => problem.message.clone(),
            };
            let inner = json!({"field": field, "description": description});
            json!({"type": "JobValidation", "reason": {"type": "jobProperty", "kind": "notice", "reason": inner}})
        }
    };
    warnings.iter().map(shown).collect()
}

fn strip(job: &mut Map<String, Value>) {
    for key in ADDED {
        job.shift_remove(key);
    }
}
