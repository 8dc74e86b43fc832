//! The parts that a process is made of: operations, assets, the state store.

mod cluster_state;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use teraslice_core::{context::Context, plan::Plan, registry::Registry, store::StateStore};
pub(crate) use teraslice_model::problem::chain;
use teraslice_model::{
    job::{CheckedJob, Inspection, RawJob, Sandbox, Warning},
    problem::Problem,
};
pub use teraslice_runtime_wasm::compiler;
use teraslice_runtime_wasm::{
    Bundle, Runtime, RuntimeOptions, Tier,
    compiler::{Compiler, CompilerProcess},
};
pub use teraslice_store::OpenError;
use teraslice_store::{SqliteOptions, SqliteStore};

pub use self::cluster_state::StateError;
use crate::{
    assets::{Bundles, Loaded},
    config::Config,
};

/// Instances of assets that there is room for, whatever the job.
const SLOTS_MIN: usize = 16;
/// Instances of assets at the most: each takes address space.
const SLOTS_MAX: usize = 1_000;

/// Makes the parts of this process as the configuration says.
#[derive(Clone, Debug)]
pub struct Parts {
    config: Arc<Config>,
    compiler: Compiler,
}

/// A job that can run here.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The job bound to its operations.
    pub plan: Plan,
    /// What to look at.
    pub warnings: Vec<Warning>,
}

/// Everything that is wrong with a job, and what to look at.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Faults.
    pub problems: Vec<Problem>,
    /// What to look at.
    pub warnings: Vec<Warning>,
}

impl Parts {
    /// Takes a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config), compiler: Compiler::InProcess }
    }

    /// Has assets compiled by a process per module: by this program with these arguments, which calls [`compiler::serve`].
    #[must_use]
    pub fn with_compiler(self, program: PathBuf, arguments: Vec<String>) -> Self {
        Self { compiler: Compiler::Process(CompilerProcess::new(program, arguments)), ..self }
    }

    /// Takes it that the master has decided what jobs may override of their pods.
    pub(crate) fn in_pod(&self) -> Self {
        let mut config = Config::clone(&self.config);
        config.kubernetes.has_overrides = true;
        Self { config: Arc::new(config), compiler: self.compiler.clone() }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Checks a job and binds it to its operations. May compile assets: not for an async thread.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, from both steps at once.
    pub fn prepare(&self, job: &RawJob) -> Result<Prepared, Refused> {
        self.bind(job.inspect(&self.config.check_environment()), |job| self.registry(job))
    }

    /// Binds a job to the operations that `registry` returns for it.
    pub(crate) fn bind(
        &self,
        inspection: Inspection,
        registry: impl Fn(&CheckedJob) -> Result<Registry, Vec<Problem>>,
    ) -> Result<Prepared, Refused> {
        let Inspection { job, mut problems, mut warnings } = inspection;
        let (registry, missing) = match registry(&job) {
            Ok(registry) => (registry, Vec::new()),
            // Without its assets the job is held against what there is anyway.
            Err(missing) => (registry(&without_assets(&job)).unwrap_or_default(), missing),
        };
        let is_complete = missing.is_empty();
        problems.extend(missing);
        match registry.plan(Arc::new(job)) {
            Ok(plan) if problems.is_empty() => {
                warnings.extend(plan.warnings().iter().cloned().map(Warning::from));
                return Ok(Prepared { plan, warnings });
            }
            Ok(_) => {}
            Err(more) => {
                let more = more.into_iter().filter(|problem| is_complete || is_misspelt(problem));
                add_news(&mut problems, more.collect());
            }
        }
        Err(Refused { problems, warnings })
    }

    /// Returns every operation that a job can name: the built-in ones and those of its assets.
    ///
    /// # Errors
    ///
    /// When an asset of the job cannot be had; pointers are into the job.
    pub fn registry(&self, job: &CheckedJob) -> Result<Registry, Vec<Problem>> {
        Loaded::new(self, &job.assets, &job.sandbox, slots(job))?.registry(job)
    }

    /// Makes a sandbox as the configuration says, with limits for a job and so many places.
    ///
    /// # Errors
    ///
    /// When the job asks for more than it may have, or this machine is not supported.
    pub fn sandbox(&self, job: &Sandbox, slots: usize, tier: Tier) -> Result<Runtime, Vec<Problem>> {
        let wasm = &self.config.wasm;
        let runtime = Runtime::new(RuntimeOptions {
            tier,
            limits: wasm.limits(job)?,
            trusted: wasm.trusted.clone(),
            cache_bytes_max: wasm.cache_size,
            slots,
            cache: self.config.compile_cache(),
            compiler: self.compiler.clone(),
        });
        runtime
            .map_err(|error| vec![Problem::new("/assets", format!("failed to start the sandbox: {error:#}"))])
    }

    /// Returns the bundle that a name in a job's `assets` stands for.
    ///
    /// # Errors
    ///
    /// When none does.
    pub fn bundle(&self, name: &str) -> Result<Bundle, Problem> {
        let found = Bundles::new(self.asset_folders()).resolve(&[name.to_owned()]);
        let mut found = found.map_err(|mut problems| problems.remove(0))?;
        found.pop().ok_or_else(|| Problem::new("/assets/0", format!("there is no asset {name:?}")))
    }

    /// Returns where bundles are looked for.
    pub(crate) fn asset_folders(&self) -> Vec<PathBuf> {
        let mut folders = self.config.assets_directories.clone();
        folders.push(self.config.autoload_directory.clone());
        folders
    }

    /// Opens the state store of a directory.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn store(&self, directory: &Path, context: &Context) -> Result<Arc<dyn StateStore>, OpenError> {
        Ok(Arc::new(SqliteStore::open(directory, SqliteOptions::new(context.clone()))?))
    }

    /// Opens the state store of a directory for reading, also while a run writes to it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn store_read_only(
        &self,
        directory: &Path,
        context: &Context,
    ) -> Result<Arc<dyn StateStore>, OpenError> {
        Ok(Arc::new(SqliteStore::open_read_only(directory, SqliteOptions::new(context.clone()))?))
    }
}

