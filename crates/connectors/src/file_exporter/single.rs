//! A file per slice: written aside, then renamed.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use teraslice_core::{
    context::Context,
    operation::{OperationError, Sink, SliceContext, Written},
    registry::WorkerContext,
};
use teraslice_model::{batch::Batch, id::ExId};

use super::{FileExporterConfig, encode::Encoder, journal::Key, prefix};
use crate::{
    file_format::{Compression, Format},
    offload::Offload,
};

/// Bytes of a slice that are held back before its file is made.
const HELD_MAX: usize = 1 << 20;

/// Writes each slice to a file named for it, so that a repeat replaces it.
///
/// ```text
/// .<execution>-<slicer>-<order>.ldjson.<random>.tmp  --commit-->  <execution>-<slicer>-<order>.ldjson
/// ```
///
/// A slice without records leaves no file. A slice that was taken over from an earlier execution is named for its id.
pub(super) struct FilePerSlice {
    slice: Offload<Writer>,
    ex_id: ExId,
    context: Context,
}

/// Writes the file of one slice after the other.
struct Writer {
    config: FileExporterConfig,
    encoder: Encoder,
    open: Option<Open>,
    /// Encoded, and not yet written.
    held: Vec<u8>,
}

struct Open {
    aside: PathBuf,
    path: PathBuf,
    /// Made when something is written.
    file: Option<Compressor>,
    is_empty: bool,
}

impl FilePerSlice {
    pub(super) fn new(config: FileExporterConfig, context: &WorkerContext) -> Self {
        let writer = Writer { encoder: config.encoder(), config, open: None, held: Vec::new() };
        let (ex_id, context) = (context.ex_id, context.context.clone());
        Self { slice: Offload::new(writer, context.clone()), ex_id, context }
    }
}

#[async_trait]
impl Sink for FilePerSlice {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        let prefix = prefix(self.ex_id);
        let name = match Key::of(&slice.slice, self.ex_id) {
            Key::Own { slicer, order } => format!("{prefix}-{slicer}-{order:08}"),
            Key::Recovered(id) => format!("{prefix}-{}", id.uuid().simple()),
        };
        // Another worker that still has the slice writes aside too.
        let random = self.context.random(|random| random.u64(..));
        self.slice.now(|writer| writer.begin(&name, random));
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let is_quick = self
            .slice
            .now(|writer| writer.encoder.is_copy(batch) && writer.held.len() + batch.bytes() <= HELD_MAX);
        if is_quick {
            return self.slice.now(|writer| writer.write(batch));
        }
        let batch = batch.clone();
        self.slice.run(move |writer| writer.write(&batch)).await
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        self.slice.run(Writer::commit).await
    }

    async fn abort(&mut self) {
        self.slice.run(Writer::abort).await;
    }
}

impl Writer {
    fn begin(&mut self, name: &str, random: u64) {
        let (folder, name) = (&self.config.path, format!("{name}{}", self.config.extension()));
        let aside = folder.join(format!(".{name}.{random:016x}.tmp"));
        self.open = Some(Open { aside, path: folder.join(name), file: None, is_empty: true });
        self.held.clear();
        self.encoder.begin(&[]);
    }

    fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let open = self.open.as_mut().ok_or_else(|| OperationError::slice("no slice is open"))?;
        let before = self.held.len();
        let rejected = self.encoder.encode(batch, &mut self.held);
        let bytes = (self.held.len() - before) as u64;
        if open.is_empty && bytes > 0 {
            open.is_empty = false;
            let head = match self.config.format {
                Format::Json => Some("[".to_owned()),
                _ => self.encoder.header().filter(|_| self.config.include_header),
            };
            self.held.splice(..0, head.unwrap_or_default().into_bytes());
        }
        if self.held.len() > HELD_MAX {
            open.write(self.config.compression, &self.held)
                .map_err(|error| failed("write", &open.aside, &error))?;
            self.held.clear();
        }
        Ok(Written { bytes, rejected })
    }

    fn commit(&mut self) -> Result<(), OperationError> {
        let mut open = self.open.take().ok_or_else(|| OperationError::slice("no slice is open"))?;
        if open.is_empty {
            // What an earlier attempt has left must go, or its records would count.
            return match fs::remove_file(&open.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("replace", &open.path, &error))
                }
                _ => Ok(()),
            };
        }
        if self.config.format == Format::Json {
            self.held.extend_from_slice(b"]\n");
        }
        let written = open.write(self.config.compression, &self.held);
        self.held.clear();
        written.and_then(|()| open.finish(&self.config)).map_err(|error| {
            open.remove();
            failed("write", &open.path, &error)
        })
    }

    fn abort(&mut self) {
        self.held.clear();
        if let Some(open) = self.open.take().filter(|open| open.file.is_some()) {
            open.remove();
        }
    }
}

impl Open {
    fn write(&mut self, compression: Compression, content: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Compressor::new(File::create(&self.aside)?, compression)?),
        };
        file.write_all(content)
    }

    fn finish(&mut self, config: &FileExporterConfig) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.finish(config.fsync)?;
        }
        fs::rename(&self.aside, &self.path)?;
        if config.fsync { File::open(&config.path)?.sync_all() } else { Ok(()) }
    }

    /// Removes what was written aside; if that fails it only takes room.
    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.aside) {
            tracing::warn!(path = %self.aside.display(), %error, "failed to remove temporary file");
        }
    }
}

/// Compresses on the way to a file.
enum Compressor {
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<File>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<File>>),
    Zstd(zstd::stream::write::Encoder<'static, File>),
}

impl Compressor {
    fn new(file: File, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(BufWriter::new(file)),
            Compression::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
            }
            Compression::Lz4 => Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(file))),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(file, 0)?),
        })
    }

    fn write_all(&mut self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(content),
            Self::Gzip(file) => file.write_all(content),
            Self::Lz4(file) => file.write_all(content),
            Self::Zstd(file) => file.write_all(content),
        }
    }

    fn finish(self, fsync: bool) -> io::Result<()> {
        let file = match self {
            Self::Plain(file) => file.into_inner().map_err(io::IntoInnerError::into_error)?,
            Self::Gzip(file) => file.finish()?,
            Self::Lz4(file) => file.finish().map_err(io::Error::other)?,
            Self::Zstd(file) => file.finish()?,
        };
        if fsync { file.sync_all() } else { Ok(()) }
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> OperationError {
    OperationError::retry(format!("failed to {what} {}: {error}", path.display()))
}
