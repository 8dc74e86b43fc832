//! A file per worker: slices are appended, a journal says which.
//!
//! ```text
//! <folder>/<execution>-<worker>.ldjson    |slice 3|slice 1|slice 7|half of sl
//!                                         0       120     215     303 ^ bytes that do not count
//! <folder>/.<execution>.ldjson.journal    {"own":[0,3],"file":"..-<worker>","offset":0,"length":120}
//!                                         {"own":[0,1],"file":"..-<worker>","offset":120,"length":95}
//!                                         {"own":[0,2],"file":"..-<other>","offset":0,"length":77}
//!                                         {"own":[0,7],"file":"..-<worker>","offset":215,"length":88}
//!
//! write    append to the worker's file                       nothing counts yet
//! commit   lock journal -> read what others have written -> slice is in it? cut off : append its line -> unlock
//! ```
//!
//! - A slice counts once its whole line is in the journal. Only who holds the journal's lock reads it to its end or adds a line,
//!   so that no slice has two: whichever worker commits a slice first, each later commit of it, by whomever, finds the line.
//! - The line is written after the slice's bytes. Bytes behind the end of what counts are cut off when the slice is
//!   aborted, when the file is taken again, and by others when its worker is gone: when one of them begins or ends.
//! - One sink at a time has a file: it holds a lock on it. A sink that finds the lock taken, by a predecessor that is still
//!   about, takes the next free name. The system frees the locks of a process that dies.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use teraslice_core::{
    operation::{OperationError, Sink, SliceContext, Written},
    registry::WorkerContext,
};
use teraslice_model::{batch::Batch, id::ExId, problem::Problem};

use super::{
    FileExporterConfig,
    encode::Encoder,
    journal::{Entry, Journal, Key},
    prefix,
};
use crate::offload::Offload;

/// Names that a worker tries before it gives up.
const NAMES_MAX: u32 = 64;
/// Bytes of a slice that are held back before its commit: what is small never shows half.
const HELD_MAX: usize = 1 << 20;

/// Appends slices to the worker's file.
pub(super) struct FilePerWorker {
    files: Offload<Files>,
}

/// The files of one worker.
struct Files {
    ex_id: ExId,
    folder: PathBuf,
    prefix: String,
    extension: String,
    encoder: Encoder,
    include_header: bool,
    fsync: bool,
    held_max: usize,
    journal: Journal,
    data: Held,
    /// The file's name without extension.
    name: String,
    path: PathBuf,
    /// The columns of the table, if the file has some.
    columns: Vec<String>,
    /// The end of what counts.
    end: u64,
    /// Whether more was written than counts.
    is_dirty: bool,
    /// The end of what is written and held.
    written: u64,
    /// Encoded, and not yet written.
    held: Vec<u8>,
    open: Option<Open>,
}

/// A file that no other sink writes to.
struct Held(File);

#[derive(Clone, Copy)]
struct Open {
    key: Key,
    /// Whether it is known to be committed: nothing is written.
    is_known: bool,
}

impl FilePerWorker {
    pub(super) fn open(config: &FileExporterConfig, context: &WorkerContext) -> Result<Self, OperationError> {
        Self::holding(config, context, HELD_MAX)
    }

    /// Opens a sink that holds back up to so many bytes of a slice.
    pub(super) fn holding(
        config: &FileExporterConfig,
        context: &WorkerContext,
        held_max: usize,
    ) -> Result<Self, OperationError> {
        let files = Files::open(config, context, held_max).map_err(|error| failed(&config.path, &error))?;
        Ok(Self { files: Offload::new(files, context.context.clone()) })
    }
}

#[async_trait]
impl Sink for FilePerWorker {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        if self.files.now(|files| files.is_dirty) {
            self.files.run(Files::cut_off).await?;
        }
        self.files.now(|files| files.begin(slice));
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let is_quick = self
            .files
            .now(|files| files.encoder.is_copy(batch) && files.held.len() + batch.bytes() <= files.held_max);
        if is_quick {
            return self.files.now(|files| files.write(batch));
        }
        let batch = batch.clone();
        self.files.run(move |files| files.write(&batch)).await
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        if self.files.now(Files::has_nothing)? {
            return Ok(());
        }
        self.files.run(Files::commit).await
    }

    async fn abort(&mut self) {
        let aborted = self.files.run(|files| {
            files.open = None;
            files.cut_off()
        });
        if let Err(error) = aborted.await {
            // The next slice begins with the same cut.
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to take back a slice");
        }
    }

    async fn close(&mut self) -> Result<(), OperationError> {
        self.files.run(Files::close).await
    }
}

impl Files {
    fn open(config: &FileExporterConfig, context: &WorkerContext, held_max: usize) -> io::Result<Self> {
        let (folder, prefix, extension) = (&config.path, prefix(context.ex_id), config.extension());
        let mut journal = Journal::open(&folder.join(format!(".{prefix}{extension}.journal")))?;
        let locked = journal.lock()?;
        let (name, data) = own_file(folder, &prefix, context.worker.as_str(), &extension)?;
        let contents = locked.contents(&name);
        settle(&data.0, contents.end)?;
        settle_others(folder, &prefix, &extension, |other| locked.contents(other).end)?;
        drop(locked);
        if config.fsync {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self {
            ex_id: context.ex_id,
            path: folder.join(format!("{name}{extension}")),
            folder: folder.clone(),
            prefix,
            extension,
            encoder: config.encoder(),
            include_header: config.include_header,
            fsync: config.fsync,
            held_max,
            journal,
            data,
            name,
            columns: contents.columns,
            end: contents.end,
            is_dirty: false,
            written: contents.end,
            held: Vec::new(),
            open: None,
        })
    }

