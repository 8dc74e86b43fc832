//! The laws of a cluster backend, one function each; every implementation runs all of them.

use std::{
    collections::BTreeSet, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll,
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use serde_json::json;
use teraslice_model::{
    id::{ExId, Generation, JobId, Term},
    job::{CheckEnvironment, CheckedJob, RawJob},
};
use tokio::time::{sleep, timeout};

use crate::{
    backend::{
        BackendError, BackendEvent, ClusterBackend, DesiredExecution, Instance, InstanceId, Phase, Retire,
        Retired, Role, Scope, StopBackend,
    },
    worker::failure::panic_text,
};

/// Everything has to happen within this.
const PATIENCE: Duration = Duration::from_secs(20);
/// States are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// An instance that is willing to leave does so within this.
const GRACE: Duration = Duration::from_secs(15);
/// The variable of a job whose instances do not leave when they are asked to.
pub const STUBBORN: &str = "CONFORMANCE_STUBBORN";

/// A cluster that nobody else uses.
///
/// # Assumptions
///
/// Its instances run until they are asked to leave, and then end well and at once. Those of a job that has [`STUBBORN`] among
/// its `env_vars` do not leave before they are killed.
pub trait Cluster {
    /// The backend.
    type Backend: ClusterBackend;

    /// Returns a further handle to this cluster, as a second process would have it.
    fn connect(&self) -> Self::Backend;

    /// Waits until these live instances are so far that they notice what they are asked to do.
    fn ready(&self, instances: &[Instance]) -> impl Future<Output = ()>;
}

/// How a backend keeps a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The law, as a sentence without its subject.
    pub law: &'static str,
    /// What is wrong; absent: the law is kept.
    pub broken: Option<String>,
}

macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        /// The names of all laws.
        pub const LAWS: &[&str] = &[$(stringify!($law)),+];

        /// Checks every law, each on a fresh cluster.
        ///
        /// # Panics
        ///
        /// When the backend breaks a law.
        pub async fn run<C: Cluster>(make: impl AsyncFn() -> C) {
            $($law(Bench::new(make().await).await).await;)+
        }

        /// Checks one law on a fresh cluster; none of that name: nothing.
        pub async fn check<C: Cluster>(law: &str, make: impl AsyncFn() -> C) -> Option<Verdict> {
            match law {
                $(stringify!($law) => {
                    let checked = async { $law(Bench::new(make().await).await).await };
                    let broken = AssertUnwindSafe(Box::pin(checked)).catch_unwind().await.err();
                    let broken = broken.map(|panic| panic_text(panic.as_ref()).unwrap_or("it panicked").to_owned());
                    Some(Verdict { law: stringify!($law), broken })
                })+
                _ => None,
            }
        }
    };
}

laws! {
    ensures_twice_as_once,
    shows_what_was_accepted,
    scales_up_and_down,
    keeps_executions_apart,
    refuses_a_stale_revision,
    fences_an_earlier_term,
    retires_nothing_at_once,
    drains_those_who_are_willing,
    kills_those_who_are_not,
    kills_at_once_when_asked,
    replaces_an_earlier_generation,
    retires_no_later_generation,
    lets_a_second_handle_adopt,
    begins_events_with_a_resync,
    hints_at_changes,
    survives_calls_that_are_given_up,
    terminates_everything,
}

async fn ensures_twice_as_once<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 3).await;
    let first = bench.live().await;
    assert_eq!(places(&first), wanted(3));
    bench.ensure(1, 3).await;
    assert_eq!(ids(&bench.live().await), ids(&first), "the same ones");
    bench.end().await;
}

async fn shows_what_was_accepted<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 2).await;
    let seen = bench.observe(Scope::Execution(bench.ex_id)).await;
    assert_eq!(places(&seen), wanted(2), "in the first look after");
    let unique: BTreeSet<_> = seen.iter().map(|instance| &instance.id).collect();
    assert_eq!(unique.len(), 3);
    bench.end().await;
}

