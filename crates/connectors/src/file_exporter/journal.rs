//! Which slices the shared files of an execution hold: a journal in their folder.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use teraslice_model::{
    id::{ExId, SliceId},
    slice::Slice,
};

/// Orders that share a piece of memory.
const CHUNK: u64 = 4_096;

/// The journal of an execution, as one sink sees it.
///
/// Everything below [`Journal::lock`] happens while no other sink, here or in another process, does the like.
pub(super) struct Journal {
    file: File,
    /// How far it was read.
    read: u64,
    done: Done,
    files: HashMap<String, Contents>,
}

/// What counts of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Where it ends.
    pub(super) end: u64,
    /// The names of its columns, if it is a table that was begun.
    pub(super) columns: Vec<String>,
}

/// A slice in words that are the same for every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Made by a slicer of the execution.
    Own { slicer: u32, order: u64 },
    /// Taken over from an earlier execution.
    Recovered(SliceId),
}

/// One line: a slice, and where its records are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slice: Option<SliceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<(u32, u64)>,
    file: String,
    offset: u64,
    length: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
}

/// The journal while nobody else may change it.
pub(super) struct Locked<'a> {
    journal: &'a mut Journal,
}

impl Key {
    pub(super) fn of(slice: &Slice, ex_id: ExId) -> Self {
        if slice.is_of(ex_id) {
            return Self::Own { slicer: slice.slicer_id, order: slice.slicer_order };
        }
        Self::Recovered(slice.id)
    }
}

impl Entry {
    pub(super) const fn new(key: Key, file: String, offset: u64, length: u64, columns: Vec<String>) -> Self {
        let (slice, own) = match key {
            Key::Own { slicer, order } => (None, Some((slicer, order))),
            Key::Recovered(id) => (Some(id), None),
        };
        Self { slice, own, file, offset, length, columns }
    }

    fn key(&self) -> Option<Key> {
        let own = self.own.map(|(slicer, order)| Key::Own { slicer, order });
        own.or(self.slice.map(Key::Recovered))
    }
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Self { file, read: 0, done: Done::default(), files: HashMap::new() })
    }

    /// Tells whether the slice was committed, as far as the journal was read.
    pub(super) fn knows(&self, key: Key) -> bool {
        self.done.contains(key)
    }

    /// Waits for all others, and reads what they have written.
    pub(super) fn lock(&mut self) -> io::Result<Locked<'_>> {
        flock(&self.file, FlockOperation::LockExclusive)?;
        let mut locked = Locked { journal: self };
        locked.read()?;
        Ok(locked)
    }

    /// Makes sure that what was read or written outlives the machine.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn take(&mut self, line: &[u8]) -> io::Result<()> {
        let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let entry: Entry = serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        let key = entry.key().ok_or_else(|| damaged("a line names no slice".to_owned()))?;
        let contents = self.files.entry(entry.file).or_default();
        contents.end = entry.offset + entry.length;
        if !entry.columns.is_empty() {
            contents.columns = entry.columns;
        }
        self.done.insert(key);
        Ok(())
    }
}

impl Locked<'_> {
    /// Tells whether the slice was committed.
    pub(super) fn knows(&self, key: Key) -> bool {
        self.journal.knows(key)
    }

    /// Returns what counts of a file.
    pub(super) fn contents(&self, file: &str) -> Contents {
        self.journal.files.get(file).cloned().unwrap_or_default()
    }

    /// Writes that a slice is committed.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        let journal = &mut *self.journal;
        if let Err(error) = journal.file.write_all(&line) {
            // Whoever locks next cuts off half a line too.
            let _cut = journal.file.set_len(journal.read);
            return Err(error);
        }
        journal.read += line.len() as u64;
        line.pop();
        journal.take(&line)
    }

    /// Reads on; half a line is what a crash has left, and is cut off.
    fn read(&mut self) -> io::Result<()> {
        let journal = &mut *self.journal;
        let len = journal.file.metadata()?.len();
        let Some(more) = len.checked_sub(journal.read) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the journal was cut off"));
        };
        if more == 0 {
            return Ok(());
        }
        let mut news = vec![0; usize::try_from(more).map_err(io::Error::other)?];
        journal.file.read_exact_at(&mut news, journal.read)?;
        let whole = memchr::memrchr(b'\n', &news).map_or(0, |at| at + 1);
        for line in news[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            journal.take(line)?;
        }
        journal.read += whole as u64;
        if whole < news.len() { journal.file.set_len(journal.read) } else { Ok(()) }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _unlocked = flock(&self.journal.file, FlockOperation::Unlock);
    }
}

