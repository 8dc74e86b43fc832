//! `file_exporter`: writes records to files.

mod encode;
mod shared;
mod single;

use std::path::PathBuf;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_core::{
    operation::{OperationError, OperationInfo, OperationKind, Sink},
    registry::{SinkKind, WorkerContext},
};
use teraslice_model::{
    id::ExId,
    job::{CheckedJob, OperationConfig},
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

/// Returns how files of an execution begin: enough of its id that two do not meet.
fn prefix(ex_id: ExId) -> String {
    ex_id.uuid().simple().to_string()[..8].to_owned()
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

    fn check(&self, config: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let mut problems = Vec::new();
        if config.path.as_os_str().is_empty() {
            problems.push(Problem::new("/path", "path is empty").with_hint("name a folder"));
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
        let path = config.path.clone();
        std::fs::create_dir_all(&path).map_err(|error| {
            let message = format!("failed to create folder {}: {error}", path.display());
            OperationError::job(Problem::new("/path", message).with_hint("name a folder that can be written"))
        })?;
        if config.file_per_slice {
            return Ok(Box::new(single::FilePerSlice::new(config, context.ex_id)));
        }
        Ok(Box::new(shared::FilePerWorker::open(&config, &context)?))
    }
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
