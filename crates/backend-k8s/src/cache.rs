//! What the API server was last seen to have: fed by watches, lists, and the answers to own writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use teraslice_core::backend::{Instance, InstanceId, Phase, Role};
use teraslice_model::{
    id::{ExId, Generation},
    timestamp::Timestamp,
};

use crate::seen::{Seen, SeenJob, SeenPod};

/// Deleted objects that are remembered, so that a late answer does not bring them back.
const GRAVES_MAX: usize = 4_096;

/// Objects of one kind.
#[derive(Debug)]
pub(crate) struct Objects<S> {
    by_name: BTreeMap<String, S>,
    graves: VecDeque<String>,
}

impl<S> Default for Objects<S> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), graves: VecDeque::new() }
    }
}

impl<S: Seen> Objects<S> {
    /// Takes in an object, unless a later state of it is known; tells whether that has changed anything.
    pub(crate) fn apply(&mut self, seen: S) -> bool {
        let identity = seen.identity();
        let known = self.by_name.get(&identity.name);
        let is_older = known.is_some_and(|known| known.identity().version >= identity.version);
        if is_older || self.graves.contains(&identity.uid) {
            return false;
        }
        self.by_name.insert(identity.name.clone(), seen);
        true
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&mut self, name: &str, uid: &str) {
        if self.graves.len() == GRAVES_MAX {
            self.graves.pop_front();
        }
        self.graves.push_back(uid.to_owned());
        if self.by_name.get(name).is_some_and(|known| known.identity().uid == uid) {
            self.by_name.remove(name);
        }
    }

    /// Takes in a list of all objects that are in its scope: what it lacks, and is not newer than the list, is gone. Returns
    /// the executions for which something has changed.
    pub(crate) fn replace(
        &mut self,
        listed: Vec<S>,
        version: u64,
        is_in_scope: impl Fn(&S) -> bool,
    ) -> BTreeSet<ExId> {
        let present: BTreeSet<_> = listed.iter().map(|seen| seen.identity().uid.clone()).collect();
        let is_gone = |seen: &&S| {
            let identity = seen.identity();
            is_in_scope(seen) && !present.contains(&identity.uid) && identity.version <= version
        };
        let gone: Vec<_> = self.by_name.values().filter(is_gone).cloned().collect();
        let mut changed = BTreeSet::new();
        for seen in gone {
            self.remove(&seen.identity().name, &seen.identity().uid);
            changed.extend(seen.ex_id());
        }
        for seen in listed {
            let ex_id = seen.ex_id();
            if self.apply(seen) {
                changed.extend(ex_id);
            }
        }
        changed
    }

    /// Returns an object by name.
    pub(crate) fn get(&self, name: &str) -> Option<&S> {
        self.by_name.get(name)
    }

    /// Lists all objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.by_name.values()
    }
}

/// A kind of objects that the cache keeps.
pub(crate) trait Kept: Seen {
    /// Returns where they are.
    fn of(cache: &mut Cache) -> &mut Objects<Self>;
}

impl Kept for SeenJob {
    fn of(cache: &mut Cache) -> &mut Objects<Self> {
        &mut cache.jobs
    }
}

impl Kept for SeenPod {
    fn of(cache: &mut Cache) -> &mut Objects<Self> {
        &mut cache.pods
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) jobs: Objects<SeenJob>,
    pub(crate) pods: Objects<SeenPod>,
    /// Why the pods of a Job are not made, or a pod does not start, by the unique id of the Job or the pod.
    pub(crate) troubles: BTreeMap<String, String>,
    /// What this process has asked to leave, and since when.
    pub(crate) leaving: BTreeMap<ExId, Leave>,
}

/// A wish that the instances of an execution leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Up to this controller object.
    pub(crate) upto: Generation,
    /// When it was said first.
    pub(crate) since: tokio::time::Instant,
}

impl Cache {
    /// Lists the Jobs of an execution, up to a generation.
    pub(crate) fn jobs_of(&self, ex_id: ExId, upto: Generation) -> Vec<SeenJob> {
        let is_meant = |job: &&SeenJob| job.purpose.ex_id == ex_id && job.purpose.generation <= upto;
        self.jobs.iter().filter(is_meant).cloned().collect()
    }

    /// Lists the pods of an execution, up to a generation.
    pub(crate) fn pods_of(&self, ex_id: ExId, upto: Generation) -> Vec<SeenPod> {
        let is_meant = |pod: &&SeenPod| {
            pod.purpose.is_some_and(|purpose| purpose.ex_id == ex_id && purpose.generation <= upto)
        };
        self.pods.iter().filter(is_meant).cloned().collect()
    }

