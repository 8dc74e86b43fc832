//! What is seen of the cluster when watches end, are refused, or miss something.

use futures::StreamExt;
use k8s_openapi::jiff;
use serde_json::{Value, json};
use teraslice_core::backend::{ClusterBackend, Phase};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{
    backend::tests::Scene,
    fake::{Fault, status, until},
};

fn expired() -> Value {
    json!({"type": "ERROR", "object": status(410, "too old resource version: 1 (2)")})
}

fn lists(scene: &Scene, plural: &str) -> usize {
    let all = scene.server.requests("GET", &format!("/{plural}?"));
    all.iter().filter(|it| !it.uri.contains("watch=true")).count()
}

#[tokio::test(start_paused = true)]
async fn sees_what_it_has_missed_when_a_watch_ends_or_is_too_old() {
    for last in [Value::Null, expired()] {
        let mut scene = Scene::new().await;
        scene.run().await;
        let mut events = scene.backend.events();
        let ex_id = scene.instances().await[0].ex_id;
        let name = scene.server.objects(|objects| objects.all("pods")).remove(0)["metadata"]["name"].clone();
        let since = Instant::now();
        scene.server.objects(|objects| {
            objects.in_secret(|objects| objects.remove("pods", name.as_str().unwrap()));
            objects.end_watches(&last);
        });
        until("the pod vanishes", async || scene.count(&Phase::Running).await == 3).await;
        assert!(since.elapsed() < Duration::from_secs(2), "{last}: it has waited for the next list");
        let changed = async { while events.next().await != Some(BackendEvent::Changed(ex_id)) {} };
        timeout(Duration::from_secs(1), changed).await.expect("somebody is told");
    }
}

