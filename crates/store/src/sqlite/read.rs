//! What the reader thread runs, each call from one snapshot.

use rusqlite::{Connection, OptionalExtension as _};
use teraslice_core::store::{KeptLetter, Ledger, Letters, Page, SliceCounts, SliceRecord, Totals};
use teraslice_model::{
    execution::{Execution, JobRecord},
    id::{ExId, JobId},
    slice::SliceState,
};

use super::{
    error::Fault,
    row::{self, CHECKPOINT, DEAD_LETTER, EXECUTION, SLICE, bound, list},
};
use crate::rules;

pub(super) fn job(connection: &Connection, id: JobId) -> Result<Option<JobRecord>, Fault> {
    connection
        .prepare_cached("SELECT record FROM jobs WHERE job_id = ?1")?
        .query_row([id.uuid().as_bytes()], |row| row.get::<_, String>(0))
        .optional()?
        .map(|record| row::parse("job", &record))
        .transpose()
}

pub(super) fn execution(connection: &Connection, id: ExId) -> Result<Option<Execution>, Fault> {
    let sql = format!("SELECT {EXECUTION} FROM executions WHERE ex_id = ?1");
    Ok(list(connection, &sql, [id.uuid().as_bytes()], row::execution)?.pop())
}

pub(super) fn ledger(connection: &Connection, id: ExId) -> Result<Ledger, Fault> {
    let key = key(connection, id)?;
    let sql = format!("SELECT {CHECKPOINT} FROM checkpoints WHERE execution = ?1 ORDER BY slicer_id");
    let checkpoints = list(connection, &sql, [key], row::checkpoint)?;
    let all = Page { from: 0, size: u64::MAX };
    let unfinished = slices_of(connection, key, SliceState::Pending, all)?;
    let (completed, failed, operations) = connection
        .prepare_cached("SELECT completed, failed, operations FROM ledgers WHERE execution = ?1")?
        .query_row([key], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
    let totals = Totals {
        completed: completed.cast_unsigned(),
        failed: failed.cast_unsigned(),
        operations: row::parse("ledger", &operations)?,
    };
    Ok(Ledger { checkpoints, unfinished, totals })
}

pub(super) fn slices(
    connection: &Connection,
    id: ExId,
    state: SliceState,
    page: Page,
) -> Result<Vec<SliceRecord>, Fault> {
    let key = key(connection, id)?;
    slices_of(connection, key, state, page)
}

/// Counts without reading the slices: all of them as they were added, the others in their indices.
pub(super) fn slice_counts(connection: &Connection, id: ExId) -> Result<SliceCounts, Fault> {
    let key = key(connection, id)?;
    let all: i64 = connection
        .prepare_cached("SELECT slices FROM ledgers WHERE execution = ?1")?
        .query_row([key], |row| row.get(0))?;
    let count = |state| -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE execution = ?1 AND state = {}",
            source(state),
            row::state_code(state)
        );
        connection.prepare_cached(&sql)?.query_row([key], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    let (pending, error) = (count(SliceState::Pending)?, count(SliceState::Error)?);
    Ok(SliceCounts { pending, completed: all.cast_unsigned().saturating_sub(pending + error), error })
}

pub(super) fn dead_letters(
    connection: &Connection,
    id: ExId,
    which: Letters,
    page: Page,
) -> Result<Vec<KeptLetter>, Fault> {
    let key = key(connection, id)?;
    let (condition, replay) = match which {
        Letters::All => ("?4 IS NULL", None),
        Letters::Open => ("replayed_in IS ?4", None),
        Letters::ReplayedIn(ex_id) => ("replayed_in = ?4", Some(*ex_id.uuid().as_bytes())),
    };
    let sql = format!(
        "SELECT {DEAD_LETTER} FROM dead_letters WHERE execution = ?1 AND {condition}
         ORDER BY key LIMIT ?2 OFFSET ?3"
    );
    list(connection, &sql, (key, bound(page.size), bound(page.from), replay), row::dead_letter)
}

fn slices_of(
    connection: &Connection,
    execution: i64,
    state: SliceState,
    page: Page,
) -> Result<Vec<SliceRecord>, Fault> {
    let sql = format!(
        "SELECT {SLICE} FROM {} WHERE execution = ?1 AND state = {}
         ORDER BY slicer_id, slicer_order LIMIT ?2 OFFSET ?3",
        source(state),
        row::state_code(state)
    );
    list(connection, &sql, (execution, bound(page.size), bound(page.from)), row::slice)
}

/// Returns where to look for slices in a state: the planner, which knows no numbers, would search all of them.
const fn source(state: SliceState) -> &'static str {
    match state {
        SliceState::Pending => "slices INDEXED BY pending_slices",
        SliceState::Completed => "slices",
        SliceState::Error => "slices INDEXED BY failed_slices",
    }
}

fn key(connection: &Connection, id: ExId) -> Result<i64, Fault> {
    let found = connection
        .prepare_cached("SELECT key FROM executions WHERE ex_id = ?1")?
        .query_row([id.uuid().as_bytes()], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| rules::no_execution(id).into())
}
