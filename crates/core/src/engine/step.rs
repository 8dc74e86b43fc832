//! One step for one execution: look, decide, act.

use std::{future::Future, sync::Arc, time::Duration};

use teraslice_model::{
    execution::Execution,
    id::{ExId, Term},
    job::{CheckedJob, RawJob},
    problem::Problem,
    status::Status,
};
use tokio::time::timeout;

use super::{
    Condition, EngineOptions, View,
    decide::{Action, Scene, Wanted, Wish, decide},
    history::History,
};
use crate::{
    backend::{BackendError, ClusterBackend, DesiredExecution, Instance, Retired, Role, Scope, Snapshot},
    context::Context,
    store::{StateStore, StatusChange, StoreError},
};

/// After a wish was accepted, and while instances are leaving, it is looked again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the engine's parts reach for.
pub(super) struct Surroundings<B> {
    pub(super) options: Arc<EngineOptions>,
    pub(super) context: Context,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) backend: Arc<B>,
}

impl<B> Clone for Surroundings<B> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            context: self.context.clone(),
            store: Arc::clone(&self.store),
            backend: Arc::clone(&self.backend),
        }
    }
}

/// What the engine keeps of an execution between its steps.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) ex_id: ExId,
    /// Wanted workers, if somebody has changed them.
    pub(super) workers: Option<u32>,
    pub(super) is_stop_asked: bool,
    job: Option<Arc<CheckedJob>>,
    history: History,
}

/// When to look at an execution again.
#[derive(Debug)]
pub(super) enum Next {
    /// At once: something was done.
    Again,
    /// With the next event or tick, or after so long.
    Quiet(Option<Duration>),
    /// Never: it has ended and nothing of it runs.
    Settled,
    /// Never: the store does not know it.
    Vanished,
}

/// A step that could not be finished.
#[derive(Debug)]
pub(super) enum Failure {
    /// Try again later.
    Passing { reason: String, at_least: Option<Duration> },
    /// Somebody else leads.
    Fenced(Term),
    /// The execution cannot run here.
    Refused(String),
    /// What was looked at has changed meanwhile.
    Outdated,
}

impl Subject {
    pub(super) fn new(ex_id: ExId) -> Self {
        Self { ex_id, workers: None, is_stop_asked: false, job: None, history: History::default() }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Unavailable { retry_after, .. } => {
                Self::Passing { reason: error.to_string(), at_least: retry_after }
            }
            BackendError::Stale { .. } => Self::Outdated,
            BackendError::Fenced { term } => Self::Fenced(term),
            BackendError::Refused { reason } => Self::Refused(reason),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::IllegalMove { .. } | StoreError::NotFound { .. } => {
                Self::Outdated
            }
            StoreError::Fenced { .. } | StoreError::Unavailable { .. } | StoreError::Broken { .. } => {
                Self::Passing { reason: error.to_string(), at_least: None }
            }
        }
    }
}

