//! Why a backend cannot be used.

use std::{io, path::PathBuf, time::Duration};

use teraslice_model::problem::{Problem, chain};
use teraslice_plugin_sdk::{
    abi,
    message::{ErrorObject, PROTOCOL},
};

/// Why a backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its file is named by a path that depends on where this process was started.
    #[error("{} is not an absolute path", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// Its command has no program.
    #[error("the command of the backend is empty")]
    NoCommand,
    /// Its file cannot be read.
    #[error("failed to read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file belongs to somebody who is neither this user nor root.
    #[error("{} belongs to the user {owner}, who is neither root nor the user of this process", path.display())]
    Owner {
        /// The file, or its folder.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Others may write to its file.
    #[error("{} can be written by others than its owner: mode {mode:o}", path.display())]
    Writable {
        /// The file, or its folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its file is another one than was pinned.
    #[error("{} has the SHA-256 {found}, expected {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What was pinned.
        expected: String,
    },
    /// Its file is no shared library.
    #[error("{} is not a shared library: {what}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Its file was made for another machine.
    #[error("{} was built for another machine: {found}, this is {}", path.display(), std::env::consts::ARCH)]
    Architecture {
        /// The file.
        path: PathBuf,
        /// Which machine.
        found: String,
    },
    /// The system does not load it.
    #[error("failed to load {}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: libloading::Error,
    },
    /// It has not the symbol of a backend.
    #[error("{} has no symbol {}: it is not a cluster backend", path.display(), abi::SYMBOL)]
    Symbol {
        /// The file.
        path: PathBuf,
    },
    /// Its table is none.
    #[error("the table of {} is not that of a cluster backend: {what}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It speaks another version.
    #[error("the backend speaks version {found} of the {what}, this program {expected}")]
    Version {
        /// Of what.
        what: &'static str,
        /// Its version.
        found: String,
        /// The version that is understood.
        expected: String,
    },
    /// Its program does not start.
    #[error("failed to start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not come to an end with something.
    #[error("the backend did not finish {step} within {} s", within.as_secs_f32())]
    Hung {
        /// With what.
        step: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// It has refused something.
    #[error("the backend failed at {step}: {}", error.message)]
    Remote {
        /// At what.
        step: &'static str,
        /// What it said.
        error: ErrorObject,
    },
    /// It has said something that is not understood.
    #[error("the answer of the backend to {step} is not understood: {what}")]
    Garbage {
        /// To what.
        step: &'static str,
        /// Why not.
        what: String,
    },
    /// It is gone.
    #[error("the backend is gone: {reason}")]
    Gone {
        /// How.
        reason: String,
    },
    /// Its schema is none.
    #[error("the schema that the backend gives for its {of} is not a JSON Schema: {what}")]
    Schema {
        /// Of what.
        of: &'static str,
        /// Why not.
        what: String,
    },
    /// Its configuration is wrong.
    #[error("the configuration of the backend is wrong: {}", listed(.0))]
    Config(Vec<Problem>),
    /// Its folder cannot be made.
    #[error("failed to make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// Says what to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Relative { .. } | Self::NoCommand => {
                "write the whole path of the file, beginning with /".to_owned()
            }
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "install it there, or correct the path under cluster_backends".to_owned()
            }
            Self::Unreadable { .. } | Self::Folder { .. } => "check who may read and write there".to_owned(),
            Self::Owner { path, .. } => format!("run: chown root {}", path.display()),
            Self::Writable { path, .. } => format!("run: chmod go-w {}", path.display()),
            Self::Digest { .. } => {
                "if the file was replaced on purpose, write its new SHA-256 under cluster_backends".to_owned()
            }
            Self::NotALibrary { .. } => {
                "name a shared library, or use transport: process for a program".to_owned()
            }
            Self::Architecture { .. } => "build the backend for this machine".to_owned(),
            Self::Load { .. } => "check with ldd that all libraries that it needs are here".to_owned(),
            Self::Symbol { .. } => "build it with export_backend!, as a cdylib".to_owned(),
            Self::Table { .. } | Self::Version { .. } | Self::Garbage { .. } | Self::Schema { .. } => {
                format!("build it with the SDK of this version (protocol {PROTOCOL})")
            }
            Self::Spawn { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "make the program executable: chmod +x".to_owned()
            }
            Self::Spawn { .. } => "check that the program is there and runs by itself".to_owned(),
            Self::Hung { .. } | Self::Gone { .. } | Self::Remote { .. } => {
                "look at the log of the backend; it is tried again by itself".to_owned()
            }
            Self::Config(_) => "correct it under cluster_backends".to_owned(),
        }
    }

    /// Returns everything in one line: what happened, why, and what to do.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} ({})", chain(self), self.hint())
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
