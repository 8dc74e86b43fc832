//! The files of the image.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::programs;

/// The user that everything runs as, and its group.
pub(super) const USER: u64 = 10001;

/// Where the program lies.
pub(super) const PROGRAM: &str = "/usr/local/bin/teraslice";

/// The authorities that connections to others are checked by, here and in the image.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nteraslice:x:10001:10001:teraslice:/tmp:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nteraslice:x:10001:\n";

/// Names are looked for in `/etc/hosts` first, as everywhere; without this file the C library asks DNS first.
const NSSWITCH: &str = "hosts: files dns\n";

/// Whether debug information was taken out of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strip {
    /// It was.
    Done,
    /// No tool for it was there.
    NotDone,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A folder.
    Folder { mode: u32, owner: u64 },
    /// A file, owned by root.
    File { mode: u32, bytes: Vec<u8> },
}

/// What the image holds, by path; every folder of an entry is an entry as well.
#[derive(Debug, Default)]
pub(super) struct Rootfs {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Rootfs {
    /// Returns the files that a program needs: the program, its libraries, users, and authorities.
    ///
    /// # Errors
    ///
    /// The program or one of its libraries cannot be read.
    pub(super) fn of(binary: &Path) -> Result<(Self, Strip)> {
        let found = binary.try_exists().unwrap_or(false);
        anyhow::ensure!(found, "there is no {}: build it by `make build`", binary.display());
        let mut rootfs = Self::default();
        for folder in ["/app", "/app/config", "/dev", "/etc", "/proc", "/run", "/sys"] {
            rootfs.folder(folder, 0o755, 0);
        }
        rootfs.folder("/app/assets", 0o755, USER);
        rootfs.folder("/tmp", 0o1777, 0);
        rootfs.file("/etc/passwd", 0o644, PASSWD);
        rootfs.file("/etc/group", 0o644, GROUP);
        rootfs.file("/etc/nsswitch.conf", 0o644, NSSWITCH);
        if let Ok(certificates) = fs::read(CERTIFICATES) {
            rootfs.file(CERTIFICATES, 0o644, certificates);
        }
        for library in programs::libraries(binary)? {
            let bytes = read(&library)?;
            rootfs.file(library, 0o755, bytes);
        }
        let (bytes, strip) = match programs::stripped(binary)? {
            Some(bytes) => (bytes, Strip::Done),
            None => (read(binary)?, Strip::NotDone),
        };
        rootfs.file(PROGRAM, 0o755, bytes);
        Ok((rootfs, strip))
    }

    /// Returns all entries, folders before what is in them.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    pub(super) fn folder(&mut self, path: impl AsRef<Path>, mode: u32, owner: u64) {
        self.insert(path.as_ref(), Entry::Folder { mode, owner });
    }

    pub(super) fn file(&mut self, path: impl AsRef<Path>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.insert(path.as_ref(), Entry::File { mode, bytes: bytes.into() });
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        for folder in path.ancestors().skip(1).filter(|folder| folder.parent().is_some()) {
            let folder = self.entries.entry(folder.to_owned());
            folder.or_insert(Entry::Folder { mode: 0o755, owner: 0 });
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
