//! What whole-system cases share: a folder of their own, and the built binary.

pub mod api;
pub mod backends;
pub mod clock;
pub mod cluster;
pub mod elastic;
pub mod flights;
pub mod k8s;
pub mod ledger;
pub mod network;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_mins(2);

/// A folder with a job, its input, its state and its output; removed at the end.
#[derive(Debug)]
pub struct Stage {
    folder: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; absent: a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said on the side.
    pub stderr: String,
}

impl Default for Stage {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().expect("the folder for temporary files can be written") }
    }
}

impl Stage {
    /// Returns a path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("the folder of a test can be written");
    }

    /// Returns the command `teraslice` with arguments, in the folder, with a state of its own.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .current_dir(self.folder.path())
            .env_remove("TERAFOUNDATION_CONFIG")
            .env("TERASLICE_STATE_DIRECTORY", self.path("state"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `teraslice` to its end.
    ///
    /// # Panics
    ///
    /// When it does not start, or hangs.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        finish(self.command(arguments).spawn().expect("the binary starts"), RUN_MAX)
    }

    /// Returns the lines of all visible files of a folder, sorted.
    ///
    /// # Panics
    ///
    /// When they cannot be read.
    #[must_use]
    pub fn lines(&self, folder: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')) {
            let text = fs::read_to_string(entry.path()).expect("output files are text");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort_unstable();
        lines
    }
}

impl Ended {
    /// Reads what was printed as one JSON document.
    ///
    /// # Panics
    ///
    /// When it is not one.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}\n{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits for the end of a process, but no longer than `limit`.
///
/// # Panics
///
/// When the time is over; the process is killed first.
pub fn finish(child: Child, limit: Duration) -> Ended {
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let output = child.wait_with_output();
        let _nobody_waits = done.send(());
        output
    });
    if finished.recv_timeout(limit).is_err() {
        kill(pid);
        panic!("process {pid} did not end within {limit:?}");
    }
    let output = waiter.join().expect("the waiting thread does not panic");
    output.expect("a child can be waited for").into()
}

/// Kills a process as the system would: it gets no chance to say anything. Nothing happens if it is gone.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _may_be_gone = kill_process(pid, Signal::KILL);
    }
}

/// Asks a process to end. Nothing happens if it is gone.
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _may_be_gone = kill_process(pid, Signal::TERM);
    }
}

/// Watches a process to its end; returns the most memory it had, in KiB.
#[must_use]
pub fn peak_kib(pid: u32) -> u64 {
    let peak_so_far = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let mut peak = 0;
    while let Some(now) = peak_so_far() {
        peak = now;
        sleep(Duration::from_millis(20));
    }
    peak
}

/// Returns the file that a worker writes aside for a slice, other than `earlier`.
#[must_use]
pub fn aside(folder: &Path, earlier: Option<&Path>) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "tmp"))
        .find(|path| Some(path.as_path()) != earlier)
}

/// Returns the files that a process holds open, as it calls them.
pub fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok())
}

/// Returns the live children of a process.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(1)?.parse().ok()
}

/// Returns the record counts of a run by operation, checked: each operation and each handover balances.
///
/// # Panics
///
/// When records are missing or doubled.
#[must_use]
pub fn balanced(run: &Value) -> Vec<BTreeMap<String, u64>> {
    let operations = run["operations"].as_array().expect("a run lists its operations");
    let counts: Vec<BTreeMap<String, u64>> = operations
        .iter()
        .map(|operation| {
            let fields = operation.as_object().expect("an operation is an object");
            fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
        })
        .collect();
    for (at, count) in counts.iter().enumerate() {
        let out = count["emitted"] + count["dropped"] + count["failed"] + count["dead_lettered"];
        assert_eq!(count["received"] + count["created"], out, "operation {at}: {count:?}");
    }
    for pair in counts.windows(2) {
        assert_eq!(pair[0]["emitted"], pair[1]["received"]);
    }
    counts
}

/// Returns the built binary: beside the test's own, in the same target folder.
///
/// # Panics
///
/// When it is not built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let release = test.ancestors().nth(2).expect("tests lie in <profile>/deps");
    let binary = release.join("teraslice");
    assert!(
        binary.is_file(),
        "{} is missing: run `make build` (or `cargo build --release -p teraslice-cli`) first",
        binary.display()
    );
    binary
}

/// Tells the reader of a test run something, whatever the runner does with the output of cases: a measure, or what was not run.
pub fn tell(line: &str) {
    let _told = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns the root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns a folder of what is kept between runs.
///
/// # Panics
///
/// When there is neither `XDG_CACHE_HOME` nor `HOME`.
#[must_use]
pub fn cache(name: &str) -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("teraslice").join(name)
}
