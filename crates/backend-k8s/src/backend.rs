//! The cluster backend of Kubernetes.
//!
//! ```text
//!  engine --ensure--> Jobs (controller, workers) --Job controller--> pods
//!     ^                 |                                              |
//!     +---- observe ----+------------ cache <---- list, watch ---------+
//! ```

mod observation;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{future::join_all, stream::BoxStream};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Client, ResourceExt, api::ListParams};
use serde_json::json;
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Instance, InstanceId,
        Phase, Retire, Retired, Scope, Snapshot, StopBackend, health::Trouble, hints, revisions::Revisions,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
    timestamp::Timestamp,
};
use tokio::{
    sync::{broadcast, watch},
    time::{sleep, timeout},
};

use self::observation::Observation;
use crate::{
    KubernetesSettings,
    api::{self, Objects},
    cache::{Cache, Leave},
    labels, lease, names, render,
    seen::{Purpose, Seen, SeenJob, SeenPod},
    tokens::TokenVerifier,
    validate,
};

/// What is being removed is asked for again after this.
const LEAVING_PAUSE: Duration = Duration::from_millis(500);
/// Everything that was killed has to be gone after this.
const TERMINATE_MAX: Duration = Duration::from_secs(30);
/// The grace of a process that is killed, in seconds: none at all would take the pod from sight while it may still run.
const KILL_GRACE_S: u32 = 1;

/// Runs controllers and workers as the pods of Jobs.
///
/// # Guarantees
///
/// - Per execution and controller object (generation) there are two Jobs: one with the controller, and an Indexed one with the
///   workers, which the first owns. Their names, labels and pods are a function of the execution and the settings.
/// - [`observe`](ClusterBackend::observe) answers from what lists and watches have brought, which is never older than the
///   last answer to an own write; while the API server is away it goes on with what it knew. `Gone` is said after a list of
///   its own only.
/// - Nothing is deleted but by name and unique id. Nobody has longer to leave than the grace period of pods, which follows from
///   `shutdown_timeout`, and who was asked to leave is not killed before that has passed.
/// - A pod that should have been gone for a minute, or that is asked to go on a machine that is out of reach, is forgotten by
///   force, so that its Job makes another: the epoch of its successor keeps it from doing harm.
///
/// Must be used inside a tokio runtime.
pub struct Kubernetes {
    shared: Arc<Shared>,
    /// The term of this handle.
    term: Mutex<Term>,
}

struct Shared {
    settings: KubernetesSettings,
    context: Context,
    client: Client,
    objects: Objects,
    observation: Arc<Observation>,
    revisions: Mutex<Revisions>,
}

/// A pod, as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// The address of its machine, once it has one.
    pub node: Option<String>,
    /// Its own address.
    pub ip: Option<String>,
    /// Its image.
    pub image: String,
    /// What it is: `execution_controller`, `worker`, `master`.
    pub component: String,
    /// What it belongs to; none for the master.
    pub purpose: Option<Purpose>,
    /// Whether it runs.
    pub is_running: bool,
}

impl Kubernetes {
    /// Begins to follow the objects of a cluster.
    #[must_use]
    pub fn new(settings: KubernetesSettings, client: Client, context: Context) -> Self {
        let objects = Objects::new(&client, &settings.namespace);
        let observation = Observation::begin(&settings.cluster, objects.clone(), &context);
        let shared = Shared { settings, context, client, objects, observation, revisions: Mutex::default() };
        Self { shared: Arc::new(shared), term: Mutex::default() }
    }

