//! What a controller starts from: its own ledger, or the unfinished slices of an earlier execution.

use teraslice_model::{
    checkpoint::Checkpoint,
    execution::{Cleanup, Execution},
    slice::SliceState,
};

use crate::store::{Flush, Ledger, SliceRecord, StateStore, StoreError, Totals, Writer, all_slices};

/// Returns the ledger to start from.
///
/// A recovery copies the chosen slices and the checkpoints of the earlier execution into its own ledger first, in one
/// write: it happens once, however often the controller is started, and a recovery of the recovery finds them there.
/// With a cleanup type the copied checkpoints are exhausted, so that no new slices are made, unless the job is one that
/// recovers by itself (`autorecover`): that goes on slicing.
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
        slices.extend(theirs.unfinished);
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

fn renewed(record: SliceRecord) -> SliceRecord {
    SliceRecord { slice: record.slice, state: SliceState::Pending, error: None, retry_count: 0, deaths: 0 }
}
