//! What can go wrong between a client and a master.

use std::{error::Error, io, path::PathBuf};

use serde_json::Value;

/// Why a request has brought no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the master is none.
    #[error("{address:?} is no address of a cluster: {reason}")]
    BadAddress {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has characters that no request can carry.
    #[error("the token has characters that no token has")]
    BadToken,
    /// The certificates to trust cannot be read.
    #[error("failed to read the certificates: {reason}")]
    Certificates {
        /// Why.
        reason: String,
    },
    /// A file to send cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection came about: nothing was sent.
    #[error("failed to reach the cluster at {address}")]
    Unreachable {
        /// The address of the master.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection broke, or the answer took too long: the request may have been taken.
    #[error("no answer to {request} came from {address}")]
    Lost {
        /// The address of the master.
        address: String,
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What came is no answer of a master.
    #[error("the answer of {address} to {request} is none of a teraslice master: {reason}")]
    Strange {
        /// The address of the master.
        address: String,
        /// Method and path.
        request: String,
        /// What is strange.
        reason: String,
    },
    /// The master has refused, or has failed.
    #[error("the cluster has refused {}: {} ({})", .0.request, .0.message, .0.status)]
    Refused(Box<Answer>),
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Method and path of the request.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The body's `error`: most often the status once more, at times a text.
    pub error: Value,
    /// The body's `code`, else its `error` if that is a number, else the status.
    pub code: u64,
    /// The body's `message`, else its `error` if that is a text, else the body.
    pub message: String,
}

impl Answer {
    /// Bytes of a message that are kept when the body is no JSON.
    const MESSAGE_MAX: usize = 1_000;

    /// Reads an error's body; any body will do.
    pub(super) fn read(request: String, status: u16, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = document.get("error").cloned().unwrap_or_default();
        let code = document.get("code").and_then(Value::as_u64).or(error.as_u64());
        let text = document.get("message").and_then(Value::as_str).or(error.as_str());
        let message = text.map_or_else(
            || {
                let start = body.get(..Self::MESSAGE_MAX).unwrap_or(body);
                String::from_utf8_lossy(start).trim().to_owned()
            },
            str::to_owned,
        );
        let message = if message.is_empty() { "no reason was given".to_owned() } else { message };
        Self { request, status, error, code: code.unwrap_or(status.into()), message }
    }
}

impl ClientError {
    /// Tells whether the same request may be sent again.
    pub(super) fn may_repeat(&self, is_read_only: bool) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Lost { .. } => is_read_only,
            Self::Refused(answer) => is_read_only && matches!(answer.status, 429 | 502 | 503 | 504),
            Self::BadAddress { .. }
            | Self::BadToken
            | Self::Certificates { .. }
            | Self::File { .. }
            | Self::Strange { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str) -> (Value, u64, String) {
        let answer = Answer::read("GET /v1/jobs".to_owned(), 404, body.as_bytes());
        (answer.error, answer.code, answer.message)
    }

    #[test]
    fn reads_every_shape_of_an_error() {
        let cases = [
            (r#"{"error":404,"message":"no job"}"#, (json!(404), 404, "no job")),
            (r#"{"error":"bad id"}"#, (json!("bad id"), 404, "bad id")),
            (r#"{"error":"Not Found","code":410,"message":"gone"}"#, (json!("Not Found"), 410, "gone")),
            ("<html>", (Value::Null, 404, "<html>")),
            ("", (Value::Null, 404, "no reason was given")),
        ];
        for (body, (error, code, message)) in cases {
            assert_eq!(read(body), (error, code, message.to_owned()), "{body}");
        }
    }

    #[test]
    fn keeps_long_bodies_short() {
        assert_eq!(read(&"é".repeat(5_000)).2.chars().count(), 500);
    }
}
