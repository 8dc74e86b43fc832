//! Reads the records of a slice of a file.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde_json::value::RawValue;
use teraslice_core::{
    context::Context,
    operation::{Fetched, Fetcher, OperationError, RecordStream, Rejected, SliceContext},
};
use teraslice_model::batch::{Batch, Frame, FrameBuilder, FrameError};

use super::{
    FileReaderConfig, FileSlice, Header, decode,
    lines::{Lines, Portion},
    table::Table,
};
use crate::{
    file_format::Format,
    json::{Checker, write_string},
};

/// Bytes of a refused line that are kept.
const KEPT_MAX: usize = 64 << 10;
/// Bytes of a file of format `json` at the most: it is parsed as a whole.
const JSON_MAX: u64 = 256 << 20;
/// Files whose column names are remembered.
const NAMES_MAX: usize = 1_000;

type Names = Arc<Mutex<HashMap<PathBuf, Vec<String>>>>;

/// Opens slices of files.
pub(super) struct FileFetcher {
    config: Arc<FileReaderConfig>,
    context: Context,
    names: Names,
}

impl FileFetcher {
    pub(super) fn new(config: FileReaderConfig, context: Context) -> Self {
        Self { config: Arc::new(config), context, names: Names::default() }
    }
}

#[async_trait]
impl Fetcher for FileFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let request: FileSlice = slice.slice.request.parse().map_err(|error| {
            OperationError::slice(format!("the slice's request is not of file_reader: {error}"))
        })?;
        let (config, names) = (Arc::clone(&self.config), Arc::clone(&self.names));
        let opened = self.context.compute(move || Reading::open(config, request, &names)).await?;
        Ok(Box::new(Stream { reading: Some(opened), context: self.context.clone() }))
    }
}

/// Runs a reading on compute threads, portion by portion.
struct Stream {
    reading: Option<Reading>,
    context: Context,
}

#[async_trait]
impl RecordStream for Stream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        let mut reading =
            self.reading.take().ok_or_else(|| OperationError::retry("reading was interrupted"))?;
        let (reading, fetched) = self
            .context
            .compute(move || {
                let fetched = reading.next();
                (reading, fetched)
            })
            .await;
        self.reading = Some(reading);
        fetched
    }
}

/// A slice that is being read.
struct Reading {
    path: PathBuf,
    format: Format,
    source: Source,
    checker: Checker,
    table: Table,
    /// Whether a line with the columns' names may still come.
    awaits_header: bool,
    /// Read, and waiting to be handed on.
    ready: Vec<Fetched>,
    width: usize,
    is_newline: bool,
}

enum Source {
    Lines(Box<Lines>),
    /// The rest of a file of the format `json`.
    Records(Vec<Batch>),
}

impl Reading {
    fn open(config: Arc<FileReaderConfig>, slice: FileSlice, names: &Names) -> Result<Self, OperationError> {
        let FileSlice { path, offset, length, .. } = slice;
        let source =
            decode::open(&path, offset, config.compression).map_err(|error| failed(&path, &error))?;
        // The length of a compressed file says nothing of its content.
        let end = if config.is_whole() { u64::MAX } else { offset + length };
        let mut table = table(&config);
        if config.format.is_table() && config.header == Header::FirstLine {
            table.fields = columns(&config, &path, names)?;
        }
        let source = if config.format == Format::Json {
            Source::Records(records(source, &path)?)
        } else {
            let (delimiter, max) = (&config.line_delimiter, config.line_bytes_max);
            Source::Lines(Box::new(Lines::new(source, delimiter, max, offset, end)))
        };
        let awaits_header = match config.header {
            Header::FirstLine => offset == 0,
            Header::None => config.remove_header && !config.fields.is_empty(),
        };
        Ok(Self {
            path,
            format: config.format,
            source,
            checker: Checker::default(),
            table,
            awaits_header: awaits_header && config.format.is_table(),
            ready: Vec::new(),
            width: config.line_delimiter.len(),
            is_newline: config.line_delimiter == "\n",
        })
    }

    fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        loop {
            if let Some(fetched) = self.ready.pop() {
                return Ok(Some(fetched));
            }
            let lines = match &mut self.source {
                Source::Records(batches) => {
                    let batch = batches.pop();
                    return Ok(batch.map(|batch| Fetched { batch, rejected: Vec::new() }));
                }
                Source::Lines(lines) => lines,
            };
            let portion = lines.next().map_err(|error| failed(&self.path, &error))?;
            let Some(portion) = portion else { return Ok(None) };
            let fetched = self.fetch(&portion).map_err(|error| OperationError::slice(error.to_string()))?;
            self.queue(fetched);
        }
    }

    /// Cuts what was read into batches of the usual size.
    fn queue(&mut self, fetched: Fetched) {
        let Fetched { batch, rejected } = fetched;
        let parts = batch.split().into_iter().rev();
        self.ready = parts.map(|batch| Fetched { batch, rejected: Vec::new() }).collect();
        if !rejected.is_empty() {
            self.ready.push(Fetched { batch: Batch::default(), rejected });
        }
    }

    fn fetch(&mut self, portion: &Portion) -> Result<Fetched, FrameError> {
        if let Some((from, bytes)) = portion.too_long {
            let reason = format!("{}: a line of {bytes} bytes is too long", self.place(from));
            let rejected = Rejected { step: 0, reason, record: Vec::new(), metadata: None, is_fault: false };
            return Ok(Fetched { batch: Batch::default(), rejected: vec![rejected] });
        }
        match self.format {
            Format::Ldjson => self.objects(portion),
            _ => self.rows(portion),
        }
    }

    /// Checks lines of JSON; the batch shares the memory of what was read, unless a line is refused.
    fn objects(&mut self, portion: &Portion) -> Result<Fetched, FrameError> {
        let mut rejected = Vec::new();
        let mut good = Vec::with_capacity(portion.ends.len());
        let mut begin = 0;
        for &end in &portion.ends {
            let line = self.line(portion, begin, end);
            match self.checker.object(line) {
                Ok(()) => good.push((begin, end)),
                Err(reason) => rejected.push(self.refused(portion, begin, line, &reason)),
            }
            begin = end;
        }
        let frame = if rejected.is_empty() && self.is_newline {
            let offsets = std::iter::once(Ok(0)).chain(portion.ends.iter().map(|end| u32::try_from(*end)));
            let offsets = offsets.collect::<Result<_, _>>();
            let bytes = portion.bytes.len();
            Frame::new(offsets.map_err(|_| FrameError::Large { bytes })?, portion.bytes.clone())?
        } else {
            Frame::of(good.into_iter().map(|(begin, end)| self.line(portion, begin, end)))?
        };
        Ok(Fetched { batch: Batch::new(frame), rejected })
    }

    /// Turns lines of a table, or any lines, into objects.
    fn rows(&mut self, portion: &Portion) -> Result<Fetched, FrameError> {
        let mut builder = FrameBuilder::default();
        let mut rejected = Vec::new();
        let mut object = Vec::new();
        let mut begin = 0;
        for &end in &portion.ends {
            let line = self.line(portion, begin, end);
            object.clear();
            if !self.is_header(line) {
                match self.row(line, &mut object) {
                    Ok(()) => {
                        object.push(b'\n');
                        builder.push(&object)?;
                    }
                    Err(reason) => rejected.push(self.refused(portion, begin, line, &reason)),
                }
            }
            begin = end;
        }
        Ok(Fetched { batch: Batch::new(builder.finish()), rejected })
    }

    fn row(&mut self, line: &[u8], object: &mut Vec<u8>) -> Result<(), String> {
        if self.format.is_table() {
            return self.table.write(line.strip_suffix(b"\r").unwrap_or(line), object);
        }
        let text = std::str::from_utf8(line)
            .map_err(|error| format!("invalid UTF-8 at byte {} of the line", error.valid_up_to()))?;
        object.extend_from_slice(b"{\"data\":");
        write_string(object, text);
        object.push(b'}');
        Ok(())
    }

    fn is_header(&mut self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let found = self.awaits_header && self.table.is_header(line);
        self.awaits_header &= !found;
        found
    }

    /// Returns a line without its delimiter.
    fn line<'a>(&self, portion: &'a Portion, begin: usize, end: usize) -> &'a [u8] {
        let is_last = end == portion.bytes.len();
        let line = &portion.bytes[begin..end];
        // Only the last line of a file may lack its delimiter.
        if is_last && !self.ends_line(line) { line } else { &line[..line.len() - self.width] }
    }

    fn ends_line(&self, line: &[u8]) -> bool {
        match &self.source {
            Source::Lines(lines) => line.ends_with(lines.delimiter()),
            Source::Records(_) => false,
        }
    }

    fn refused(&self, portion: &Portion, begin: usize, line: &[u8], reason: &str) -> Rejected {
        let reason = format!("{}: {reason}", self.place(portion.at + begin as u64));
        let record = line[..line.len().min(KEPT_MAX)].to_vec();
        Rejected { step: 0, reason, record, metadata: None, is_fault: false }
    }

    fn place(&self, at: u64) -> String {
        format!("{} at byte {at}", self.path.display())
    }
}

