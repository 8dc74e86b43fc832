//! Files that are written aside and renamed when they are whole, so that nobody ever sees half of one.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// How the names of files begin that are not whole yet.
const PREFIX: &str = ".aside-";
/// How the names of marks begin; the id of a bundle comes behind it.
const MARK: &str = ".pending-";

/// A file that is being written. It is gone when this is dropped; its lock tells others that somebody is at work on it.
#[derive(Debug)]
pub(super) struct Aside {
    file: NamedTempFile,
}

impl Aside {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o644));
        let file = builder.tempfile_in(folder)?;
        file.as_file().lock()?;
        Ok(Self { file })
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Puts the file in its place, in one step that survives a loss of power.
    pub(super) fn publish(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        sync_folder(path)
    }
}

/// A mark that the file of a bundle and its record are being changed, one after the other. A process that dies between
/// leaves it behind.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    _lock: File,
    is_left: bool,
}

impl Mark {
    pub(super) fn set(folder: &Path, id: &str) -> io::Result<Self> {
        let path = folder.join(format!("{MARK}{id}"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        file.lock()?;
        Ok(Self { path, _lock: file, is_left: false })
    }

    /// Leaves the mark for the next start to see.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if !self.is_left {
            // One that cannot be removed is looked at on the next start.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

/// Removes what processes have left behind that are no more; returns the ids of the bundles that they were at work on,
/// whose marks stay until they are set and dropped again.
pub(super) fn sweep(folder: &Path) -> io::Result<Vec<String>> {
    let mut pending = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) && !name.starts_with(MARK) {
            continue;
        }
        let is_left = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if !is_left {
            continue;
        }
        match name.strip_prefix(MARK) {
            Some(id) => pending.push(id.to_owned()),
            None => fs::remove_file(entry.path())?,
        }
    }
    Ok(pending)
}

/// Has the system keep what was renamed or removed in the folder of a file.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn shows_a_file_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let aside = Aside::create(folder.path()).unwrap();
        aside.file().write_all(b"whole").unwrap();
        assert!(names(folder.path())[0].starts_with(PREFIX));
        aside.publish(&folder.path().join("a.zip")).unwrap();
        drop(Aside::create(folder.path()).unwrap());
        assert_eq!(names(folder.path()), ["a.zip"]);
        assert_eq!(fs::read(folder.path().join("a.zip")).unwrap(), b"whole");
    }

    #[test]
    fn sweeps_what_nobody_is_at_work_on() {
        let folder = tempfile::tempdir().unwrap();
        for left in [".aside-dead", ".pending-dead", "words.zip"] {
            fs::write(folder.path().join(left), b"half").unwrap();
        }
        let live = Aside::create(folder.path()).unwrap();
        let mark = Mark::set(folder.path(), "live").unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), ["dead"]);
        let left = live.file.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(names(folder.path()), [left.as_str(), ".pending-dead", ".pending-live", "words.zip"]);
        drop((live, mark));
        assert_eq!(names(folder.path()), [".pending-dead", "words.zip"]);
    }
}
