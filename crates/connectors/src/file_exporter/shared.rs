//! A file per worker: slices are appended, a journal says which.
//!
//! ```text
//! <folder>/<execution>-<worker>.ldjson        |slice 3|slice 1|slice 7|half of sl
//! <folder>/.<execution>-<worker>.journal      "id3 0 120\n" "id1 120 95\n" "id7 215 88\n"
//!                                                                      ^ end of what counts
//! ```
//!
//! - A slice counts once its whole line is in a journal; the line is written after the slice's bytes.
//! - Bytes behind the last line's end do not count: they are cut off when the file is opened, and when a slice is aborted.
//! - One worker at a time has a pair of files: it holds a lock on the journal. A worker that finds the lock taken, by a
//!   predecessor that is still about, takes the next free name. Files that nobody holds any more are cut off by others: when
//!   one is opened, when one is closed, and when a slice is committed that was handed out again.
//! - A slice that any journal of the execution names is not appended again. Journals of earlier processes are read once, at
//!   the start; those of living ones when a slice was handed out again (`attempt` above 0), under a lock on the folder's
//!   `.<execution>.lock`, so that of two workers with the same slice one sees the other's line. Each such commit makes that
//!   file a byte longer: a worker that was given up and is slow sees it and looks too.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use teraslice_core::{
    operation::{OperationError, Sink, SliceContext, Written},
    registry::WorkerContext,
};
use teraslice_model::{batch::Batch, id::SliceId};

use super::{FileExporterConfig, encode::Encoder, prefix};

/// Names that a worker tries before it gives up.
const NAMES_MAX: u32 = 64;

/// Appends slices to the worker's file.
pub(super) struct FilePerWorker {
    folder: PathBuf,
    prefix: String,
    extension: String,
    encoder: Encoder,
    include_header: bool,
    fsync: bool,
    data: File,
    data_path: PathBuf,
    journal: File,
    /// Held while a slice is committed: alone if it may have been committed elsewhere.
    lock: File,
    /// The length of the lock file when journals were read last.
    repeats: u64,
    /// Slices in journals when this sink was opened.
    earlier: HashSet<SliceId>,
    /// The end of what counts.
    end: u64,
    /// The end of what is written.
    written: u64,
    open: Option<Open>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Open {
    id: SliceId,
    /// Whether another worker may have committed it since this sink was opened.
    is_repeat: bool,
    /// Whether it is known to be committed: nothing is written.
    is_known: bool,
}

impl FilePerWorker {
    pub(super) fn open(config: &FileExporterConfig, context: &WorkerContext) -> Result<Self, OperationError> {
        let (folder, prefix) = (config.path.clone(), prefix(context.ex_id));
        let target = folder.clone();
        let failed = |error: io::Error| failed(&target, &error);
        let extension = config.extension();
        let lock = appended(&folder.join(format!(".{prefix}.lock"))).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        settle_others(&folder, &prefix, &extension).map_err(failed)?;
        let (stem, journal) = own_journal(&folder, &prefix, context.worker.as_str()).map_err(failed)?;
        let data_path = folder.join(format!("{stem}{extension}"));
        let data = appended(&data_path).map_err(failed)?;
        let end = settle(&journal, &data).map_err(failed)?;
        let mut earlier = HashSet::new();
        let mut keep = |id| _ = earlier.insert(id);
        each_line(&folder, &prefix, &mut keep).map_err(failed)?;
        let repeats = lock.metadata().map_err(failed)?.len();
        flock(&lock, FlockOperation::Unlock).map_err(|error| failed(error.into()))?;
        Ok(Self {
            repeats,
            extension,
            encoder: config.encoder(),
            include_header: config.include_header,
            fsync: config.fsync,
            folder,
            prefix,
            data,
            data_path,
            journal,
            lock,
            earlier,
            end,
            written: end,
            open: None,
            scratch: Vec::new(),
        })
    }

    fn append(&mut self, id: SliceId) -> io::Result<()> {
        if self.fsync {
            self.data.sync_data()?;
        }
        let line = format!("{id} {} {}\n", self.end, self.written - self.end);
        self.journal.write_all(line.as_bytes())?;
        if self.fsync {
            self.journal.sync_data()?;
        }
        self.end = self.written;
        Ok(())
    }

    /// Commits a slice that is in no other journal, unless slices were committed again in the meantime.
    fn append_first(&mut self, id: SliceId) -> io::Result<()> {
        flock(&self.lock, FlockOperation::LockShared)?;
        let appended = match self.lock.metadata() {
            Ok(lock) if lock.len() == self.repeats => self.append(id).map(|()| true),
            looked => looked.map(|_| false),
        };
        flock(&self.lock, FlockOperation::Unlock)?;
        if appended? { Ok(()) } else { self.append_once(id, false) }
    }

    /// Commits a slice that may be in another journal.
    fn append_once(&mut self, id: SliceId, is_repeat: bool) -> io::Result<()> {
        flock(&self.lock, FlockOperation::LockExclusive)?;
        let appended = self.append_unless_known(id, is_repeat);
        flock(&self.lock, FlockOperation::Unlock)?;
        appended
    }

