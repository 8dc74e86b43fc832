//! Dead letters: records that an operation refused, and what to do with them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::id::SliceId;

/// What happens to a record that an operation refuses (`_dead_letter_action`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetterAction {
    /// Fails the slice; its retry rules apply.
    Throw,
    /// Writes the record to the log and goes on.
    Log,
    /// Goes on.
    None,
    /// Keeps the record in the state store.
    Store,
    /// Hands the record to the API of that name.
    Api(String),
}

impl DeadLetterAction {
    /// Reads the value of `_dead_letter_action`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "throw" => Self::Throw,
            "log" => Self::Log,
            "none" => Self::None,
            "store" => Self::Store,
            api => Self::Api(api.to_owned()),
        }
    }
}

/// A refused record as the state store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The slice it was part of.
    pub slice_id: SliceId,
    /// The operation's place in the job.
    pub operation: u32,
    /// The operation's name.
    pub op: String,
    /// Why it was refused.
    pub reason: String,
    /// The record's bytes as the operation saw them: see `encoding`.
    pub record: String,
    /// How `record` stands for bytes.
    #[serde(default, skip_serializing_if = "Encoding::is_text")]
    pub encoding: Encoding,
    /// The record's metadata as JSON text, if it has any.
    pub metadata: Option<String>,
}

/// How text stands for the bytes of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As it is.
    #[default]
    Text,
    /// In base64, as the bytes are no UTF-8.
    Base64,
}

impl Encoding {
    /// Turns bytes into text, without copying where they are UTF-8.
    #[must_use]
    pub fn encode(bytes: Vec<u8>) -> (Self, String) {
        match String::from_utf8(bytes) {
            Ok(text) => (Self::Text, text),
            Err(error) => (Self::Base64, BASE64_STANDARD.encode(error.as_bytes())),
        }
    }

    const fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }
}

impl DeadLetter {
    /// Returns the record's bytes as the operation saw them.
    ///
    /// # Errors
    ///
    /// When the text is no base64 although it says so.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        match self.encoding {
            Encoding::Text => Ok(self.record.clone().into_bytes()),
            Encoding::Base64 => BASE64_STANDARD.decode(&self.record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_byte_of_a_record() {
        for (bytes, expected) in [(&b"{}"[..], Encoding::Text), (b"\xff\x00{", Encoding::Base64)] {
            let (encoding, record) = Encoding::encode(bytes.to_vec());
            assert_eq!(encoding, expected);
            let (op, reason) = (String::new(), String::new());
            let slice_id = crate::id::SliceId::derive(crate::id::ExId::from_random([1; 16]), 0, 1);
            let letter = DeadLetter { slice_id, operation: 0, op, reason, record, encoding, metadata: None };
            let json = serde_json::to_string(&letter).unwrap();
            assert_eq!(serde_json::from_str::<DeadLetter>(&json).unwrap().bytes().unwrap(), bytes);
        }
    }
}
