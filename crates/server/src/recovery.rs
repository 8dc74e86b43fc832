//! Recovery: a new execution that goes on where an earlier one has stopped.

use serde_json::Value;
use teraslice_model::{
    execution::{Cleanup, Execution},
    id::{ExId, JobId},
};

use crate::{
    app::App,
    checker::Checked,
    jobs::{Done, is_autorecover},
    params::Params,
    refusal::Refusal,
};

/// Reads which slices are to be replayed: `cleanup_type`, or `cleanup` as it was called first.
pub(crate) fn cleanup(params: &Params) -> Result<Option<Cleanup>, Refusal> {
    match params.get("cleanup_type").or_else(|| params.get("cleanup")) {
        None => Ok(None),
        Some("all") => Ok(Some(Cleanup::All)),
        Some("errors") => Ok(Some(Cleanup::Errors)),
        Some("pending") => Ok(Some(Cleanup::Pending)),
        Some(other) => {
            Err(Refusal::bad(format!("cleanup_type must be one of all, errors, pending, found {other:?}")))
        }
    }
}

impl App {
    /// Recovers the last execution of a job, with the job as it is now.
    pub(crate) async fn recover_job(&self, job_id: JobId, cleanup: Option<Cleanup>) -> Result<Done, Refusal> {
        let _alone = self.locks.lock(job_id).await;
        let record = self.kept_job(job_id, "recovered").await?;
        let last = self.latest_execution(job_id).await?;
        let last =
            last.ok_or_else(|| Refusal::not_found(format!("an execution of job {job_id} to recover")))?;
        self.check_idle(job_id).await?;
        let checked = self.check(record.job).await?;
        self.recover(&last, checked, cleanup).await
    }

    /// Recovers an execution with the job that it had.
    pub(crate) async fn recover_execution(
        &self,
        ex_id: ExId,
        cleanup: Option<Cleanup>,
    ) -> Result<Done, Refusal> {
        let job_id = self.execution(ex_id).await?.job_id;
        let _alone = self.locks.lock(job_id).await;
        let source = self.execution(ex_id).await?;
        self.kept_job(job_id, "recovered").await?;
        if !source.status.is_terminal() {
            let message = format!("execution {ex_id} has not ended: it is {}", source.status);
            return Err(Refusal::conflict(message));
        }
        self.check_idle(job_id).await?;
        let checked = self.check(source.job.clone()).await?;
        self.recover(&source, checked, cleanup).await
    }

    async fn recover(
        &self,
        source: &Execution,
        checked: Checked,
        cleanup: Option<Cleanup>,
    ) -> Result<Done, Refusal> {
        let is_auto = is_autorecover(&checked.document);
        if cleanup.is_none() || is_auto {
            self.check_goes_on(source.ex_id, &checked).await?;
        }
        let slice_type = cleanup.or(is_auto.then_some(Cleanup::Pending));
        self.begin(source.job_id, checked, Some((source.ex_id, slice_type))).await
    }

    /// Checks that slicing can go on where an execution has stopped.
    pub(crate) async fn check_goes_on(&self, source: ExId, checked: &Checked) -> Result<(), Refusal> {
        const INSTEAD: &str =
            "recover with cleanup_type=all, errors or pending, or start anew without autorecover";
        if !checked.is_recoverable {
            let operations = checked.document.get("operations");
            let reader =
                operations.and_then(|operations| operations.get(0)?.get("_op")).unwrap_or(&Value::Null);
            let message =
                format!("the reader {reader} cannot go on where an earlier execution has stopped; {INSTEAD}");
            return Err(Refusal::unprocessable(message));
        }
        let store = &self.services.store;
        let counts = store.slice_counts(source).await?;
        let has_slices = counts.pending + counts.completed + counts.error > 0;
        if has_slices && store.ledger(source).await?.checkpoints.is_empty() {
            let message =
                format!("execution {source} was not run here and left no position to go on from; {INSTEAD}");
            return Err(Refusal::unprocessable(message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_names_of_the_cleanup_type() {
        let read = |query: &str| cleanup(&Params::of(&format!("/x?{query}").parse().unwrap()));
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("cleanup_type=all").unwrap(), Some(Cleanup::All));
        assert_eq!(read("cleanup=errors").unwrap(), Some(Cleanup::Errors));
        assert_eq!(read("cleanup_type=other").unwrap_err().status, 400);
    }
}
