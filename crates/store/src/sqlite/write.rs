//! What the writer thread runs. Each function checks first and writes then, so that a refusal has written nothing.

use rusqlite::{Connection, OptionalExtension as _, params};
use teraslice_core::store::{Claim, ExecutionUpdate, Flush, SliceRecord, StatusChange, Totals, Writer};
use teraslice_model::{
    checkpoint::Checkpoint,
    dead_letter::{DeadLetter, Encoding},
    execution::{Execution, JobRecord, Stats},
    id::{Epoch, ExId, Generation},
    slice::SliceState,
    status::Status,
    timestamp::Timestamp,
};

use super::{error::Fault, error::unreadable, read, row};
use crate::rules;

/// What decides whether a write to an execution is allowed.
struct Head {
    key: i64,
    status: String,
    writer: Writer,
}

pub(super) fn put_job(connection: &Connection, job: &JobRecord) -> Result<(), Fault> {
    let record = row::json("job", job)?;
    connection
        .prepare_cached(
            "INSERT INTO jobs (job_id, record, created, updated, is_deleted, is_active)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (job_id) DO UPDATE SET record = excluded.record, created = excluded.created,
                updated = excluded.updated, is_deleted = excluded.is_deleted, is_active = excluded.is_active",
        )?
        .execute((
            job.job_id.uuid().as_bytes(),
            record,
            job.created.as_millis(),
            job.updated.as_millis(),
            job.deleted.is_some(),
            rules::is_active(job),
        ))?;
    Ok(())
}

pub(super) fn create_execution(connection: &Connection, execution: &Execution) -> Result<(), Fault> {
    let record = row::json("execution", execution)?;
    let stats = row::json("statistics", &execution.stats)?;
    let metadata = row::json("metadata", &execution.metadata)?;
    let made = connection
        .prepare_cached(
            "INSERT INTO executions (ex_id, status, generation, epoch, failure, stats, updated, record, job_id,
                                     created, deleted, workers_wanted, slicer_hostname, slicer_port, metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (ex_id) DO NOTHING",
        )?
        .execute(params![
            execution.ex_id.uuid().as_bytes(),
            execution.status.as_str(),
            execution.generation.0.cast_signed(),
            execution.epoch.0.cast_signed(),
            execution.failure,
            stats,
            execution.updated.as_millis(),
            record,
            execution.job_id.uuid().as_bytes(),
            execution.created.as_millis(),
            execution.deleted.map(Timestamp::as_millis),
            execution.workers_wanted,
            execution.slicer_hostname,
            execution.slicer_port,
            metadata,
        ])?;
    if made == 0 {
        return Err(rules::id_taken(execution.ex_id).into());
    }
    let key = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "INSERT INTO ledgers (execution, slices, completed, failed, operations) VALUES (?1, 0, 0, 0, '[]')",
        )?
        .execute([key])?;
    put_statistics(connection, key, &execution.stats)
}

pub(super) fn update_execution(
    connection: &Connection,
    ex_id: ExId,
    update: &ExecutionUpdate,
    now: Timestamp,
) -> Result<Execution, Fault> {
    let head = head(connection, ex_id)?;
    let found = read::execution(connection, ex_id)?;
    let mut execution = found.ok_or_else(|| rules::no_execution(ex_id))?;
    rules::update(&mut execution, update.clone(), now);
    let stats = row::json("statistics", &execution.stats)?;
    let metadata = row::json("metadata", &execution.metadata)?;
    connection
        .prepare_cached(
            "UPDATE executions SET stats = ?2, updated = ?3, deleted = ?4, workers_wanted = ?5,
             slicer_hostname = ?6, slicer_port = ?7, metadata = ?8 WHERE key = ?1",
        )?
        .execute(params![
            head.key,
            stats,
            execution.updated.as_millis(),
            execution.deleted.map(Timestamp::as_millis),
            execution.workers_wanted,
            execution.slicer_hostname,
            execution.slicer_port,
            metadata,
        ])?;
    if update.stats.is_some() {
        put_statistics(connection, head.key, &execution.stats)?;
    }
    Ok(execution)
}

