//! Why a request failed, split by what the caller does next.

use serde::Deserialize;

/// A failure of a request. The texts name the connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Passing: no server answered, or all were too busy, for as long as the request was willing to wait.
    #[error("connection {connection:?}: {reason}")]
    Unavailable {
        /// The connection's name.
        connection: String,
        /// What happened last.
        reason: String,
    },
    /// The server understood and refuses.
    #[error("connection {connection:?}: {what} was refused with {status}: {kind}: {reason}")]
    Refused {
        /// The connection's name.
        connection: String,
        /// Method and path.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The server's word for it, such as `index_not_found_exception`; `unknown` when it has none.
        kind: String,
        /// The server's explanation.
        reason: String,
    },
    /// The answer is not what this server should say.
    #[error("connection {connection:?}: {what} was answered with what is not understood: {reason}")]
    Unexpected {
        /// The connection's name.
        connection: String,
        /// Method and path.
        what: String,
        /// What is odd.
        reason: String,
    },
}

impl Error {
    /// Returns the HTTP status of a refusal.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Tells whether trying again later may help.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// The error object of an answer, or of one item of a bulk answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Cause {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) root_cause: Vec<Self>,
    #[serde(default)]
    pub(crate) caused_by: Option<Box<Self>>,
}

impl Cause {
    /// Returns the kind of the innermost cause that is named, and all reasons from the outside in.
    pub(crate) fn tell(&self) -> (String, String) {
        let root = self.root_cause.first().filter(|root| root.kind != self.kind);
        let kind = root.map_or(&self.kind, |root| &root.kind).clone();
        let mut reasons = vec![self.reason.clone().unwrap_or_default()];
        reasons.extend(root.and_then(|root| root.reason.clone()));
        let mut inner = self.caused_by.as_deref();
        while let Some(cause) = inner {
            reasons.extend(cause.reason.clone());
            inner = cause.caused_by.as_deref();
        }
        reasons.retain(|reason| !reason.is_empty());
        reasons.dedup();
        (if kind.is_empty() { "unknown".to_owned() } else { kind }, reasons.join(": "))
    }
}

/// Reads the error of an answer: `{"error": {...}}`, `{"error": "text"}`, or any text.
pub(crate) fn cause_of(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Cause(Cause),
        Text(String),
    }
    #[derive(Deserialize)]
    struct Answer {
        error: Told,
    }
    match serde_json::from_slice(body) {
        Ok(Answer { error: Told::Cause(cause) }) => cause.tell(),
        Ok(Answer { error: Told::Text(text) }) => ("unknown".to_owned(), text),
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]).trim().to_owned();
            ("unknown".to_owned(), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_say() {
        let nested = br#"{"error":{"type":"search_phase_execution_exception","reason":"all shards failed","root_cause":
            [{"type":"query_shard_exception","reason":"Failed to parse query [x:]"}],"caused_by":{"type":"parse_exception",
            "reason":"Cannot parse"}},"status":400}"#;
        assert_eq!(
            cause_of(nested),
            (
                "query_shard_exception".to_owned(),
                "all shards failed: Failed to parse query [x:]: Cannot parse".to_owned()
            )
        );
        let text = br#"{"error":"Incorrect HTTP method for uri [/]","status":405}"#;
        assert_eq!(cause_of(text).1, "Incorrect HTTP method for uri [/]");
        assert_eq!(cause_of(b"<html>bad gateway</html>").1, "<html>bad gateway</html>");
    }
}
