//! Dead letters: records that an operation refused, and what to do with them.

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
    /// The record's bytes as the operation saw them, as text; bytes that are not UTF-8 are replaced.
    pub record: String,
    /// The record's metadata as JSON text, if it has any.
    pub metadata: Option<String>,
}