async fn scales_up_and_down<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 1).await;
    let few = ids(&bench.live().await);
    bench.ensure(2, 4).await;
    let many = bench.live().await;
    assert_eq!(places(&many), wanted(4));
    assert!(ids(&many).is_superset(&few), "those that were there stay");
    bench.ensure(3, 1).await;
    bench.eventually(|live| places(live) == wanted(1)).await;
    assert_eq!(ids(&bench.live().await), few);
    bench.ensure(4, 0).await;
    bench.eventually(|live| places(live) == wanted(0)).await;
    bench.end().await;
}

async fn keeps_executions_apart<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 1).await;
    let other = ExId::from_random([9; 16]);
    bench.backend.ensure(DesiredExecution { ex_id: other, ..bench.desired(1, 2) }).await.expect("accepted");
    assert_eq!(places(&bench.live().await), wanted(1));
    assert_eq!(bench.observe(Scope::Execution(other)).await.len(), 3);
    assert_eq!(bench.observe(Scope::Cluster).await.len(), 5);
    bench.retire(Generation(1), Retire::Kill).await;
    assert_eq!(bench.observe(Scope::Execution(other)).await.len(), 3, "untouched");
    bench.end().await;
}

async fn refuses_a_stale_revision<C: Cluster>(bench: Bench<C>) {
    bench.ensure(8, 2).await;
    let refused = bench.backend.ensure(bench.desired(7, 5)).await;
    assert!(matches!(refused, Err(BackendError::Stale { revision: 7 })), "{refused:?}");
    assert_eq!(places(&bench.live().await), wanted(2), "nothing has changed");
    bench.end().await;
}

async fn fences_an_earlier_term<C: Cluster>(bench: Bench<C>) {
    let later = bench.cluster.connect();
    later.adopt(Term(5)).await.expect("the later term begins");
    let earlier = bench.cluster.connect();
    let refused = earlier.adopt(Term(4)).await;
    assert!(matches!(refused, Err(BackendError::Fenced { term: Term(4) })), "{refused:?}");
    // The first handle is of term 1. Where the backend cannot tell, it takes the call; it never half takes it.
    match bench.backend.ensure(bench.desired(1, 1)).await {
        Err(BackendError::Fenced { term }) => {
            assert_eq!(term, Term(1));
            assert_eq!(bench.live().await, []);
        }
        Ok(()) => assert_eq!(places(&bench.live().await), wanted(1)),
        Err(other) => panic!("{other:?} instead of a fence"),
    }
    later.stop(StopBackend::Terminate).await.expect("ends");
}

async fn retires_nothing_at_once<C: Cluster>(bench: Bench<C>) {
    for how in [Retire::Kill, Retire::Drain { grace: GRACE }] {
        let retired = bench.backend.retire(bench.ex_id, Generation(7), how).await;
        assert_eq!(retired.expect("nothing to do"), Retired::Gone);
    }
}

async fn drains_those_who_are_willing<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 2).await;
    let before = ids(&bench.live().await);
    let drain = Retire::Drain { grace: GRACE };
    let retired = bench.backend.retire(bench.ex_id, Generation(1), drain).await.expect("accepted");
    if let Retired::Unconfirmed(left) = retired {
        assert!(left.into_iter().collect::<BTreeSet<_>>().is_subset(&before));
    }
    bench.retire(Generation(1), drain).await;
    assert_eq!(bench.observe(Scope::Cluster).await, [], "nothing is left to see");
}

async fn kills_those_who_are_not<C: Cluster>(bench: Bench<C>) {
    let bench = bench.stubborn();
    bench.ensure(1, 1).await;
    bench.retire(Generation(1), Retire::Drain { grace: Duration::from_millis(50) }).await;
    assert_eq!(bench.observe(Scope::Cluster).await, []);
}

async fn kills_at_once_when_asked<C: Cluster>(bench: Bench<C>) {
    let bench = bench.stubborn();
    bench.ensure(1, 1).await;
    let long = Retire::Drain { grace: Duration::from_hours(1) };
    let asked = bench.backend.retire(bench.ex_id, Generation(1), long).await.expect("accepted");
    assert!(matches!(asked, Retired::Unconfirmed(left) if left.len() == 2), "they do not leave");
    assert!(bench.live().await.iter().all(|instance| instance.phase == Phase::Draining));
    bench.retire(Generation(1), Retire::Kill).await;
    assert_eq!(bench.observe(Scope::Cluster).await, []);
}

