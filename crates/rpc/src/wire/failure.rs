//! Failures of the state store as JSON, nothing left out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use teraslice_core::store::{StoreError, Writer};
use teraslice_model::{
    id::ExId,
    status::{IllegalMove, Status},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Fenced { ex_id: ExId, current: Writer },
    Conflict { what: String, found: String },
    IllegalMove { ex_id: ExId, from: Status, to: Status },
    NotFound { what: String },
    Unavailable { reason: String },
    Broken { reason: String },
}

/// Writes a failure.
pub(crate) fn write(error: StoreError) -> Bytes {
    let failure = match error {
        StoreError::Fenced { ex_id, current } => Failure::Fenced { ex_id, current },
        StoreError::Conflict { what, found } => Failure::Conflict { what, found },
        StoreError::IllegalMove { ex_id, source: IllegalMove { from, to } } => {
            Failure::IllegalMove { ex_id, from, to }
        }
        StoreError::NotFound { what } => Failure::NotFound { what },
        StoreError::Unavailable { reason } => Failure::Unavailable { reason },
        StoreError::Broken { reason } => Failure::Broken { reason },
    };
    serde_json::to_vec(&failure).expect("texts, numbers and ids are JSON").into()
}

/// Reads a failure; what nobody knows is one too.
pub(crate) fn read(json: &[u8]) -> StoreError {
    match serde_json::from_slice(json) {
        Ok(Failure::Fenced { ex_id, current }) => StoreError::Fenced { ex_id, current },
        Ok(Failure::Conflict { what, found }) => StoreError::Conflict { what, found },
        Ok(Failure::IllegalMove { ex_id, from, to }) => {
            StoreError::IllegalMove { ex_id, source: IllegalMove { from, to } }
        }
        Ok(Failure::NotFound { what }) => StoreError::NotFound { what },
        Ok(Failure::Unavailable { reason }) => StoreError::Unavailable { reason },
        Ok(Failure::Broken { reason }) => StoreError::Broken { reason },
        Err(_) => {
            let json = String::from_utf8_lossy(json);
            StoreError::Broken { reason: format!("the master answered with an unknown failure: {json}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::id::{Epoch, Generation};

    use super::*;

    #[test]
    fn loses_nothing() {
        let ex_id = ExId::from_random([1; 16]);
        let text = || "gr\u{f6}\u{df}er\n".repeat(10_000);
        let move_ = IllegalMove { from: Status::Completed, to: Status::Running };
        let failures = [
            StoreError::Fenced {
                ex_id,
                current: Writer { generation: Generation(u64::MAX), epoch: Epoch(1) },
            },
            StoreError::Conflict { what: text(), found: String::new() },
            StoreError::IllegalMove { ex_id, source: move_ },
            StoreError::NotFound { what: text() },
            StoreError::Unavailable { reason: text() },
            StoreError::Broken { reason: text() },
        ];
        for failure in failures {
            let wanted = format!("{failure:?}");
            assert_eq!(format!("{:?}", read(&write(failure))), wanted);
        }
    }

    #[test]
    fn shows_a_failure_that_it_does_not_know() {
        let error = read(b"{\"on_fire\":{}}");
        assert!(matches!(&error, StoreError::Broken { reason } if reason.contains("on_fire")), "{error}");
    }
}
