//! `file_reader`: reads a file, or the files of a folder and the folders in it.

mod decode;
mod fetcher;
mod lines;
mod slicer;
mod table;

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use teraslice_core::{
    operation::{Fetcher, OperationError, OperationInfo, OperationKind, Slicer, SlicerContext},
    registry::{Reader, WorkerContext},
};
use teraslice_model::{
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::file_format::{Compression, Format, newline, yes};

/// Lines longer than this are refused (default of `line_bytes_max`).
const LINE_BYTES_MAX: usize = 16 << 20;

/// Reads a file, or the files of a folder and the folders in it, in the order of their paths.
///
/// Names that begin with `.` are skipped, and so are symbolic links and special files, with a line in the log. Large files
/// are cut into slices of `size` bytes; each line is read once, by the slice in which it begins. Compressed files, files of
/// the format `json`, and all files with `file_per_slice` are one slice each.
#[derive(Clone, Copy, Debug)]
pub struct FileReader;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct FileReaderConfig {
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
    /// Bytes per slice.
    #[serde(default = "default_size")]
    size: u64,
    #[serde(default = "yes")]
    remove_header: bool,
    #[serde(default = "yes")]
    ignore_empty: bool,
    #[serde(default)]
    header: Header,
    #[serde(default)]
    infer_types: bool,
    #[serde(default = "default_line_bytes_max")]
    line_bytes_max: usize,
}

/// Where a table's column names come from, when not from `fields`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Header {
    /// Nowhere: columns are `field1`, `field2`, ...
    #[default]
    None,
    /// The first line of each file.
    FirstLine,
}

const fn default_size() -> u64 {
    10_000_000
}

const fn default_line_bytes_max() -> usize {
    LINE_BYTES_MAX
}

/// What a slice asks for: so many bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSlice {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) total: u64,
}

impl FileReaderConfig {
    /// Tells whether a file is one slice, whatever its size.
    const fn is_whole(&self) -> bool {
        self.file_per_slice
            || matches!(self.format, Format::Json)
            || !matches!(self.compression, Compression::None)
    }
}

#[async_trait]
impl Reader for FileReader {
    type Config = FileReaderConfig;

    fn info(&self) -> OperationInfo {
        let description = "Reads a file, or the files of a folder and the folders in it.";
        OperationInfo::built_in("file_reader", OperationKind::Reader, description, schema())
    }

    fn check(&self, config: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let mut problems = Vec::new();
        if config.path.as_os_str().is_empty() {
            problems.push(Problem::new("/path", "path is empty").with_hint("name a file or a folder"));
        }
        if config.size <= config.line_delimiter.len() as u64 {
            let message =
                format!("size is {}, it must be more than the length of line_delimiter", config.size);
            problems.push(Problem::new("/size", message));
        }
        if config.line_bytes_max == 0 {
            problems.push(Problem::new("/line_bytes_max", "line_bytes_max is 0, at least 1 is needed"));
        }
        problems.extend(check_line_delimiter(&config.line_delimiter));
        let delimiter = config.field_delimiter.as_deref().unwrap_or(config.format.field_delimiter());
        if config.format.is_table() && !(delimiter.len() == 1 && delimiter != "\"") {
            let message = format!("field_delimiter is {delimiter:?}, one ASCII character is needed");
            problems.push(Problem::new("/field_delimiter", message));
        }
        if config.format == Format::Tsv && delimiter != "\t" {
            let message = format!("field_delimiter is {delimiter:?}, in tsv it is a tab");
            problems.push(Problem::new("/field_delimiter", message).with_hint("use format csv"));
        }
        if config.header == Header::FirstLine && !config.fields.is_empty() {
            let message = "header first_line and fields both name the columns";
            problems.push(Problem::new("/header", message).with_hint("remove one of them"));
        }
        problems
    }

    fn is_recoverable(&self, _: &Self::Config) -> bool {
        true
    }

    async fn slicers(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        Ok(vec![Box::new(slicer::FileSlicer::new(config, &context)?)])
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        Ok(Box::new(fetcher::FileFetcher::new(config, context.context)))
    }
}

/// A delimiter that overlaps itself (`aa`) cannot be found again from the middle of a file.
fn check_line_delimiter(delimiter: &str) -> Option<Problem> {
    if delimiter.is_empty() {
        return Some(Problem::new("/line_delimiter", "line_delimiter is empty"));
    }
    let bytes = delimiter.as_bytes();
    let overlaps = (1..bytes.len()).any(|len| bytes[..len] == bytes[bytes.len() - len..]);
    let message = format!("line_delimiter is {delimiter:?}, which overlaps itself");
    overlaps.then(|| Problem::new("/line_delimiter", message).with_hint("its end must not be its beginning"))
}

fn schema() -> Value {
    json!({"properties": {
        "path": {"type": "string", "description": "a file or a folder"},
        "format": {"enum": ["json", "ldjson", "raw", "csv", "tsv"]},
        "compression": {"enum": ["none", "gzip", "lz4", "zstd"], "default": "none"},
        "line_delimiter": {"type": "string", "default": "\n"},
        "field_delimiter": {"type": "string", "default": ","},
        "fields": {"type": "array", "description": "names of the columns"},
        "file_per_slice": {"type": "boolean", "default": false},
        "size": {"type": "integer", "default": 10_000_000, "description": "bytes per slice"},
        "remove_header": {"type": "boolean", "default": true},
        "ignore_empty": {"type": "boolean", "default": true},
        "header": {"enum": ["none", "first_line"], "default": "none"},
        "infer_types": {"type": "boolean", "default": false},
        "line_bytes_max": {"type": "integer", "default": LINE_BYTES_MAX},
        "extra_args": {"type": "object", "description": "accepted for jobs of the original; without effect"},
        "concurrency": {"type": "integer", "description": "without effect"},
        "include_header": {"type": "boolean", "description": "without effect on reading"},
        "extension": {"type": "string", "description": "without effect on reading"},
    }, "required": ["path", "format"]})
}

#[cfg(test)]
mod tests;