    /// Lists instances: pods, and a place for each pod that a Job has still to make.
    pub(crate) fn instances(&self, of: Option<ExId>) -> Vec<Instance> {
        let is_meant = |ex_id| of.is_none_or(|of| of == ex_id);
        let jobs = self.jobs.iter().filter(|job| is_meant(job.purpose.ex_id) && is_open(job));
        let jobs: BTreeMap<_, _> = jobs.map(|job| (job.purpose.place(), job)).collect();
        let is_kept = |instance: &Instance| {
            let job = jobs.get(&(instance.ex_id, instance.generation, instance.role));
            job.is_some_and(|job| instance.ordinal < job.parallelism)
        };
        let pods = self.pods.iter().filter_map(SeenPod::instance).filter(|it| is_meant(it.ex_id));
        let shown = pods.map(|pod| {
            let is_kept = is_kept(&pod);
            self.with_trouble(self.with_leave(pod, is_kept))
        });
        let mut instances: Vec<_> = shown.collect();
        let taken: BTreeSet<_> = instances.iter().filter(|it| it.phase.is_live()).map(place).collect();
        for job in jobs.into_values() {
            let open = (0..job.parallelism).map(|ordinal| self.expected(job, ordinal));
            instances.extend(open.filter(|instance| !taken.contains(&place(instance))));
        }
        instances
    }

    /// Shows what was asked to leave, or has lost its Job, as leaving.
    fn with_leave(&self, mut instance: Instance, is_kept: bool) -> Instance {
        let is_asked = self.leaving.get(&instance.ex_id).is_some_and(|it| instance.generation <= it.upto);
        if instance.phase.is_live() && instance.phase != Phase::Lost && (is_asked || !is_kept) {
            instance.phase = Phase::Draining;
        }
        instance
    }

    /// Shows what is in the way of a pod that was given a machine and does not start.
    fn with_trouble(&self, mut instance: Instance) -> Instance {
        let trouble = self.troubles.get(&instance.id.0).filter(|_| instance.phase == Phase::Starting);
        if let Some(trouble) = trouble {
            instance.phase = Phase::Waiting(trouble.clone());
        }
        instance
    }

    fn expected(&self, job: &SeenJob, ordinal: u32) -> Instance {
        let trouble = self.troubles.get(&job.identity.uid).cloned();
        let reason = match (job.is_suspended, trouble) {
            (true, _) => "queued: the Job is suspended".to_owned(),
            (false, Some(trouble)) => trouble,
            (false, None) => "the pod is being made".to_owned(),
        };
        Instance {
            id: InstanceId(format!("{}/{ordinal}", job.identity.uid)),
            ex_id: job.purpose.ex_id,
            generation: job.purpose.generation,
            role: job.purpose.role,
            ordinal,
            phase: Phase::Waiting(reason),
            address: None,
            since: job.since,
        }
    }

    /// Counts the pods of executions that are out of sight, and all that live.
    pub(crate) fn lost(&self) -> (usize, usize) {
        let live = || self.pods.iter().filter(|pod| pod.purpose.is_some() && pod.phase.is_live());
        (live().filter(|pod| pod.phase == Phase::Lost).count(), live().count())
    }

    /// Lists pods that should have been gone before `limit`, and those that are asked to go where nobody hears it.
    pub(crate) fn stuck(&self, limit: Timestamp) -> Vec<SeenPod> {
        let is_stuck = |pod: &&SeenPod| {
            let is_overdue = |deleted| pod.phase == Phase::Lost || deleted < limit;
            pod.purpose.is_some() && pod.identity.deleted.is_some_and(is_overdue)
        };
        self.pods.iter().filter(is_stuck).cloned().collect()
    }
}

/// Tells whether a Job keeps its pods.
fn is_open(job: &SeenJob) -> bool {
    !job.is_finished && job.identity.deleted.is_none()
}

fn place(instance: &Instance) -> (ExId, Generation, Role, u32) {
    (instance.ex_id, instance.generation, instance.role, instance.ordinal)
}

#[cfg(test)]
mod tests {
    use teraslice_model::id::JobId;

    use super::*;
    use crate::seen::{Identity, Purpose};

    fn identity(name: &str, version: u64) -> Identity {
        Identity { name: name.to_owned(), uid: format!("uid-{name}"), version, deleted: None }
    }