    /// Returns a further handle to the same cluster, with a term of its own.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), term: Mutex::default() }
    }

    /// Follows what is wrong with the cluster.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.shared.observation.trouble()
    }

    /// Shows the pods of the cluster.
    #[must_use]
    pub fn pods(&self) -> Vec<PodView> {
        let cache = self.shared.observation.cache();
        let view = |pod: &SeenPod| PodView {
            name: pod.identity.name.clone(),
            node: pod.node.clone(),
            ip: pod.ip.clone(),
            image: pod.image.clone(),
            component: pod.component.clone(),
            purpose: pod.purpose,
            is_running: pod.phase == Phase::Running,
        };
        cache.pods.iter().map(view).collect()
    }

    /// Tells what the pod with this name and unique id is for; none if there is no such pod.
    ///
    /// # Errors
    ///
    /// When the API server has to be asked, and does not answer.
    pub async fn purpose_of(&self, name: &str, uid: &str) -> Result<Option<Purpose>, BackendError> {
        let is_it = |pod: &SeenPod| pod.identity.uid == uid;
        let known = self.shared.observation.cache().pods.get(name).filter(|pod| is_it(pod)).cloned();
        let pod = match known {
            Some(pod) => Some(pod),
            None => {
                let found = api::call(self.shared.objects.pods.get_opt(name)).await?;
                let instance = names::instance_label(&self.shared.settings.cluster);
                let is_ours = |pod: &Pod| pod.labels().get(labels::INSTANCE) == Some(&instance);
                found.filter(is_ours).as_ref().and_then(SeenPod::new).filter(is_it)
            }
        };
        Ok(pod.and_then(|pod| pod.purpose))
    }

    /// Returns what tells by its token which pod of the cluster a caller is.
    #[must_use]
    pub fn tokens(&self) -> TokenVerifier {
        let Shared { settings, context, client, .. } = &*self.shared;
        TokenVerifier::new(client.clone(), settings.audience(), settings.namespace.clone(), context.clone())
    }

    fn check_term(&self) -> Result<Term, BackendError> {
        let term = *lock(&self.term);
        if term < self.shared.revisions().term { Err(BackendError::Fenced { term }) } else { Ok(term) }
    }
}

