//! What the backend asks the API server for, and how it takes the answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use teraslice_core::backend::Phase;
use tokio::time::Instant;

use super::*;
use crate::{
    fake::{Fault, Request, Server, status, until},
    render::tests::desired,
};

/// A backend that leads, before a server.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) context: Context,
    pub(crate) backend: Kubernetes,
    revision: u64,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let context = Context::simulated(1);
        let server = Server::new(&context);
        let backend = connect(&server, &context);
        backend.adopt(Term(1)).await.unwrap();
        Self { server, context, backend, revision: 0 }
    }

    /// Wishes for so many workers.
    pub(crate) async fn ensure(&mut self, workers: u32) -> Result<(), BackendError> {
        self.revision += 1;
        self.backend.ensure(DesiredExecution { workers, revision: self.revision, ..desired(json!({})) }).await
    }

    /// Makes an execution with three workers run.
    pub(crate) async fn run(&mut self) {
        self.ensure(3).await.unwrap();
        self.server.objects(|objects| objects.run_jobs());
        until("all run", async || self.count(&Phase::Running).await == 4).await;
    }

    pub(crate) async fn instances(&self) -> Vec<Instance> {
        self.backend.observe(Scope::Cluster).await.unwrap().instances
    }

    pub(crate) async fn count(&self, phase: &Phase) -> usize {
        self.instances().await.iter().filter(|instance| instance.phase == *phase).count()
    }

    async fn retire(&self, how: Retire) -> Result<Retired, BackendError> {
        self.backend.retire(desired(json!({})).ex_id, Generation(2), how).await
    }

    fn jobs(&self) -> Vec<Value> {
        self.server.objects(|objects| objects.all("jobs"))
    }
}

fn connect(server: &Server, context: &Context) -> Kubernetes {
    Kubernetes::new(KubernetesSettings::new("ts"), server.client(""), context.clone())
}

fn pause_of(ensured: Result<(), BackendError>) -> Option<Duration> {
    match ensured {
        Err(BackendError::Unavailable { retry_after, .. }) => retry_after,
        other => panic!("it should pass: {other:?}"),
    }
}

fn merges(server: &Server) -> Vec<Value> {
    let patches = server.requests("PATCH", "/jobs/").into_iter();
    patches.filter(|it| it.content_type.contains("merge")).map(|it| it.body).collect()
}

fn unconfirmed(retired: Retired) -> usize {
    match retired {
        Retired::Unconfirmed(left) => left.len(),
        Retired::Gone => panic!("it is not gone"),
    }
}

#[tokio::test(start_paused = true)]
async fn makes_two_jobs_of_which_the_workers_belong_to_the_controllers() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let jobs = scene.jobs();
    let [controller, workers] = &jobs[..] else { panic!("{jobs:?}") };
    let owner = &workers["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], controller["metadata"]["uid"]);
    assert_eq!(owner["name"], controller["metadata"]["name"]);
    assert_eq!(workers["spec"]["parallelism"], 3);
}

#[tokio::test(start_paused = true)]
async fn makes_them_once_however_often_and_by_whomever_it_is_asked() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let jobs = scene.jobs();
    scene.ensure(3).await.unwrap();
    assert_eq!(scene.server.requests("PATCH", "/jobs/").len(), 2, "it knows them");
    let next = connect(&scene.server, &scene.context);
    next.ensure(desired(json!({}))).await.unwrap();
    assert_eq!(scene.jobs(), jobs, "the next master changes nothing");
}

#[tokio::test(start_paused = true)]
async fn scales_both_numbers_together_and_to_none_the_first_alone() {
    let mut scene = Scene::new().await;
    for workers in [3, 5, 0, 2] {
        scene.ensure(workers).await.unwrap();
    }
    let specs = [
        json!({"parallelism": 5, "completions": 5}),
        json!({"parallelism": 0}),
        json!({"parallelism": 2, "completions": 2}),
    ];
    assert_eq!(merges(&scene.server), specs.map(|spec| json!({"spec": spec})));
}