/// Adds the problems that do not merely follow from a fault that is named already.
fn add_news(problems: &mut Vec<Problem>, more: Vec<Problem>) {
    let named: BTreeSet<_> = problems.iter().map(|problem| part(&problem.pointer).to_owned()).collect();
    let is_news = |problem: &Problem| {
        !named.contains(part(&problem.pointer)) && !named.contains(root(&problem.pointer))
    };
    problems.extend(more.into_iter().filter(is_news));
}

fn without_assets(job: &CheckedJob) -> CheckedJob {
    CheckedJob { assets: Vec::new(), ..job.clone() }
}

/// Tells whether a problem stands even if assets are missing: what is unknown may be theirs, unless it is nearly known.
fn is_misspelt(problem: &Problem) -> bool {
    let is_name = problem.pointer.ends_with("/_op");
    !is_name || problem.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean"))
}

/// Returns how many instances may be there at once: one per worker and chain.
fn slots(job: &CheckedJob) -> usize {
    let workers = usize::try_from(job.workers).unwrap_or(SLOTS_MAX);
    workers.saturating_mul(job.operations.len()).clamp(SLOTS_MIN, SLOTS_MAX)
}

/// Returns the part of a job that a pointer is in: a property, or one entry of a list.
fn part(pointer: &str) -> &str {
    pointer.match_indices('/').nth(2).map_or(pointer, |(end, _)| &pointer[..end])
}

/// Returns the property of a job that a pointer is in.
fn root(pointer: &str) -> &str {
    pointer.match_indices('/').nth(1).map_or(pointer, |(end, _)| &pointer[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_faults_of_both_steps_and_nothing_that_follows_from_them() {
        let job = serde_json::json!({
            "workers": 0,
            "assets": ["nowhere"],
            "operations": [{"_op": "file_raeder"}, {"_op": "of_that_asset"}, {"_op": "noop", "_encoding": "xml"}],
        });
        let serde_json::Value::Object(job) = job else { unreachable!() };
        let refused = Parts::new(Config::default()).prepare(&RawJob(job)).unwrap_err();
        let pointers: Vec<_> = refused.problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/operations/2/_encoding", "/workers", "/assets/0", "/operations/0/_op"]);
    }

    #[test]
    fn tells_the_parts_of_a_job() {
        assert_eq!(part("/operations/0/size"), "/operations/0");
        assert_eq!(part("/operations"), "/operations");
        assert_eq!(root("/operations/0/size"), "/operations");
        assert_eq!((part("/workers"), root("/workers"), part("")), ("/workers", "/workers", ""));
    }
}
