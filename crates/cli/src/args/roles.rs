//! Arguments of the roles of a cluster, and of the configuration commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Master {
    /// Run a node in this process too
    #[arg(long)]
    pub(crate) node: bool,
    #[command(flatten)]
    pub(crate) ending: Ending,
    #[command(flatten)]
    pub(crate) logs: Logs,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Node {
    /// Print the secret of the node with this name, for its `node_secret`, and end; to be run where the master's state is
    #[arg(long, value_name = "NAME")]
    pub(crate) secret_of: Option<String>,
    #[command(flatten)]
    pub(crate) ending: Ending,
    #[command(flatten)]
    pub(crate) logs: Logs,
}

/// What becomes of what runs at the end.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Ending {
    /// At the end, end what runs here too [default: it goes on]
    #[arg(long)]
    pub(crate) terminate: bool,
}

/// Where the output of controllers and workers goes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Logs {
    /// A folder for the logs of controllers and workers, a file each [default: stderr of this process]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) log_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check the configuration; unknown keys are errors here
    Check,
    /// Show what is in force: defaults filled in, secrets left out
    Show,
    /// Explain every key
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The name of the other cluster, with which its indices begin
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) from: String,
    /// The connection to the server that they are on
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) connection: String,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The name of the other cluster, with which its indices begin
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) to: String,
    /// The connection to the server that they are on
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) connection: String,
}
