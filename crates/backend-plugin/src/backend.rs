//! The cluster backend over a plugin.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures::stream::BoxStream;
use serde_json::Value;
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Instance, InstanceId,
        Retire, Retired, Scope, Snapshot, StopBackend,
        health::{Health, Trouble},
        hints,
        revisions::Revisions,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, JobId, Term},
    job::CheckedJob,
    problem::Problem,
};
use teraslice_plugin_sdk::{
    Capabilities,
    message::{
        self, AdoptParams, Description, EnsureParams, Gone, Method, ObserveParams, RetireParams, StopParams,
    },
};
use tokio::sync::{broadcast, watch};

use crate::{link::Link, open_error::OpenError, options::PluginOptions, seen::Seen, translate};

/// Runs controllers and workers by a backend of a third party.
///
/// # Guarantees
///
/// - No call takes longer than [`PluginOptions::call_max`], whatever the plugin does; one that fails because of the plugin is
///   [`BackendError::Unavailable`], and shows in [`trouble`](Self::trouble).
/// - A backend that cannot be opened is tried again with every call, after a pause that grows. So is a process that has ended.
/// - Terms are kept in the state directory, so that an earlier one is refused before the plugin is asked.
///
/// Must be used inside a tokio runtime.
pub struct PluginBackend {
    shared: Arc<Shared>,
    /// The term of this handle.
    term: Mutex<Term>,
}

struct Shared {
    link: Link,
    context: Context,
    events: broadcast::Sender<BackendEvent>,
    health: Arc<Health>,
    revisions: Mutex<Revisions>,
    seen: Seen,
}

impl PluginBackend {
    /// Makes a backend that is opened when it is needed.
    #[must_use]
    pub fn new(options: PluginOptions, context: Context) -> Self {
        let events = hints::channel();
        let health = Arc::new(Health::new(options.name.clone(), context.clone()));
        let link = Link::new(options, context.clone(), events.clone(), Arc::clone(&health));
        let (revisions, seen) = (Mutex::default(), Seen::default());
        let shared = Shared { link, context, events, health, revisions, seen };
        Self { shared: Arc::new(shared), term: Mutex::default() }
    }

    /// Opens the backend now; returns what it says of itself.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(&self) -> Result<Description, OpenError> {
        self.shared.link.open().await.map(|about| about.description.clone())
    }

    /// Returns a further handle to the same backend, with a term of its own.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), term: Mutex::default() }
    }

    /// Follows what is wrong with the backend.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.shared.health.watch()
    }

    /// Returns what lived when the engine looked last, with its job where that is known; asks nobody.
    #[must_use]
    pub fn instances(&self) -> Vec<(Instance, Option<JobId>)> {
        self.shared.seen.live()
    }

    /// Refuses what an earlier leader asks for.
    fn check_term(&self) -> Result<Term, BackendError> {
        let term = *self.term.lock().unwrap_or_else(PoisonError::into_inner);
        if term < self.shared.current_term()? { Err(BackendError::Fenced { term }) } else { Ok(term) }
    }
}

impl fmt::Debug for PluginBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginBackend").field("options", self.shared.link.options()).finish_non_exhaustive()
    }
}

impl Shared {
    fn term_file(&self) -> PathBuf {
        self.link.options().state_directory.join("term")
    }

    fn current_term(&self) -> Result<Term, BackendError> {
        match fs::read_to_string(self.term_file()) {
            Ok(text) => Ok(Term(text.trim().parse().unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Term::default()),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn begin_term(&self, term: Term) -> Result<(), BackendError> {
        let path = self.term_file();
        let part = path.with_extension("part");
        fs::create_dir_all(&self.link.options().state_directory)
            .and_then(|()| fs::write(&part, term.to_string()))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|error| unusable(&error))?;
        self.link.set_term(term);
        Ok(())
    }

    /// Says that something has changed, for a backend that does not.
    fn hint(&self, hint: BackendEvent) {
        if !self.link.can(Capabilities::EVENTS) {
            let _nobody_listens = self.events.send(hint);
        }
    }

    /// Says that an answer was understood but cannot be true.
    fn refuse_answer(&self, method: Method, what: &str) -> BackendError {
        let name = &self.link.options().name;
        let reason =
            format!("the answer of the cluster backend {name} to {} cannot be true: {what}", method.name());
        self.health.degrade(format!("{reason} (report it to who has made it)"));
        BackendError::Unavailable { reason, retry_after: None }
    }
}

impl ClusterBackend for PluginBackend {
    fn describe(&self) -> BackendInfo {
        let about = self.shared.link.about();
        BackendInfo {
            name: self.shared.link.options().name.clone(),
            version: about.map(|about| about.description.version.clone()).unwrap_or_default(),
            is_in_process: false,
        }
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        let Some(about) = self.shared.link.about() else { return Ok(Vec::new()) };
        let problems = about.problems(&Value::Object(job.document.clone()));
        if problems.is_empty() { Ok(problems) } else { Err(problems) }
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        if term < self.shared.current_term()? {
            return Err(BackendError::Fenced { term });
        }
        let () = self.shared.link.call(Method::Adopt, &AdoptParams { term: term.0 }).await?;
        self.shared.begin_term(term)?;
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        let term = self.check_term()?;
        let shared = &self.shared;
        shared.revisions.lock().unwrap_or_else(PoisonError::into_inner).take(
            desired.ex_id,
            term,
            desired.revision,
        )?;
        let ex_id = desired.ex_id;
        shared.seen.ask(ex_id, desired.job_id);
        let desired = translate::desired(&desired, shared.link.options());
        let () = shared.link.call(Method::Ensure, &EnsureParams { term: term.0, desired }).await?;
        shared.hint(BackendEvent::Changed(ex_id));
        Ok(())
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        let term = self.check_term()?;
        let (how, grace_ms) = match how {
            Retire::Drain { grace } => (message::Retire::Drain, translate::millis(grace)),
            Retire::Kill => (message::Retire::Kill, 0),
        };
        let params =
            RetireParams { term: term.0, ex_id: ex_id.to_string(), generation_max: upto.0, how, grace_ms };
        let Gone { unconfirmed } = self.shared.link.call(Method::Retire, &params).await?;
        self.shared.hint(BackendEvent::Changed(ex_id));
        if unconfirmed.is_empty() {
            return Ok(Retired::Gone);
        }
        Ok(Retired::Unconfirmed(unconfirmed.into_iter().map(InstanceId).collect()))
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let asked = self.shared.context.wall();
        let ex_id = match scope {
            Scope::Cluster => None,
            Scope::Execution(ex_id) => Some(ex_id.to_string()),
        };
        let told = self.shared.link.call(Method::Observe, &ObserveParams { ex_id }).await?;
        let snapshot = translate::snapshot(told, scope, asked)
            .map_err(|what| self.shared.refuse_answer(Method::Observe, &what))?;
        self.shared.seen.observe(scope, &snapshot);
        Ok(snapshot)
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(&self.shared.events)
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        let term = self.check_term()?;
        let how = match how {
            StopBackend::Detach => message::Stop::Detach,
            StopBackend::Terminate => message::Stop::Terminate,
        };
        let () = self.shared.link.call(Method::Stop, &StopParams { term: term.0, how }).await?;
        self.shared.hint(BackendEvent::Resync);
        Ok(())
    }
}

fn unusable(error: &io::Error) -> BackendError {
    let reason = format!("failed to use the state directory of the cluster backend: {error}");
    BackendError::Unavailable { reason, retry_after: None }
}
