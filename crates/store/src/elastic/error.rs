//! What a failure of the server means to the caller, in words that say what to do.

use teraslice_core::store::StoreError;
use teraslice_elastic::Error;

/// Says what a failed request means to the caller.
pub(super) fn explain(error: &Error) -> StoreError {
    match error {
        Error::Unavailable { reason, .. } if is_block(reason) => broken(error, BLOCKED),
        Error::Unavailable { .. } => StoreError::Unavailable { reason: error.to_string() },
        Error::Refused { status, kind, reason, .. } => refused(error, *status, kind, reason),
        Error::Unexpected { .. } => broken(error, "check the connection's address"),
    }
}

/// Says what a failed item of a bulk request means.
pub(super) fn explain_item(what: &str, status: u16, kind: &str, reason: &str) -> StoreError {
    let told = format!("{what} was refused with {status}: {kind}: {reason}");
    refused(&told, status, kind, reason)
}

/// Returns the failure of a document that cannot be read.
pub(super) fn unreadable(index: &str, id: &str, why: impl std::fmt::Display) -> StoreError {
    let reason = format!("document {id} of index {index} cannot be read ({why}): correct or delete it");
    StoreError::Broken { reason }
}

/// Tells whether a refusal says that an index is closed to writes.
pub(super) fn is_block(reason: &str) -> bool {
    reason.contains("FORBIDDEN/") || reason.contains("TOO_MANY_REQUESTS/12")
}

/// Tells whether a refusal says that there is no such index.
pub(super) fn is_missing_index(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 404, kind, .. } if kind == "index_not_found_exception")
}

const BLOCKED: &str = "free some space on the server's disks, lift the block (index.blocks.*), then resume";

fn refused(told: &dyn std::fmt::Display, status: u16, kind: &str, reason: &str) -> StoreError {
    match (status, kind) {
        _ if is_block(reason) => broken(told, BLOCKED),
        (401 | 403, _) => broken(
            told,
            "the user of the connection needs the privilege to manage, read and write the cluster's indices, and to \
             manage index templates",
        ),
        (400, "document_parsing_exception" | "mapper_parsing_exception") => broken(
            told,
            "the index has another mapping than this program's: reindex it, or use another cluster name",
        ),
        (413, _) => broken(told, "raise http.max_content_length of the server"),
        (404 | 408 | 409 | 429 | 500.., _) => StoreError::Unavailable { reason: told.to_string() },
        _ => broken(told, "check what the server says"),
    }
}

fn broken(told: &(impl std::fmt::Display + ?Sized), help: &str) -> StoreError {
    StoreError::Broken { reason: format!("{told} ({help})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, kind: &str, reason: &str) -> StoreError {
        explain_item("the record", status, kind, reason)
    }

    #[test]
    fn says_what_would_help() {
        let cases = [
            (
                403,
                "cluster_block_exception",
                "index [x] blocked by: [FORBIDDEN/8/index write (api)]",
                "disks",
            ),
            (
                429,
                "cluster_block_exception",
                "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage]",
                "disks",
            ),
            (403, "security_exception", "action is unauthorized", "privilege"),
            (401, "security_exception", "missing authentication credentials", "privilege"),
            (400, "document_parsing_exception", "failed to parse field [state]", "another cluster name"),
            (413, "unknown", "", "http.max_content_length"),
        ];
        for (status, kind, reason, help) in cases {
            let error = told(status, kind, reason);
            assert!(matches!(&error, StoreError::Broken { reason } if reason.contains(help)), "{error}");
        }
    }

    #[test]
    fn takes_what_passes_for_an_outage() {
        for (status, kind) in
            [(429, "es_rejected_execution_exception"), (503, "unavailable_shards_exception"), (500, "x")]
        {
            let error = told(status, kind, "full");
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        }
    }
}