fn table(config: &FileReaderConfig) -> Table {
    let delimiter = config.field_delimiter.as_deref().unwrap_or(config.format.field_delimiter());
    let mut table = Table::new(delimiter.bytes().next().unwrap_or(b','));
    table.fields.clone_from(&config.fields);
    table.is_strict = config.header == Header::FirstLine;
    table.ignore_empty = config.ignore_empty;
    table.infer_types = config.infer_types;
    table
}

/// Returns the names of a file's columns: its first line.
fn columns(config: &FileReaderConfig, path: &Path, names: &Names) -> Result<Vec<String>, OperationError> {
    let known = |names: &Names| names.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    if let Some(known) = known(names) {
        return Ok(known);
    }
    let source = decode::open(path, 0, config.compression).map_err(|error| failed(path, &error))?;
    let mut lines = Lines::new(source, &config.line_delimiter, config.line_bytes_max, 0, 1);
    let portion = lines.next().map_err(|error| failed(path, &error))?.unwrap_or_default();
    let end = portion.ends.first().copied().unwrap_or_default();
    let line = &portion.bytes[..end];
    let line = line.strip_suffix(config.line_delimiter.as_bytes()).unwrap_or(line);
    let mut table = table(config);
    table.take_names(line.strip_suffix(b"\r").unwrap_or(line)).map_err(|reason| {
        OperationError::slice(format!("{}: the first line names no columns: {reason}", path.display()))
    })?;
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    if names.len() >= NAMES_MAX {
        names.clear();
    }
    names.insert(path.to_owned(), table.fields.clone());
    Ok(table.fields)
}

/// Reads a file of the format `json` as a whole: an array of records, or one. The last batch comes first.
fn records(source: Box<dyn Read + Send>, path: &Path) -> Result<Vec<Batch>, OperationError> {
    let mut content = Vec::new();
    source.take(JSON_MAX + 1).read_to_end(&mut content).map_err(|error| failed(path, &error))?;
    if content.len() as u64 > JSON_MAX {
        let reason = format!("{}: larger than {JSON_MAX} bytes, use format ldjson", path.display());
        return Err(OperationError::slice(reason));
    }
    let invalid = |error: serde_json::Error| {
        OperationError::slice(format!("{}: invalid JSON: {error}", path.display()))
    };
    let is_array = content.trim_ascii_start().first() == Some(&b'[');
    let records: Vec<&RawValue> = if is_array {
        serde_json::from_slice(&content).map_err(invalid)?
    } else {
        vec![serde_json::from_slice(&content).map_err(invalid)?]
    };
    if let Some(at) = records.iter().position(|record| !record.get().starts_with('{')) {
        let reason = format!("{}: record {at} is no JSON object", path.display());
        return Err(OperationError::slice(reason));
    }
    let frame = Frame::of(records.iter().map(|record| record.get()));
    let frame = frame.map_err(|error| OperationError::slice(error.to_string()))?;
    let mut batches = if frame.is_empty() { Vec::new() } else { Batch::new(frame).split() };
    batches.reverse();
    Ok(batches)
}

fn failed(path: &Path, error: &io::Error) -> OperationError {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => OperationError::slice(format!("{path} has vanished")),
        ErrorKind::UnexpectedEof => OperationError::slice(format!("{path} is cut off: {error}")),
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
            OperationError::slice(format!("{path} is damaged: {error}"))
        }
        ErrorKind::PermissionDenied => OperationError::slice(format!("{path} may not be read: {error}")),
        _ => OperationError::retry(format!("failed to read {path}: {error}")),
    }
}
