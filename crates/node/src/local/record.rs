//! The records of jobs and executions that commands make and look for.

use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    plan::Plan,
    store::{ExecutionQuery, Page, SliceRecord, StateStore, StoreError},
};
use teraslice_model::{
    execution::{Execution, JobRecord},
    id::ExId,
    slice::SliceState,
};

/// Stores a job as it was submitted and makes a new execution of it, which is not stored yet.
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
    store.put_job(JobRecord { job_id, job: submitted, deleted: None, created: now, updated: now }).await?;
    Ok(Execution { metadata, ..Execution::new(context.ex_id(), job_id, plan.job().document.clone(), now) })
}

/// Returns the latest execution that can go on.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn latest_resumable(store: &dyn StateStore) -> Result<Option<ExId>, StoreError> {
    let mut page = Page::default();
    loop {
        let found = store.executions(ExecutionQuery::page(page)).await?;
        if let Some(open) = found.iter().find(|execution| !execution.status.is_terminal()) {
            return Ok(Some(open.ex_id));
        }
        if found.is_empty() {
            return Ok(None);
        }
        page.from += page.size;
    }
}

/// Brings the statistics of an execution that has not ended up to what its ledger says: they are stored only now and then.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn refresh(store: &dyn StateStore, execution: &mut Execution) -> Result<(), StoreError> {
    if execution.status.is_terminal() {
        return Ok(());
    }
    let counts = store.slice_counts(execution.ex_id).await?;
    let totals = store.ledger(execution.ex_id).await?.totals;
    let stats = &mut execution.stats;
    stats.processed = counts.completed + counts.error;
    stats.failed = counts.error;
    stats.queued = counts.pending;
    stats.operations = totals.operations;
    Ok(())
}

/// Returns the first slices that were given up, with the reasons.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn first_failed(
    store: &dyn StateStore,
    execution: ExId,
    count: u64,
) -> Result<Vec<SliceRecord>, StoreError> {
    store.slices(execution, SliceState::Error, Page { from: 0, size: count }).await
}