#[tokio::test(start_paused = true)]
async fn sees_what_a_watch_does_not_tell_by_the_next_list() {
    let mut scene = Scene::new().await;
    scene.run().await;
    scene.server.objects(|objects| {
        objects.in_secret(|objects| {
            for pod in objects.all("pods") {
                objects.remove("pods", pod["metadata"]["name"].as_str().unwrap());
            }
        });
    });
    let since = Instant::now();
    until("the pods vanish", async || scene.count(&Phase::Running).await == 0).await;
    assert!(since.elapsed() <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn goes_on_with_what_it_knows_while_nobody_answers_and_catches_up_soon() {
    let mut scene = Scene::new().await;
    scene.run().await;
    for fault in [Fault::Broken, Fault::Hang] {
        scene.server.fail("", "", "", fault);
        scene.server.objects(|objects| objects.end_watches(&Value::Null));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let silent_ms = scene.context.wall().as_millis()
            - scene.backend.observe(teraslice_core::backend::Scope::Cluster).await.unwrap().as_of.as_millis();
        assert!(silent_ms > 50_000, "it knows how old that is: {silent_ms}");
        assert_eq!(scene.count(&Phase::Running).await, 4);
        let pod = scene.server.objects(|objects| objects.all("pods")).remove(0)["metadata"]["name"].clone();
        scene.server.objects(|objects| objects.remove("pods", pod.as_str().unwrap()));
        scene.server.heal();
        let since = Instant::now();
        until("it is seen", async || scene.count(&Phase::Running).await == 3).await;
        assert!(since.elapsed() <= Duration::from_secs(11));
        scene.server.objects(|objects| objects.run_jobs());
        until("all run", async || scene.count(&Phase::Running).await == 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn does_not_list_without_a_pause_when_it_may_not_watch_or_watches_end_at_once() {
    for (code, message) in [(403, "pods is forbidden"), (410, "too old resource version"), (200, "no change")]
    {
        let fault = Fault::answer(code, message);
        let scene = Scene::new().await;
        scene.server.fail("", "GET", "watch=true", fault.clone());
        scene.server.objects(|objects| objects.end_watches(&Value::Null));
        let before = lists(&scene, "pods");
        tokio::time::sleep(Duration::from_mins(5)).await;
        let count = lists(&scene, "pods") - before;
        assert!((50..=70).contains(&count), "{fault:?}: {count} lists in 5 minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn asks_once_a_minute_when_it_may_do_nothing() {
    let scene = Scene::new().await;
    scene.server.fail("", "", "", Fault::answer(403, "pods is forbidden"));
    scene.server.objects(|objects| objects.end_watches(&Value::Null));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = scene.server.requests("", "").len();
    tokio::time::sleep(Duration::from_mins(10)).await;
    let count = scene.server.requests("", "").len() - before;
    assert!(count <= 30, "{count} requests for three kinds in 10 minutes");
    let trouble = |scene: &Scene| scene.backend.trouble().borrow().as_ref().map(|it| it.reason.clone());
    let told = trouble(&scene).expect("it tells");
    assert!(told.contains("not observed") && told.contains("pods is forbidden"), "{told}");
    scene.server.heal();
    until("it is well again", async || trouble(&scene).is_none()).await;
}

/// Takes back, as whoever watches over machines does, that pods are ready.
fn silence(scene: &Scene, is_silent: impl Fn(&Value) -> bool) {
    scene.server.objects(|objects| {
        for pod in objects.all("pods") {
            let ready = if is_silent(&pod) { "False" } else { "True" };
            objects.change("pods", pod["metadata"]["name"].as_str().unwrap(), |pod| {
                pod["status"]["conditions"] =
                    json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": "True"}]);
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn leaves_pods_alone_when_every_machine_is_silent_and_says_so() {
    let mut scene = Scene::new().await;
    scene.run().await;
    let trouble = |scene: &Scene| scene.backend.trouble().borrow().as_ref().map(|it| it.reason.clone());
    let first = scene.server.objects(|objects| objects.all("pods")).remove(0);
    silence(&scene, |pod| pod["metadata"]["name"] == first["metadata"]["name"]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((scene.count(&Phase::Lost).await, trouble(&scene)), (1, None), "one is no more than a loss");
    silence(&scene, |_| true);
    until("it is told", async || trouble(&scene).is_some()).await;
    assert!(trouble(&scene).unwrap().starts_with("4 of 4 pods are on machines"), "{:?}", trouble(&scene));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(scene.count(&Phase::Lost).await, 4);
    assert!(scene.server.requests("DELETE", "").is_empty(), "they may all be at work");
    silence(&scene, |_| false);
    until("it is well again", async || trouble(&scene).is_none()).await;
    assert_eq!(scene.count(&Phase::Running).await, 4);
}

fn failed_create(job: &Value, message: &str) -> Value {
    let object = json!({"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]});
    json!({
        "metadata": {"name": "event"}, "reason": "FailedCreate", "message": message, "type": "Warning",
        "involvedObject": object,
    })
}

#[tokio::test(start_paused = true)]
async fn says_why_the_pods_of_a_job_are_not_made() {
    let mut scene = Scene::new().await;
    scene.ensure(3).await.unwrap();
    let workers = scene.server.objects(|objects| objects.all("jobs")).remove(1);
    scene.server.objects(|objects| objects.put("events", failed_create(&workers, "exceeded quota: pods")));
    let waiting = Phase::Waiting("exceeded quota: pods".to_owned());
    until("it is said", async || scene.count(&waiting).await == 3).await;
}

#[tokio::test(start_paused = true)]
async fn says_so_too_when_it_has_heard_of_that_before_it_sees_the_job() {
    let mut scene = Scene::new().await;
    let workers = json!({"metadata": {"name": "", "uid": "uid-later"}});
    scene.server.objects(|objects| objects.put("events", failed_create(&workers, "exceeded quota: pods")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.ensure(3).await.unwrap();
    let mut workers = scene.server.objects(|objects| objects.all("jobs")).remove(1);
    workers["metadata"]["uid"] = json!("uid-later");
    scene.server.objects(|objects| objects.put("jobs", workers));
    let waiting = Phase::Waiting("exceeded quota: pods".to_owned());
    let since = Instant::now();
    until("it is said", async || scene.count(&waiting).await == 3).await;
    assert!(since.elapsed() < Duration::from_secs(5), "not with the next list");
}

#[tokio::test(start_paused = true)]
async fn forgets_a_pod_by_force_a_minute_after_it_should_have_been_gone() {
    let mut scene = Scene::new().await;
    scene.run().await;
    let now = jiff::Timestamp::from_millisecond(scene.context.wall().as_millis()).unwrap().to_string();
    let pod = scene.server.objects(|objects| {
        let name = objects.all("pods").remove(0)["metadata"]["name"].clone();
        objects
            .change("pods", name.as_str().unwrap(), |pod| pod["metadata"]["deletionTimestamp"] = json!(now))
    });
    let since = Instant::now();
    until("it is forgotten", async || scene.server.objects(|objects| objects.all("pods").len()) == 3).await;
    assert!((60..=71).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    let deleted = scene.server.requests("DELETE", "/pods/");
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].body["gracePeriodSeconds"], 0);
    assert_eq!(deleted[0].body["preconditions"]["uid"], pod["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn shows_the_pod_of_the_master_as_soon_as_it_is_there() {
    let scene = Scene::new().await;
    let labels = json!({
        "app.kubernetes.io/name": "teraslice", "app.kubernetes.io/instance": "ts", "app.kubernetes.io/component": "master",
    });
    until("it watches", async || !scene.server.requests("GET", "/pods?&watch=true").is_empty()).await;
    scene.server.objects(|objects| {
        objects
            .put("pods", json!({"metadata": {"name": "m", "labels": labels}, "status": {"phase": "Running"}}))
    });
    let since = Instant::now();
    until("it is shown", async || scene.backend.pods().len() == 1).await;
    assert!(since.elapsed() < Duration::from_secs(1), "not with the next list");
}
