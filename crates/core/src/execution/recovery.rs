//! What a controller starts from: its own ledger, or the unfinished slices of an earlier execution.

use teraslice_model::{
    checkpoint::Checkpoint,
    execution::{Cleanup, Execution},
    id::{Epoch, ExId},
    slice::SliceState,
};

use crate::store::{Flush, Ledger, SliceRecord, StateStore, StoreError, Totals, Writer, all_slices};

/// Returns the ledger to start from.
///
/// A recovery copies the chosen slices and the checkpoints of the earlier execution into its own ledger first, in one
/// write: it happens once, however often the controller is started, and a recovery of the recovery finds them there.
/// With a cleanup type the copied checkpoints are exhausted, so that no new slices are made, unless the job is one that
/// recovers by itself (`autorecover`): that goes on slicing.
///
/// Of an execution that the original ran, slices that a worker had begun are left out when somebody asks for the pending
/// ones, as they were there. It has no checkpoints: nothing can go on where it stopped, only with a cleanup type.
pub(super) async fn prepare(
    store: &dyn StateStore,
    execution: &Execution,
    writer: Writer,
) -> Result<Ledger, StoreError> {
    let own = store.ledger(execution.ex_id).await?;
    let Some(earlier) = execution.recovered_execution else { return Ok(own) };
    if !own.checkpoints.is_empty() {
        return Ok(own);
    }
    let cleanup = execution.recovered_slice_type;
    let ends_after = cleanup.is_some() && execution.job.get("autorecover") != Some(&true.into());
    let theirs = store.ledger(earlier).await?;
    let mut checkpoints = theirs.checkpoints;
    if checkpoints.is_empty() {
        checkpoints.push(Checkpoint::start(0));
    }
    for checkpoint in &mut checkpoints {
        checkpoint.is_exhausted |= ends_after;
    }
    let mut slices = Vec::new();
    if cleanup != Some(Cleanup::Errors) {
        let leaves_begun = cleanup == Some(Cleanup::Pending) && is_foreign(store, earlier).await?;
        slices.extend(theirs.unfinished.into_iter().filter(|record| !leaves_begun || record.deaths == 0));
    }
    if cleanup != Some(Cleanup::Pending) {
        slices.extend(all_slices(store, earlier, SliceState::Error).await?);
    }
    let slices: Vec<_> = slices.into_iter().map(renewed).collect();
    tracing::info!(ex_id = %execution.ex_id, %earlier, slices = slices.len(), "recovering slices");
    let flush = Flush { slices, checkpoints, dead_letters: Vec::new(), totals: Totals::default() };
    store.append(execution.ex_id, writer, flush).await?;
    store.ledger(execution.ex_id).await
}

/// Tells whether no controller of ours has ever had the execution.
async fn is_foreign(store: &dyn StateStore, id: ExId) -> Result<bool, StoreError> {
    Ok(store.execution(id).await?.is_some_and(|execution| execution.epoch == Epoch(0)))
}

fn renewed(record: SliceRecord) -> SliceRecord {
    SliceRecord { slice: record.slice, state: SliceState::Pending, error: None, retry_count: 0, deaths: 0 }
}
