//! Arguments of what has to do with cluster backends of third parties.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Backends {
    /// List the backends of the configuration, and what is wrong with them
    List,
    /// Hold a backend against every law of a cluster backend; its processes have to run on this machine
    Check {
        /// The name of the backend in the configuration
        name: String,
    },
    /// Begin a new backend from a template
    Init {
        /// The folder to make
        folder: PathBuf,
        /// The language of the template
        #[arg(long, value_enum, default_value = "rust")]
        language: Language,
        /// The folder of the SDK, for Rust
        #[arg(long, value_name = "FOLDER", default_value = "../teraslice/crates/plugin-sdk")]
        sdk: PathBuf,
    },
}

/// The language of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// A shared library
    Rust,
    /// A process
    Python,
}
