//! Pods, nodes, masters and the API server go.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use teraslice_tests::{
    k8s::{Fault, Installation, SearchServer, WAIT_MAX, requests_of_masters},
    tell,
};

use crate::{beside, check, complete, input, name, numbered, processed, progress};

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn loses_nothing_when_pods_and_the_master_go() {
    let teraslice = Installation::start("faults", &[]);
    let records = 150_000;
    let folder = input(&teraslice, records);
    let (_, ex_id) = teraslice.submit(&numbered(records, 2, 200));
    let progress = |teraslice: &Installation, from: u64| {
        teraslice.wait("slices to go on", WAIT_MAX, |it| {
            (processed(it, &ex_id) > from).then(|| processed(it, &ex_id))
        })
    };
    teraslice.await_pods(&ex_id, "worker", 2);
    let done = progress(&teraslice, 0);
    // A worker without a word, and one that is asked.
    let workers = teraslice.await_pods(&ex_id, "worker", 2);
    teraslice.kubectl(&["delete", "pod", &name(&workers[0]), "--grace-period", "1", "--wait=false"]);
    let done = progress(&teraslice, done);
    teraslice.wait("the worker to be replaced", WAIT_MAX, |it| {
        let now = it.pods(&ex_id, "worker");
        let running = now.iter().filter(|pod| pod["status"]["phase"] == "Running");
        (running.count() == 2).then_some(())
    });
    // The controller.
    let controllers = teraslice.pods(&ex_id, "execution_controller");
    teraslice.kubectl(&["delete", "pod", &name(&controllers[0]), "--grace-period", "1", "--wait=false"]);
    let done = progress(&teraslice, done + 4);
    // The master.
    teraslice.kubectl(&[
        "delete",
        "pod",
        "--selector",
        "app.kubernetes.io/component=master",
        "--grace-period",
        "1",
    ]);
    progress(&teraslice, done + 4);
    complete(&teraslice, &ex_id, &folder, records);
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
    let labels = format!("teraslice.terascope.io/exId={ex_id},app.kubernetes.io/component=worker");
    teraslice.wait("the workers that were asked for meanwhile", WAIT_MAX, |it| {
        let pods = it.kubectl(&["get", "pods", "--selector", &labels, "--output", "name"]);
        (pods.lines().count() == 3).then_some(())
    });
    assert!(back.elapsed() < Duration::from_secs(10), "caught up after {:?}", back.elapsed());
    teraslice.await_status(&ex_id, &["completed"]);
    check(&folder, records);
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
#[expect(clippy::disallowed_methods, reason = "says how long it takes for real")]
fn goes_on_elsewhere_when_a_node_is_cut_off() {
    let records = 60_000;
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
    let label = "app.kubernetes.io/component=master";
    let master = teraslice.kubectl(&["get", "pods", "--selector", label, "--output", "name"]);
    let master = master.trim().trim_start_matches("pod/");
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
fn lets_one_of_two_masters_lead() {
    let teraslice = Installation::start("two", &[]);
    let holder = |it: &Installation| it.objects("lease/teraslice-teraslice")["spec"].clone();
    let first = holder(&teraslice);
    teraslice.kubectl(&["patch", "deployment/teraslice-master", "--patch", r#"{"spec": {"replicas": 2}}"#]);
    teraslice.wait("a second master", WAIT_MAX, |it| {
        let pods = it.kubectl(&[
            "get",
            "pods",
            "--selector",
            "app.kubernetes.io/component=master",
            "--output",
            "name",
        ]);
        (pods.lines().count() == 2).then_some(())
    });
    // It waits: the first goes on.
    let (_, ex_id) = teraslice.submit(&json!({
        "name": "led", "lifecycle": "once", "workers": 1, "cpu_execution_controller": 0.05,
        "operations": [{"_op": "data_generator", "size": 1_000}, {"_op": "noop"}],
    }));
    teraslice.await_status(&ex_id, &["completed"]);
    assert_eq!(holder(&teraslice)["holderIdentity"], first["holderIdentity"]);
    let leader = first["holderIdentity"].as_str().unwrap().split('_').next().unwrap().to_owned();
    teraslice.kubectl(&["delete", "pod", &leader, "--grace-period", "1"]);
    teraslice.wait("the other one to lead", WAIT_MAX, |it| {
        let now = holder(it);
        let is_later = now["leaseTransitions"].as_u64() > first["leaseTransitions"].as_u64();
        (is_later && now["holderIdentity"] != first["holderIdentity"]).then_some(())
    });
}

/// Writes the connection of a search server as the documents do, in place of the later form.
fn as_documented(text: String) -> String {
    let (later, documented) = ("  elasticsearch-next:\n", "  elasticsearch:\n");
    assert!(text.contains(later), "{text}");
    text.replace(later, documented).replace("node: [", "host: [")
}

#[test]
#[ignore = "needs a cluster: KUBECONFIG"]
fn keeps_its_state_on_a_search_server_when_the_master_goes() {
    let Some(server) = SearchServer::start() else {
        return tell(
            "NOT RUN: state on a search server: set TERASLICE_SERVICES to the folder that starts one",
        );
    };
    let teraslice = Installation::start_on("server", &server);
    for map in ["teraslice-master", "teraslice-worker"] {
        teraslice.rewrite(map, as_documented);
    }
    teraslice.restart_master();
    teraslice.await_ready();
    let records = 20_000;
    let (_, ex_id) = teraslice.submit(&json!({
        "name": "indexed", "lifecycle": "once", "workers": 2,
        "cpu": 0.1, "memory": 256_000_000, "cpu_execution_controller": 0.1, "memory_execution_controller": 256_000_000,
        "operations": [
            {"_op": "data_generator", "size": records},
            {"_op": "delay", "ms": 200},
            {"_op": "elasticsearch_bulk", "index": "indexed", "size": 100},
        ],
    }));
    teraslice.wait("slices", WAIT_MAX, |it| (processed(it, &ex_id) > 2).then_some(()));
    let master = ["--selector", "app.kubernetes.io/component=master", "--grace-period", "1"];
    teraslice.kubectl(&[&["delete", "pod"][..], &master].concat());
    let record = teraslice.await_status(&ex_id, &["completed"]);
    let slices = record["_slicer_stats"]["processed"].as_u64().unwrap();
    assert_eq!((slices, &record["_slicer_stats"]["failed"]), (records / 100, &json!(0)));
    assert_eq!(server.count("indexed"), records);
    assert_eq!(server.count("teraslice__ex"), 1);
    // Its slices settle there a second later.
    teraslice.wait("a record of each slice", Duration::from_secs(20), |_| {
        (server.count("teraslice__state-*") == slices).then_some(())
    });
    teraslice.await_gone(&ex_id);
}