async fn replaces_an_earlier_generation<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 1).await;
    let before = ids(&bench.live().await);
    let next = DesiredExecution { generation: Generation(2), ..bench.desired(2, 1) };
    bench.backend.ensure(next).await.expect("accepted");
    bench.eventually(|live| live.len() == 2 && live.iter().all(|it| it.generation == Generation(2))).await;
    assert!(ids(&bench.live().await).is_disjoint(&before));
    bench.end().await;
}

async fn retires_no_later_generation<C: Cluster>(bench: Bench<C>) {
    let later = DesiredExecution { generation: Generation(2), ..bench.desired(1, 1) };
    bench.backend.ensure(later).await.expect("accepted");
    bench.retire(Generation(1), Retire::Kill).await;
    assert_eq!(bench.live().await.len(), 2);
    bench.end().await;
}

async fn lets_a_second_handle_adopt<C: Cluster>(bench: Bench<C>) {
    bench.ensure(1, 2).await;
    let before = bench.live().await;
    let second = bench.cluster.connect();
    let adopted = second.adopt(Term(2)).await.expect("a new term");
    assert_eq!(ids(&adopted.instances), ids(&before));
    assert_eq!(places(&adopted.instances), wanted(2));
    // It goes on from there: what is wanted is there, and what is not leaves. Its revisions are a new count.
    second.ensure(bench.desired(0, 2)).await.expect("accepted");
    assert_eq!(ids(&bench.live().await), ids(&before));
    second.stop(StopBackend::Terminate).await.expect("ends");
    assert_eq!(bench.live().await, []);
}

async fn begins_events_with_a_resync<C: Cluster>(bench: Bench<C>) {
    for _ in 0..2 {
        let first = timeout(PATIENCE, bench.backend.events().next()).await.expect("an event in time");
        assert_eq!(first, Some(BackendEvent::Resync));
    }
}

async fn hints_at_changes<C: Cluster>(bench: Bench<C>) {
    let mut events = bench.backend.events();
    assert_eq!(timeout(PATIENCE, events.next()).await.expect("in time"), Some(BackendEvent::Resync));
    bench.ensure(1, 1).await;
    let is_hint = |event: &BackendEvent| {
        matches!(event, BackendEvent::Resync) || *event == BackendEvent::Changed(bench.ex_id)
    };
    let hint = timeout(PATIENCE, events.next()).await.expect("a hint in time");
    assert!(hint.as_ref().is_some_and(is_hint), "{hint:?}");
    bench.end().await;
    let hint = timeout(PATIENCE, events.next()).await.expect("a hint in time");
    assert!(hint.as_ref().is_some_and(is_hint), "{hint:?}");
}

async fn survives_calls_that_are_given_up<C: Cluster>(bench: Bench<C>) {
    for polls in 0..12 {
        give_up_after(polls, bench.backend.ensure(bench.desired(1, 3))).await;
        give_up_after(polls, bench.backend.observe(Scope::Cluster)).await;
    }
    bench.ensure(1, 3).await;
    assert_eq!(places(&bench.live().await), wanted(3), "each once");
    for polls in 0..12 {
        give_up_after(polls, bench.backend.retire(bench.ex_id, Generation(1), Retire::Kill)).await;
    }
    bench.retire(Generation(1), Retire::Kill).await;
    assert_eq!(bench.observe(Scope::Cluster).await, []);
}

async fn terminates_everything<C: Cluster>(bench: Bench<C>) {
    let bench = bench.stubborn();
    bench.ensure(1, 2).await;
    bench.backend.stop(StopBackend::Terminate).await.expect("ends");
    assert_eq!(bench.live().await, []);
}

/// A cluster, a handle of term 1, and what is wanted of it.
struct Bench<C: Cluster> {
    cluster: C,
    backend: C::Backend,
    ex_id: ExId,
    job: Arc<CheckedJob>,
}

