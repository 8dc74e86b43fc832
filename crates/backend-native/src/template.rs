//! How processes are started.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

/// How processes of a role are started.
///
/// What they are for is told them by environment variables; see [`child`](crate::child).
#[derive(Clone)]
pub struct ProcessTemplate {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables beyond those of this process. Their values never show up in messages.
    pub environment: Vec<(OsString, OsString)>,
    /// Where its output goes.
    pub output: Output,
    /// Where the backend and its processes keep sockets and job files. Made when it is absent, for this user only.
    pub run_directory: PathBuf,
}

/// Where the output of a process goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Where this process's own goes.
    Inherit,
    /// Into a file of its own in this directory, appended: `EX_ID-ROLE-ORDINAL.log`.
    Files(PathBuf),
    /// Nowhere.
    Discard,
}

impl ProcessTemplate {
    /// Makes a template without arguments whose output goes where this process's own goes.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, run_directory: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            output: Output::Inherit,
            run_directory: run_directory.into(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets where the output goes.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}

impl fmt::Debug for ProcessTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("ProcessTemplate")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .field("output", &self.output)
            .field("run_directory", &self.run_directory)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_secrets_out_of_messages() {
        let template = ProcessTemplate::new("/bin/x", "/run").variable("SECRET", "hunter2");
        let shown = format!("{template:?}");
        assert!(shown.contains("SECRET") && !shown.contains("hunter2"), "{shown}");
    }
}
