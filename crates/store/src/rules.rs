//! What every store checks before it writes, and the words it refuses in.

use teraslice_core::store::{StatusChange, StoreError, Writer};
use teraslice_model::{
    id::{ExId, Generation},
    status::Status,
};

/// Checks a change of status against the status that is stored.
pub(crate) fn check_status(ex_id: ExId, found: Status, change: &StatusChange) -> Result<(), StoreError> {
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