impl<C: Cluster> Bench<C> {
    async fn new(cluster: C) -> Self {
        let backend = cluster.connect();
        backend.adopt(Term(1)).await.expect("the first term");
        Self { cluster, backend, ex_id: ExId::from_random([1; 16]), job: job(false) }
    }

    fn stubborn(self) -> Self {
        Self { job: job(true), ..self }
    }

    fn desired(&self, revision: u64, workers: u32) -> DesiredExecution {
        DesiredExecution {
            ex_id: self.ex_id,
            job_id: JobId::from_random([2; 16]),
            generation: Generation(1),
            revision,
            job: Arc::clone(&self.job),
            controller: true,
            workers,
        }
    }

    async fn ensure(&self, revision: u64, workers: u32) {
        let accepted = timeout(PATIENCE, self.backend.ensure(self.desired(revision, workers))).await;
        accepted.expect("an answer in time").expect("accepted");
        // Those that leave need not be there any more when somebody looks.
        let mut staying = self.live().await;
        staying.retain(|instance| instance.phase != Phase::Draining);
        timeout(PATIENCE, self.cluster.ready(&staying)).await.expect("instances start in time");
    }

    async fn observe(&self, scope: Scope) -> Vec<Instance> {
        let snapshot = timeout(PATIENCE, self.backend.observe(scope)).await.expect("an answer in time");
        snapshot.expect("a list").instances
    }

    async fn live(&self) -> Vec<Instance> {
        let mut all = self.observe(Scope::Execution(self.ex_id)).await;
        all.retain(|instance| instance.phase.is_live());
        all
    }

    async fn eventually(&self, is_reached: impl Fn(&[Instance]) -> bool) {
        let reached = async {
            while !is_reached(&self.live().await) {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("not reached in time: {:?}", self.live().await);
        }
    }

    /// Retires, and again until everything is gone.
    async fn retire(&self, upto: Generation, how: Retire) {
        let gone = async {
            while self.backend.retire(self.ex_id, upto, how).await.expect("accepted") != Retired::Gone {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("unconfirmed becomes gone");
    }

    async fn end(&self) {
        let stopped = timeout(PATIENCE, self.backend.stop(StopBackend::Terminate)).await;
        stopped.expect("an end in time").expect("ends");
        assert_eq!(self.live().await, []);
    }
}

/// Polls a call so many times, then drops it.
async fn give_up_after<F: Future>(polls: u32, call: F) {
    let mut call = pin!(call);
    for _ in 0..polls {
        let is_done = std::future::poll_fn(|task| Poll::Ready(call.as_mut().poll(task).is_ready())).await;
        if is_done {
            return;
        }
        sleep(Duration::from_micros(200)).await;
    }
}

fn wanted(workers: u32) -> Vec<(Role, u32)> {
    let workers = (0..workers).map(|ordinal| (Role::Worker, ordinal));
    std::iter::once((Role::Controller, 0)).chain(workers).collect()
}

fn places(instances: &[Instance]) -> Vec<(Role, u32)> {
    let mut places: Vec<_> = instances.iter().map(|it| (it.role, it.ordinal)).collect();
    places.sort_unstable();
    places
}

fn ids(instances: &[Instance]) -> BTreeSet<InstanceId> {
    instances.iter().map(|instance| instance.id.clone()).collect()
}

fn job(is_stubborn: bool) -> Arc<CheckedJob> {
    let env_vars = if is_stubborn { json!({ STUBBORN: "1" }) } else { json!({}) };
    let operations = json!([{ "_op": "test-reader" }, { "_op": "noop" }]);
    let job = json!({ "name": "conformance", "operations": operations, "env_vars": env_vars });
    let environment =
        CheckEnvironment { known_connections: None, cpus: 2, is_kubernetes: false, overrides_enabled: false };
    let job = serde_json::from_value::<RawJob>(job).expect("an object");
    let (job, _) = job.check(&environment).expect("a job without faults");
    Arc::new(job)
}
