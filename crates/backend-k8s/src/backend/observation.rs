//! Keeps the cache true: follows Jobs, pods and events, and forgets pods that will never leave by themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{batch::v1::Job, core::v1::Event};
use kube::api::ListParams;
use teraslice_core::{
    backend::{
        BackendError, BackendEvent,
        health::{Health, Trouble},
        hints,
    },
    context::Context,
};
use teraslice_model::{id::ExId, timestamp::Timestamp};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Hints;
use crate::{
    api::{self, Listed, Objects},
    cache::{Cache, Kept},
    labels,
    seen::{Identity, Seen, SeenJob, SeenPod},
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
    /// What is wrong with each kind of objects, and with the machines.
    troubles: Mutex<BTreeMap<&'static str, String>>,
    health: Health,
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
            troubles: Mutex::default(),
            health: Health::new("kubernetes".to_owned(), context.clone()),
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
            follow(objects.jobs, params.clone(), move |news| {
                tell(&jobs, |it| it.hear::<SeenJob>("Jobs", news))
            })
            .boxed(),
            follow(objects.pods, params, move |news| tell(&pods, |it| it.hear::<SeenPod>("pods", news)))
                .boxed(),
            follow(objects.events, warnings, move |news| tell(&events, |it| it.hear_events(news))).boxed(),
            look_after_pods(weak()).boxed(),
        ];
        for task in all {
            drop(context.spawn(stop.clone().run_until_cancelled_owned(task)));
        }
        observation
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what is wrong with the cluster.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.health.watch()
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
        self.take(&jobs?, |_: &SeenJob| true);
        self.take(&pods?, |_: &SeenPod| true);
        self.heard();
        Ok(())
    }

    /// Takes in the answer to an own write.
    pub(super) fn learn_job(&self, job: &Job) {
        if let Some(job) = SeenJob::new(job) {
            self.cache().jobs.apply(job);
        }
    }

    /// Takes in a list of the objects in a scope; returns the executions for which something has changed.
    pub(super) fn take<S: Kept>(
        &self,
        listed: &Listed<S::Object>,
        is_in_scope: impl Fn(&S) -> bool,
    ) -> BTreeSet<ExId> {
        let seen = listed.items.iter().filter_map(S::new).collect();
        S::of(&mut self.cache()).replace(seen, listed.version.parse().unwrap_or(0), is_in_scope)
    }

    /// Hears of Jobs, or of pods: also of one without an execution, such as the master's, as people see it.
    fn hear<S: Kept>(&self, what: &'static str, news: News<S::Object>) {
        let changed: BTreeSet<_> = match news {
            News::All(listed) => self.take(&listed, |_: &S| true),
            News::Changed(object) => {
                let Some(seen) = S::new(&object) else { return };
                let (ex_id, is_new) = (seen.ex_id(), S::of(&mut self.cache()).apply(seen));
                ex_id.filter(|_| is_new).into_iter().collect()
            }
            News::Gone(object) => {
                let Some(seen) = S::new(&object) else { return };
                let Identity { name, uid, .. } = seen.identity();
                let mut cache = self.cache();
                S::of(&mut cache).remove(name, uid);
                cache.troubles.remove(uid);
                seen.ex_id().into_iter().collect()
            }
            News::Failed(error) => return self.failed(what, error),
        };
        self.heard();
        self.note(what, None);
        self.changed(changed);
    }

    /// Keeps why the pods of a Job are not made, or a pod does not start: a quota, a volume that cannot be mounted.
    fn hear_events(&self, news: News<Event>) {
        let mut cache = self.cache();
        let events = match news {
            News::All(listed) => {
                cache.troubles.clear();
                listed.items
            }
            News::Changed(event) => vec![event],
            News::Gone(_) => return,
            News::Failed(error) => return self.failed("events", error),
        };
        let of_ours = events.into_iter().filter_map(|event| {
            let is_ours = matches!(event.involved_object.kind.as_deref(), Some("Job" | "Pod"));
            event.involved_object.uid.zip(event.message).filter(|_| is_ours)
        });
        // What they are about may be seen later, so all are kept.
        let news: BTreeMap<_, _> = of_ours.collect();
        let is_in_news = |identity: &Identity| news.contains_key(&identity.uid);
        let jobs = cache.jobs.iter().filter(|job| is_in_news(&job.identity)).filter_map(Seen::ex_id);
        let pods = cache.pods.iter().filter(|pod| is_in_news(&pod.identity)).filter_map(Seen::ex_id);
        let changed: BTreeSet<_> = jobs.chain(pods).collect();
        cache.troubles.extend(news);
        drop(cache);
        self.note("events", None);
        self.changed(changed);
    }

    /// Notes that Jobs or pods were heard of.
    fn heard(&self) {
        *self.as_of.lock().unwrap_or_else(PoisonError::into_inner) = self.context.wall();
    }

    fn failed(&self, what: &'static str, error: BackendError) {
        let reason = match error {
            BackendError::Unavailable { reason, .. } => reason,
            other => other.to_string(),
        };
        self.note(what, Some(format!("{what} are not observed: {reason}")));
    }

    /// Notes what is wrong with some part of the cluster, or that nothing is any more.
    fn note(&self, part: &'static str, wrong: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = wrong.is_none() && troubles.contains_key(part);
        match wrong {
            Some(wrong) => drop(troubles.insert(part, wrong)),
            None => drop(troubles.remove(part)),
        }
        match troubles.values().next() {
            Some(wrong) => self.health.degrade(wrong),
            None => self.health.recover(),
        }
        if is_over {
            // What could not be done meanwhile need not wait any longer.
            let _nobody_listens = self.hints.send(BackendEvent::Resync);
        }
    }
}

/// Lets an observation hear something, while it is there.
fn tell(observation: &Weak<Observation>, hear: impl FnOnce(&Observation)) {
    if let Some(observation) = observation.upgrade() {
        hear(&observation);
    }
}

/// Deletes pods by force that should have been gone for long, or cannot hear that they should go; tells when most pods are silent.
async fn look_after_pods(observation: Weak<Observation>) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(observation) = observation.upgrade() else { return };
        let (lost, live) = observation.cache().lost();
        let most = (lost * 2 > live).then(|| {
            format!("{lost} of {live} pods are on machines that Kubernetes does not hear of: they may go on unseen")
        });
        observation.note("machines", most);
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
