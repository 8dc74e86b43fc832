//! What the system says of processes: `/proc`.

use std::{
    fs, io,
    time::{SystemTime, UNIX_EPOCH},
};

use teraslice_plugin_sdk::message::Role;

/// Which of the workers a process is; the one variable that a backend adds.
pub const ORDINAL: &str = "TERASLICE_ORDINAL";
/// The cluster of a process.
const CLUSTER: &str = "TERASLICE_CLUSTER";
/// Its execution.
const EX_ID: &str = "TERASLICE_EX_ID";
/// The controller object that it belongs to.
const GENERATION: &str = "TERASLICE_GENERATION";
/// What it is.
const NODE_TYPE: &str = "NODE_TYPE";

/// A process, named for ever on this machine: numbers are given out again, together with the start time they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its number.
    pub number: i32,
    /// When it was started, in ticks since the machine was.
    pub start: u64,
}

/// What a process is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its execution.
    pub ex_id: String,
    /// The controller object that it belongs to.
    pub generation: u64,
    /// What it is.
    pub role: Role,
    /// Which one.
    pub ordinal: u32,
}

impl Key {
    /// Returns the word for its role.
    #[must_use]
    pub const fn role_name(&self) -> &'static str {
        match self.role {
            Role::Controller => "execution_controller",
            Role::Worker => "worker",
        }
    }
}

impl ProcessId {
    /// Names the process that has that number now.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(number: u32) -> io::Result<Self> {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        let stat = stat(number).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { number, start: stat.start })
    }

    /// Tells whether it still runs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        stat(self.number).is_some_and(|stat| stat.start == self.start && !stat.is_dead)
    }

    /// Returns the id of the instance.
    #[must_use]
    pub fn name(&self) -> String {
        format!("process-{}-{}", self.number, self.start)
    }
}

/// Lists the live processes of a cluster, whoever has started them.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn scan(cluster: &str) -> io::Result<Vec<(ProcessId, Key)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // What has ended meanwhile, or is somebody else's, is none of ours.
        let number = name.to_str().and_then(|name| name.parse().ok());
        found.extend(number.and_then(|number| find(number, cluster)));
    }
    Ok(found)
}

fn find(number: i32, cluster: &str) -> Option<(ProcessId, Key)> {
    let environment = fs::read(format!("/proc/{number}/environ")).ok()?;
    let variable = |name: &str| {
        let mut entries = environment.split(|byte| *byte == 0);
        let value = entries.find_map(|it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    if variable(CLUSTER) != Some(cluster) {
        return None;
    }
    let stat = stat(number)?;
    // What an instance starts has inherited its environment, but does not lead a group.
    if stat.is_dead || stat.group != number {
        return None;
    }
    let role = match variable(NODE_TYPE)? {
        "execution_controller" => Role::Controller,
        "worker" => Role::Worker,
        _ => return None,
    };
    let key = Key {
        ex_id: variable(EX_ID)?.to_owned(),
        generation: variable(GENERATION)?.parse().ok()?,
        role,
        ordinal: variable(ORDINAL)?.parse().ok()?,
    };
    Some((ProcessId { number, start: stat.start }, key))
}

/// What `/proc/PID/stat` says.
struct Stat {
    is_dead: bool,
    group: i32,
    start: u64,
}

/// Reads `PID (NAME) STATE PPID PGRP ... STARTTIME ...`; the name may hold blanks and parentheses.
fn stat(number: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    let group = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat { is_dead, group, start })
}

/// Returns the milliseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a backend has a clock of its own")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