pub(super) fn set_status(
    connection: &Connection,
    ex_id: ExId,
    change: &StatusChange,
    now: Timestamp,
) -> Result<(), Fault> {
    let head = head(connection, ex_id)?;
    let found = Status::parse(&head.status)
        .ok_or_else(|| unreadable("execution", format!("status {}", head.status)))?;
    rules::check_status(ex_id, found, head.writer, change)?;
    let stats = change.stats.as_ref().map(|stats| row::json("statistics", stats)).transpose()?;
    connection
        .prepare_cached(
            "UPDATE executions SET status = ?2, updated = ?3, failure = coalesce(?4, failure),
             stats = coalesce(?5, stats) WHERE key = ?1",
        )?
        .execute((head.key, change.to.as_str(), now.as_millis(), &change.failure, stats))?;
    change.stats.as_ref().map_or(Ok(()), |stats| put_statistics(connection, head.key, stats))
}

pub(super) fn begin_epoch(
    connection: &Connection,
    ex_id: ExId,
    generation: Generation,
    now: Timestamp,
) -> Result<Epoch, Fault> {
    let head = head(connection, ex_id)?;
    rules::check_generation(ex_id, head.writer, generation)?;
    let epoch = head.writer.epoch.next();
    connection.prepare_cached("UPDATE executions SET epoch = ?2, updated = ?3 WHERE key = ?1")?.execute((
        head.key,
        epoch.0.cast_signed(),
        now.as_millis(),
    ))?;
    Ok(epoch)
}

pub(super) fn append(
    connection: &Connection,
    ex_id: ExId,
    writer: Writer,
    flush: &Flush,
    now: Timestamp,
) -> Result<(), Fault> {
    let head = head(connection, ex_id)?;
    rules::check_writer(ex_id, head.writer, writer)?;
    let operations = row::json("totals", &flush.totals.operations)?;
    let added = put_slices(connection, head.key, &flush.slices, now)?;
    put_checkpoints(connection, head.key, &flush.checkpoints)?;
    forget_dead_letters(connection, head.key, &flush.slices)?;
    put_dead_letters(connection, head.key, &flush.dead_letters)?;
    put_totals(connection, head.key, added, &flush.totals, &operations)
}

pub(super) fn claim_dead_letters(connection: &Connection, ex_id: ExId, claim: &Claim) -> Result<u64, Fault> {
    let head = head(connection, ex_id)?;
    let mut put = connection.prepare_cached(
        "UPDATE dead_letters SET replayed_in = ?4 WHERE key = ?1 AND execution = ?2 AND replayed_in IS ?3",
    )?;
    let from = claim.from.map(|from| *from.uuid().as_bytes());
    let mut claimed = 0;
    for number in &claim.numbers {
        claimed += put.execute((number.cast_signed(), head.key, from, claim.by.uuid().as_bytes()))? as u64;
    }
    Ok(claimed)
}

fn head(connection: &Connection, ex_id: ExId) -> Result<Head, Fault> {
    let found = connection
        .prepare_cached("SELECT key, status, generation, epoch FROM executions WHERE ex_id = ?1")?
        .query_row([ex_id.uuid().as_bytes()], |row| {
            let generation = Generation(row.get::<_, i64>(2)?.cast_unsigned());
            let epoch = Epoch(row.get::<_, i64>(3)?.cast_unsigned());
            Ok(Head { key: row.get(0)?, status: row.get(1)?, writer: Writer { generation, epoch } })
        })
        .optional()?;
    found.ok_or_else(|| rules::no_execution(ex_id).into())
}

