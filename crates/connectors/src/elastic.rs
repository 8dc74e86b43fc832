//! What the operations on Elasticsearch and OpenSearch share.

#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use teraslice_core::operation::OperationError;
use teraslice_elastic::{Connections, Error};
use teraslice_model::{job::OperationConfig, problem::Problem};

/// How long work waits while no server answers, or all are too busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3_600);

/// Turns the failure of a request into that of a slice: an outage that outlasts all patience may still pass, what is
/// refused will be refused again.
pub(crate) fn failed(error: &Error) -> OperationError {
    match error {
        Error::Unavailable { .. } | Error::Unexpected { .. } => OperationError::retry(error.to_string()),
        Error::Refused { .. } => OperationError::slice(error.to_string()),
    }
}

/// Checks that the operation's connection is configured.
pub(crate) fn check_connection(connections: &Connections, operation: &OperationConfig) -> Option<Problem> {
    connections.get(operation.connection.as_deref()).err()
}

/// Checks the name of an index; a pattern or a list may only be read.
pub(crate) fn check_index(index: &str, is_written: bool) -> Option<Problem> {
    let wrong = |what: &str, hint: &str| {
        Some(Problem::new("/index", format!("index is {index:?}, {what}")).with_hint(hint))
    };
    if index.trim().is_empty() {
        return wrong("a name is needed", "name an index");
    }
    if index.chars().any(char::is_uppercase) {
        return wrong("names of indices have no upper case", "write it in lower case");
    }
    let forbidden: &[char] = if is_written {
        &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':']
    } else {
        &['\\', '"', '|', ' ', '#']
    };
    match index.chars().find(|c| forbidden.contains(c)) {
        Some(c) => wrong(&format!("which has a {c:?}"), "a name may have letters, digits, -, _ and ."),
        None if is_written && index.starts_with(['-', '_', '+']) => {
            wrong("names of indices do not begin with -, _ or +", "begin with a letter or a digit")
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_of_indices() {
        for name in ["a", "logs-2024.01.01", "ütf"] {
            assert_eq!(check_index(name, true), None, "{name}");
        }
        for name in ["logs-*", "a,b", "far:logs-*", "<logs-{now/d}>"] {
            assert_eq!(check_index(name, false), None, "{name}");
            assert!(check_index(name, true).is_some(), "{name}");
        }
        assert_eq!(
            check_index("Logs", true).unwrap().to_string(),
            "/index: index is \"Logs\", names of indices have no upper case (write it in lower case)"
        );
        assert_eq!(check_index("", false).unwrap().message, "index is \"\", a name is needed");
        assert!(check_index("-a", true).unwrap().message.contains("do not begin with"));
    }
}
