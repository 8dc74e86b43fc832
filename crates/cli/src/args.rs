//! What the program can be asked for.

pub(crate) mod backends;
pub(crate) mod cluster;
pub(crate) mod executions;
pub(crate) mod k8s;
pub(crate) mod roles;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use teraslice_model::id::ExId;
use teraslice_node::exit_code;

/// Runs jobs: reads, slices, processes in a sandbox, writes.
#[derive(Debug, Parser)]
#[command(name = "teraslice", version, after_help = exit_codes(), max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// Absent: the role that the environment or the configuration says
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// The configuration file [default: $TERAFOUNDATION_CONFIG, /app/config/config.{yaml,yml,json}, ./config.*]
    #[arg(short = 'c', long = "config", alias = "configfile", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where the state of runs is kept [default: $TERASLICE_STATE_DIRECTORY, the configuration, ~/.local/state/teraslice]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How results are printed
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub(crate) output: Output,
    /// How log lines look; they go to stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or levels per part such as warn,teraslice_core=debug
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    #[value(aliases = ["txt", "pretty"])]
    Table,
    /// One JSON document.
    Json,
    /// One id per line, of what a cluster was asked about; else as a table.
    Name,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job on this machine until it ends
    Run(Run),
    /// Check a job and list everything that is wrong with it
    Validate(Validate),
    /// Go on with a run that was interrupted or killed
    Resume(Resume),
    /// List runs, or show one
    History(History),
    /// Make, build, test and look at assets
    #[command(subcommand)]
    Assets(Assets),
    /// Look at refused records, and run them again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Keep names for clusters
    #[command(subcommand)]
    Aliases(cluster::Aliases),
    /// Look at the jobs of a cluster, start, stop and change them
    #[command(subcommand)]
    Jobs(cluster::Jobs),
    /// Look at the executions of a cluster, stop and recover them
    #[command(subcommand)]
    Ex(executions::Ex),
    /// Look at the nodes of a cluster
    #[command(subcommand)]
    Nodes(cluster::Nodes),
    /// Look at the processes of a cluster
    #[command(subcommand)]
    Workers(cluster::ClusterWorkers),
    /// Look at the controllers of running executions
    #[command(subcommand)]
    Controllers(cluster::Controllers),
    /// Keep jobs in files: submit, update, start and stop them by file
    #[command(subcommand)]
    Tjm(executions::Tjm),
    /// Print what a shell needs to complete commands
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Serve the API of a cluster, and its nodes
    Master(roles::Master),
    /// Join a cluster and run its controllers and workers here
    Node(roles::Node),
    /// Bring jobs and ended executions of another cluster into this one, from its indices on a search server
    Import(roles::Import),
    /// Write jobs and ended executions of this cluster into indices on a search server, as another cluster's
    Export(roles::Export),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(roles::Config),
    /// Look at cluster backends of others, check them, and begin a new one
    #[command(subcommand)]
    Backends(backends::Backends),
    /// Run a whole simulated cluster under a seed, with crashes and cuts, and check that no slice is lost or doubled
    Sim(Sim),
    /// Check whether a Kubernetes cluster is ready for a master
    #[command(subcommand, name = "k8s")]
    K8s(k8s::K8s),
    /// Run an execution for a cluster
    #[command(hide = true)]
    Controller,
    /// Run slices for a controller
    #[command(hide = true)]
    Worker,
    /// Compile the module on standard input, within limits
    #[command(hide = true)]
    CompileAsset {
        /// The tier and the limits
        arguments: Vec<String>,
    },
}

/// A job file and what is changed in it.
#[derive(Debug, Args)]
pub(crate) struct JobFile {
    /// The job: JSON, or YAML if it ends in .yaml or .yml
    pub(crate) job: PathBuf,
    /// Set a property, such as workers=8 or operations.0.size=1000
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) file: JobFile,
    #[command(flatten)]
    pub(crate) workers: Workers,
    /// Run a few slices without writing, and estimate the whole run
    #[arg(long, conflicts_with = "processes")]
    pub(crate) dry_run: bool,
    /// How many slices a dry run takes
    #[arg(long, value_name = "N", default_value_t = 10, requires = "dry_run")]
    pub(crate) samples: usize,
}

/// Where slices run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Workers {
    /// How many workers run slices [default: the job's workers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: Option<u32>,
    /// Run each worker in a process of its own
    #[arg(long)]
    pub(crate) processes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = scenarios())]
pub(crate) struct Sim {
    /// The seed, or the first of them; the same seed is the same run, event by event
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// What is simulated
    #[arg(long, value_name = "NAME", default_value = teraslice_backend_sim::scenario::NAMES[0].0)]
    pub(crate) scenario: String,
    /// Run so many seeds and print a summary [default: one seed, with all that happens]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
}

