//! A wall clock that a case moves under running processes, by libfaketime. The monotonic clock goes on as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where distributions put the library.
const FOLDERS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
/// The library, in its variant for programs of several threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The clock of all processes that were started with it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    /// Says by how much the clock is wrong; read whenever a process asks for the time.
    file: PathBuf,
}

impl Clock {
    /// Makes a clock that is right, kept in a file.
    ///
    /// # Panics
    ///
    /// When the library is not there or the file cannot be written.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        let clock = Self { library: library().expect("the case asked for libfaketime"), file };
        clock.set(0);
        clock
    }

    /// Has a process, and all that it starts, go by this clock.
    pub(crate) fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Moves the clock: it is so many seconds before or behind the right time from now on.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // In one step: a process may read it at any moment.
        let aside = self.file.with_extension("new");
        fs::write(&aside, format!("{seconds:+}\n")).expect("the folder of a test can be written");
        fs::rename(aside, &self.file).expect("the folder of a test can be written");
    }

    /// Tells whether a process goes by this clock.
    #[must_use]
    pub fn is_seen_by(&self, pid: u32) -> bool {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|line| line.ends_with(LIBRARY))
    }
}

/// Tells whether clocks can be moved here; a case that moves one says so and ends when not.
#[must_use]
pub fn is_available() -> bool {
    library().is_some()
}

fn library() -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.is_file())
}
