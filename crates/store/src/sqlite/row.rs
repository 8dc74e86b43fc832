//! How values of the model lie in rows.

use rusqlite::{Connection, Params, Row};
use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::store::{KeptLetter, SliceRecord, StoreError};
use teraslice_model::{
    checkpoint::Checkpoint,
    dead_letter::{DeadLetter, Encoding},
    execution::Execution,
    id::{Epoch, ExId, Generation, SliceId},
    slice::{Request, Slice, SliceState},
    status::Status,
    timestamp::Timestamp,
};
use uuid::Uuid;

use super::error::{Fault, unreadable};

/// Columns that [`slice`] reads.
pub(super) const SLICE: &str =
    "slicer_id, slicer_order, slice_id, state, created, request, retry_count, deaths, error";
/// Columns that [`execution`] reads.
pub(super) const EXECUTION: &str = "record, status, generation, epoch, failure, stats, updated, deleted, \
     workers_wanted, slicer_hostname, slicer_port, metadata";
/// Columns that [`checkpoint`] reads.
pub(super) const CHECKPOINT: &str = "slicer_id, slicer_order, position, is_exhausted";
/// Columns that [`dead_letter`] reads.
pub(super) const DEAD_LETTER: &str =
    "slice_id, operation, op, reason, record, metadata, encoding, key, replayed_in";

/// Returns the number that stands for a state.
pub(super) const fn state_code(state: SliceState) -> i64 {
    match state {
        SliceState::Pending => 0,
        SliceState::Completed => 1,
        SliceState::Error => 2,
    }
}

/// Writes a value as JSON text.
pub(super) fn json(what: &str, value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| {
        Fault::Refused(StoreError::Broken { reason: format!("{what} cannot be written as JSON ({error})") })
    })
}

/// Reads a value from JSON text.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| unreadable(what, error))
}

/// Reads a value from JSON text in a column.
pub(super) fn parse_at<T: DeserializeOwned>(what: &str, row: &Row<'_>, at: usize) -> Result<T, Fault> {
    parse(what, row.get_ref(at)?.as_str().map_err(|error| unreadable(what, error))?)
}

/// Returns a number of a page as SQLite takes it.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Runs a statement and reads all its rows.
pub(super) fn list<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads a slice from the columns [`SLICE`].
pub(super) fn slice(row: &Row<'_>) -> Result<SliceRecord, Fault> {
    let state = match row.get(3)? {
        0 => SliceState::Pending,
        1 => SliceState::Completed,
        2 => SliceState::Error,
        other => return Err(unreadable("slice", format!("state {other}"))),
    };
    let slice = Slice {
        id: slice_id(row, 2)?,
        slicer_id: row.get(0)?,
        slicer_order: row.get::<_, i64>(1)?.cast_unsigned(),
        request: Request::from_json(row.get_ref(5)?.as_str().map_err(|error| unreadable("slice", error))?),
        created: Timestamp::from_millis(row.get(4)?),
    };
    let error = row.get::<_, Option<String>>(8)?.map(Into::into);
    Ok(SliceRecord { slice, state, error, retry_count: row.get(6)?, deaths: row.get(7)? })
}

/// Reads an execution from the columns [`EXECUTION`].
pub(super) fn execution(row: &Row<'_>) -> Result<Execution, Fault> {
    let text = |at| row.get_ref(at)?.as_str().map_err(|error| unreadable("execution", error));
    let status = text(1)?;
    let created: Execution = parse("execution", text(0)?)?;
    Ok(Execution {
        status: Status::parse(status).ok_or_else(|| unreadable("execution", format!("status {status}")))?,
        generation: Generation(row.get::<_, i64>(2)?.cast_unsigned()),
        epoch: Epoch(row.get::<_, i64>(3)?.cast_unsigned()),
        failure: row.get(4)?,
        stats: parse("execution", text(5)?)?,
        updated: Timestamp::from_millis(row.get(6)?),
        deleted: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        workers_wanted: row.get(8)?,
        slicer_hostname: row.get(9)?,
        slicer_port: row.get(10)?,
        metadata: parse("execution", text(11)?)?,
        ..created
    })
}

/// Reads a checkpoint from the columns [`CHECKPOINT`].
pub(super) fn checkpoint(row: &Row<'_>) -> Result<Checkpoint, Fault> {
    Ok(Checkpoint {
        slicer_id: row.get(0)?,
        order: row.get::<_, i64>(1)?.cast_unsigned(),
        position: row.get::<_, Option<String>>(2)?.map(Request::from_json),
        is_exhausted: row.get(3)?,
    })
}

/// Reads a dead letter from the columns [`DEAD_LETTER`].
pub(super) fn dead_letter(row: &Row<'_>) -> Result<KeptLetter, Fault> {
    let letter = DeadLetter {
        slice_id: slice_id(row, 0)?,
        operation: row.get(1)?,
        op: row.get(2)?,
        reason: row.get(3)?,
        record: row.get(4)?,
        metadata: row.get(5)?,
        encoding: if row.get::<_, i64>(6)? == 0 { Encoding::Text } else { Encoding::Base64 },
    };
    let replayed_in = row.get::<_, Option<[u8; 16]>>(8)?.map(|bytes| ExId::new(Uuid::from_bytes(bytes)));
    Ok(KeptLetter { number: row.get::<_, i64>(7)?.cast_unsigned(), replayed_in, letter })
}

fn slice_id(row: &Row<'_>, at: usize) -> Result<SliceId, Fault> {
    row.get::<_, [u8; 16]>(at).map(|bytes| SliceId::new(Uuid::from_bytes(bytes))).map_err(Fault::Sql)
}
