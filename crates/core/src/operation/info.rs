//! What an operation says of itself.

use serde::Serialize;
use serde_json::Value;
use teraslice_model::{dead_letter::DeadLetterAction, problem::Problem};

/// What an operation says of itself, for validation, help and listings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationInfo {
    /// Its name in jobs (`_op`).
    pub name: String,
    /// What it is.
    pub kind: OperationKind,
    /// What it does, in a sentence.
    pub description: String,
    /// JSON Schema of its settings.
    pub schema: Value,
    /// How much of the input it has to see at once.
    pub scope: Scope,
    /// The asset it comes from; absent: built in.
    pub asset: Option<String>,
    /// What happens to refused records when the job does not say.
    #[serde(skip)]
    pub dead_letter_action: DeadLetterAction,
}

/// What an operation does in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Slices and fetches: the first operation.
    Reader,
    /// Turns batches into batches.
    Processor,
    /// Writes batches and passes them on.
    Sink,
}

/// How much of the input an operation has to see at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One record at a time.
    Record,
    /// The whole slice.
    Slice,
    /// State that outlives a slice.
    Worker,
}

impl OperationInfo {
    /// Makes the information of a built-in operation; `schema` lists its settings under `properties`.
    #[must_use]
    pub fn built_in(name: &str, kind: OperationKind, description: &str, schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            description: description.to_owned(),
            schema,
            scope: Scope::Record,
            asset: None,
            dead_letter_action: DeadLetterAction::Throw,
        }
    }

    /// Returns the names of its settings.
    #[must_use]
    pub fn settings(&self) -> Vec<&str> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Returns a warning per setting that the schema does not know, below `pointer`.
    #[must_use]
    pub fn unknown_settings(&self, settings: &serde_json::Map<String, Value>, pointer: &str) -> Vec<Problem> {
        let known = self.settings();
        let unknown = settings.keys().filter(|key| !key.starts_with('_') && !known.contains(&key.as_str()));
        unknown.map(|key| Problem::unknown(format!("{pointer}/{key}"), "setting", key, &known)).collect()
    }
}
