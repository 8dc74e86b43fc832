//! The command line and the environment of a process, and the directory that it finds its job in.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{self, Command, Stdio},
};

use rustix::process::getuid;
use teraslice_core::backend::variables;
use teraslice_model::id::JobId;

use crate::{
    child,
    limits::Allowance,
    nodes::message::ProcessKey,
    template::{Output, ProcessTemplate},
};

/// A process that is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) key: ProcessKey,
    pub(crate) job_id: JobId,
    /// The job's own variables.
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) allowance: Allowance,
    pub(crate) life: Life,
}

/// How long a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// No longer than this process.
    Bound,
    /// As long as it wants.
    Own,
}

/// Makes the command that starts a process.
pub(super) fn command(cluster: &str, order: &Order<'_>, template: &ProcessTemplate) -> io::Result<Command> {
    let key = &order.key;
    let mut command = Command::new(&template.program);
    command.args(&template.arguments);
    // The job's own variables come first: none of them may pass for ours.
    command.envs(order.environment);
    command.envs(template.environment.iter().map(|(name, value)| (name, value)));
    command
        .env(variables::CLUSTER, cluster)
        .env(variables::EX_ID, key.ex_id.to_string())
        .env(variables::JOB_ID, order.job_id.to_string())
        .env(variables::GENERATION, key.generation.to_string())
        .env(variables::NODE_TYPE, key.role.node_type())
        .env(variables::ORDINAL, key.ordinal.to_string())
        .env(variables::INCARNATION, key.incarnation.to_string())
        .env(variables::RUN_DIRECTORY, &template.run_directory)
        .process_group(0);
    match order.life {
        Life::Bound => command.env(child::PARENT, process::id().to_string()),
        Life::Own => command.env_remove(child::PARENT),
    };
    match &template.output {
        Output::Inherit => {}
        Output::Discard => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::Files(directory) => {
            fs::create_dir_all(directory)?;
            let name = format!("{}-{}-{}.log", key.ex_id, key.role.node_type(), key.ordinal);
            let file = OpenOptions::new().create(true).append(true).open(directory.join(name))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
    }
    Ok(command)
}

/// Makes a directory that only this user can enter. One that is there already has to be this user's.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != getuid().as_raw() {
        let message = format!("{} is not a directory of this user", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_others_out_of_a_directory_that_was_open_to_them() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        make_private(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn refuses_a_link_that_somebody_laid_in_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        std::os::unix::fs::symlink("/tmp", &directory).unwrap();
        assert_eq!(make_private(&directory).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
