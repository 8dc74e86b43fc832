//! What a process that the native backend has started finds out about itself.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde_json::{Map, Value};
use teraslice_core::backend::{
    Role,
    variables::{EX_ID, GENERATION, INCARNATION, JOB_ID, NODE_TYPE, ORDINAL, RUN_DIRECTORY},
};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    job::RawJob,
};

use crate::socket;

/// The process that it shall not outlive, if any.
pub const PARENT: &str = "TERASLICE_PARENT_PID";
/// Why a process cannot find out what it is for.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It was not started by the native backend.
    #[error(
        "the environment variable {name} is not set: this process is started by a node or by `teraslice run`"
    )]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// A variable makes no sense.
    #[error("the environment variable {name} is not valid: {value:?}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The job file cannot be read.
    #[error("failed to read the job file {}", path.display())]
    Job {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process that has started it is gone, so nobody needs it.
    #[error("the process {expected} that started this one has ended")]
    ParentGone {
        /// Its number.
        expected: i32,
    },
    /// The system refuses.
    #[error("failed to ask for the signal at the end of the parent process")]
    Bind(#[source] io::Error),
}

/// What a process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The execution.
    pub ex_id: ExId,
    /// Its job.
    pub job_id: JobId,
    /// The controller object.
    pub generation: Generation,
    /// What it is.
    pub role: Role,
    /// Which one.
    pub ordinal: u32,
    /// Tells it from others that hold its place before and after it; 0 where nobody counts them.
    pub incarnation: u64,
    /// The process that it shall not outlive; none for one that outlives its node's.
    pub parent: Option<i32>,
    /// Where sockets and job files are.
    pub run_directory: PathBuf,
}

impl Assignment {
    /// Reads the assignment of this process from its environment.
    ///
    /// # Errors
    ///
    /// When a variable is missing or not valid.
    pub fn from_environment() -> Result<Self, ChildError> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ChildError> {
        let text = |name| variable(name).ok_or(ChildError::Missing { name });
        let role = text(NODE_TYPE)?;
        let role = Role::of_node_type(&role).ok_or(ChildError::Invalid { name: NODE_TYPE, value: role })?;
        Ok(Self {
            ex_id: parse(EX_ID, text(EX_ID)?)?,
            job_id: parse(JOB_ID, text(JOB_ID)?)?,
            generation: Generation(parse(GENERATION, text(GENERATION)?)?),
            role,
            ordinal: parse(ORDINAL, text(ORDINAL)?)?,
            incarnation: parse(INCARNATION, text(INCARNATION)?)?,
            parent: variable(PARENT).map(|number| parse(PARENT, number)).transpose()?,
            run_directory: text(RUN_DIRECTORY)?.into(),
        })
    }

    /// Reads the job: its document, defaults filled in.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no JSON object.
    pub fn job(&self) -> Result<RawJob, ChildError> {
        let path = job_file(&self.run_directory, self.ex_id);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map(RawJob).map_err(|source| ChildError::Job { path, source })
    }

    /// Returns where the controller of the execution listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket::path(&self.run_directory, self.ex_id)
    }
}

/// Ends this process when the one that has started it ends, however that happens.
///
/// To be called first thing, on the main thread (the wish ends with the thread that has it); a parent that is gone already
/// is found out. Without a parent to be bound to nothing happens.
///
/// # Errors
///
/// When the parent is gone, or the system refuses.
pub fn bind_to_parent(expected_parent: Option<i32>) -> Result<(), ChildError> {
    let Some(expected) = expected_parent else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| ChildError::Bind(error.into()))?;
    // It may have ended before the signal was asked for.
    if getppid().map(Pid::as_raw_pid) == Some(expected) {
        Ok(())
    } else {
        Err(ChildError::ParentGone { expected })
    }
}

/// Returns where the job of an execution is kept for its processes.
pub(crate) fn job_file(run_directory: &Path, ex_id: ExId) -> PathBuf {
    run_directory.join(format!("{ex_id}.job.json"))
}

/// Writes that file; a reader sees the whole of it or nothing.
pub(crate) fn write_job(run_directory: &Path, ex_id: ExId, job: &Map<String, Value>) -> io::Result<()> {
    let (path, part) = (job_file(run_directory, ex_id), run_directory.join(format!(".{ex_id}.job.part")));
    fs::write(&part, serde_json::to_vec(job)?)?;
    fs::rename(part, path)
}

fn parse<T: FromStr>(name: &'static str, value: String) -> Result<T, ChildError> {
    value.parse().map_err(|_| ChildError::Invalid { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            EX_ID | JOB_ID => "01020304-0506-4708-890a-0b0c0d0e0f10",
            GENERATION => "7",
            NODE_TYPE => "worker",
            ORDINAL => "3",
            INCARNATION => "5",
            PARENT => "12",
            RUN_DIRECTORY => "/run/x",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn reads_its_assignment() {
        let assignment = Assignment::read(variables).unwrap();
        assert_eq!((assignment.generation, assignment.ordinal), (Generation(7), 3));
        assert_eq!((assignment.incarnation, assignment.parent), (5, Some(12)));
        assert_eq!(assignment.role, Role::Worker);
    }

    #[test]
    fn is_bound_to_nobody_where_no_parent_is_named() {
        let assignment = Assignment::read(|name| variables(name).filter(|_| name != PARENT)).unwrap();
        assert_eq!(assignment.parent, None);
        bind_to_parent(None).unwrap();
    }

    #[test]
    fn names_the_variable_that_is_missing_or_not_valid() {
        let missing = Assignment::read(|name| variables(name).filter(|_| name != EX_ID)).unwrap_err();
        assert!(matches!(missing, ChildError::Missing { name: EX_ID }));
        let wrong = |name: &str| variables(name).map(|it| if name == ORDINAL { "x".to_owned() } else { it });
        let wrong = Assignment::read(wrong).unwrap_err();
        assert_eq!(wrong.to_string(), "the environment variable TERASLICE_ORDINAL is not valid: \"x\"");
    }
}
