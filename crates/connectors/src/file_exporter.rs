//! `file_exporter`: writes records to files.

mod encode;
mod journal;
mod shared;
mod single;

use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use teraslice_core::{
    operation::{OperationError, OperationInfo, OperationKind, Sink},
    registry::{SinkKind, WorkerContext},
};
use teraslice_model::{
    dead_letter::DeadLetterAction,
    id::ExId,
    job::{ApiConfig, CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::file_format::{Compression, Format, newline};

/// Writes records to files in a folder, which is created when missing.
///
/// With `file_per_slice` (needed for `json` and for compression) each slice is a file of its own, named for the execution and
/// the slice: it is written aside and renamed, so that a repeat replaces it. Otherwise each worker appends to one file, and a
/// journal beside it says which slices it holds, so that a repeat is left out: see the module `shared`.
#[derive(Clone, Copy, Debug)]
pub struct FileExporter;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct FileExporterConfig {
    path: PathBuf,
    format: Format,
    #[serde(default)]
    compression: Compression,
    #[serde(default = "newline")]
    line_delimiter: String,
    field_delimiter: Option<String>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    file_per_slice: bool,
    #[serde(default)]
    include_header: bool,
    extension: Option<String>,
    /// Whether a committed slice outlives a crash of the machine, not only of the process.
    #[serde(default)]
    fsync: bool,
}

impl FileExporterConfig {
    /// Returns the extension of the files.
    fn extension(&self) -> String {
        match self.extension.as_deref() {
            Some("") => String::new(),
            Some(own) if own.starts_with('.') => own.to_owned(),
            Some(own) => format!(".{own}"),
            None => format!("{}{}", self.format.extension(), self.compression.extension()),
        }
    }

    fn encoder(&self) -> encode::Encoder {
        let delimiter = self.field_delimiter.as_deref().unwrap_or(self.format.field_delimiter());
        encode::Encoder::new(self.format, &self.line_delimiter, delimiter, &self.fields)
    }
}

/// Returns how files of an execution begin: enough of its id that no two in a folder are alike.
fn prefix(ex_id: ExId) -> String {
    ex_id.uuid().simple().to_string()[..12].to_owned()
}

#[async_trait]
impl SinkKind for FileExporter {
    type Config = FileExporterConfig;

    fn info(&self) -> OperationInfo {
        let description = "Writes records to files.";
        OperationInfo::built_in("file_exporter", OperationKind::Sink, description, schema())
    }

    fn api(&self) -> Option<&'static str> {
        Some("file_sender_api")
    }

    fn check(&self, config: &Self::Config, _: &OperationConfig, job: &CheckedJob) -> Vec<Problem> {
        let mut problems = Vec::new();
        if config.path.as_os_str().is_empty() {
            problems.push(Problem::new("/path", "path is empty").with_hint("name a folder"));
        } else if writers(config, job) > 1 {
            let message = format!("path is {:?}, and so it is elsewhere in the job", config.path);
            problems.push(Problem::new("/path", message).with_hint("give each its own folder, or extension"));
        }
        if let Some(extension) = config.extension.as_deref().filter(|name| name.contains(['/', '\0'])) {
            let message = format!("extension is {extension:?}, which cannot be part of a file's name");
            problems.push(Problem::new("/extension", message));
        }
        if config.line_delimiter.is_empty() {
            problems.push(Problem::new("/line_delimiter", "line_delimiter is empty"));
        }
        let needs_own = config.format == Format::Json || config.compression != Compression::None;
        if needs_own && !config.file_per_slice {
            let message = "file_per_slice is false, but format json and compression need a file per slice";
            problems.push(Problem::new("/file_per_slice", message).with_hint("set file_per_slice: true"));
        }
        let delimiter = config.field_delimiter.as_deref().unwrap_or(config.format.field_delimiter());
        if config.format.is_table() && delimiter.len() != 1 {
            let message = format!("field_delimiter is {delimiter:?}, one ASCII character is needed");
            problems.push(Problem::new("/field_delimiter", message));
        }
        problems
    }

    async fn sink(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        let worker = context.clone();
        context.context.compute(move || open(config, &worker)).await
    }
}

fn open(config: FileExporterConfig, context: &WorkerContext) -> Result<Box<dyn Sink>, OperationError> {
    std::fs::create_dir_all(&config.path).map_err(|error| {
        let message = format!("failed to create folder {}: {error}", config.path.display());
        OperationError::job(Problem::new("/path", message).with_hint("name a folder that can be written"))
    })?;
    if config.file_per_slice {
        return Ok(Box::new(single::FilePerSlice::new(config, context)));
    }
    Ok(Box::new(shared::FilePerWorker::open(&config, context)?))
}

/// Counts what writes files of this extension into the same folder: operations, and APIs that take dead letters.
fn writers(config: &FileExporterConfig, job: &CheckedJob) -> usize {
    fn steps(path: &Path) -> impl Iterator<Item = Component<'_>> {
        path.components().filter(|step| *step != Component::CurDir)
    }
    let is_same = |settings: &Map<String, Value>| {
        let other = FileExporterConfig::deserialize(Value::Object(settings.clone()));
        let same = |other: FileExporterConfig| {
            steps(&other.path).eq(steps(&config.path)) && other.extension() == config.extension()
        };
        other.is_ok_and(same)
    };
    let operations = job.operations.iter().filter(|other| other.op == "file_exporter");
    let operations = operations.filter(|other| is_same(&other.settings)).count();
    let takes_letters = |api: &&ApiConfig| {
        let action = DeadLetterAction::Api(api.name.clone());
        job.operations.iter().any(|operation| operation.dead_letter_action.as_ref() == Some(&action))
    };
    let apis = job.apis.iter().filter(|api| api.kind() == "file_sender_api" && is_same(&api.settings));
    operations + apis.filter(takes_letters).count()
}

fn schema() -> Value {
    json!({"properties": {
        "path": {"type": "string", "description": "a folder"},
        "format": {"enum": ["json", "ldjson", "raw", "csv", "tsv"]},
        "compression": {"enum": ["none", "gzip", "lz4", "zstd"], "default": "none"},
        "line_delimiter": {"type": "string", "default": "\n"},
        "field_delimiter": {"type": "string", "default": ","},
        "fields": {"type": "array", "description": "what to write, in this order"},
        "file_per_slice": {"type": "boolean", "default": false},
        "include_header": {"type": "boolean", "default": false},
        "extension": {"type": "string"},
        "fsync": {"type": "boolean", "default": false},
        "concurrency": {"type": "integer", "description": "without effect"},
        "size": {"type": "integer", "description": "without effect on writing"},
    }, "required": ["path", "format"]})
}

#[cfg(test)]
mod tests;
