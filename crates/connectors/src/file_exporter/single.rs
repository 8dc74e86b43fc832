//! A file per slice: written aside, then renamed.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use teraslice_core::operation::{OperationError, Sink, SliceContext, Written};
use teraslice_model::{batch::Batch, id::ExId};

use super::{FileExporterConfig, encode::Encoder, prefix};
use crate::file_format::{Compression, Format};

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Writes each slice to a file named for it, so that a repeat replaces it.
///
/// ```text
/// .<execution>-<slicer>-<order>.ldjson.<process>-<sink>.tmp  --commit-->  <execution>-<slicer>-<order>.ldjson
/// ```
///
/// A slice without records leaves no file.
pub(super) struct FilePerSlice {
    config: FileExporterConfig,
    prefix: String,
    /// Tells the sinks of a process apart.
    serial: u64,
    encoder: Encoder,
    open: Option<Open>,
    scratch: Vec<u8>,
}

struct Open {
    aside: PathBuf,
    path: PathBuf,
    /// Made with the first record.
    file: Option<Compressor>,
}

impl FilePerSlice {
    pub(super) fn new(config: FileExporterConfig, ex_id: ExId) -> Self {
        let encoder = config.encoder();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { prefix: prefix(ex_id), serial, encoder, config, open: None, scratch: Vec::new() }
    }
}

#[async_trait]
impl Sink for FilePerSlice {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        let (slicer, order) = (slice.slice.slicer_id, slice.slice.slicer_order);
        let name = format!("{}-{slicer}-{order:08}{}", self.prefix, self.config.extension());
        let aside = format!(".{name}.{}-{}.tmp", std::process::id(), self.serial);
        let folder = &self.config.path;
        self.open = Some(Open { aside: folder.join(aside), path: folder.join(name), file: None });
        self.encoder.begin();
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let open = self.open.as_mut().ok_or_else(|| OperationError::slice("no slice is open"))?;
        self.scratch.clear();
        let rejected = self.encoder.encode(batch, &mut self.scratch);
        if self.scratch.is_empty() {
            return Ok(Written { bytes: 0, rejected });
        }
        let is_first = open.file.is_none();
        let result = open.write(&self.config, &self.encoder, is_first, &self.scratch);
        result.map_err(|error| failed("write", &open.aside, &error))?;
        Ok(Written { bytes: self.scratch.len() as u64, rejected })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        let mut open = self.open.take().ok_or_else(|| OperationError::slice("no slice is open"))?;
        let Some(mut file) = open.file.take() else {
            // What an earlier attempt has left must go, or its records would count.
            return match fs::remove_file(&open.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("replace", &open.path, &error))
                }
                _ => Ok(()),
            };
        };
        let end: &[u8] = if self.config.format == Format::Json { b"]\n" } else { b"" };
        let written = file.write_all(end).and_then(|()| file.finish(self.config.fsync));
        let renamed = written.and_then(|()| fs::rename(&open.aside, &open.path));
        renamed.map_err(|error| {
            remove(&open.aside);
            failed("write", &open.path, &error)
        })
    }

    async fn abort(&mut self) {
        if let Some(open) = self.open.take().filter(|open| open.file.is_some()) {
            remove(&open.aside);
        }
    }
}

impl Open {
    fn write(
        &mut self,
        config: &FileExporterConfig,
        encoder: &Encoder,
        is_first: bool,
        content: &[u8],
    ) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(Compressor::new(File::create(&self.aside)?, config.compression)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if is_first && config.format == Format::Json {
            file.write_all(b"[")?;
        }
        if is_first && config.include_header {
            file.write_all(encoder.header().unwrap_or_default().as_bytes())?;
        }
        file.write_all(content)
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

/// Removes a file that nobody reads; if that fails it only takes room.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "failed to remove temporary file");
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> OperationError {
    OperationError::retry(format!("failed to {what} {}: {error}", path.display()))
}