impl Shared {
    fn revisions(&self) -> MutexGuard<'_, Revisions> {
        lock(&self.revisions)
    }

    fn begin(&self, term: Term) {
        let mut revisions = self.revisions();
        revisions.term = revisions.term.max(term);
    }

    fn changed(&self, ex_id: ExId) {
        self.observation.changed([ex_id]);
    }

    /// Makes the Jobs of an execution, or scales them.
    async fn ensure(&self, desired: &DesiredExecution) -> Result<(), BackendError> {
        self.remove_older(desired).await?;
        let mut rendered = render::render(desired, &self.settings);
        let controller = self.ensure_job(&rendered.controller).await?;
        api::own(&mut rendered.workers.metadata, &controller);
        self.ensure_job(&rendered.workers).await?;
        let name = rendered.workers.metadata.name.clone().unwrap_or_default();
        let known = self.observation.cache().jobs.get(&name).map(|job| job.parallelism);
        if known.is_some_and(|known| known != desired.workers) {
            // An index is complete for ever, so there is always at least one; but none need run.
            let completions = desired.workers.max(1);
            let count = json!({"parallelism": desired.workers, "completions": completions});
            let count = if desired.workers == 0 { json!({"parallelism": 0}) } else { count };
            let job = api::merge(&self.objects.jobs, &name, json!({ "spec": count })).await?;
            self.observation.learn_job(&job);
        }
        Ok(())
    }

    /// Makes a Job that is not there; one that is finished makes way first. Returns its metadata.
    async fn ensure_job(&self, job: &Job) -> Result<ObjectMeta, BackendError> {
        let name = job.metadata.name.clone().unwrap_or_default();
        let known = self.observation.cache().jobs.get(&name).cloned();
        let leaving = || BackendError::Unavailable {
            reason: format!("the Job {name} of an earlier try is being removed"),
            retry_after: Some(LEAVING_PAUSE),
        };
        match known {
            Some(known) if known.identity.deleted.is_some() => Err(leaving()),
            Some(known) if known.is_finished => {
                self.delete_job(&known).await?;
                Err(leaving())
            }
            Some(known) => {
                let (name, uid) = (Some(known.identity.name), Some(known.identity.uid));
                Ok(ObjectMeta { name, uid, ..Default::default() })
            }
            None => {
                let made = self.apply_job(&name, job).await?;
                self.observation.learn_job(&made);
                if made.metadata.deletion_timestamp.is_some() {
                    return Err(leaving());
                }
                Ok(made.metadata)
            }
        }
    }

    /// Makes a Job. One that is there already, made by an earlier master with other settings, is taken as it is.
    async fn apply_job(&self, name: &str, job: &Job) -> Result<Job, BackendError> {
        let refused = match api::apply(&self.objects.jobs, job).await {
            Err(refused @ BackendError::Refused { .. }) => refused,
            applied => return applied,
        };
        let known = api::call(self.objects.jobs.get_opt(name)).await?;
        let is_same = |known: &Job| known.metadata.labels == job.metadata.labels;
        known.filter(is_same).ok_or(refused)
    }

    /// Kills what belongs to earlier controller objects.
    async fn remove_older(&self, desired: &DesiredExecution) -> Result<(), BackendError> {
        let Some(older) = desired.generation.0.checked_sub(1).map(Generation) else { return Ok(()) };
        let (ex_id, grace_s) = (desired.ex_id, KILL_GRACE_S);
        self.remove(ex_id, older, Some(grace_s)).await
    }

    /// Deletes the Jobs of an execution up to a generation, and with a grace its live pods.
    async fn remove(&self, ex_id: ExId, upto: Generation, grace_s: Option<u32>) -> Result<(), BackendError> {
        let (jobs, pods) = {
            let cache = self.observation.cache();
            (cache.jobs_of(ex_id, upto), cache.pods_of(ex_id, upto))
        };
        // The pods first: deleted for want of a Job they would have the grace of their specification. Nothing is made in
        // their place meanwhile, as a Job waits for the end of a pod.
        if let Some(grace_s) = grace_s {
            let live = pods.iter().filter(|pod| pod.phase.is_live());
            let deletes = live.map(|pod| {
                api::delete(&self.objects.pods, &pod.identity.name, &pod.identity.uid, Some(grace_s))
            });
            for deleted in join_all(deletes).await {
                deleted?;
            }
        }
        let jobs = jobs.iter().filter(|job| job.identity.deleted.is_none());
        for deleted in join_all(jobs.map(|job| self.delete_job(job))).await {
            deleted?;
        }
        Ok(())
    }

    async fn delete_job(&self, job: &SeenJob) -> Result<(), BackendError> {
        api::delete(&self.objects.jobs, &job.identity.name, &job.identity.uid, None).await
    }

    /// Notes that an execution leaves; returns whether it has done so for longer than the grace, or was not told yet.
    fn note_leave(&self, ex_id: ExId, upto: Generation, how: Retire) -> Option<u32> {
        let now = self.context.now();
        let mut cache = self.observation.cache();
        let is_new = cache.leaving.get(&ex_id).is_none_or(|leave| leave.upto < upto);
        if is_new {
            cache.leaving.insert(ex_id, Leave { upto, since: now });
        }
        let since = cache.leaving.get(&ex_id).map_or(now, |leave| leave.since);
        match how {
            Retire::Kill => Some(KILL_GRACE_S),
            Retire::Drain { grace } if now - since > grace => Some(KILL_GRACE_S),
            Retire::Drain { grace } if is_new => {
                // Once a node waits for a process to end, it does so for the whole grace, whatever is asked for later.
                let most = render::grace_seconds(&self.settings).unsigned_abs();
                let grace_s = grace.as_secs().min(most).max(KILL_GRACE_S.into());
                Some(u32::try_from(grace_s).unwrap_or(u32::MAX))
            }
            Retire::Drain { .. } => None,
        }
    }

    /// Asks the API server itself what is left of an execution.
    async fn list(&self, ex_id: ExId) -> Result<(), BackendError> {
        let selector = format!("{},{}={ex_id}", labels::selector(&self.settings.cluster), labels::EX_ID);
        let params = ListParams::default().labels(&selector);
        let (jobs, pods) =
            tokio::join!(api::list(&self.objects.jobs, &params), api::list(&self.objects.pods, &params));
        let is_it = |of: Option<ExId>| of == Some(ex_id);
        let changed = self.observation.take(&jobs?, |job: &SeenJob| is_it(job.ex_id()));
        let more = self.observation.take(&pods?, |pod: &SeenPod| is_it(pod.ex_id()));
        self.observation.changed(changed.into_iter().chain(more));
        Ok(())
    }

    fn left(cache: &Cache, ex_id: ExId, upto: Generation) -> Option<Vec<InstanceId>> {
        let (jobs, pods) = (cache.jobs_of(ex_id, upto), cache.pods_of(ex_id, upto));
        let is_empty = jobs.is_empty() && pods.is_empty();
        let live = pods.into_iter().filter(|pod| pod.phase.is_live());
        (!is_empty).then(|| live.map(|pod| InstanceId(pod.identity.uid)).collect())
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        let grace_s = self.note_leave(ex_id, upto, how);
        self.remove(ex_id, upto, grace_s).await?;
        if let Some(left) = Self::left(&self.observation.cache(), ex_id, upto) {
            return Ok(Retired::Unconfirmed(left));
        }
        self.list(ex_id).await?;
        let mut cache = self.observation.cache();
        if let Some(left) = Self::left(&cache, ex_id, upto) {
            return Ok(Retired::Unconfirmed(left));
        }
        cache.leaving.remove(&ex_id);
        drop(cache);
        self.revisions().forget(ex_id);
        Ok(Retired::Gone)
    }

    /// Removes everything of this cluster, and waits until it is gone.
    async fn terminate(&self) -> Result<(), BackendError> {
        let gone = async {
            loop {
                let all: BTreeSet<_> = {
                    let cache = self.observation.cache();
                    let jobs = cache.jobs.iter().filter_map(Seen::ex_id);
                    jobs.chain(cache.pods.iter().filter_map(Seen::ex_id)).collect()
                };
                if all.is_empty() {
                    return Ok(());
                }
                for ex_id in all {
                    self.retire(ex_id, Generation(u64::MAX), Retire::Kill).await?;
                }
                sleep(LEAVING_PAUSE).await;
            }
        };
        timeout(TERMINATE_MAX, gone).await.unwrap_or_else(|_| {
            let reason = "some pods cannot be killed".to_owned();
            Err(BackendError::Unavailable { reason, retry_after: None })
        })
    }

    fn snapshot(&self, of: Option<ExId>) -> (Timestamp, Vec<Instance>) {
        (self.observation.as_of(), self.observation.cache().instances(of))
    }
}

