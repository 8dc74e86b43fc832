//! What can go wrong with the file, in words that say what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use teraslice_core::store::StoreError;

/// Why a state directory could not be opened. Whatever is there stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("state directory {} is in use by {}", directory.display(), holder(*pid))]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// The process, if it has left its number.
        pid: Option<u32>,
    },
    /// There is nothing to read.
    #[error("there is no state store at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory or a file in it cannot be made, read or written.
    #[error("failed to use the state store at {}", path.display())]
    Inaccessible {
        /// The directory or file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The database may be read, but not written.
    #[error("the state store {} is write-protected", path.display())]
    WriteProtected {
        /// The database.
        path: PathBuf,
    },
    /// The file is something else than a database.
    #[error("{} is no SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program.
    #[error("{} is a database of another program (application id {application_id:#010x})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The other program's number.
        application_id: i32,
    },
    /// A later version of this program wrote it.
    #[error("{} has schema version {found}, this program knows versions up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The latest version this program reads.
        known: i32,
    },
    /// An earlier version wrote it, and it is opened for reading only, so that it cannot be brought up to date.
    #[error("{} has the old schema version {found}, reading needs version {known}", path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The version needed.
        known: i32,
    },
    /// The database is broken.
    #[error("the state store {} is damaged: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is broken.
        what: String,
    },
    /// No room on the disk.
    #[error("no space is left for the state store {}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Anything else that SQLite reports.
    #[error("failed to open the state store {}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    /// Returns what a person can do about it, as a sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Locked { pid: Some(pid), .. } => format!(
                "wait until process {pid} ends, stop it with `kill {pid}`, or choose another state directory"
            ),
            Self::Locked { pid: None, .. } => {
                "wait until the other process ends, or choose another state directory".to_owned()
            }
            Self::Missing { .. } => {
                "check the state directory; a first run makes the state store".to_owned()
            }
            Self::Inaccessible { .. } | Self::WriteProtected { .. } => {
                "make the state directory and its files readable and writable for this user, or choose another"
                    .to_owned()
            }
            Self::NotADatabase { path } | Self::Foreign { path, .. } => {
                format!("move {} away if it is not needed here, or choose another state directory", path.display())
            }
            Self::Newer { .. } => {
                "use the newer version of the program, or choose another state directory".to_owned()
            }
            Self::Older { .. } => "run or resume a job once: that brings the state store up to date".to_owned(),
            Self::Damaged { path, .. } => format!(
                "nothing was changed: restore {0} from a copy, or move {0} with its -wal and -shm files away \
                 to start afresh",
                path.display()
            ),
            Self::Full { .. } => "free some space on the disk, or choose another state directory".to_owned(),
            Self::Sqlite { .. } => "check the disk and the file system of the state directory".to_owned(),
        }
    }

    /// Sorts out what SQLite says about opening `path`.
    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, what: source.to_string() },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly) => Self::WriteProtected { path },
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Why a piece of work in a transaction ended.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store's rules refuse it; nothing was written.
    Refused(StoreError),
    /// SQLite fails; the transaction has to be undone.
    Sql(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Returns the fault of a stored value that cannot be read.
pub(super) fn unreadable(what: &str, why: impl std::fmt::Display) -> Fault {
    let reason = format!("it is damaged: a stored {what} cannot be read ({why}); restore it from a copy");
    Fault::Refused(StoreError::Broken { reason })
}

/// Says what a failure of SQLite means to the caller.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Unavailable { reason: format!("{path} is busy: {error}") }
        }
        Some(ErrorCode::DiskFull) => {
            let reason = format!("no space is left for {path}: free some space on the disk, then resume");
            StoreError::Broken { reason }
        }
        // Without a code it is no failure of SQLite: a stored value is of another kind than it should be.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            let reason = format!("{path} is damaged ({error}): restore it from a copy, or move it away");
            StoreError::Broken { reason }
        }
        Some(ErrorCode::ReadOnly) => {
            let reason = format!("{path} has become write-protected: make it writable, then resume");
            StoreError::Broken { reason }
        }
        Some(_) => {
            StoreError::Broken { reason: format!("{path} fails ({error}): check the disk, then resume") }
        }
    }
}
