//! What the commands that speak with a cluster can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValuesParser};
use teraslice_model::{job::duration::parse_duration, status::Status};

/// How a cluster is found, and who asks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Access {
    /// Where aliases and saved jobs are kept [default: ~/.teraslice]
    #[arg(short = 'd', long, env = "TERASLICE_CONFIG_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub(crate) config_dir: Option<PathBuf>,
    /// The token that is sent [default: that of the alias]
    #[arg(long, env = "TERASLICE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// A file with the certificates that are trusted, in PEM [default: that of the alias, else the public ones]
    #[arg(long, env = "TERASLICE_CA", hide_env_values = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// How long something is waited for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// The longest wait: milliseconds, or a number with a unit such as 5m
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How often the cluster is asked
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) interval: Duration,
}

/// How far an execution is watched.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Watching {
    /// Watch until N slices are done, or `end`: until the end; 0: not at all
    #[arg(long, value_name = "N|end", default_value = "0", value_parser = slices)]
    pub(crate) watch: u64,
}

/// Which part of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct Paging {
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// How many are listed at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) size: u64,
    /// The order, such as _updated:desc
    #[arg(long, value_name = "FIELD:ORDER")]
    pub(crate) sort: Option<String>,
    /// Only what this query finds, such as 'name:wikipedia*'
    #[arg(long, value_name = "QUERY")]
    pub(crate) filter: Option<String>,
}

/// Jobs of a cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Selection {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// The ids of jobs, or `all`
    #[arg(required = true, value_name = "JOB_ID|all")]
    pub(crate) ids: Vec<String>,
    /// Only jobs whose latest execution has one of these statuses
    #[arg(long, value_name = "STATUS", num_args = 1.., value_delimiter = ',', value_parser = statuses(), hide_possible_values = true)]
    pub(crate) status: Vec<String>,
    /// Do not ask before many jobs are changed
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Aliases {
    /// Name a cluster
    Add(Alias),
    /// Change the address of a named cluster
    Update(Alias),
    /// Forget a named cluster
    Remove {
        /// The name
        alias: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// List the named clusters
    List {
        #[command(flatten)]
        folder: Folder,
    },
}

/// Where aliases are kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct Folder {
    /// Where aliases and saved jobs are kept [default: ~/.teraslice]
    #[arg(short = 'd', long, env = "TERASLICE_CONFIG_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub(crate) config_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Alias {
    /// The name
    pub(crate) alias: String,
    /// The address: a URL, or a host with or without a port (5678)
    pub(crate) url: String,
    /// A token to keep with the name, readable by you alone
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// A file with the certificates to trust, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// List all names afterwards
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// List jobs
    List(ListJobs),
    /// Start jobs; `all` are those that were saved
    #[command(visible_alias = "run")]
    Start(StartJobs),
    /// Stop jobs and wait until they have
    Stop(StopJobs),
    /// Stop jobs and start them again
    Restart(StartJobs),
    /// Hold jobs back
    Pause(PauseJobs),
    /// Let paused jobs go on
    Resume(StartJobs),
    /// Start jobs where their last execution broke off; `all` are those that failed
    Recover(RecoverJobs),
    /// Show where jobs stand
    Status(Selection),
    /// Show jobs as the cluster keeps them
    View(Selection),
    /// List the slices that failed in the latest execution
    Errors(JobErrors),
    /// Write down which jobs are running, for `jobs start ALIAS all`
    Save(Selection),
    /// Write jobs into files, NAME.json each
    Export(ExportJobs),
    /// Delete jobs and their executions
    Delete(Selection),
    /// Wait until jobs have a status
    Await(AwaitJobs),
    /// Change how many workers running jobs have
    Workers(JobWorkers),
}

#[derive(Debug, Args)]
pub(crate) struct ListJobs {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// Only active jobs (true), or only others (false)
    #[arg(long, value_name = "BOOL")]
    pub(crate) active: Option<bool>,
    /// Only deleted jobs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    pub(crate) deleted: bool,
    #[command(flatten)]
    pub(crate) paging: Paging,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct StartJobs {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    /// Write down the jobs, for `jobs start ALIAS all`
    #[arg(long)]
    pub(crate) save: bool,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct StopJobs {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    /// Write down the jobs, for `jobs start ALIAS all`
    #[arg(long)]
    pub(crate) save: bool,
    /// Take away what is left of an execution, on Kubernetes
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct PauseJobs {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    /// Write down the jobs, for `jobs start ALIAS all`
    #[arg(long)]
    pub(crate) save: bool,
}

/// Which slices a recovery runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cleanup {
    /// Everything that is not completed, then it ends.
    All,
    /// What failed, then it ends.
    Errors,
    /// What was not begun, then it ends.
    Pending,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverJobs {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    #[command(flatten)]
    pub(crate) recovery: Recovery,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Recovery {
    /// Which slices are run before it ends [default: all that are not completed, then it goes on slicing]
    #[arg(long, value_enum, value_name = "SLICES")]
    pub(crate) cleanup: Option<Cleanup>,
}

#[derive(Debug, Args)]
pub(crate) struct JobErrors {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[derive(Debug, Args)]
pub(crate) struct ExportJobs {
    #[command(flatten)]
    pub(crate) jobs: Selection,
    /// Where the files go
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) outdir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct AwaitJobs {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// The ids of jobs
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// Which statuses are waited for.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wanted {
    /// The statuses that end the wait
    #[arg(long, value_name = "STATUS", num_args = 1.., value_delimiter = ',', default_values = ["completed", "stopped"], value_parser = statuses(), hide_possible_values = true)]
    pub(crate) status: Vec<String>,
}

/// What is done to the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scaling {
    /// So many more.
    Add,
    /// So many fewer.
    Remove,
    /// So many.
    Total,
}

#[derive(Debug, Args)]
pub(crate) struct JobWorkers {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// More, fewer, or so many
    #[arg(value_enum)]
    pub(crate) action: Scaling,
    /// How many
    pub(crate) number: u32,
    /// The ids of jobs, or `all` that are running
    #[arg(required = true, value_name = "JOB_ID|all")]
    pub(crate) ids: Vec<String>,
    /// Only jobs whose latest execution has one of these statuses
    #[arg(long, value_name = "STATUS", num_args = 1.., value_delimiter = ',', value_parser = statuses(), hide_possible_values = true)]
    pub(crate) status: Vec<String>,
    /// Do not ask before many jobs are changed
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// List nodes
    List(OneCluster),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterWorkers {
    /// List workers and controllers, where they run and for what
    List(OneOf),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Controllers {
    /// List the controllers of running executions
    List(OneCluster),
    /// Show everything a controller counts, or the sums of the cluster
    Stats(OneOf),
}

#[derive(Debug, Args)]
pub(crate) struct OneCluster {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct OneOf {
    /// The cluster: an alias, or a URL
    pub(crate) alias: String,
    /// Only those of this job or execution
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

pub(super) fn statuses() -> PossibleValuesParser {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str))
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write milliseconds, or a number with a unit such as 5m".to_owned())
}

fn slices(text: &str) -> Result<u64, String> {
    match text {
        "end" => Ok(u64::MAX),
        number => number.parse().map_err(|_| "write a number of slices, or `end`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_slices() {
        assert_eq!(duration("1200000"), Ok(Duration::from_mins(20)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert!(duration("soon").is_err());
        assert_eq!((slices("7"), slices("end")), (Ok(7), Ok(u64::MAX)));
        assert!(slices("-1").is_err());
    }
}
