//! Nodes and the API server go, and the rights to it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use teraslice_tests::{
    k8s::{Fault, Installation, WAIT_MAX, requests_of_masters},
    tell,
};

use crate::{check, complete, input, name, numbered, processed, progress};

/// Sets up an installation whose master is on the first node.
fn beside(name: &str) -> Installation {
    let _aside = Fault::cordoned("n2");
    Installation::start(name, &[])
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
#[expect(clippy::disallowed_methods, reason = "the API server is away for a time that is real")]
fn goes_on_while_the_api_server_is_away() {
    let teraslice = Installation::start("away", &[]);
    let records = 100_000;
    let folder = input(&teraslice, records);
    let (job_id, ex_id) = teraslice.submit(&numbered(records, 1, 200));
    teraslice.await_pods(&ex_id, "worker", 1);
    teraslice.wait("slices", WAIT_MAX, |it| (processed(it, &ex_id) > 0).then_some(()));
    let away = Fault::paused("kube-apiserver");
    let before = processed(&teraslice, &ex_id);
    teraslice.post(&format!("/v1/jobs/{job_id}/_workers?total=3"), None);
    let since = Instant::now();
    let mut last = before;
    while since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_secs(5));
        let now = processed(&teraslice, &ex_id);
        assert!(now > last, "no slice within 5 s after {:?}", since.elapsed());
        last = now;
    }
    drop(away);
    let back = Instant::now();
    teraslice.wait("the workers that were asked for meanwhile", WAIT_MAX, |it| {
        (it.pods(&ex_id, "worker").len() == 3).then_some(())
    });
    assert!(back.elapsed() < Duration::from_secs(10), "caught up after {:?}", back.elapsed());
    teraslice.await_status(&ex_id, &["completed"]);
    check(&folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
#[expect(clippy::disallowed_methods, reason = "says how long it takes for real")]
fn goes_on_elsewhere_when_a_node_is_cut_off() {
    let records = 20_000;
    let teraslice = beside("node");
    let folder = input(&teraslice, records);
    let here = Fault::cordoned("n1");
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 500));
    let lost = [("execution_controller", 1), ("worker", 2)]
        .map(|(role, count)| teraslice.await_pods(&ex_id, role, count));
    let lost = lost.concat();
    assert!(lost.iter().all(|pod| pod["spec"]["nodeName"] == "n2"), "{lost:?}");
    let lost: BTreeSet<_> = lost.iter().map(uid).collect();
    teraslice.wait("slices", WAIT_MAX, |it| (processed(it, &ex_id) > 2).then_some(()));
    drop(here);
    // Controller and workers go on there, and still write into the volume; nobody hears of it.
    let cut = Fault::unplugged("n2");
    let since = Instant::now();
    teraslice.wait("pods on the other node", Duration::from_mins(5), |it| {
        let pods = pods(it, &ex_id);
        let is_here = |pod: &&Value| {
            pod["spec"]["nodeName"] == "n1"
                && pod["status"]["phase"] == "Running"
                && !lost.contains(&uid(pod))
        };
        (pods.iter().filter(is_here).count() == 3).then_some(())
    });
    tell(&format!("a node cut off: its pods run elsewhere after {:?}", since.elapsed()));
    progress(&teraslice, &ex_id);
    drop(cut);
    complete(&teraslice, &ex_id, &folder, records);
}

/// Returns the pods of an execution, in all roles.
fn pods(teraslice: &Installation, ex_id: &str) -> Vec<Value> {
    ["execution_controller", "worker"].map(|role| teraslice.pods(ex_id, role)).concat()
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().expect("it has an id").to_owned()
}

/// Sets up an installation in which two workers are at work, for more than two minutes; returns the execution and the folder of its
/// output.
fn at_work(name: &str, records: u64) -> (Installation, String, PathBuf) {
    let teraslice = Installation::start(name, &[]);
    let folder = input(&teraslice, records);
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 500));
    teraslice.await_pods(&ex_id, "worker", 2);
    teraslice.wait("slices", WAIT_MAX, |it| (processed(it, &ex_id) > 0).then_some(()));
    (teraslice, ex_id, folder)
}

