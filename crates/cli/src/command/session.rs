//! What every command starts from: configuration, parts, screen, state.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    store::{StateStore, StoreError},
};
use teraslice_model::job::{CheckedJob, Format, RawJob, Warning};
use teraslice_node::{
    config::{Config, ConfigError},
    exit_code,
    local::{WorkerProcesses, Workers},
    logging::{self, FileOptions, LogError, LogOptions},
    parts::{OpenError, Parts, Prepared, Refused},
    state,
    traces::{Origin, Traces},
};
use tokio::runtime::Runtime;

use crate::{
    args::{self as arguments, Common, JobFile, LogFormat, Output},
    failure::Failure,
    screen::Screen,
};

/// Batches of one worker that keep a thread busy at once: one is fetched, one processed; others were given up.
const COMPUTE_THREADS_PER_WORKER: usize = 4;
/// Threads for anything else that blocks.
const COMPUTE_THREADS_MIN: usize = 4;
/// What is logged when nobody says.
const LEVEL_DEFAULT: &str = "warn";
/// What a long-running role logs when nobody says.
const LEVEL_OF_SERVICES: &str = "info";

/// What every command starts from.
#[derive(Debug)]
pub(crate) struct Session {
    common: Common,
    /// The configuration, and what it makes.
    pub(crate) parts: Parts,
    /// Standard error.
    pub(crate) screen: Screen,
}

impl Session {
    /// Reads the configuration.
    pub(crate) fn start(common: Common) -> Result<Self, Failure> {
        let mut config = Config::find(common.config.as_deref()).map_err(|error| match error {
            ConfigError::Wrong { path, problems } => {
                let message = format!("the configuration {} is wrong", path.display());
                Failure::text(exit_code::BAD_CONFIG, message).with_problems(problems)
            }
            other => Failure::new(exit_code::BAD_CONFIG, other),
        })?;
        let screen = Screen::new();
        for warning in &config.warnings {
            let path = config.path.as_deref().unwrap_or_else(|| "configuration".as_ref());
            screen.say(&format!("warning: {}: {warning}", path.display()));
        }
        config.state_directory = state::directory(common.state_dir.as_deref(), &config).ok();
        let parts = Parts::new(config).with_compiler(program()?, vec!["compile-asset".to_owned()]);
        Ok(Self { common, parts, screen })
    }

    /// Returns how results are printed.
    pub(crate) fn output(&self) -> Output {
        self.common.output
    }

    /// Starts the log: at the level of the arguments, else of the job, else of the configuration.
    pub(crate) fn start_log(&self, job: Option<&Map<String, Value>>) -> Result<(), Failure> {
        self.open_log(&self.log_options(job, LEVEL_DEFAULT), None)
    }

    /// Starts the log of what works on slices, and traces if they are wanted; they are taken as long as the result is held.
    pub(crate) fn start_work_log(
        &self,
        job: Option<&Map<String, Value>>,
        role: &'static str,
    ) -> Result<Option<Traces>, Failure> {
        let traces = self.traces(role)?;
        self.open_log(&self.log_options(job, LEVEL_DEFAULT), traces.as_ref())?;
        Ok(traces)
    }

    /// Starts the log of a long-running role, and traces if they are wanted, which are taken as long as the result is held. Says
    /// which keys of the configuration have no effect.
    pub(crate) fn start_service_log(&self, role: &'static str) -> Result<Option<Traces>, Failure> {
        let traces = self.traces(role)?;
        let logs = &self.parts.config().logs;
        let mut options = self.log_options(None, LEVEL_OF_SERVICES);
        options.has_console = logs.has_console;
        options.file = logs.folder.clone().map(|folder| {
            let level = self.common.log_level.clone().or_else(|| logs.file_level.clone());
            FileOptions {
                folder,
                level: level.unwrap_or_else(|| LEVEL_OF_SERVICES.to_owned()),
                assignment: role,
            }
        });
        self.open_log(&options, traces.as_ref())?;
        for note in &self.parts.config().without_effect {
            tracing::info!(note, "a key of the configuration is passed over");
        }
        Ok(traces)
    }

    fn traces(&self, role: &'static str) -> Result<Option<Traces>, Failure> {
        let origin = Origin { role, cluster: &self.parts.config().cluster.name };
        Traces::start(origin).map_err(|error| Failure::new(exit_code::BAD_CONFIG, error))
    }

    fn log_options(&self, job: Option<&Map<String, Value>>, default: &str) -> LogOptions {
        let of_job = job.and_then(|job| job.get("log_level")).and_then(Value::as_str);
        let of_job = of_job.filter(|level| !level.is_empty()).map(str::to_owned);
        let named = self.common.log_level.clone();
        let level = named.or(of_job).or_else(|| self.parts.config().logs.level.clone());
        LogOptions {
            format: match self.common.log_format {
                LogFormat::Text => logging::LogFormat::Text,
                LogFormat::Json => logging::LogFormat::Json,
            },
            level: level.unwrap_or_else(|| default.to_owned()),
            has_colours: self.screen.is_terminal(),
            has_console: true,
            file: None,
        }
    }