    fn append_unless_known(&mut self, id: SliceId, is_repeat: bool) -> io::Result<()> {
        settle_others(&self.folder, &self.prefix, &self.extension)?;
        let mut is_known = false;
        each_line(&self.folder, &self.prefix, &mut |other| is_known |= other == id)?;
        if is_repeat {
            self.lock.write_all(b"\n")?;
        }
        self.repeats = self.lock.metadata()?.len();
        if is_known { self.cut_off() } else { self.append(id) }
    }

    fn cut_off(&mut self) -> io::Result<()> {
        self.data.set_len(self.end)?;
        self.written = self.end;
        Ok(())
    }
}

#[async_trait]
impl Sink for FilePerWorker {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        self.cut_off().map_err(|error| failed(&self.data_path, &error))?;
        let id = slice.slice.id;
        let is_known = self.earlier.contains(&id);
        self.open = Some(Open { id, is_repeat: slice.attempt > 0, is_known });
        self.encoder.begin();
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let open = self.open.ok_or_else(|| OperationError::slice("no slice is open"))?;
        self.scratch.clear();
        let rejected = self.encoder.encode(batch, &mut self.scratch);
        let bytes = self.scratch.len() as u64;
        if open.is_known || bytes == 0 {
            return Ok(Written { bytes, rejected });
        }
        let header = self.encoder.header().filter(|_| self.include_header && self.written == 0);
        let header = header.unwrap_or_default();
        let written =
            self.data.write_all(header.as_bytes()).and_then(|()| self.data.write_all(&self.scratch));
        written.map_err(|error| failed(&self.data_path, &error))?;
        self.written += header.len() as u64 + bytes;
        Ok(Written { bytes, rejected })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        let open = self.open.take().ok_or_else(|| OperationError::slice("no slice is open"))?;
        if open.is_known || self.written == self.end {
            return Ok(());
        }
        let committed =
            if open.is_repeat { self.append_once(open.id, true) } else { self.append_first(open.id) };
        committed.map_err(|error| failed(&self.data_path, &error))
    }

    async fn abort(&mut self) {
        self.open = None;
        if let Err(error) = self.cut_off() {
            // The next slice begins with the same cut.
            tracing::warn!(path = %self.data_path.display(), %error, "failed to take back a slice");
        }
    }

    async fn close(&mut self) -> Result<(), OperationError> {
        let settled = flock(&self.lock, FlockOperation::LockExclusive).map_err(io::Error::from);
        let settled = settled.and_then(|()| settle_others(&self.folder, &self.prefix, &self.extension));
        settled.map_err(|error| failed(&self.folder, &error))?;
        flock(&self.lock, FlockOperation::Unlock).map_err(|error| failed(&self.folder, &error.into()))
    }
}

/// Takes the worker's journal, or the next name that no living worker holds.
fn own_journal(folder: &Path, prefix: &str, worker: &str) -> io::Result<(String, File)> {
    for number in 1..=NAMES_MAX {
        let stem = match number {
            1 => format!("{prefix}-{worker}"),
            more => format!("{prefix}-{worker}-{more}"),
        };
        let journal = appended(&folder.join(format!(".{stem}.journal")))?;
        match flock(&journal, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((stem, journal)),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("{NAMES_MAX} workers named {worker} hold their files")))
}

/// Cuts a half line off the journal, and off the data what no line names; returns the end of what counts.
fn settle(mut journal: &File, data: &File) -> io::Result<u64> {
    let mut text = String::new();
    journal.seek(SeekFrom::Start(0))?;
    journal.read_to_string(&mut text)?;
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    journal.set_len(whole as u64)?;
    let end = text[..whole].lines().last().map_or(Some(0), |line| {
        let mut parts = line.split(' ').skip(1).map(str::parse::<u64>);
        Some(parts.next()?.ok()? + parts.next()?.ok()?)
    });
    let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged journal"))?;
    if data.metadata()?.len() < end {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "file is shorter than its journal says"));
    }
    data.set_len(end)?;
    Ok(end)
}

/// Cuts off the files of workers that are gone. Needs the folder's lock: a worker that is about to open its files must not
/// find them held.
fn settle_others(folder: &Path, prefix: &str, extension: &str) -> io::Result<()> {
    for (stem, path) in journals(folder, prefix)? {
        let journal = appended(&path)?;
        let data = folder.join(format!("{stem}{extension}"));
        if flock(&journal, FlockOperation::NonBlockingLockExclusive).is_ok() && data.exists() {
            settle(&journal, &appended(&data)?)?;
        }
    }
    Ok(())
}

/// Calls `found` with each slice in the journals of an execution.
fn each_line(folder: &Path, prefix: &str, found: &mut dyn FnMut(SliceId)) -> io::Result<()> {
    for (_, path) in journals(folder, prefix)? {
        let text = fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        for id in whole.lines().filter_map(|line| line.split(' ').next()?.parse().ok()) {
            found(id);
        }
    }
    Ok(())
}

/// Returns the journals of an execution, each with the name of its data without extension.
fn journals(folder: &Path, prefix: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let begin = format!("{prefix}-");
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let stem = name.strip_prefix('.').and_then(|name| name.strip_suffix(".journal"));
        if let Some(stem) = stem.filter(|stem| stem.starts_with(&begin)) {
            journals.push((stem.to_owned(), entry.path()));
        }
    }
    Ok(journals)
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn failed(path: &Path, error: &io::Error) -> OperationError {
    OperationError::retry(format!("failed to write {}: {error}", path.display()))
}
