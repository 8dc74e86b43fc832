//! Moving house: jobs and executions from one state store into another.

use serde::Serialize;
use teraslice_core::store::{
    ExecutionQuery, Flush, JobQuery, Page, Sort, StateStore, StoreError, Writer, all_slices,
};
use teraslice_model::{execution::Execution, id::ExId, slice::SliceState};

/// Records that are read at once.
const PAGE: u64 = 500;

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Jobs written.
    pub jobs: u64,
    /// Executions written.
    pub executions: u64,
    /// Slices written: those that did not complete, which a recovery needs.
    pub slices: u64,
    /// Jobs and executions that were there already, and are as they were.
    pub known: u64,
    /// Executions that have not ended: two clusters must not run them, so they stay behind.
    pub running: Vec<ExId>,
}

/// Copies every job, and every execution that has ended, with the slices that did not complete. Done twice, it writes nothing
/// twice; a job is written again where it has changed since.
///
/// # Errors
///
/// When one of the stores cannot be used; what was copied before stays.
pub async fn copy(from: &dyn StateStore, to: &dyn StateStore) -> Result<Moved, StoreError> {
    let mut moved = Moved::default();
    let mut page = Page { from: 0, size: PAGE };
    loop {
        let jobs = from.jobs(JobQuery { sort: oldest_first(), page, ..JobQuery::default() }).await?;
        let is_last = (jobs.len() as u64) < PAGE;
        for job in jobs {
            if to.job(job.job_id).await?.is_some_and(|there| there.updated >= job.updated) {
                moved.known += 1;
            } else {
                to.put_job(job).await?;
                moved.jobs += 1;
            }
        }
        if is_last {
            break;
        }
        page.from += PAGE;
    }
    page.from = 0;
    loop {
        let query = ExecutionQuery { sort: oldest_first(), ..ExecutionQuery::page(page) };
        let executions = from.executions(query).await?;
        let is_last = (executions.len() as u64) < PAGE;
        for execution in executions {
            copy_execution(from, to, execution, &mut moved).await?;
        }
        if is_last {
            return Ok(moved);
        }
        page.from += PAGE;
    }
}

async fn copy_execution(
    from: &dyn StateStore,
    to: &dyn StateStore,
    execution: Execution,
    moved: &mut Moved,
) -> Result<(), StoreError> {
    let ex_id = execution.ex_id;
    let writer = Writer::of(&execution);
    if !execution.status.is_terminal() {
        moved.running.push(ex_id);
        return Ok(());
    }
    let ledger = from.ledger(ex_id).await?;
    let mut slices = ledger.unfinished;
    slices.extend(all_slices(from, ex_id, SliceState::Error).await?);
    match to.create_execution(execution).await {
        Ok(()) => moved.executions += 1,
        Err(StoreError::Conflict { .. }) => {
            moved.known += 1;
            // An earlier move may have broken off before the slices.
            let there = to.ledger(ex_id).await?.unfinished.len()
                + all_slices(to, ex_id, SliceState::Error).await?.len();
            if there >= slices.len() {
                return Ok(());
            }
        }
        Err(error) => return Err(error),
    }
    moved.slices += slices.len() as u64;
    let flush = Flush { slices, checkpoints: ledger.checkpoints, totals: ledger.totals, ..Flush::default() };
    to.append(ex_id, writer, flush).await
}

fn oldest_first() -> Option<Sort> {
    Some(Sort { field: "_created".to_owned(), is_descending: false })
}

#[cfg(test)]
mod tests {
    use teraslice_core::{
        conformance::store::{execution, record},
        context::Context,
    };
    use teraslice_model::{execution::JobRecord, status::Status, timestamp::Timestamp};
    use teraslice_store::MemoryStore;

    use super::*;

    fn store() -> MemoryStore {
        MemoryStore::new(Context::simulated(1))
    }

    async fn fill(store: &MemoryStore) -> Execution {
        let ended = Execution { status: Status::Failed, ..execution(1) };
        let job = JobRecord {
            job_id: ended.job_id,
            job: ended.job.clone(),
            deleted: None,
            created: ended.created,
            updated: ended.updated,
        };
        store.put_job(job).await.expect("memory has room");
        store.create_execution(ended.clone()).await.expect("the id is free");
        store.create_execution(Execution { status: Status::Running, ..execution(2) }).await.expect("free");
        let states = [SliceState::Completed, SliceState::Pending, SliceState::Error];
        let slices = (0..).zip(states).map(|(order, state)| record(ended.ex_id, 0, order, state)).collect();
        let writer = Writer::of(&ended);
        let flush = Flush { slices, ..Flush::default() };
        store.append(ended.ex_id, writer, flush).await.expect("it is the writer");
        ended
    }

    #[tokio::test(start_paused = true)]
    async fn brings_what_a_recovery_needs() {
        let (from, to) = (store(), store());
        let ended = fill(&from).await;
        let moved = copy(&from, &to).await.expect("both are there");
        let expected =
            Moved { jobs: 1, executions: 1, slices: 2, known: 0, running: vec![execution(2).ex_id] };
        assert_eq!(moved, expected);
        assert_eq!(to.execution(ended.ex_id).await.expect("readable"), Some(ended.clone()));
        let ledger = to.ledger(ended.ex_id).await.expect("readable");
        assert_eq!(ledger, from.ledger(ended.ex_id).await.expect("readable"));
        assert_eq!(ledger.unfinished.len(), 1);
        let counts = to.slice_counts(ended.ex_id).await.expect("readable");
        assert_eq!((counts.pending, counts.error), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_nothing_twice() {
        let (from, to) = (store(), store());
        let ended = fill(&from).await;
        copy(&from, &to).await.expect("both are there");
        let again = copy(&from, &to).await.expect("both are there");
        assert_eq!((again.jobs, again.executions, again.slices, again.known), (0, 0, 0, 2));
        let mut job = from.job(ended.job_id).await.expect("readable").expect("there");
        job.updated = Timestamp::from_millis(job.updated.as_millis() + 1);
        from.put_job(job.clone()).await.expect("memory has room");
        assert_eq!(copy(&from, &to).await.expect("both are there").jobs, 1);
        assert_eq!(to.job(job.job_id).await.expect("readable"), Some(job));
    }
}
