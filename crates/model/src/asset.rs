//! Assets: published bundles of operations, as the state store knows them.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// A published asset; its bundle lies beside the store, under the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRecord {
    /// SHA-1 of the bundle's base64 text in hexadecimal: 40 characters, as the original's ids.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its semantic version, without a leading `v`.
    pub version: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The major version of Node.js that it asks for, if it says so; has no effect here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_version: Option<u32>,
    /// The platform that it asks for, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The processor that it asks for, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The least version of Teraslice that it asks for, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_teraslice_version: Option<String>,
    /// SHA-256 of the bundle in hexadecimal; whoever fetches it checks it.
    pub sha256: String,
    /// Bytes of the bundle.
    pub size: u64,
    /// When it was published.
    #[serde(rename = "_created")]
    pub created: Timestamp,
}
