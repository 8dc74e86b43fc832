//! Keeps the cache true: follows Jobs, pods and events, and forgets pods that will never leave by themselves.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Pod},
};
use kube::api::ListParams;
use teraslice_core::{
    backend::{BackendError, BackendEvent, hints},
    context::Context,
};
use teraslice_model::{id::ExId, timestamp::Timestamp};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Hints;
use crate::{
    api::{self, Listed, Objects},
    cache::Cache,
    labels,
    seen::{Seen, SeenJob, SeenPod},
    watch::{News, follow},
};

/// A pod that should have been gone for so long is deleted by force.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Such pods are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is known of the cluster's objects, and who wants to hear of changes.
pub(super) struct Observation {
    cache: Mutex<Cache>,
    /// When the API server was heard last.
    as_of: Mutex<Timestamp>,
    /// Whether it was last asked in vain.
    is_away: AtomicBool,
    hints: Hints,
    context: Context,
    objects: Objects,
    params: ListParams,
    /// Ends what follows.
    _stop: DropGuard,
}

impl Observation {
    /// Begins to follow the objects of a cluster, until nobody holds the result any more.
    pub(super) fn begin(cluster: &str, objects: Objects, context: &Context) -> Arc<Self> {
        let params = ListParams::default().labels(&labels::selector(cluster));
        let stop = CancellationToken::new();
        let observation = Arc::new(Self {
            cache: Mutex::default(),
            as_of: Mutex::new(Timestamp::from_millis(0)),
            is_away: AtomicBool::new(false),
            hints: hints::channel(),
            context: context.clone(),
            objects: objects.clone(),
            params: params.clone(),
            _stop: stop.clone().drop_guard(),
        });
        let weak = || Arc::downgrade(&observation);
        let (jobs, pods, events) = (weak(), weak(), weak());
        let warnings = ListParams::default().fields("type=Warning");
        let all: [BoxFuture<'static, ()>; 4] = [
            follow(objects.jobs, params.clone(), move |news| take(&jobs, |it| it.hear_jobs(news))).boxed(),
            follow(objects.pods, params, move |news| take(&pods, |it| it.hear_pods(news))).boxed(),
            follow(objects.events, warnings, move |news| take(&events, |it| it.hear_event(news))).boxed(),
            forget_stuck(weak()).boxed(),
        ];
        for task in all {
            drop(context.spawn(stop.clone().run_until_cancelled_owned(task)));
        }
        observation
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn events(&self) -> &Hints {
        &self.hints
    }

    /// Returns when the API server was heard last.
    pub(super) fn as_of(&self) -> Timestamp {
        *self.as_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that something of these executions may have changed.
    pub(super) fn changed(&self, executions: impl IntoIterator<Item = ExId>) {
        for ex_id in executions {
            let _nobody_listens = self.hints.send(BackendEvent::Changed(ex_id));
        }
    }

    /// Lists everything, now.
    pub(super) async fn refresh(&self) -> Result<(), BackendError> {
        let (jobs, pods) = tokio::join!(
            api::list(&self.objects.jobs, &self.params),
            api::list(&self.objects.pods, &self.params)
        );
        self.take_jobs(&jobs?, |_| true);
        self.take_pods(&pods?, |_| true);
        self.heard();
        Ok(())
    }

    /// Takes in the answer to an own write.
    pub(super) fn learn_job(&self, job: &Job) {
        if let Some(job) = SeenJob::new(job) {
            self.cache().jobs.apply(job);
        }
    }

    /// Takes in a list of the Jobs in a scope; returns the executions for which something has changed.
    pub(super) fn take_jobs(
        &self,
        listed: &Listed<Job>,
        is_in_scope: impl Fn(&SeenJob) -> bool,
    ) -> BTreeSet<ExId> {
        let (jobs, version) = reduce(listed);
        self.cache().jobs.replace(jobs, version, is_in_scope)
    }

    /// Takes in a list of the pods in a scope; returns the executions for which something has changed.
    pub(super) fn take_pods(
        &self,
        listed: &Listed<Pod>,
        is_in_scope: impl Fn(&SeenPod) -> bool,
    ) -> BTreeSet<ExId> {
        let (pods, version) = reduce(listed);
        self.cache().pods.replace(pods, version, is_in_scope)
    }

    fn hear_jobs(&self, news: News<Job>) {
        let changed = match news {
            News::All(listed) => self.take_jobs(&listed, |_| true),
            News::Changed(job) => {
                let job = SeenJob::new(&job);
                job.and_then(|job| job.ex_id().filter(|_| self.cache().jobs.apply(job))).into_iter().collect()
            }
            News::Gone(job) => {
                let Some(job) = SeenJob::new(&job) else { return };
                let mut cache = self.cache();
                cache.jobs.remove(&job.identity.name, &job.identity.uid);
                cache.troubles.remove(&job.identity.uid);
                job.ex_id().into_iter().collect()
            }
            News::Failed(error) => return self.failed("Jobs", &error),
        };
        self.heard();
        self.changed(changed);
    }

    fn hear_pods(&self, news: News<Pod>) {
        let changed = match news {
            News::All(listed) => self.take_pods(&listed, |_| true),
            News::Changed(pod) => {
                let Some(pod) = SeenPod::new(&pod) else { return };
                // One without an execution too, such as the master's: people see it.
                let (ex_id, is_new) = (pod.ex_id(), self.cache().pods.apply(pod));
                ex_id.filter(|_| is_new).into_iter().collect()
            }
            News::Gone(pod) => {
                let Some(pod) = SeenPod::new(&pod) else { return };
                self.cache().pods.remove(&pod.identity.name, &pod.identity.uid);
                pod.ex_id().into_iter().collect()
            }
            News::Failed(error) => return self.failed("pods", &error),
        };
        self.heard();
        self.changed(changed);
    }

    /// Keeps why the pods of a Job are not made, or a pod does not start: a quota, a volume that cannot be mounted.
    fn hear_event(&self, news: News<Event>) {
        let mut cache = self.cache();
        let events = match news {
            News::All(listed) => {
                cache.troubles.clear();
                listed.items
            }
            News::Changed(event) => vec![event],
            News::Gone(_) => return,
            News::Failed(error) => return self.failed("events", &error),
        };
        let mut changed = BTreeSet::new();
        for event in events {
            let is_ours = matches!(event.involved_object.kind.as_deref(), Some("Job" | "Pod"));
            let (Some(uid), Some(message), true) = (event.involved_object.uid, event.message, is_ours) else {
                continue;
            };
            let job = cache.jobs.iter().find(|job| job.identity.uid == uid).and_then(Seen::ex_id);
            let pod = cache.pods.iter().find(|pod| pod.identity.uid == uid).and_then(Seen::ex_id);
            changed.extend(job.or(pod));
            // What it is about may be seen later.
            cache.troubles.insert(uid, message);
        }
        drop(cache);
        self.changed(changed);
    }

    fn heard(&self) {
        *self.as_of.lock().unwrap_or_else(PoisonError::into_inner) = self.context.wall();
        if self.is_away.swap(false, Ordering::Relaxed) {
            // What could not be done meanwhile need not wait any longer.
            let _nobody_listens = self.hints.send(BackendEvent::Resync);
        }
    }

    fn failed(&self, what: &str, error: &BackendError) {
        self.is_away.store(true, Ordering::Relaxed);
        tracing::warn!(what, %error, "cluster not observed, trying again");
    }
}

fn reduce<S: Seen>(listed: &Listed<S::Object>) -> (Vec<S>, u64) {
    (listed.items.iter().filter_map(S::new).collect(), listed.version.parse().unwrap_or(0))
}

/// Lets an observation hear something; tells whether it is still there.
fn take(observation: &Weak<Observation>, hear: impl FnOnce(&Observation)) -> bool {
    observation.upgrade().inspect(|observation| hear(observation)).is_some()
}

/// Deletes pods by force that should have been gone for long.
async fn forget_stuck(observation: Weak<Observation>) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(observation) = observation.upgrade() else { return };
        let late = i64::try_from(STUCK_AFTER.as_millis()).unwrap_or(i64::MAX);
        let limit = Timestamp::from_millis(observation.context.wall().as_millis() - late);
        let stuck = observation.cache().stuck(limit);
        for pod in stuck {
            let identity = &pod.identity;
            tracing::warn!(pod = identity.name, "pod does not leave, forgetting it by force");
            let pods = &observation.objects.pods;
            let deleted = api::delete(pods, &identity.name, &identity.uid, Some(0)).await;
            // The Job waits for the end of the pod as long as it is there, and it is as long as the Job waits.
            let freed = match deleted {
                Ok(()) => api::free(pods, &identity.name, &identity.uid).await,
                Err(error) => Err(error),
            };
            if let Err(error) = freed {
                tracing::warn!(pod = identity.name, %error, "pod not forgotten, trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests;
