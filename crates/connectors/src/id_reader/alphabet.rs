//! The characters that ids are made of.

use serde::Deserialize;

/// What ids are made of (`key_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum KeyType {
    #[default]
    #[serde(rename = "base64url")]
    Base64Url,
    #[serde(rename = "base64")]
    Base64,
    #[serde(rename = "hexadecimal")]
    LowerHex,
    #[serde(rename = "HEXADECIMAL")]
    UpperHex,
}

impl KeyType {
    /// Returns all characters, in order.
    pub(crate) const fn alphabet(self) -> &'static str {
        match self {
            Self::Base64Url => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Self::Base64 => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/",
            Self::LowerHex => "0123456789abcdef",
            Self::UpperHex => "0123456789ABCDEF",
        }
    }
}
