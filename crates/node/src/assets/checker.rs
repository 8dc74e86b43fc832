//! Checks jobs on the master, and pins the assets that they name to ids.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Map, Value};
use teraslice_core::{context::Context, plan::Plan, registry::Registry, store::StateStore};
use teraslice_model::{
    asset::AssetRecord,
    dead_letter::DeadLetterAction,
    job::{CheckedJob, Inspection, RawJob, Sandbox, Warning},
    problem::Problem,
};
use teraslice_server::checker::{Checked, Checker, Refused};
use tokio::{sync::Semaphore, time::timeout};

use super::{Loaded, pins::Pins, resolve::resolve};
use crate::parts::{Parts, Prepared, chain};

/// Sets of assets that stay loaded.
const LOADED_MAX: usize = 16;
/// Checks at once: some may wait for a compiler.
const CHECKS_MAX: usize = 32;
/// How long a check waits for its turn: longer than a compiler may take.
const TURN_WAIT: Duration = Duration::from_mins(3);
/// Places for instances: a check takes one for a moment.
const SLOTS: usize = 16;

/// Knows the operations of this binary and of every published asset. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobChecker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    context: Context,
    store: Arc<dyn StateStore>,
    turns: Semaphore,
    loaded: Mutex<Vec<Arc<Shelf>>>,
}

/// A place for a set of assets under the limits of a job; loaded by the first check that needs it.
#[derive(Debug)]
struct Shelf {
    ids: Vec<String>,
    sandbox: Sandbox,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

impl JobChecker {
    /// Makes a checker that finds assets in the store, and their bundles in the folders of the configuration.
    #[must_use]
    pub fn new(parts: Parts, context: Context, store: Arc<dyn StateStore>) -> Self {
        let (turns, loaded) = (Semaphore::new(CHECKS_MAX), Mutex::default());
        Self { inner: Arc::new(Inner { parts, context, store, turns, loaded }) }
    }

    /// Loads the standard asset, so that the first job need not wait for the compiler.
    pub async fn warm(&self) {
        let inner = Arc::clone(&self.inner);
        let warmed = self.inner.context.compute(move || inner.loaded(&[], &Sandbox::default())?.warm()).await;
        if let Err(problems) = warmed {
            let reason = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(reason, "failed to load the standard asset");
        }
    }
}

#[async_trait]
impl Checker for JobChecker {
    async fn check(&self, job: RawJob) -> Result<Checked, Refused> {
        let refused = |message: &str| Refused { problems: vec![Problem::new("", message)] };
        let Ok(Ok(_turn)) = timeout(TURN_WAIT, self.inner.turns.acquire()).await else {
            return Err(refused("too many jobs are checked at once, try again later"));
        };
        let is_listing =
            job.0.get("assets").and_then(|assets| assets.as_array()).is_some_and(|all| !all.is_empty());
        let records = if is_listing { self.inner.store.assets().await } else { Ok(Vec::new()) };
        let records = records.map_err(|error| refused(&chain(&error)))?;
        let inner = Arc::clone(&self.inner);
        self.inner.context.compute(move || inner.check(&job, &records)).await
    }
}

impl Inner {
    fn check(&self, job: &RawJob, records: &[AssetRecord]) -> Result<Checked, Refused> {
        let environment = self.parts.config().check_environment();
        let Inspection { job, mut problems, warnings } = job.inspect(&environment);
        let listed = job.assets.clone();
        let (found, missing) = match resolve(&listed, records) {
            Ok(found) => (found, Vec::new()),
            Err(missing) => (Vec::new(), missing),
        };
        let ids: Vec<_> = found.iter().map(|record| record.id.clone()).collect();
        let labels: Vec<_> =
            found.iter().map(|record| format!("{}:{}", record.name, record.version)).collect();
        let pins = Pins { listed: &listed, ids: &ids };
        let mut document = job.document.clone();
        let mut pinned = job;
        if missing.is_empty() {
            problems.extend(pins.write(&mut document));
            // Read again, as a controller and its workers will read it.
            pinned = RawJob(document.clone()).inspect(&environment).job;
        }
        let inspection = Inspection { job: pinned, problems, warnings };
        let registry = |job: &CheckedJob| match missing.as_slice() {
            // Without its assets the job is held against what there is anyway.
            missing if !missing.is_empty() && !job.assets.is_empty() => Err(missing.to_vec()),
            _ => self.registry(job),
        };
        match self.parts.bind(inspection, registry) {
            Ok(Prepared { plan, mut warnings }) => {
                warnings.extend(self.check_pods(plan.job())?);
                say_actions(&mut document, &plan);
                Ok(Checked { document, warnings, is_recoverable: plan.is_recoverable() })
            }
            Err(refused) => {
                let problems = refused.problems.into_iter();
                Err(Refused { problems: problems.map(|problem| pins.in_words(problem, &labels)).collect() })
            }
        }
    }

