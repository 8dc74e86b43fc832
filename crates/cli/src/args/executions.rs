//! What can be asked about executions and assets of a cluster, and about job files that belong to one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::cluster::{Access, OneCluster, Paging, Recovery, Scaling, Waiting, Wanted, Watching, statuses};

#[derive(Debug, Subcommand)]
pub(crate) enum Ex {
    /// List executions
    List(ListExecutions),
    /// Show where executions stand
    Status(SomeExecutions),
    /// Stop executions and wait until they have
    Stop(StopExecutions),
    /// Start a new execution where one broke off
    Recover(RecoverExecution),
    /// List the slices that failed
    Errors(PageOfExecution),
    /// Say why nothing happens: the one cause, what shows it, what to do
    Explain(OneExecution),
    /// Print what happens, line by line, until the end
    Tail(TailExecution),
    /// List slices
    Slices(ListSlices),
}

#[derive(Debug, Args)]
pub(crate) struct ListExecutions {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// Only executions with one of these statuses
    #[arg(long, value_name = "STATUS", num_args = 1.., value_delimiter = ',', value_parser = statuses(), hide_possible_values = true)]
    pub(crate) status: Vec<String>,
    /// Only executions of deleted jobs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    pub(crate) deleted: bool,
    #[command(flatten)]
    pub(crate) paging: Paging,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct SomeExecutions {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// The ids of executions
    #[arg(required = true, value_name = "EX_ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct StopExecutions {
    #[command(flatten)]
    pub(crate) executions: SomeExecutions,
    /// Take away what is left of an execution, on Kubernetes
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverExecution {
    #[command(flatten)]
    pub(crate) execution: OneExecution,
    #[command(flatten)]
    pub(crate) recovery: Recovery,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct OneExecution {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// The execution
    #[arg(value_name = "EX_ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct PageOfExecution {
    #[command(flatten)]
    pub(crate) execution: OneExecution,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[derive(Debug, Args)]
pub(crate) struct TailExecution {
    #[command(flatten)]
    pub(crate) execution: OneExecution,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct ListSlices {
    #[command(flatten)]
    pub(crate) execution: OneExecution,
    /// Slices in this state
    #[arg(long, value_name = "STATE", default_value = "pending", value_parser = ["pending", "completed", "error"])]
    pub(crate) state: String,
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// How many are listed at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) size: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DeployAsset {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// A release on GitHub: USER/REPO, or USER/REPO@VERSION
    #[arg(conflicts_with_all = ["file", "build", "src_dir"])]
    pub(crate) release: Option<String>,
    /// A zip
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["build", "src_dir"])]
    pub(crate) file: Option<PathBuf>,
    /// Build the project first; the default when neither a release nor a file is named
    #[arg(long)]
    pub(crate) build: bool,
    /// The project [default: .]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) src_dir: Option<PathBuf>,
    /// Delete the asset of the same name and version that is in the way
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fetch or build, but do not upload
    #[arg(long)]
    pub(crate) skip_upload: bool,
    /// Wait for all checks of the asset
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) blocking: bool,
    /// Of a release, the file for this processor, such as x64
    #[arg(long, value_name = "NAME", requires = "release")]
    pub(crate) arch: Option<String>,
    /// Of a release, the file for this system, such as linux
    #[arg(long, value_name = "NAME", requires = "release")]
    pub(crate) platform: Option<String>,
    /// Of a release, the file for this major version of Node
    #[arg(long, value_name = "N", requires = "release")]
    pub(crate) node_version: Option<u32>,
    /// Say nothing on the way
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct ListAssets {
    #[command(flatten)]
    pub(crate) cluster: OneCluster,
    /// Only assets of this name
    pub(crate) name: Option<String>,
    /// Only this version, or those that match, such as 1.*
    pub(crate) version: Option<String>,
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// How many are listed at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) size: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteAsset {
    #[command(flatten)]
    pub(crate) cluster: OneCluster,
    /// The asset's id
    #[arg(value_name = "ASSET_ID")]
    pub(crate) id: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tjm {
    /// Submit job files and write into each which job it is
    #[command(visible_alias = "reg")]
    Register(RegisterFiles),
    /// Replace the jobs by what the files hold
    Update(UpdateFiles),
    /// Start the jobs of files
    #[command(visible_alias = "run")]
    Start(StartFiles),
    /// Stop the jobs of files and wait until they have
    Stop(WaitFiles),
    /// Stop the jobs of files and start them again
    Restart(StartFiles),
    /// Hold the jobs of files back
    Pause(Files),
    /// Let the paused jobs of files go on
    Resume(StartFiles),
    /// Show where the jobs of files stand
    Status(Files),
    /// List the slices that failed in the latest execution
    Errors(ErrorsOfFiles),
    /// Show the jobs of files as the cluster keeps them
    View(ViewFiles),
    /// Delete the jobs of files, and what the files say of them
    Delete(DeleteFiles),
    /// Wait until the jobs of files have a status
    Await(AwaitFiles),
    /// Change how many workers the running jobs of files have
    Workers(FileWorkers),
    /// Write an example job into each file
    Init(NewFiles),
    /// Take out of files which jobs they are
    Reset(NewFiles),
    /// Rewrite files that say in the old way which jobs they are
    Convert(NewFiles),
}

/// Job files that belong to jobs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Files {
    /// Job files, JSON
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the files are
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) src_dir: PathBuf,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// Job files that need belong to no job.
#[derive(Clone, Debug, Args)]
pub(crate) struct NewFiles {
    /// Job files, JSON
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the files are
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) src_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterFiles {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Start the jobs
    #[arg(long, visible_alias = "run")]
    pub(crate) start: bool,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Start the jobs
    #[arg(long, visible_alias = "run")]
    pub(crate) start: bool,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct StartFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct WaitFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct ErrorsOfFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[derive(Debug, Args)]
pub(crate) struct ViewFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Show where file and job differ
    #[arg(long)]
    pub(crate) diff: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AwaitFiles {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct FileWorkers {
    /// More, fewer, or so many
    #[arg(value_enum)]
    pub(crate) action: Scaling,
    /// How many
    pub(crate) number: u32,
    #[command(flatten)]
    pub(crate) files: Files,
}