impl ClusterBackend for Kubernetes {
    fn describe(&self) -> BackendInfo {
        BackendInfo {
            name: "kubernetes".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_in_process: false,
        }
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        validate::validate(job, &self.shared.settings)
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        let shared = &self.shared;
        if term < shared.revisions().term {
            return Err(BackendError::Fenced { term });
        }
        lease::claim(&shared.objects.leases, &shared.settings.cluster, term).await?;
        shared.observation.refresh().await?;
        shared.begin(term);
        *lock(&self.term) = term;
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        let (term, ex_id) = (self.check_term()?, desired.ex_id);
        self.shared.revisions().take(ex_id, term, desired.revision)?;
        let ensured = self.shared.ensure(&desired).await;
        self.shared.changed(ex_id);
        ensured
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        self.check_term()?;
        let retired = self.shared.retire(ex_id, upto, how).await;
        self.shared.changed(ex_id);
        retired
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let of = match scope {
            Scope::Cluster => None,
            Scope::Execution(ex_id) => Some(ex_id),
        };
        let (as_of, instances) = self.shared.snapshot(of);
        Ok(Snapshot { as_of, instances })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(self.shared.observation.events())
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        if how == StopBackend::Terminate {
            self.check_term()?;
            self.shared.terminate().await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("cluster", &self.shared.settings.cluster).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sender of hints, for those who make them.
pub(crate) type Hints = broadcast::Sender<BackendEvent>;

#[cfg(test)]
mod tests;