    /// Checks what a job asks of Kubernetes, where that is the backend.
    fn check_pods(&self, job: &CheckedJob) -> Result<Vec<Warning>, Refused> {
        let config = self.parts.config();
        if !config.is_kubernetes() {
            return Ok(Vec::new());
        }
        let warnings = teraslice_backend_k8s::validate(job, &config.kubernetes);
        let warnings = warnings.map_err(|problems| Refused { problems })?;
        Ok(warnings.into_iter().map(Warning::from).collect())
    }

    fn registry(&self, job: &CheckedJob) -> Result<Registry, Vec<Problem>> {
        self.loaded(&job.assets, &job.sandbox)?.registry(job)
    }

    /// Returns a set of assets, loaded now or before; of checks at once that need the same, one loads it.
    fn loaded(&self, ids: &[String], sandbox: &Sandbox) -> Result<Arc<Loaded>, Vec<Problem>> {
        let shelf = self.shelf(ids, sandbox);
        let mut loaded = shelf.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        let new = Arc::new(Loaded::new(&self.parts, ids, sandbox, SLOTS)?);
        Ok(Arc::clone(loaded.insert(new)))
    }

    /// Returns the place of a set; what was not used for longest makes room.
    fn shelf(&self, ids: &[String], sandbox: &Sandbox) -> Arc<Shelf> {
        let mut shelves = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = shelves.iter().position(|shelf| shelf.ids == ids && shelf.sandbox == *sandbox);
        let shelf = match place {
            Some(place) => shelves.remove(place),
            None => Arc::new(Shelf { ids: ids.to_vec(), sandbox: *sandbox, loaded: Mutex::default() }),
        };
        shelves.push(Arc::clone(&shelf));
        if shelves.len() > LOADED_MAX {
            shelves.remove(0);
        }
        shelf
    }
}

/// Writes down what becomes of refused records where an API or the operation's own default says it.
///
/// The usual default stays unsaid: where nobody says `throw`, records that break an operation fail no slice.
fn say_actions(document: &mut Map<String, Value>, plan: &Plan) {
    let operations = document.get_mut("operations").and_then(Value::as_array_mut).into_iter().flatten();
    for ((operation, config), info) in operations.zip(&plan.job().operations).zip(plan.operations()) {
        let action = match (&config.dead_letter_action, &info.dead_letter_action) {
            (Some(said), _) => said,
            (None, DeadLetterAction::Throw) => continue,
            (None, own) => own,
        };
        let word = match action {
            DeadLetterAction::Throw => "throw",
            DeadLetterAction::Log => "log",
            DeadLetterAction::None => "none",
            DeadLetterAction::Store => "store",
            DeadLetterAction::Api(name) => name,
        };
        if let Some(operation) = operation.as_object_mut() {
            operation.entry("_dead_letter_action").or_insert_with(|| word.into());
        }
    }
}

#[cfg(test)]
mod tests;