/// Writes slices and returns how many of them are new.
///
/// An insert that gives way and, for few, an update: so the rows are counted as they come, which an upsert cannot.
fn put_slices(
    connection: &Connection,
    execution: i64,
    slices: &[SliceRecord],
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO slices (execution, slicer_id, slicer_order, slice_id, state, created, request,
                             retry_count, deaths, error, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (execution, slicer_id, slicer_order) DO NOTHING",
    )?;
    let mut update = connection.prepare_cached(
        "UPDATE slices SET slice_id = ?4, state = ?5, created = ?6, request = ?7, retry_count = ?8,
                           deaths = ?9, error = ?10, updated = ?11
         WHERE execution = ?1 AND slicer_id = ?2 AND slicer_order = ?3",
    )?;
    let mut added = 0;
    for record in slices {
        let values = (
            execution,
            record.slice.slicer_id,
            record.slice.slicer_order.cast_signed(),
            record.slice.id.uuid().as_bytes(),
            row::state_code(record.state),
            record.slice.created.as_millis(),
            record.slice.request.json(),
            record.retry_count,
            record.deaths,
            record.error.as_deref(),
            (record.state == SliceState::Error).then_some(now.as_millis()),
        );
        match insert.execute(values)? {
            0 => {
                update.execute(values)?;
            }
            made => added += made,
        }
    }
    Ok(added)
}

fn put_checkpoints(
    connection: &Connection,
    execution: i64,
    checkpoints: &[Checkpoint],
) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO checkpoints (execution, slicer_id, slicer_order, position, is_exhausted)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for checkpoint in checkpoints {
        let position = checkpoint.position.as_ref().map(teraslice_model::slice::Request::json);
        let order = checkpoint.order.cast_signed();
        put.execute((execution, checkpoint.slicer_id, order, position, checkpoint.is_exhausted))?;
    }
    Ok(())
}

/// Removes what earlier completions of the completed slices have left.
fn forget_dead_letters(
    connection: &Connection,
    execution: i64,
    slices: &[SliceRecord],
) -> rusqlite::Result<()> {
    let has_any = connection
        .prepare_cached("SELECT 1 FROM dead_letters WHERE execution = ?1 LIMIT 1")?
        .exists([execution])?;
    if !has_any {
        return Ok(());
    }
    let mut forget =
        connection.prepare_cached("DELETE FROM dead_letters WHERE slice_id = ?1 AND +execution = ?2")?;
    for record in slices.iter().filter(|record| record.state == SliceState::Completed) {
        forget.execute((record.slice.id.uuid().as_bytes(), execution))?;
    }
    Ok(())
}

fn put_dead_letters(connection: &Connection, execution: i64, letters: &[DeadLetter]) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO dead_letters (execution, slice_id, operation, op, reason, record, metadata, encoding)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for letter in letters {
        put.execute((
            execution,
            letter.slice_id.uuid().as_bytes(),
            letter.operation,
            &letter.op,
            &letter.reason,
            &letter.record,
            &letter.metadata,
            i64::from(letter.encoding == Encoding::Base64),
        ))?;
    }
    Ok(())
}

fn put_totals(
    connection: &Connection,
    execution: i64,
    added: usize,
    totals: &Totals,
    operations: &str,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE ledgers SET slices = slices + ?2, completed = ?3, failed = ?4, operations = ?5
             WHERE execution = ?1",
        )?
        .execute((
            execution,
            (added as u64).cast_signed(),
            totals.completed.cast_signed(),
            totals.failed.cast_signed(),
            operations,
        ))?;
    Ok(())
}

/// Keeps what an execution adds to the sums in a narrow row, so that adding up reads little.
fn put_statistics(connection: &Connection, execution: i64, stats: &Stats) -> Result<(), Fault> {
    let part = rules::part_of_sums(stats);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO statistics (execution, processed, failed, queued, job_duration,
                                                workers_joined, workers_disconnected, workers_reconnected)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            execution,
            part.processed.cast_signed(),
            part.failed.cast_signed(),
            part.queued.cast_signed(),
            part.job_duration.cast_signed(),
            part.workers_joined.cast_signed(),
            part.workers_disconnected.cast_signed(),
            part.workers_reconnected.cast_signed(),
        ))?;
    Ok(())
}