/// Returns what the master says of the cluster, asked past its Service: that leads nowhere while nobody vouches for its pod.
fn health(teraslice: &Installation) -> Value {
    let master = name(teraslice.masters().first().expect("there is a master"));
    let path = format!("/api/v1/namespaces/{}/pods/{master}:5678/proxy/v1/health/ready", teraslice.namespace);
    serde_json::from_str(&teraslice.kubectl(&["get", "--raw", &path])).expect("the master answers with JSON")
}

fn await_trouble(teraslice: &Installation, what: &str) {
    teraslice.wait(&format!("the master to tell: {what}"), Duration::from_mins(2), |it| {
        health(it)["backend"]["reason"].as_str()?.contains(what).then_some(())
    });
}

/// Looks on for so long: results go on being written, by the same pods.
#[expect(clippy::disallowed_methods, reason = "nothing must happen for a time that is real")]
fn look_on(teraslice: &Installation, ex_id: &str, folder: &Path, length: Duration) {
    let uids = || pods(teraslice, ex_id).iter().map(uid).collect::<BTreeSet<_>>();
    let (before, since) = (uids(), Instant::now());
    let written = || -> u64 {
        let files = fs::read_dir(folder.join("done")).expect("the job writes there").flatten();
        files.map(|file| file.metadata().map_or(0, |it| it.len())).sum()
    };
    let mut last = written();
    while since.elapsed() < length {
        std::thread::sleep(Duration::from_secs(10));
        let now = written();
        assert!(now > last, "nothing was written within 10 s after {:?}", since.elapsed());
        last = now;
        assert_eq!(uids(), before, "after {:?}", since.elapsed());
    }
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn leaves_everything_alone_while_no_machine_is_heard_of() {
    let records = 90_000;
    let (teraslice, ex_id, folder) = at_work("dark", records);
    let dark = ["kubelet-n1", "kubelet-n2"].map(Fault::paused);
    await_trouble(&teraslice, "3 of 3 pods are on machines that Kubernetes does not hear of");
    // Longer than it takes to give up the pods of one lost machine.
    look_on(&teraslice, &ex_id, &folder, Duration::from_secs(80));
    drop(dark);
    teraslice.wait("all to be well again", WAIT_MAX, |it| health(it)["backend"].is_null().then_some(()));
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn goes_on_and_asks_seldom_when_its_rights_are_taken_away() {
    let records = 80_000;
    let (teraslice, ex_id, folder) = at_work("rights-gone", records);
    let binding = format!("rolebinding/teraslice-all-{}", teraslice.namespace);
    let rights = teraslice.objects(&binding);
    teraslice.kubectl(&["delete", &binding]);
    await_trouble(&teraslice, "forbidden");
    let before = requests_of_masters();
    look_on(&teraslice, &ex_id, &folder, Duration::from_secs(60));
    let asked = requests_of_masters() - before;
    tell(&format!("without rights the master asks {asked} times a minute"));
    assert!(asked <= 10.0, "{asked} requests in a minute");
    teraslice.apply(&json!({
        "apiVersion": rights["apiVersion"], "kind": rights["kind"], "metadata": {"name": rights["metadata"]["name"]},
        "subjects": rights["subjects"], "roleRef": rights["roleRef"],
    }));
    complete(&teraslice, &ex_id, &folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn loses_nothing_when_a_node_is_drained() {
    let records = 60_000;
    let teraslice = beside("drain");
    let folder = input(&teraslice, records);
    let here = Fault::cordoned("n1");
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 150));
    let workers: BTreeSet<_> = teraslice.await_pods(&ex_id, "worker", 2).iter().map(name).collect();
    progress(&teraslice, &ex_id);
    drop(here);
    let _closed = Fault::cordoned("n2");
    let selector = format!("teraslice.terascope.io/exId={ex_id}");
    teraslice.kubectl(&[
        "drain",
        "n2",
        "--ignore-daemonsets",
        "--force",
        "--delete-emptydir-data",
        "--pod-selector",
        &selector,
    ]);
    teraslice.wait("workers on the other node", Duration::from_secs(60), |it| {
        let pods = it.pods(&ex_id, "worker");
        let moved =
            pods.iter().filter(|pod| pod["spec"]["nodeName"] == "n1" && !workers.contains(&name(pod)));
        (moved.count() == 2).then_some(())
    });
    progress(&teraslice, &ex_id);
    complete(&teraslice, &ex_id, &folder, records);
}
