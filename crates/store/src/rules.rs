//! What every store checks before it writes, and the words it refuses in.

use serde_json::Value;
use teraslice_core::store::{
    ExecutionQuery, ExecutionUpdate, JobQuery, StatusChange, StoreError, Sums, Writer,
};
use teraslice_model::{
    asset::AssetRecord,
    execution::{Execution, JobRecord, Stats},
    id::{ExId, Generation},
    status::Status,
    timestamp::Timestamp,
};

/// Checks a change of status against the status that is stored, and the controller that may write.
pub(crate) fn check_status(
    ex_id: ExId,
    found: Status,
    current: Writer,
    change: &StatusChange,
) -> Result<(), StoreError> {
    change.writer.map_or(Ok(()), |writer| check_writer(ex_id, current, writer))?;
    if found != change.from {
        let what = format!("the status of execution {ex_id}");
        return Err(StoreError::Conflict { what, found: found.to_string() });
    }
    found.check_move(change.to).map_err(|source| StoreError::IllegalMove { ex_id, source })
}

/// Checks that no later controller has begun.
pub(crate) fn check_writer(ex_id: ExId, current: Writer, writer: Writer) -> Result<(), StoreError> {
    if writer < current {
        return Err(StoreError::Fenced { ex_id, current });
    }
    Ok(())
}

/// Checks that a controller process belongs to the controller object that may write.
pub(crate) fn check_generation(
    ex_id: ExId,
    current: Writer,
    generation: Generation,
) -> Result<(), StoreError> {
    if generation != current.generation {
        return Err(StoreError::Fenced { ex_id, current });
    }
    Ok(())
}

pub(crate) fn no_execution(ex_id: ExId) -> StoreError {
    StoreError::NotFound { what: format!("execution {ex_id}") }
}

pub(crate) fn id_taken(ex_id: ExId) -> StoreError {
    StoreError::Conflict { what: format!("execution {ex_id}"), found: "one of that id".to_owned() }
}

/// Tells whether a job counts as active: all do but deleted ones and those that say no.
pub(crate) fn is_active(job: &JobRecord) -> bool {
    job.deleted.is_none() && job.job.get("active") != Some(&Value::Bool(false))
}

/// Tells whether a job passes what a query says beside the filter.
pub(crate) fn is_wanted_job(job: &JobRecord, query: &JobQuery) -> bool {
    query.is_deleted.is_none_or(|is_deleted| job.deleted.is_some() == is_deleted)
        && query.is_active.is_none_or(|wanted| is_active(job) == wanted)
}

/// Tells whether an execution passes what a query says beside the filter.
pub(crate) fn is_wanted_execution(execution: &Execution, query: &ExecutionQuery) -> bool {
    query.job_id.is_none_or(|job_id| execution.job_id == job_id)
        && (query.statuses.is_empty() || query.statuses.contains(&execution.status))
        && query.is_deleted.is_none_or(|is_deleted| execution.deleted.is_some() == is_deleted)
}

/// Changes an execution as asked.
pub(crate) fn update(execution: &mut Execution, update: ExecutionUpdate, now: Timestamp) {
    execution.updated = now;
    if let Some((hostname, port)) = update.slicer {
        execution.slicer_hostname = Some(hostname);
        execution.slicer_port = Some(port);
    }
    execution.workers_wanted = update.workers_wanted.or(execution.workers_wanted);
    execution.deleted = update.deleted.or(execution.deleted);
    execution.metadata.extend(update.metadata);
    if let Some(stats) = update.stats {
        execution.stats = stats;
    }
}

/// Returns what an execution adds to the sums.
pub(crate) const fn part_of_sums(stats: &Stats) -> Sums {
    Sums {
        processed: stats.processed,
        failed: stats.failed,
        queued: stats.queued,
        job_duration: stats.job_duration,
        workers_joined: stats.workers_joined,
        workers_disconnected: stats.workers_disconnected,
        workers_reconnected: stats.workers_reconnected,
    }
}

/// Adds to the sums, up to the largest number there is.
pub(crate) const fn add(sums: &mut Sums, part: Sums) {
    sums.processed = sums.processed.saturating_add(part.processed);
    sums.failed = sums.failed.saturating_add(part.failed);
    sums.queued = sums.queued.saturating_add(part.queued);
    sums.job_duration = sums.job_duration.saturating_add(part.job_duration);
    sums.workers_joined = sums.workers_joined.saturating_add(part.workers_joined);
    sums.workers_disconnected = sums.workers_disconnected.saturating_add(part.workers_disconnected);
    sums.workers_reconnected = sums.workers_reconnected.saturating_add(part.workers_reconnected);
}

/// Tells whether two assets cannot both be there.
pub(crate) fn is_same_asset(one: &AssetRecord, other: &AssetRecord) -> bool {
    let what = |asset: &AssetRecord| {
        let AssetRecord { name, version, node_version, platform, arch, .. } = asset.clone();
        (name, version, node_version, platform, arch)
    };
    one.id == other.id || what(one) == what(other)
}

pub(crate) fn asset_taken(asset: &AssetRecord, found: &str) -> StoreError {
    let what = format!("asset {} {}", asset.name, asset.version);
    StoreError::Conflict { what, found: format!("asset {found}") }
}

pub(crate) fn no_asset(id: &str) -> StoreError {
    StoreError::NotFound { what: format!("asset {id}") }
}

pub(crate) fn token_taken(name: &str) -> StoreError {
    StoreError::Conflict { what: format!("token {name}"), found: "one of that name".to_owned() }
}

pub(crate) fn no_token(name: &str) -> StoreError {
    StoreError::NotFound { what: format!("token {name}") }
}
