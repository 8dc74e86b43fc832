//! Limits of memory and processor time for processes: by control groups, else by the size of their data.
//!
//! A process is put under its limits right after it was started. Control groups count what is really used; the limit of the
//! data size ([`Means::DataSize`]) counts memory that could be written to, reserved address space (such as that of a pool of
//! WebAssembly instances) not included.

mod cgroup;

use std::{io, path::PathBuf};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::{Deserialize, Serialize};
use teraslice_core::backend::Role;
use teraslice_model::job::Resources;

use self::cgroup::{Cgroups, Group};

/// What a process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allowance {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processor cores.
    pub cpu_cores: Option<f64>,
}

impl Allowance {
    /// Returns what a job allows its processes of a role.
    #[must_use]
    pub const fn of(resources: &Resources, role: Role) -> Self {
        match role {
            Role::Controller => {
                Self { memory_bytes: resources.memory_controller, cpu_cores: resources.cpu_controller }
            }
            Role::Worker => Self { memory_bytes: resources.memory_limit, cpu_cores: resources.cpu_limit },
        }
    }

    /// Tells whether anything is limited.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.memory_bytes.is_some() || self.cpu_cores.is_some()
    }
}

/// By what means limits are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// Those of memory.
    pub memory: Means,
    /// Those of processor time.
    pub cpu: Means,
}

/// How a limit is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// By control groups, version 2.
    CgroupV2,
    /// By control groups, version 1.
    CgroupV1,
    /// By the size of the data of the process.
    DataSize,
    /// Not at all.
    #[default]
    None,
}

/// Where control groups are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupRoot {
    /// Below the group of this process, where it may (default).
    #[default]
    Own,
    /// In this directory: a group of version 2, or one that holds `memory` and `cpu`, groups of version 1.
    Directory(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// Puts processes under limits.
#[derive(Debug)]
pub(crate) struct Limiter {
    cgroups: Cgroups,
}

impl Limiter {
    /// Finds out what this machine lets this process do.
    pub(crate) fn detect(root: &CgroupRoot) -> Self {
        let cgroups = match root {
            CgroupRoot::Own => Cgroups::own(),
            CgroupRoot::Directory(directory) => Cgroups::below(directory),
            CgroupRoot::Nowhere => Cgroups::default(),
        };
        Self { cgroups }
    }

    /// Returns by what means limits are enforced.
    pub(crate) fn enforced(&self) -> Enforced {
        Enforced {
            memory: self.cgroups.memory.as_ref().map_or(Means::DataSize, |(means, _)| *means),
            cpu: self.cgroups.cpu.as_ref().map_or(Means::None, |(means, _)| *means),
        }
    }

    /// Puts a process that was just started under its limits.
    pub(crate) fn enclose(&self, pid: Pid, name: &str, allowance: Allowance) -> io::Result<()> {
        let (memory, cpu) = (self.memory_group(name), self.cpu_group(name));
        if let Some(bytes) = allowance.memory_bytes {
            match &memory {
                Some(group) => group.limit_memory(bytes)?,
                None => limit_data(pid, bytes)?,
            }
        }
        if let (Some(cores), Some(group)) = (allowance.cpu_cores, &cpu) {
            group.limit_cpu(cores)?;
        }
        let memory = memory.filter(|_| allowance.memory_bytes.is_some());
        let cpu = cpu.filter(|_| allowance.cpu_cores.is_some());
        for group in [memory, cpu].into_iter().flatten() {
            group.take_in(pid)?;
        }
        Ok(())
    }

    /// Removes the groups of a process that has ended; tells whether it was killed for lack of memory.
    pub(crate) fn release(&self, name: &str) -> bool {
        let (memory, cpu) = (self.memory_group(name), self.cpu_group(name));
        let is_out_of_memory = memory.as_ref().is_some_and(Group::has_killed);
        for group in [memory, cpu].into_iter().flatten() {
            group.remove();
        }
        is_out_of_memory
    }

    fn memory_group(&self, name: &str) -> Option<Group> {
        self.cgroups.memory.as_ref().map(|(means, parent)| Group::new(*means, parent, name))
    }

    fn cpu_group(&self, name: &str) -> Option<Group> {
        self.cgroups.cpu.as_ref().map(|(means, parent)| Group::new(*means, parent, name))
    }
}

fn limit_data(pid: Pid, bytes: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    prlimit(Some(pid), Resource::Data, limit)?;
    Ok(())
}

#[cfg(test)]
mod tests;
