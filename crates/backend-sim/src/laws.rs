//! What has to be true at the end of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use teraslice_core::store::{SliceCounts, StateStore, all_slices};
use teraslice_model::{execution::Execution, id::SliceId, slice::SliceState, status::Status};

use crate::{
    operations::Output,
    scenario::{Promise, Work},
    trace::Short,
    witness::Witness,
};

/// A slice that so many workers were lost with is given up.
const DEATHS_MAX: u32 = 3;
/// Why an execution may fail beside its slices, while patience has an end.
const FAILURES: [&str; 3] =
    ["the execution controller ended", "no worker has connected", "all workers have been gone"];

/// What the laws are checked against.
pub(crate) struct Laws {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) witness: Witness,
    pub(crate) output: Output,
    pub(crate) promise: Promise,
}

/// How slices ended.
struct Ends {
    completed: BTreeSet<SliceId>,
    failed: BTreeSet<SliceId>,
    /// Those that were given up because of their workers.
    died: BTreeSet<SliceId>,
    counts: SliceCounts,
}

impl Laws {
    /// Checks an execution that has ended; returns its slices by state.
    pub(crate) async fn check(&self, work: &Work, ended: &Execution) -> Result<SliceCounts, String> {
        let name = Short(ended.ex_id);
        self.conserve(work, ended).await.map_err(|law| format!("{name}: {law}"))
    }

    /// Checks that nothing was killed, where that is promised.
    pub(crate) fn check_peace(&self, kills: u64) -> Result<(), String> {
        if self.promise == Promise::Undisturbed && kills > 0 {
            return Err(format!("{kills} processes were killed"));
        }
        Ok(())
    }

    async fn conserve(&self, work: &Work, ended: &Execution) -> Result<SliceCounts, String> {
        let ends = self.ends(ended).await?;
        let expected: BTreeMap<_, _> = work.expected().into_iter().collect();
        self.check_status(work, ended, &ends)?;
        let seen = self.witness.book(ended.ex_id).ok_or("nobody saw it begin")?;
        if self.promise == Promise::Undisturbed && seen.writers.len() > 1 {
            return Err(format!("it took {} controllers", seen.writers.len()));
        }
        let in_state = |state| {
            let ids = seen.finished.iter().filter(move |(_, ended)| **ended == state);
            ids.map(|(id, _)| *id).collect::<BTreeSet<_>>()
        };
        if in_state(SliceState::Completed) != ends.completed || in_state(SliceState::Error) != ends.failed {
            return Err("the store holds other ends of slices than it has accepted".to_owned());
        }
        if let Some(slice) = ends.completed.iter().find(|id| !expected.contains_key(id)) {
            return Err(format!("slice {slice} completed, but none like it can"));
        }
        if let Some(slice) =
            ends.failed.iter().find(|id| expected.contains_key(id) && !ends.died.contains(id))
        {
            return Err(format!("slice {slice} failed without a reason"));
        }
        self.check_output(&ends, &expected)?;
        self.check_totals(ended, &ends, &expected).await?;
        Ok(ends.counts)
    }

    async fn ends(&self, ended: &Execution) -> Result<Ends, String> {
        let store = self.store.as_ref();
        let of = |state| all_slices(store, ended.ex_id, state);
        let completed = of(SliceState::Completed).await.map_err(|error| error.to_string())?;
        let failed = of(SliceState::Error).await.map_err(|error| error.to_string())?;
        let counts = store.slice_counts(ended.ex_id).await.map_err(|error| error.to_string())?;
        let died = failed.iter().filter(|record| record.deaths >= DEATHS_MAX).map(|record| record.slice.id);
        Ok(Ends {
            died: died.collect(),
            completed: completed.into_iter().map(|record| record.slice.id).collect(),
            failed: failed.iter().map(|record| record.slice.id).collect(),
            counts,
        })
    }

    fn check_status(&self, work: &Work, ended: &Execution, ends: &Ends) -> Result<(), String> {
        let (status, failure) = (ended.status, ended.failure.as_deref().unwrap_or_default());
        let total = work.slices();
        let finished = ends.counts.completed + ends.counts.error;
        let is_whole = ends.counts.pending == 0 && finished == total;
        let is_right = match status {
            Status::Completed => is_whole && ends.counts.error == 0,
            Status::Failed if is_whole && ends.counts.error > 0 && failure.contains("failed") => true,
            Status::Failed => {
                let is_known = FAILURES.iter().any(|known| failure.starts_with(known));
                is_known && self.promise == Promise::End && finished <= total
            }
            Status::Stopped => work.stop.is_some() && finished <= total,
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("{status} ({failure}) with {:?} of {total} slices", ends.counts))
    }

    fn check_output(&self, ends: &Ends, expected: &BTreeMap<SliceId, Vec<String>>) -> Result<(), String> {
        let written = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        for slice in &ends.completed {
            let (found, records) = (written.get(slice), expected.get(slice));
            if found != records {
                return Err(format!("slice {slice}: {found:?} is in the output instead of {records:?}"));
            }
        }
        Ok(())
    }

    async fn check_totals(
        &self,
        ended: &Execution,
        ends: &Ends,
        expected: &BTreeMap<SliceId, Vec<String>>,
    ) -> Result<(), String> {
        let ledger = self.store.ledger(ended.ex_id).await.map_err(|error| error.to_string())?;
        let totals = (ledger.totals.completed, ledger.totals.failed);
        let counts = (ends.completed.len() as u64, ends.failed.len() as u64);
        if totals != counts {
            return Err(format!("the totals are {totals:?}, the slices {counts:?}"));
        }
        let records =
            ends.completed.iter().filter_map(|id| expected.get(id)).map(Vec::len).sum::<usize>() as u64;
        for (operation, counts) in ledger.totals.operations.iter().enumerate() {
            if counts.emitted != records || !counts.balances() {
                return Err(format!("operation {operation}: {counts:?} instead of {records} records"));
            }
        }
        Ok(())
    }
}