#[tokio::test(start_paused = true)]
async fn tries_again_what_passes_after_as_long_as_it_takes() {
    let mut throttled = status(429, "too many requests");
    throttled["details"] = json!({"retryAfterSeconds": 7});
    let cases = [
        (Fault::answer(409, "the object has been modified"), Some(Duration::from_millis(100))),
        (Fault::Answer(429, throttled), Some(Duration::from_secs(7))),
        (Fault::answer(403, "exceeded quota: jobs, used: 9"), Some(Duration::from_secs(5))),
        (Fault::answer(403, "jobs.batch is forbidden"), Some(Duration::from_mins(1))),
        (Fault::answer(404, "namespaces \"default\" not found"), Some(Duration::from_mins(1))),
        (Fault::answer(500, "etcd has no leader"), None),
        (Fault::Broken, None),
    ];
    let mut scene = Scene::new().await;
    for (fault, pause) in cases {
        scene.server.fail("", "PATCH", "/jobs/", fault.clone());
        assert_eq!(pause_of(scene.ensure(3).await), pause, "{fault:?}");
        scene.server.heal();
    }
    scene.ensure(3).await.unwrap();
    assert_eq!(scene.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn refuses_a_job_that_kubernetes_finds_invalid_in_few_words() {
    let mut scene = Scene::new().await;
    let message = "ü".repeat(10_000);
    scene.server.fail("", "PATCH", "/jobs/", Fault::answer(422, &message));
    let Err(BackendError::Refused { reason }) = scene.ensure(3).await else { panic!("it is not refused") };
    assert!((100..=520).contains(&reason.chars().count()), "{reason}");
    assert!(scene.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn gives_up_a_call_that_hangs() {
    let mut scene = Scene::new().await;
    scene.server.fail("", "PATCH", "/jobs/", Fault::Hang);
    let since = Instant::now();
    assert_eq!(pause_of(scene.ensure(3).await), None);
    assert_eq!(since.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn tries_soon_again_when_somebody_has_deleted_a_job_that_is_to_be_scaled() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let workers = scene.jobs().pop().unwrap();
    scene.server.objects(|objects| objects.remove("jobs", workers["metadata"]["name"].as_str().unwrap()));
    assert_eq!(pause_of(scene.ensure(4).await), None);
    until("it is made again", async || scene.jobs().len() == 1 && scene.instances().await.len() == 1).await;
    scene.ensure(4).await.unwrap();
    assert_eq!(scene.jobs()[1]["spec"]["parallelism"], 4);
}

#[tokio::test(start_paused = true)]
async fn says_gone_when_the_pods_have_ended_and_not_before() {
    let mut scene = Scene::new().await;
    scene.run().await;
    let drain = Retire::Drain { grace: Duration::from_mins(1) };
    assert_eq!(unconfirmed(scene.retire(drain).await.unwrap()), 4);
    until("all leave", async || scene.count(&Phase::Draining).await == 4 && scene.jobs().is_empty()).await;
    assert_eq!(unconfirmed(scene.retire(drain).await.unwrap()), 4);
    scene.server.objects(|objects| objects.end_pods());
    until("all have left", async || scene.instances().await.is_empty()).await;
    assert_eq!(scene.retire(drain).await.unwrap(), Retired::Gone);
}

#[tokio::test(start_paused = true)]
async fn says_gone_after_a_list_of_its_own_only() {
    let scene = Scene::new().await;
    scene.server.fail("", "GET", "exId", Fault::answer(500, "oops"));
    assert!(scene.retire(Retire::Kill).await.is_err(), "nothing is known, and nobody answers");
    scene.server.heal();
    assert_eq!(scene.retire(Retire::Kill).await.unwrap(), Retired::Gone);
}

#[tokio::test(start_paused = true)]
async fn finds_by_that_list_what_watches_have_missed() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let jobs = scene.jobs();
    assert_eq!(unconfirmed(scene.retire(Retire::Kill).await.unwrap()), 0);
    until("the Jobs are gone", async || scene.instances().await.is_empty()).await;
    scene.server.objects(|objects| {
        objects.in_secret(|objects| {
            for job in jobs {
                objects.put("jobs", job);
            }
            objects.run_jobs();
            for job in objects.all("jobs") {
                objects.remove("jobs", job["metadata"]["name"].as_str().unwrap());
            }
        });
    });
    assert_eq!(unconfirmed(scene.retire(Retire::Kill).await.unwrap()), 4);
}

#[tokio::test(start_paused = true)]
async fn deletes_a_finished_job_before_it_makes_it_anew() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let first = scene.jobs().remove(0)["metadata"].clone();
    let name = first["name"].as_str().unwrap();
    scene.server.objects(|objects| {
        objects.change("jobs", name, |job| {
            job["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        })
    });
    until("the end is seen", async || scene.instances().await.len() == 3).await;
    assert_eq!(pause_of(scene.ensure(3).await), Some(LEAVING_PAUSE));
    let deleted = scene.server.requests("DELETE", name);
    assert_eq!(deleted[0].body["preconditions"]["uid"], first["uid"]);
    until("both are gone", async || scene.instances().await.is_empty()).await;
    scene.ensure(3).await.unwrap();
    let jobs = scene.jobs();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0]["metadata"]["name"], name);
    assert_ne!(jobs[0]["metadata"]["uid"], first["uid"]);
}

#[tokio::test(start_paused = true)]
async fn deletes_nothing_but_by_name_and_unique_id() {
    let mut scene = Scene::new().await;
    scene.run().await;
    let next = DesiredExecution { generation: Generation(3), revision: 9, ..desired(json!({})) };
    scene.backend.ensure(next).await.unwrap();
    scene.server.objects(|objects| {
        objects.end_pods();
        objects.run_jobs();
    });
    until("the next controller runs", async || scene.count(&Phase::Running).await == 4).await;
    let ending = async {
        until("all are told", async || scene.server.requests("DELETE", "/pods/").len() >= 8).await;
        scene.server.objects(|objects| objects.end_pods());
    };
    let (stopped, ()) = tokio::join!(scene.backend.stop(StopBackend::Terminate), ending);
    stopped.unwrap();
    assert!(scene.jobs().is_empty());
    let deleted = scene.server.requests("DELETE", "");
    let is_exact = |it: &Request| it.name.is_some() && it.body["preconditions"]["uid"].is_string();
    assert!(deleted.iter().all(is_exact), "{deleted:#?}");
    let uids: BTreeSet<_> = deleted.iter().map(|it| it.body["preconditions"]["uid"].to_string()).collect();
    assert_eq!(uids.len(), 12, "four Jobs, eight pods");
}

#[tokio::test(start_paused = true)]
async fn refuses_a_term_that_is_earlier_than_that_of_the_lease() {
    let scene = Scene::new().await;
    scene.backend.adopt(Term(5)).await.unwrap();
    let other = connect(&scene.server, &scene.context);
    assert!(matches!(other.adopt(Term(4)).await, Err(BackendError::Fenced { term: Term(4) })));
    other.adopt(Term(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn asks_for_a_pod_that_it_has_not_seen_yet() {
    let mut scene = Scene::new().await;
    scene.ensure(1).await.unwrap();
    scene.server.objects(|objects| objects.in_secret(super::super::fake::Objects::run_jobs));
    let pod = scene.server.objects(|objects| objects.all("pods")).remove(0)["metadata"].clone();
    let (name, uid) = (pod["name"].as_str().unwrap(), pod["uid"].as_str().unwrap());
    let purpose = scene.backend.purpose_of(name, uid).await.unwrap().unwrap();
    assert_eq!(purpose.ex_id, desired(json!({})).ex_id);
    assert_eq!(scene.backend.purpose_of(name, "another").await.unwrap(), None);
    assert_eq!(scene.backend.purpose_of("another", uid).await.unwrap(), None);
}
