//! Tokens as the API shows and takes them (`/v1/tokens`).

use serde::{Deserialize, Serialize};
use teraslice_model::{access::AccessRole, timestamp::Timestamp};

/// The body of `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What the token is called; unique.
    pub name: String,
    /// What its bearer may do.
    pub role: AccessRole,
}

/// A new token with its word, which is told this once and never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// What the token is called.
    pub name: String,
    /// What its bearer may do.
    pub role: AccessRole,
    /// The word to send as `Authorization: Bearer <word>`.
    pub token: String,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
}

/// A token in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenShown {
    /// What the token is called.
    pub name: String,
    /// What its bearer may do.
    pub role: AccessRole,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
}
