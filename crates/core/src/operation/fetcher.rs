//! Fetchers: turn a slice into records.

use async_trait::async_trait;
use teraslice_model::batch::Batch;

use super::{OperationError, SliceContext};

/// Turns slices into records. Lives as long as its worker and serves one slice at a time.
///
/// # Guarantees
///
/// - The same slice gives the same records in the same order, as long as the input is the same.
/// - With `_encoding: json` each record handed on is one valid JSON object in UTF-8; a record that is not is rejected.
/// - Memory is bounded by the batch, not by the slice.
#[async_trait]
pub trait Fetcher: Send {
    /// Starts reading a slice.
    ///
    /// # Errors
    ///
    /// When the slice's request is not of this reader, or its input cannot be opened.
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError>;
}

/// The records of one slice, batch by batch.
///
/// # Cancel safety
///
/// A stream whose `next` was dropped is not used again: the slice starts anew.
#[async_trait]
pub trait RecordStream: Send {
    /// Returns the next records; none at the end.
    ///
    /// # Errors
    ///
    /// When the input cannot be read on.
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError>;
}

/// Records read, and those that could not be understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    /// Good records; at most [`Batch::RECORDS_MAX`], and about [`Batch::BYTES_TARGET`] bytes unless one is larger.
    pub batch: Batch,
    /// Refused ones, not part of the batch.
    pub rejected: Vec<Rejected>,
}

/// A record that an operation refuses; the worker applies the operation's `_dead_letter_action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The operation's place among those asked: 0 but for a chain.
    pub step: usize,
    /// Why, for people; at most 512 bytes are kept.
    pub reason: String,
    /// The record's bytes as the operation saw them.
    pub record: Vec<u8>,
    /// Its metadata as JSON text.
    pub metadata: Option<Vec<u8>>,
    /// Whether the operation broke on it, where it should have answered.
    pub is_fault: bool,
}
