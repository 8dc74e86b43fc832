//! A folder with aliases, for tests.

use std::path::PathBuf;

use tempfile::TempDir;
use teraslice_node::exit_code;

use super::{Site, home::Alias};
use crate::{
    args::{
        Common, Output,
        cluster::{Access, Waiting},
    },
    failure::Failure,
};

/// A folder where a cluster is called `here`.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// Makes the folder.
    pub(crate) fn new(url: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.alias("here", url);
        place
    }

    /// Returns the path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names a cluster.
    pub(crate) fn alias(&self, name: &str, url: &str) {
        let site = self.site();
        let mut aliases = site.home.aliases().unwrap();
        aliases.set(name, Alias::new(url));
        site.home.write_aliases(&aliases).unwrap();
    }

    /// Returns who may ask.
    pub(crate) fn access(&self) -> Access {
        Access { config_dir: Some(self.path("home")), ..Access::default() }
    }

    /// Returns what a command starts from; its results are JSON.
    pub(crate) fn site(&self) -> Site {
        Site::new(&common(), &self.access()).unwrap()
    }
}

/// Returns arguments that ask for JSON.
pub(crate) fn common() -> Common {
    Common { output: Output::Json, ..Common::default() }
}

/// Returns waits without pauses.
pub(crate) fn waiting() -> Waiting {
    use std::time::Duration;
    Waiting { timeout: Duration::from_secs(20), interval: Duration::from_millis(1) }
}

/// Returns the exit code, whether it was a failure or not.
pub(crate) fn code(done: Result<u8, Failure>) -> u8 {
    let code = done.unwrap_or_else(|failure| failure.code);
    assert_ne!(code, exit_code::INTERNAL);
    code
}