/// The slices that are done: a bit per slice, as their orders lie close together, and none where a whole chunk is done.
#[derive(Debug, Default)]
struct Done {
    own: HashMap<u32, BTreeMap<u64, Chunk>>,
    recovered: HashSet<SliceId>,
}

#[derive(Debug)]
enum Chunk {
    Some { bits: Box<[u64; 64]>, count: u64 },
    All,
}

impl Done {
    fn contains(&self, key: Key) -> bool {
        match key {
            Key::Recovered(id) => self.recovered.contains(&id),
            Key::Own { slicer, order } => {
                let chunk = self.own.get(&slicer).and_then(|chunks| chunks.get(&(order / CHUNK)));
                chunk.is_some_and(|chunk| chunk.contains(order % CHUNK))
            }
        }
    }

    fn insert(&mut self, key: Key) {
        match key {
            Key::Recovered(id) => {
                let _is_new = self.recovered.insert(id);
            }
            Key::Own { slicer, order } => {
                let chunks = self.own.entry(slicer).or_default();
                let none = || Chunk::Some { bits: Box::new([0; 64]), count: 0 };
                chunks.entry(order / CHUNK).or_insert_with(none).insert(order % CHUNK);
            }
        }
    }
}

impl Chunk {
    fn contains(&self, at: u64) -> bool {
        match self {
            Self::All => true,
            Self::Some { bits, .. } => bits[(at / 64) as usize] & (1 << (at % 64)) != 0,
        }
    }

    fn insert(&mut self, at: u64) {
        let Self::Some { bits, count } = self else { return };
        let word = &mut bits[(at / 64) as usize];
        *count += u64::from(*word & (1 << (at % 64)) == 0);
        *word |= 1 << (at % 64);
        if *count == CHUNK {
            *self = Self::All;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_slices_in_little_memory() {
        let mut done = Done::default();
        for order in (0..3 * CHUNK).rev().filter(|order| *order != 5_000) {
            done.insert(Key::Own { slicer: 1, order });
        }
        assert!(done.contains(Key::Own { slicer: 1, order: 4_999 }));
        assert!(!done.contains(Key::Own { slicer: 1, order: 5_000 }));
        assert!(!done.contains(Key::Own { slicer: 0, order: 4_999 }));
        let whole = done.own[&1].values().filter(|chunk| matches!(chunk, Chunk::All)).count();
        assert_eq!(whole, 2);
        done.insert(Key::Own { slicer: 1, order: 5_000 });
        assert!(done.own[&1].values().all(|chunk| matches!(chunk, Chunk::All)));
    }

    #[test]
    fn reads_the_lines_of_version_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let id = "0f6e31d4-98a3-4f0e-8a43-2b8a3c8f2d11";
        let lines = format!(
            "{{\"own\":[0,7],\"file\":\"a\",\"offset\":0,\"length\":12,\"columns\":[\"x\"]}}\n\
             {{\"slice\":\"{id}\",\"file\":\"a\",\"offset\":12,\"length\":5}}\n\
             {{\"own\":[0,8],\"fi"
        );
        std::fs::write(&path, &lines).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let locked = journal.lock().unwrap();
        assert!(locked.knows(Key::Own { slicer: 0, order: 7 }));
        assert!(locked.knows(Key::Recovered(id.parse().unwrap())));
        assert!(!locked.knows(Key::Own { slicer: 0, order: 8 }));
        assert_eq!(locked.contents("a"), Contents { end: 17, columns: vec!["x".to_owned()] });
        drop(locked);
        let cut = lines.rfind('\n').unwrap() as u64 + 1;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), cut);
    }

    #[test]
    fn says_that_a_line_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        std::fs::write(&path, "{\"file\":\"a\",\"offset\":0,\"length\":1}\n").unwrap();
        let error = Journal::open(&path).unwrap().lock().err().unwrap();
        assert_eq!(error.to_string(), "a line names no slice");
    }
}