    fn open_log(&self, options: &LogOptions, traces: Option<&Traces>) -> Result<(), Failure> {
        let screen = self.screen.clone();
        match logging::start(options, move || screen.clone(), traces) {
            Err(LogError::Level(unknown)) if self.common.log_level.is_some() => {
                Err(Failure::new(exit_code::BAD_JOB, unknown))
            }
            Err(error @ LogError::File { .. }) => Err(Failure::new(exit_code::BAD_CONFIG, error)),
            // The check of the job names a level that is none, with its place.
            Err(LogError::Level(_)) | Ok(()) => Ok(()),
        }
    }

    /// Reads a job file and changes it as asked for.
    pub(crate) fn read(&self, file: &JobFile) -> Result<RawJob, Failure> {
        self.read_file(&file.job, &file.set)
    }

    /// Reads a job file and makes the changes `set`.
    pub(crate) fn read_file(&self, path: &Path, set: &[(String, String)]) -> Result<RawJob, Failure> {
        let bad = |error: anyhow::Error| {
            Failure::new(
                exit_code::BAD_JOB,
                error.context(format!("failed to read the job {}", path.display())),
            )
        };
        let text = fs::read_to_string(path).map_err(|error| bad(error.into()))?;
        let mut job = RawJob::from_text(&text, Format::of(path)).map_err(|error| bad(error.into()))?;
        for (path, value) in set {
            job.set(path, value).map_err(|error| Failure::new(exit_code::BAD_JOB, error))?;
        }
        Ok(job)
    }

    /// Checks a job and binds it to its operations; `name` is what the user calls it.
    pub(crate) fn prepare(&self, job: &RawJob, name: &str) -> Result<Prepared, Failure> {
        let prepared = self.parts.prepare(job).map_err(|Refused { problems, warnings }| {
            self.warn(&warnings);
            let message = match problems.len() {
                1 => format!("{name} has a problem"),
                count => format!("{name} has {count} problems"),
            };
            Failure::text(exit_code::BAD_JOB, message).with_problems(problems)
        })?;
        self.warn(&prepared.warnings);
        Ok(prepared)
    }

    fn warn(&self, warnings: &[Warning]) {
        for warning in warnings {
            self.screen.say(&format!("warning: {warning}"));
        }
    }

    /// Returns the state directory.
    pub(crate) fn state_directory(&self) -> Result<PathBuf, Failure> {
        let named = self.common.state_dir.as_deref();
        state::directory(named, self.parts.config()).map_err(|error| Failure::new(exit_code::STATE, error))
    }

    /// Returns how workers run; processes are this program again.
    pub(crate) fn workers(&self, arguments: arguments::Workers) -> Result<Workers, Failure> {
        if !arguments.processes {
            return Ok(Workers::Tasks);
        }
        let program = program()?;
        let mut arguments = vec!["worker".to_owned()];
        arguments.extend(self.child_arguments());
        let run_directory = self.state_directory()?.join("run");
        Ok(Workers::Processes(WorkerProcesses { program, arguments, run_directory }))
    }

    /// Returns the arguments by which this program, started again, finds the same configuration and logs alike.
    pub(crate) fn child_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut pass = |name: &str, value: Option<String>| {
            arguments.extend(value.map(|value| format!("--{name}={value}")));
        };
        let path = self.parts.config().path.as_ref();
        pass("config", path.map(|path| path.display().to_string()));
        pass("log-level", self.common.log_level.clone());
        let is_json = self.common.log_format == LogFormat::Json;
        pass("log-format", is_json.then(|| "json".to_owned()));
        pass("state-dir", self.common.state_dir.as_ref().map(|path| path.display().to_string()));
        arguments
    }

    /// Opens the state store.
    pub(crate) fn store(&self, context: &Context) -> Result<Arc<dyn StateStore>, Failure> {
        self.parts.store(&self.state_directory()?, context).map_err(of_open)
    }

    /// Opens the state store for reading; none where nothing was ever run.
    pub(crate) fn store_read_only(&self, context: &Context) -> Result<Option<Arc<dyn StateStore>>, Failure> {
        match self.parts.store_read_only(&self.state_directory()?, context) {
            Ok(store) => Ok(Some(store)),
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(of_open(error)),
        }
    }
}

/// Makes the runtime for a job's tasks.
///
/// Without a limit the pool for blocking work starts a thread whenever none happens to be idle, and ends up with hundreds.
pub(crate) fn runtime(job: Option<&CheckedJob>) -> Result<Runtime, Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(if job.is_some() { cpus } else { 1 });
    let (workers, slicers) = job.map_or((1, 1), |job| (job.workers as usize, job.slicers as usize));
    let compute_threads = workers * COMPUTE_THREADS_PER_WORKER + slicers + COMPUTE_THREADS_MIN;
    builder.max_blocking_threads(compute_threads);
    builder.build().map_err(|error| {
        Failure::new(exit_code::INTERNAL, anyhow::Error::new(error).context("failed to start the runtime"))
    })
}

/// Says that the state cannot be read or written.
pub(crate) fn of_store(error: StoreError) -> Failure {
    Failure::new(exit_code::STATE, error)
}

fn of_open(error: OpenError) -> Failure {
    let hint = error.hint();
    Failure::new(exit_code::STATE, error).with_hint(hint)
}

/// Returns this program, to start it again.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|error| {
        let error = anyhow::Error::new(error).context("failed to find this program");
        Failure::new(exit_code::INTERNAL, error)
    })
}