impl<B: ClusterBackend> Surroundings<B> {
    /// Calls something outside, with a deadline.
    pub(super) async fn call<T, E>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        match timeout(self.options.call_max, call).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Passing { reason: format!("{what} did not answer"), at_least: None }),
        }
    }

    /// Takes one step.
    pub(super) async fn step(&self, subject: &mut Subject) -> (Result<Next, Failure>, Option<View>) {
        let (observed, mut execution) = match self.look(subject.ex_id).await {
            Ok((_, None)) => return (Ok(Next::Vanished), None),
            Ok((observed, Some(execution))) => (observed.instances, execution),
            Err(failure) => return (Err(failure), None),
        };
        let mut next = match self.prepare(subject, &execution) {
            Ok(()) => self.act(subject, &observed, &mut execution).await,
            Err(refused) => Err(refused),
        };
        if let Err(Failure::Refused(reason)) = next {
            next = self.fail(&mut execution, reason).await.map(|()| Next::Again);
        }
        let is_settled = matches!(next, Ok(Next::Settled));
        (next, Some(self.view(subject, &observed, execution, is_settled)))
    }

    /// Looks at the backend first, then at the store: a controller writes its end before it exits.
    async fn look(&self, ex_id: ExId) -> Result<(Snapshot, Option<Execution>), Failure> {
        let observed =
            self.call("the cluster backend", self.backend.observe(Scope::Execution(ex_id))).await?;
        let execution = self.call("the state store", self.store.execution(ex_id)).await?;
        Ok((observed, execution))
    }

    /// Checks the job, once.
    fn prepare(&self, subject: &mut Subject, execution: &Execution) -> Result<(), Failure> {
        if subject.job.is_some() || execution.status.is_terminal() {
            return Ok(());
        }
        let listed = |problems: Vec<Problem>| {
            let listed: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Failure::Refused(format!("the job cannot run: {}", listed.join("; ")))
        };
        let (job, _) = RawJob(execution.job.clone()).check(&self.options.environment).map_err(listed)?;
        for warning in self.backend.validate(&job).map_err(listed)? {
            tracing::warn!(ex_id = %subject.ex_id, %warning, "job property not used by the cluster backend");
        }
        subject.job = Some(Arc::new(job));
        Ok(())
    }

    async fn act(
        &self,
        subject: &mut Subject,
        observed: &[Instance],
        execution: &mut Execution,
    ) -> Result<Next, Failure> {
        let (now, patience) = (self.context.wall(), &self.options.patience);
        subject.history.note(now, execution.generation, observed, patience);
        let wanted =
            Wanted { workers: subject.workers_wanted(execution), is_stop_asked: subject.is_stop_asked };
        let history = &subject.history;
        let actions = decide(&Scene { execution, wanted, history, observed, patience, now });
        let mut next = Next::Quiet(None);
        for action in actions {
            tracing::debug!(ex_id = %subject.ex_id, ?action, "reconciling");
            next = match action {
                Action::Wait(wait) => Next::Quiet(Some(wait)),
                Action::Move(to) => {
                    self.change_status(execution, to, None).await?;
                    Next::Again
                }
                Action::Fail(reason) => {
                    self.fail(execution, reason).await?;
                    Next::Again
                }
                Action::Ensure(wish) => {
                    self.ensure(subject, execution, wish).await?;
                    Next::Quiet(Some(LOOK_AGAIN))
                }
                Action::Retire { upto, how } => {
                    let retired = self.backend.retire(subject.ex_id, upto, how);
                    match self.call("the cluster backend", retired).await? {
                        Retired::Gone if execution.status.is_terminal() => Next::Settled,
                        Retired::Gone => Next::Again,
                        Retired::Unconfirmed(_) => Next::Quiet(Some(LOOK_AGAIN)),
                    }
                }
            };
        }
        Ok(next)
    }

    async fn ensure(&self, subject: &mut Subject, execution: &Execution, wish: Wish) -> Result<(), Failure> {
        let history = &mut subject.history;
        if history.applied != Some(wish) {
            history.revision += 1;
            history.applied = None;
        }
        let desired = DesiredExecution {
            ex_id: execution.ex_id,
            job_id: execution.job_id,
            generation: wish.generation,
            revision: history.revision,
            job: subject
                .job
                .clone()
                .expect("prepare has checked the job of every execution that has not ended"),
            controller: true,
            workers: wish.workers,
        };
        self.call("the cluster backend", self.backend.ensure(desired)).await?;
        history.applied = Some(wish);
        Ok(())
    }

    async fn fail(&self, execution: &mut Execution, reason: String) -> Result<(), Failure> {
        tracing::error!(ex_id = %execution.ex_id, reason, "execution failed");
        self.change_status(execution, Status::Failed, Some(reason)).await
    }

    async fn change_status(
        &self,
        execution: &mut Execution,
        to: Status,
        failure: Option<String>,
    ) -> Result<(), Failure> {
        let from = execution.status;
        let change = StatusChange { failure: failure.clone(), ..StatusChange::new(from, to) };
        self.call("the state store", self.store.set_status(execution.ex_id, change)).await?;
        tracing::info!(ex_id = %execution.ex_id, %from, %to, "status changed");
        execution.status = to;
        execution.failure = failure.or(execution.failure.take());
        Ok(())
    }

    fn view(&self, subject: &Subject, observed: &[Instance], execution: Execution, is_settled: bool) -> View {
        let workers_wanted = subject.workers_wanted(&execution);
        let current =
            observed.iter().filter(|it| it.generation == execution.generation && it.phase.is_live());
        let (controllers, workers): (Vec<_>, Vec<_>) = current.partition(|it| it.role == Role::Controller);
        let conditions = if execution.status.is_terminal() {
            Vec::new()
        } else {
            subject.history.conditions(self.context.wall(), observed, &self.options.patience)
        };
        View {
            ex_id: subject.ex_id,
            status: execution.status,
            failure: execution.failure,
            is_controller_live: !controllers.is_empty(),
            workers_live: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            workers_wanted,
            conditions,
            is_settled,
        }
    }
}

impl Subject {
    fn workers_wanted(&self, execution: &Execution) -> u32 {
        let of_job = self.job.as_ref().map_or(0, |job| job.workers);
        self.workers.or(execution.workers_wanted).unwrap_or(of_job)
    }
}

impl Failure {
    /// Returns the condition that users see meanwhile.
    pub(super) fn condition(&self) -> Option<Condition> {
        match self {
            Self::Passing { reason, .. } => Some(Condition::Unavailable(reason.clone())),
            _ => None,
        }
    }
}