    fn begin(&mut self, slice: &SliceContext) {
        self.held.clear();
        self.written = self.end;
        let key = Key::of(&slice.slice, self.ex_id);
        self.open = Some(Open { key, is_known: self.journal.knows(key) });
        self.encoder.begin(&self.columns);
    }

    fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let open = self.open.ok_or_else(|| OperationError::slice("no slice is open"))?;
        let before = self.held.len();
        let rejected = self.encoder.encode(batch, &mut self.held);
        let bytes = (self.held.len() - before) as u64;
        if open.is_known || bytes == 0 {
            self.held.truncate(before);
            return Ok(Written { bytes, rejected });
        }
        if self.include_header && self.written == 0 {
            let header = self.encoder.header().unwrap_or_default();
            self.held.splice(..0, header.into_bytes());
        }
        self.written += (self.held.len() - before) as u64;
        if self.held.len() > self.held_max {
            self.let_go().map_err(|error| failed(&self.path, &error))?;
        }
        Ok(Written { bytes, rejected })
    }

    /// Writes what is held.
    fn let_go(&mut self) -> io::Result<()> {
        self.is_dirty = true;
        self.data.0.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    /// Tells whether a commit has nothing to do.
    fn has_nothing(&mut self) -> Result<bool, OperationError> {
        let open = self.open.ok_or_else(|| OperationError::slice("no slice is open"))?;
        let has_nothing = self.written == self.end || (open.is_known && !self.fsync);
        if has_nothing {
            self.open = None;
        }
        Ok(has_nothing)
    }

    fn commit(&mut self) -> Result<(), OperationError> {
        let open = self.open.take().ok_or_else(|| OperationError::slice("no slice is open"))?;
        self.append(open.key).map_err(|error| failed(&self.path, &error))
    }

    fn append(&mut self, key: Key) -> io::Result<()> {
        self.let_go()?;
        if self.fsync {
            self.data.0.sync_data()?;
        }
        let mut journal = self.journal.lock()?;
        let is_known = journal.knows(key);
        if !is_known {
            let is_first = self.columns.is_empty();
            let columns = if is_first { self.encoder.found_columns().to_vec() } else { Vec::new() };
            let (name, length) = (self.name.clone(), self.written - self.end);
            journal.append(&Entry::new(key, name.clone(), self.end, length, columns))?;
            self.columns = journal.contents(&name).columns;
            self.end = self.written;
            self.is_dirty = false;
        }
        drop(journal);
        if self.fsync {
            self.journal.sync()?;
        }
        if is_known { self.cut_back() } else { Ok(()) }
    }

    fn cut_off(&mut self) -> Result<(), OperationError> {
        self.cut_back().map_err(|error| failed(&self.path, &error))
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.held.clear();
        self.written = self.end;
        if self.is_dirty {
            self.data.0.set_len(self.end)?;
            self.is_dirty = false;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), OperationError> {
        let Self { journal, folder, prefix, extension, .. } = self;
        let settled = journal.lock().and_then(|locked| {
            settle_others(folder, prefix, extension, |other| locked.contents(other).end)?;
            if self.end == 0 { fs::remove_file(&self.path) } else { Ok(()) }
        });
        settled.map_err(|error| failed(&self.folder, &error))
    }
}

impl Held {
    /// Takes the file, unless it is held.
    fn take(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Held {
    /// A process that is being started has the handle too, and would keep the lock until it runs.
    fn drop(&mut self) {
        let _unlocked = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the worker's file, or the next name that no living worker holds.
fn own_file(folder: &Path, prefix: &str, worker: &str, extension: &str) -> io::Result<(String, Held)> {
    let worker: String = worker.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    for number in 1..=NAMES_MAX {
        let name = match number {
            1 => format!("{prefix}-{worker}"),
            more => format!("{prefix}-{worker}-{more}"),
        };
        if let Some(data) = Held::take(appended(&folder.join(format!("{name}{extension}")))?)? {
            return Ok((name, data));
        }
    }
    Err(io::Error::other(format!("{NAMES_MAX} workers named {worker} hold their files")))
}

/// Cuts off the data what does not count.
fn settle(data: &File, end: u64) -> io::Result<()> {
    let length = data.metadata()?.len();
    if length < end {
        let why = format!("it has {length} bytes, its journal names {end}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if length > end { data.set_len(end) } else { Ok(()) }
}

/// Cuts off the files of workers that are gone; a file that never got a whole slice goes with its worker.
///
/// Needs the journal's lock: a worker that is about to take a file must not find it held.
fn settle_others(folder: &Path, prefix: &str, extension: &str, end: impl Fn(&str) -> u64) -> io::Result<()> {
    let begin = format!("{prefix}-");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(extension)) else { continue };
        // Names hold no dot: what does is of another extension.
        if !name.starts_with(&begin) || name.contains('.') {
            continue;
        }
        if let Some(data) = Held::take(appended(&entry.path())?)? {
            match end(name) {
                0 => fs::remove_file(entry.path())?,
                end => settle(&data.0, end)?,
            }
        }
    }
    Ok(())
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn failed(path: &Path, error: &io::Error) -> OperationError {
    if error.kind() == io::ErrorKind::InvalidData {
        let message = format!("{} does not fit its journal: {error}", path.display());
        let hint = "records were lost, by a crash of the machine or by hand: name a new folder";
        return OperationError::job(Problem::new("/path", message).with_hint(hint));
    }
    OperationError::retry(format!("failed to write {}: {error}", path.display()))
}