    fn purpose(role: Role) -> Purpose {
        Purpose {
            ex_id: ExId::from_random([1; 16]),
            job_id: JobId::from_random([2; 16]),
            generation: Generation(1),
            role,
        }
    }

    fn job(version: u64, parallelism: u32) -> SeenJob {
        SeenJob {
            identity: identity("job", version),
            purpose: purpose(Role::Worker),
            parallelism,
            is_suspended: false,
            is_finished: false,
            since: Timestamp::from_millis(0),
        }
    }

    fn pod(name: &str, ordinal: u32, phase: Phase) -> SeenPod {
        SeenPod {
            identity: identity(name, 1),
            purpose: Some(purpose(Role::Worker)),
            component: "worker".to_owned(),
            ordinal,
            phase,
            since: Timestamp::from_millis(0),
            node: None,
            ip: None,
            image: String::new(),
        }
    }

    fn shown(cache: &Cache) -> Vec<(u32, Phase)> {
        let mut shown: Vec<_> = cache.instances(None).into_iter().map(|it| (it.ordinal, it.phase)).collect();
        shown.sort_by_key(|(ordinal, _)| *ordinal);
        shown
    }

    #[test]
    fn keeps_the_later_state_whatever_comes_first() {
        let mut jobs = Objects::default();
        assert!(jobs.apply(job(5, 3)));
        assert!(!jobs.apply(job(4, 9)), "an earlier state");
        assert_eq!(jobs.get("job").unwrap().parallelism, 3);
        jobs.remove("job", "uid-job");
        assert!(!jobs.apply(job(6, 3)), "it is gone");
    }

    #[test]
    fn takes_a_list_for_the_truth_up_to_its_version() {
        let mut jobs = Objects::default();
        jobs.apply(job(5, 3));
        assert!(jobs.replace(Vec::new(), 4, |_| true).is_empty(), "made after the list");
        assert!(jobs.replace(Vec::new(), 9, |_| false).is_empty(), "another scope");
        assert_eq!(jobs.replace(Vec::new(), 9, |_| true).len(), 1);
        assert_eq!(jobs.iter().count(), 0);
    }

    #[test]
    fn shows_a_place_for_each_pod_that_is_to_come() {
        let mut cache = Cache::default();
        cache.jobs.apply(job(1, 3));
        cache.pods.apply(pod("a", 1, Phase::Running));
        cache.pods.apply(pod("b", 2, Phase::Exited(teraslice_core::backend::ExitReason::Completed)));
        let live: Vec<_> = shown(&cache).into_iter().filter(|(_, phase)| phase.is_live()).collect();
        let waiting = || Phase::Waiting("the pod is being made".to_owned());
        assert_eq!(live, [(0, waiting()), (1, Phase::Running), (2, waiting())]);
        cache.troubles.insert("uid-job".to_owned(), "quota".to_owned());
        assert_eq!(shown(&cache)[0].1, Phase::Waiting("quota".to_owned()));
    }

    #[test]
    fn gives_up_pods_that_do_not_leave_or_cannot_hear() {
        let (deadline, limit) = (Timestamp::from_millis(70_000), Timestamp::from_millis(60_000));
        let leaving = |name: &str, phase: Phase| {
            let mut pod = pod(name, 0, phase);
            pod.identity.deleted = Some(deadline);
            pod
        };
        let mut cache = Cache::default();
        cache.pods.apply(leaving("asked", Phase::Draining));
        cache.pods.apply(leaving("deaf", Phase::Lost));
        cache.pods.apply(pod("silent", 1, Phase::Lost));
        let names = |limit: Timestamp| {
            let mut names: Vec<_> = cache.stuck(limit).into_iter().map(|pod| pod.identity.name).collect();
            names.sort();
            names
        };
        assert_eq!(names(limit), ["deaf"], "the others may come back, or have time left");
        assert_eq!(names(Timestamp::from_millis(70_001)), ["asked", "deaf"]);
    }

    #[test]
    fn shows_surplus_pods_and_those_without_a_job_as_leaving() {
        let mut cache = Cache::default();
        cache.jobs.apply(job(1, 1));
        cache.pods.apply(pod("a", 0, Phase::Running));
        cache.pods.apply(pod("b", 1, Phase::Running));
        assert_eq!(shown(&cache), [(0, Phase::Running), (1, Phase::Draining)]);
        cache.jobs.remove("job", "uid-job");
        assert_eq!(shown(&cache), [(0, Phase::Draining), (1, Phase::Draining)]);
    }
}
