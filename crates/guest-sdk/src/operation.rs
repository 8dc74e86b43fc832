//! What an operation is: a configuration, a description, and a method per record.

use std::{borrow::Cow, fmt};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::{
    config,
    record::{Held, Record},
};

/// An operation of an asset.
///
/// # Guarantees
///
/// - `process` sees the records of a slice in order, each once, and `finish` follows once behind the last.
/// - A value serves one attempt of one slice: nothing has to be put back.
///
/// # Assumptions
///
/// - The same slice gives the same records on every attempt; time and chance come from [`crate::host`].
pub trait Operation: Sized + 'static {
    /// The settings, as the job gives them.
    type Config: DeserializeOwned;

    /// What the asset says of the operation.
    const INFO: Info;

    /// Checks the settings and prepares what all records need.
    ///
    /// # Errors
    ///
    /// When a setting cannot be worked with.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// Looks at one record, changes it if need be, and decides on it.
    ///
    /// # Errors
    ///
    /// When the record is refused, or the slice cannot go on.
    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error>;

    /// Ends the slice: releases the records that `process` held, in the order they are to leave.
    ///
    /// # Errors
    ///
    /// When the slice cannot go on.
    fn finish(&mut self, held: Vec<Held>) -> Result<Released, Error> {
        Ok(held.into())
    }
}

/// What an asset says of one of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The name in jobs (`_op`).
    pub name: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
    /// JSON Schema of the settings. `properties._dead_letter_action.default` says what becomes of refused records where the
    /// job does not.
    pub schema: &'static str,
    /// How much of the input it has to see at once.
    pub scope: Scope,
    /// Whether it takes records as bytes, whatever they hold; others see JSON objects only.
    pub is_raw: bool,
}

impl Info {
    /// Describes an operation that looks at one record at a time.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str, schema: &'static str) -> Self {
        Self { name, description, schema, scope: Scope::Record, is_raw: false }
    }

    /// Says that it has to see the whole slice.
    #[must_use]
    pub const fn per_slice(self) -> Self {
        Self { scope: Scope::Slice, ..self }
    }

    /// Says that it takes records as bytes.
    #[must_use]
    pub const fn raw(self) -> Self {
        Self { is_raw: true, ..self }
    }
}

/// How much of the input an operation has to see at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One record at a time.
    Record,
    /// The whole slice.
    Slice,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next operation.
    Keep,
    /// It is left out.
    Drop,
    /// It is kept as it is now until `finish`.
    Hold,
}

impl Verdict {
    /// Keeps or drops.
    #[must_use]
    pub const fn keep_if(is_wanted: bool) -> Self {
        if is_wanted { Self::Keep } else { Self::Drop }
    }
}

/// Why a record or a slice fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The record is refused; the job's dead letter action says what becomes of it.
    Reject(Cow<'static, str>),
    /// Something passing is wrong; the slice is tried again later.
    RetryLater(String),
    /// The slice cannot be processed.
    Fatal(String),
}

impl Error {
    /// Refuses the record.
    pub fn reject(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Reject(message.into())
    }
}

/// What leaves an operation at the end of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Records that go on to the next operation, in order.
    pub records: Vec<Held>,
    /// Records that are refused, and why.
    pub rejected: Vec<(Held, String)>,
}

impl From<Vec<Held>> for Released {
    fn from(records: Vec<Held>) -> Self {
        Self { records, rejected: Vec::new() }
    }
}

/// A setting that an operation cannot work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting's name; empty when it is about several.
    pub field: String,
    /// What it is, and what would be right.
    pub message: String,
}

impl ConfigError {
    /// Says which setting has which value, and what would be right.
    #[must_use]
    pub fn new(field: &str, value: impl Into<Json>, expected: &str) -> Self {
        let value = value.into();
        Self { field: field.to_owned(), message: format!("{field} is {value}, expected {expected}") }
    }

    /// Says what is wrong with several settings at once.
    pub fn several(message: impl Into<String>) -> Self {
        Self { field: String::new(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// An operation of whatever type, as an asset lists it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the asset says of it.
    pub info: Info,
    pub(crate) open: Open,
}

/// Makes an operation of its settings.
type Open = fn(Map<String, Json>) -> Result<Box<dyn AnyOperation>, ConfigError>;

impl Entry {
    /// Lists an operation.
    #[must_use]
    pub const fn of<T: Operation>() -> Self {
        Self { info: T::INFO, open: open::<T> }
    }
}

fn open<T: Operation>(settings: Map<String, Json>) -> Result<Box<dyn AnyOperation>, ConfigError> {
    Ok(Box::new(T::new(config::read(settings)?)?))
}

/// The part of [`Operation`] that a chain calls.
pub(crate) trait AnyOperation {
    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error>;
    fn finish(&mut self, held: Vec<Held>) -> Result<Released, Error>;
}

impl<T: Operation> AnyOperation for T {
    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        Operation::process(self, record)
    }

    fn finish(&mut self, held: Vec<Held>) -> Result<Released, Error> {
        Operation::finish(self, held)
    }
}
