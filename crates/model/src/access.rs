//! Who may do what over the API, and who did what.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::timestamp::Timestamp;

/// What the bearer of a token may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// Look at everything.
    Read,
    /// Submit, change, start and stop jobs; publish assets.
    Operate,
    /// Make and withdraw tokens, read the audit log.
    Admin,
}

/// A token as the store keeps it: the word itself is known to its bearer alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names the token, and its bearer in the audit log; unique.
    pub name: String,
    /// What its bearer may do.
    pub role: AccessRole,
    /// BLAKE3 of the word, in hexadecimal. The word is 32 random bytes: no salt is needed.
    pub hash: String,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
}

/// One change that somebody made over the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    /// The name of the token, or `anonymous`.
    pub who: String,
    /// The address that the request came from.
    pub address: String,
    /// Method and path, such as `POST /v1/jobs`.
    pub action: String,
    /// What was changed: the id of a job, an execution or an asset.
    pub target: String,
    /// What it was before; null for what is new.
    pub before: Value,
    /// What it is now; null for what is gone.
    pub after: Value,
}