fn scenarios() -> String {
    let line = |(name, about): &(&str, &str)| format!("  {name:<9} {about}\n");
    format!("Scenarios:\n{}", teraslice_backend_sim::scenario::NAMES.iter().map(line).collect::<String>())
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) file: JobFile,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run [default: the latest that can go on]
    pub(crate) ex_id: Option<ExId>,
    #[command(flatten)]
    pub(crate) workers: Workers,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The run to show [default: list all]
    pub(crate) ex_id: Option<ExId>,
    /// How many runs are listed at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) size: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List the records that a run's operations refused or broke on
    List(ListDeadLetters),
    /// Show one, with everything that is known of it
    Show(ShowDeadLetter),
    /// Run them through their job again, or through a changed one, as a new execution
    Replay(ReplayDeadLetters),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// Make a project with one operation that builds and passes its tests
    Init {
        /// The folder to make; its name is the asset's
        folder: PathBuf,
        /// What it is written in
        #[arg(long, value_enum, default_value_t)]
        language: Language,
    },
    /// Build a project into an asset: dist/NAME-vVERSION.zip
    Build {
        /// The project
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Run records through operations in the sandbox and compare what comes out
    Test(TestAsset),
    /// Show the operations of an asset, their settings, what it imports, its size
    Inspect {
        /// A project, a zip, or a name as in a job
        #[arg(default_value = ".")]
        asset: PathBuf,
    },
    /// Measure operations in the sandbox and, for a project in Rust, outside of it
    Bench(BenchAsset),
    /// Bring an asset into a cluster: a release, a file, or a project
    Deploy(executions::DeployAsset),
    /// List the assets of a cluster
    List(executions::ListAssets),
    /// Take an asset out of a cluster
    Delete(executions::DeleteAsset),
}

/// What an asset is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, with the guest SDK.
    #[default]
    Rust,
    /// C, with teraslice.h.
    C,
}

#[derive(Debug, Args)]
pub(crate) struct TestAsset {
    /// A project, a zip, or a name as in a job
    #[arg(default_value = ".")]
    pub(crate) asset: PathBuf,
    /// Files with cases, YAML or JSON [default: tests.yaml of the project]
    pub(crate) files: Vec<PathBuf>,
    /// An operation, in place of files
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    pub(crate) op: Option<String>,
    /// Its settings, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "op")]
    pub(crate) settings: String,
    /// The records that go in, as a JSON array
    #[arg(long, value_name = "JSON", default_value = "[]", requires = "op")]
    pub(crate) records: String,
    /// The records that come out, as a JSON array
    #[arg(long, value_name = "JSON", requires = "op")]
    pub(crate) expect: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchAsset {
    /// A project, a zip, or a name as in a job
    #[arg(default_value = ".")]
    pub(crate) asset: PathBuf,
    /// An operation [default: the steps of the first case in tests.yaml of the project]
    #[arg(long, value_name = "NAME")]
    pub(crate) op: Option<String>,
    /// Its settings, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "op")]
    pub(crate) settings: String,
    /// A file with records, one JSON object a line [default: 20,000 made up ones]
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct LetterFilter {
    /// Only those of an operation: its place in the job, or its name
    #[arg(long, value_name = "N|NAME")]
    pub(crate) operation: Option<String>,
    /// Only those whose reason has this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// What has become of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LetterState {
    /// Nothing yet.
    Open,
    /// An execution replays it.
    Replayed,
}

#[derive(Debug, Args)]
pub(crate) struct ShowDeadLetter {
    /// The run
    pub(crate) ex_id: ExId,
    /// The letter's number, as `list` shows it
    pub(crate) number: u64,
    /// Write the record's bytes and nothing else
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayDeadLetters {
    /// The run that has the letters
    pub(crate) ex_id: ExId,
    /// Another job to run them through [default: the run's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) job: Option<PathBuf>,
    /// Set a property of the job, such as operations.2.value=1
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// Only these letters
    #[arg(long, value_name = "N")]
    pub(crate) number: Vec<u64>,
    /// Those that an earlier replay has failed with, in place of those that none has taken
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) workers: Workers,
}

#[derive(Debug, Args)]
pub(crate) struct ListDeadLetters {
    /// The run
    pub(crate) ex_id: ExId,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// Only those that no replay has taken, or only those that one has
    #[arg(long, value_enum, value_name = "STATE")]
    pub(crate) state: Option<LetterState>,
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// How many are listed at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) size: u64,
}

/// Splits `path=value` at the first equals sign.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("write PATH=VALUE, as in operations.0.size=1000".to_owned()),
    }
}

fn exit_codes() -> String {
    let lines = exit_code::ALL.iter().map(|(code, meaning)| format!("\n  {code:2}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn has_arguments_without_contradictions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn splits_assignments_at_the_first_equals_sign() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(assignment("=x").is_err());
        assert!(assignment("x").is_err());
    }
}
