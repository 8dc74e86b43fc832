//! Masters that want to lead, with an API server between them.

use teraslice_core::backend::BackendError;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::fake::{Fault, Server, until};

const LEASE: &str = "teraslice-ts";

struct Scene {
    server: Server,
    context: Context,
}

impl Scene {
    fn new() -> Self {
        let context = Context::simulated(1);
        Self { server: Server::new(&context), context }
    }

    /// Lets somebody want to lead.
    fn candidate(&self, name: &'static str) -> JoinHandle<Leadership> {
        let (client, context) = (self.server.client(name), self.context.clone());
        let settings = KubernetesSettings::new("ts");
        self.context.spawn(async move { lead(client, &settings, name.to_owned(), &context).await })
    }

    fn holder(&self) -> Option<String> {
        let lease = self.server.objects(|objects| objects.get("leases", LEASE))?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_leads() {
    let scene = Scene::new();
    let (one, other) = (scene.candidate("one"), scene.candidate("other"));
    sleep(Duration::from_mins(5)).await;
    assert!(one.is_finished() != other.is_finished(), "one and only one");
    let first = if one.is_finished() { one } else { other }.await.unwrap();
    assert_eq!(first.term(), Term(1));
    assert!(!first.lost().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn the_next_one_leads_when_the_first_has_not_renewed_for_long() {
    let scene = Scene::new();
    let first = scene.candidate("first").await.unwrap();
    let next = scene.candidate("next");
    sleep(Duration::from_secs(30)).await;
    scene.server.fail("first", "", "", Fault::Broken);
    let since = Instant::now();
    let next = next.await.unwrap();
    let after = since.elapsed();
    assert!((10..=20).contains(&after.as_secs()), "15 s after the last renewal, not {after:?}");
    assert_eq!(next.term(), Term(2));
    assert!(!first.lost().is_cancelled(), "nobody could tell");
    scene.server.heal();
    timeout(RENEW_EVERY * 2, first.lost().cancelled()).await.expect("the first finds out");
    assert!(!next.lost().is_cancelled());
    first.release().await;
    assert_eq!(scene.holder().as_deref(), Some("next"), "who has lost it has nothing to release");
}

#[tokio::test(start_paused = true)]
async fn the_next_one_leads_at_once_when_the_first_lets_go() {
    let scene = Scene::new();
    let first = scene.candidate("first").await.unwrap();
    let next = scene.candidate("next");
    sleep(Duration::from_secs(7)).await;
    first.release().await;
    assert_eq!(scene.holder(), None);
    let next = timeout(LOOK_EVERY * 2, next).await.expect("it need not wait").unwrap();
    assert_eq!(next.term(), Term(2));
}

#[tokio::test(start_paused = true)]
async fn a_master_that_reaches_nobody_goes_on_leading() {
    for fault in [Fault::Broken, Fault::Hang, Fault::answer(403, "leases is forbidden")] {
        let scene = Scene::new();
        let first = scene.candidate("first").await.unwrap();
        scene.server.fail("", "", "", fault.clone());
        sleep(Duration::from_mins(10)).await;
        assert!(!first.lost().is_cancelled(), "{fault:?}");
        scene.server.heal();
        // What is forbidden is tried again after a minute.
        sleep(Duration::from_mins(1)).await;
        let next = scene.candidate("next");
        sleep(Duration::from_mins(1)).await;
        assert!(!first.lost().is_cancelled() && !next.is_finished(), "{fault:?}: it renews again");
    }
}

#[tokio::test(start_paused = true)]
async fn asks_seldom_for_a_lease_that_it_may_not_touch() {
    let scene = Scene::new();
    let leader = scene.candidate("leader").await.unwrap();
    let waiting = scene.candidate("waiting");
    scene.server.fail("", "", "", Fault::answer(403, "leases is forbidden"));
    sleep(Duration::from_mins(1)).await;
    let before = scene.server.requests("", "").len();
    sleep(Duration::from_mins(10)).await;
    let count = scene.server.requests("", "").len() - before;
    assert!((20..=30).contains(&count), "{count} requests of two masters in 10 minutes");
    assert!(!leader.lost().is_cancelled() && !waiting.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_no_loss() {
    let scene = Scene::new();
    let first = scene.candidate("first").await.unwrap();
    // As if the write had come through.
    scene.server.objects(|objects| objects.change("leases", LEASE, |_| {}));
    sleep(Duration::from_mins(1)).await;
    assert!(!first.lost().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_is_made_again() {
    let scene = Scene::new();
    let first = scene.candidate("first").await.unwrap();
    scene.server.objects(|objects| objects.remove("leases", LEASE));
    until("it is there again", async || scene.holder().as_deref() == Some("first")).await;
    let next = scene.candidate("next");
    sleep(Duration::from_mins(1)).await;
    assert!(!first.lost().is_cancelled() && !next.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_later_term_ends_earlier_ones() {
    let scene = Scene::new();
    let leases = Api::namespaced(scene.server.client(""), "default");
    claim(&leases, "ts", Term(7)).await.unwrap();
    claim(&leases, "ts", Term(7)).await.unwrap();
    let earlier = claim(&leases, "ts", Term(6)).await;
    assert!(matches!(earlier, Err(BackendError::Fenced { term: Term(6) })));
    assert_eq!(scene.candidate("next").await.unwrap().term(), Term(8));
}
