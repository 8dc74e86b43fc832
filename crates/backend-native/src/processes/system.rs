//! What the system says of processes: `/proc`.

use std::{fs, io, path::Path, time::Duration};

use rustix::process::Pid;
use teraslice_core::backend::{InstanceId, Role, variables};
use teraslice_model::id::{Generation, JobId};

use crate::nodes::message::ProcessKey;

/// The kernel tells times in hundredths of a second, whatever its own clock runs at.
const TICKS_PER_SECOND: u64 = 100;

/// A process, named for ever on this machine: numbers are given out again, together with the start time they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessId {
    /// Its number.
    pub(crate) number: i32,
    /// When it was started, in ticks since the machine was.
    pub(crate) start: u64,
}

/// A process of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) process: ProcessId,
    pub(crate) key: ProcessKey,
    pub(crate) job_id: JobId,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    is_dead: bool,
    group: i32,
    start: u64,
}

impl ProcessId {
    /// Names the process that has that number now.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let stat = stat(pid)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { number: pid.as_raw_pid(), start: stat.start })
    }

    /// Returns the number for calls of the system.
    pub(crate) const fn pid(&self) -> Pid {
        Pid::from_raw(self.number).expect("the number is a process's")
    }

    /// Tells whether it still runs; a process that has ended and was not waited for yet does not.
    pub(crate) fn is_live(&self) -> bool {
        matches!(stat(self.pid()), Ok(Some(stat)) if stat.start == self.start && !stat.is_dead)
    }

    /// Returns the name of the instance.
    pub(crate) fn instance_id(&self, host: &str) -> InstanceId {
        InstanceId(format!("{host}-{}-{}", self.number, self.start))
    }

    /// Returns how long ago it was started.
    pub(crate) fn age(&self) -> io::Result<Duration> {
        let uptime = fs::read_to_string("/proc/uptime")?;
        let seconds = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        let start = Duration::from_millis(self.start * 1_000 / TICKS_PER_SECOND);
        Ok(Duration::from_secs_f64(seconds).saturating_sub(start))
    }
}

/// Returns the name of this machine.
pub(crate) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Lists the live processes of a cluster on this machine, whoever has started them.
pub(crate) fn scan(cluster: &str) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // What has ended meanwhile, or is somebody else's, is none of ours.
        if let Some(found) = pid.and_then(|pid| find(pid, cluster)) {
            all.push(found);
        }
    }
    Ok(all)
}

fn find(pid: Pid, cluster: &str) -> Option<Found> {
    let environment = fs::read(proc(pid).join("environ")).ok()?;
    let variable = |name: &str| variable(&environment, name);
    if variable(variables::CLUSTER) != Some(cluster) {
        return None;
    }
    let stat = stat(pid).ok().flatten()?;
    // What an instance starts has inherited its environment, but does not lead a group.
    if stat.is_dead || stat.group != pid.as_raw_pid() {
        return None;
    }
    let key = ProcessKey {
        ex_id: variable(variables::EX_ID)?.parse().ok()?,
        generation: Generation(variable(variables::GENERATION)?.parse().ok()?),
        role: Role::of_node_type(variable(variables::NODE_TYPE)?)?,
        ordinal: variable(variables::ORDINAL)?.parse().ok()?,
        incarnation: variable(variables::INCARNATION)?.parse().ok()?,
    };
    let process = ProcessId { number: pid.as_raw_pid(), start: stat.start };
    Some(Found { process, key, job_id: variable(variables::JOB_ID)?.parse().ok()? })
}

fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a str> {
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()
}

fn proc(pid: Pid) -> std::path::PathBuf {
    Path::new("/proc").join(pid.as_raw_pid().to_string())
}

fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    match fs::read_to_string(proc(pid).join("stat")) {
        Ok(text) => parse_stat(&text).map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads `PID (NAME) STATE PPID PGRP ... STARTTIME ...`; the name may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    let group = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat { is_dead, group, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_name_is_a_trap() {
        let line = "42 (a) Z (b) S 1 40 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1 1";
        assert_eq!(parse_stat(line), Some(Stat { is_dead: false, group: 40, start: 777 }));
    }

    #[test]
    fn knows_the_dead_by_their_state() {
        let line = "42 (x) Z 1 40 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1 1";
        assert!(parse_stat(line).unwrap().is_dead);
    }

    #[test]
    fn refuses_text_that_is_no_stat_line() {
        for text in ["", "42 (x", "42 (x) S", "42 (x) S 1 a"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn finds_a_variable_by_its_whole_name() {
        let environment = b"XNODE_TYPE=a\0NODE_TYPE=worker\0NODE_TYPES=b\0";
        assert_eq!(variable(environment, "NODE_TYPE"), Some("worker"));
        assert_eq!(variable(environment, "NODE"), None);
    }

    #[test]
    fn finds_this_process_alive_and_started_in_the_past() {
        let me = ProcessId::of(rustix::process::getpid()).unwrap();
        assert!(me.is_live());
        assert!(me.age().unwrap() < Duration::from_hours(1));
        assert!(!ProcessId { start: me.start + 1, ..me }.is_live(), "another of the same number");
    }
}
