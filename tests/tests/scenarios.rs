//! What the original's own end-to-end cases check, as far as they need nothing but a cluster on own nodes.

use std::{
    fs::{self, File},
    io::{Cursor, Read as _, Write as _},
    time::Duration,
};

use serde_json::{Value, json};
use teraslice_tests::{
    api::Answer,
    backends::has_nodes,
    balanced,
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    ledger::LedgerJob,
    root,
};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

/// A cluster of three nodes with eight slots each; the master's own process is one of them.
fn three_nodes() -> Cluster {
    Cluster::start(ClusterOptions { nodes: 2, has_master_node: true, ..ClusterOptions::default() })
}

fn one_node() -> Cluster {
    Cluster::start(ClusterOptions::default())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// Checks that an answer is a refusal with these words in its text.
fn check_refused(answer: &Answer, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body["error"], status, "{}", answer.body);
    let message = text(&answer.body["message"]);
    assert!(words.iter().all(|word| message.contains(word)), "{message:?} does not say {words:?}");
}

fn post(cluster: &Cluster, path: &str) -> Answer {
    cluster.request("POST", path, None)
}

/// Starts a stored job, or recovers it; returns the new execution.
fn begin(cluster: &Cluster, path: &str) -> String {
    text(&cluster.post(path, None)["ex_id"]).to_owned()
}

fn stop(cluster: &Cluster, job_id: &str) {
    assert_eq!(cluster.post(&format!("/v1/jobs/{job_id}/_stop"), None)["status"], "stopped");
}

fn processed(cluster: &Cluster, ex_id: &str) -> u64 {
    let answer = cluster.request("GET", &format!("/v1/ex/{ex_id}/controller"), None);
    answer.body[0]["processed"].as_u64().unwrap_or_default()
}

fn await_processed(cluster: &Cluster, ex_id: &str, count: u64) {
    let what = format!("{count} slices");
    cluster.wait(&what, WAIT_MAX, |cluster| (processed(cluster, ex_id) >= count).then_some(()));
}

/// A job that goes on until it is stopped.
fn endless(workers: u64) -> Value {
    json!({
        "name": "endless",
        "lifecycle": "persistent",
        "workers": workers,
        "operations": [{"_op": "data_generator", "size": 10}, {"_op": "delay", "ms": 10}, {"_op": "noop"}],
    })
}

/// A job that ends soon.
fn short() -> Value {
    json!({
        "name": "short",
        "lifecycle": "once",
        "workers": 1,
        "operations": [{"_op": "data_generator", "size": 10}, {"_op": "noop"}],
    })
}

/// Makes a bundle of the testing asset under another name and version.
fn bundle(name: &str, version: &str) -> Vec<u8> {
    let folder = fs::read_dir(root().join("assets/dist")).expect("assets are built").flatten();
    let mut paths = folder.map(|file| file.path());
    let path =
        paths.find(|path| path.to_string_lossy().contains("testing")).expect("the testing asset is built");
    let mut from = ZipArchive::new(File::open(path).expect("what the case itself has made is there"))
        .expect("what the case itself has made is there");
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for at in 0..from.len() {
        let mut file = from.by_index(at).expect("what the case itself has made is there");
        let file_name = file.name().expect("what the case itself has made is there").into_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("what the case itself has made is there");
        if file_name == "asset.json" {
            let mut description: Value =
                serde_json::from_slice(&content).expect("what the case itself has made is there");
            description["name"] = name.into();
            description["version"] = version.into();
            content = description.to_string().into_bytes();
        }
        to.start_file(file_name, SimpleFileOptions::default())
            .expect("what the case itself has made is there");
        to.write_all(&content).expect("what the case itself has made is there");
    }
    to.finish().expect("what the case itself has made is there").into_inner()
}

/// Uploads a bundle; returns its id.
fn upload(cluster: &Cluster, name: &str, version: &str) -> String {
    let answer = cluster.upload(&bundle(name, version));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = text(&answer.body["asset_id"]).to_owned();
    assert_eq!(id.len(), 40);
    id
}

/// Runs a job with assets and one of their operations to its end; returns the ids of the assets it had.
fn run_with(cluster: &Cluster, assets: &Value, op: &str) -> (String, Value) {
    let (job_id, ex_id) = cluster.submit(&with_assets(assets, op));
    cluster.await_status(&ex_id, &["completed"]);
    (job_id, cluster.execution(&ex_id)["assets"].clone())
}

fn with_assets(assets: &Value, op: &str) -> Value {
    let mut job = short();
    job["assets"] = assets.clone();
    job["operations"] = json!([{"_op": "data_generator", "size": 10}, {"_op": op}, {"_op": "noop"}]);
    job
}

#[test]
fn assets_are_published_listed_and_removed() {
    let cluster = one_node();
    let id = upload(&cluster, "ex1", "0.0.1");
    for path in ["/assets", "/v1/assets/ex1", "/assets/ex1/0.0.1"] {
        let found = cluster.get(path);
        let record = list(&found).iter().find(|record| record["id"] == id.as_str());
        let record = record.unwrap_or_else(|| panic!("{path}: {found}"));
        assert_eq!((&record["name"], &record["version"]), (&json!("ex1"), &json!("0.0.1")));
        assert!(text(&record["_created"]).contains('T'));
    }
    for path in ["/txt/assets", "/txt/assets/ex1", "/txt/assets/ex1/0.0.1"] {
        let table = cluster.get(path);
        assert!(text(&table).contains(&id) && text(&table).contains("0.0.1"), "{table}");
    }
    let removed = cluster.request("DELETE", &format!("/assets/{id}"), None);
    assert_eq!((removed.status, &removed.body["asset_id"]), (200, &json!(id)));
    assert_eq!(cluster.get("/assets/ex1"), json!([]));

    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("index.js", SimpleFileOptions::default()).expect("what the case itself has made is there");
    let without = zip.finish().expect("what the case itself has made is there").into_inner();
    check_refused(&cluster.upload(&without), 422, &["asset.json", "not found"]);
}

#[test]
fn assets_are_chosen_by_name_version_and_operation() {
    let cluster = one_node();
    let old = upload(&cluster, "ex1", "0.0.1");
    let (job_id, assets) = run_with(&cluster, &json!(["ex1"]), "test_fail");
    assert_eq!(assets, json!([old]));

    let new = upload(&cluster, "ex1", "0.1.1");
    let again = begin(&cluster, &format!("/jobs/{job_id}/_start"));
    cluster.await_status(&again, &["completed"]);
    assert_eq!(cluster.execution(&again)["assets"], json!([new]), "a bare name means the newest");
    let (_, assets) = run_with(&cluster, &json!(["ex1:0.0.1"]), "test_fail");
    assert_eq!(assets, json!([old]), "a version means that version");

    let both = json!(["ex1:0.0.1", "ex1:0.1.1"]);
    let ambiguous = cluster.request("POST", "/jobs", Some(&with_assets(&both, "test_fail")));
    check_refused(&ambiguous, 500, &["test_fail"]);
    let (_, assets) = run_with(&cluster, &both, "test_fail@ex1:0.1.1");
    assert_eq!(assets, json!([old, new]), "the order of the job is kept");
}

#[test]
fn jobs_that_cannot_be_are_refused() {
    let cluster = one_node();
    let cases =
        [("slicers", json!(0)), ("slicers", json!(-1)), ("workers", json!(0)), ("lifecycle", json!("bad"))];
    for (key, value) in cases {
        let mut job = short();
        job[key] = value;
        check_refused(&cluster.request("POST", "/jobs", Some(&job)), 500, &[key]);
    }
    let mut job = short();
    job["operations"][0] = json!({"_op": "file_reader", "path": "", "format": "ldjson"});
    check_refused(&cluster.request("POST", "/jobs", Some(&job)), 500, &["path"]);
    check_refused(&cluster.request("POST", "/jobs", Some(&json!({}))), 400, &["No job was posted"]);
    assert_eq!(cluster.get("/jobs"), json!([]), "nothing was stored");
}

#[test]
fn data_is_copied_once_however_the_run_went() {
    let cluster = one_node();
    copies_and_counts(&cluster);
    completes_without_input(&cluster);
    gives_the_same_on_every_run(&cluster);
    loses_nothing_in_pause_stop_and_recovery(&cluster);
}

fn clear(cluster: &Cluster) {
    fs::remove_dir_all(cluster.stage.path("out")).expect("what the case itself has made is there");
}

fn copies_and_counts(cluster: &Cluster) {
    let kinds = [
        "processed",
        "failed",
        "queued",
        "job_duration",
        "workers_joined",
        "workers_disconnected",
        "workers_reconnected",
    ];
    let job = LedgerJob { records: 100, slice: 500, delay: 0, workers: 2 };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    let record = cluster.await_status(&ex_id, &["completed"]);
    job.check(cluster, &ex_id);
    let slices =
        record["_slicer_stats"]["processed"].as_u64().expect("what the case itself has made is there");
    assert!(slices > 1);
    let stats = cluster.wait("the statistics", WAIT_MAX, |cluster| {
        let stats = cluster.get("/cluster/stats");
        (stats["controllers"]["processed"] == slices).then_some(stats)
    });
    assert_eq!(stats["controllers"], stats["slicer"]);
    assert!(kinds.iter().all(|kind| stats["slicer"][kind].is_number()), "{stats}");
    assert_eq!(stats["slicer"]["failed"], 0);
    assert!(stats["slicer"]["workers_joined"].as_u64().is_some_and(|joined| (1..=2).contains(&joined)));
    clear(cluster);
}

fn completes_without_input(cluster: &Cluster) {
    let job = LedgerJob { records: 0, ..LedgerJob::default() };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    let record = cluster.await_status(&ex_id, &["completed"]);
    assert_eq!(record["_slicer_stats"]["processed"], 0);
    assert!(cluster.stage.lines("out").is_empty());
}

fn gives_the_same_on_every_run(cluster: &Cluster) {
    let job = LedgerJob { records: 1_000, slice: 2_000, delay: 0, workers: 2 };
    let (job_id, mut ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    for run in 0..3 {
        if run > 0 {
            ex_id = begin(cluster, &format!("/jobs/{job_id}/_start"));
        }
        cluster.await_status(&ex_id, &["completed"]);
        job.check(cluster, &ex_id);
        clear(cluster);
    }
}

fn loses_nothing_in_pause_stop_and_recovery(cluster: &Cluster) {
    let job = LedgerJob { records: 10_000, slice: 2_000, delay: 20, workers: 2 };
    let (job_id, first) = cluster.submit(&job.prepare(&cluster.stage));
    await_processed(cluster, &first, 5);
    assert_eq!(cluster.post(&format!("/jobs/{job_id}/_pause"), None), json!({"status": "paused"}));
    cluster.await_status(&first, &["paused"]);
    assert_eq!(cluster.post(&format!("/jobs/{job_id}/_resume"), None), json!({"status": "running"}));
    await_processed(cluster, &first, 15);
    stop(cluster, &job_id);
    let stopped = cluster.await_status(&first, &["stopped"]);

    let second = begin(cluster, &format!("/jobs/{job_id}/_recover"));
    let record = cluster.await_status(&second, &["completed"]);
    assert_eq!(record["recovered_execution"], first.as_str());
    job.check_lines(cluster);
    let created = |record: &Value| balanced(&record["_slicer_stats"])[0]["created"];
    assert!(created(&stopped) > 0);
    assert_eq!(created(&stopped) + created(&record), job.records, "the books of both");
    clear(cluster);
}

#[test]
fn executions_are_recovered_as_asked() {
    let cluster = one_node();
    replays_errors_pending_or_all(&cluster);
    goes_on_by_itself_with_autorecover(&cluster);
    goes_on_from_a_recovery(&cluster);
}

/// Slices of the seeded execution, of 100 records each.
const SEEDED: u64 = 40;

/// Writes the input of the seeded execution, which fails in two slices as long as it is broken.
fn write_input(cluster: &Cluster, is_broken: bool) -> u64 {
    let line = |n: u64| {
        let fails = is_broken && (200..400).contains(&n) && n % 100 == 50;
        format!("{{\"n\":{},\"fail\":{}}}\n", n + 100_000, if fails { "true" } else { "null" })
    };
    let input: String = (0..SEEDED * 100).map(line).collect();
    let slice = input.len() as u64 / SEEDED;
    cluster.stage.write("input.ldjson", input);
    slice
}

fn replays_errors_pending_or_all(cluster: &Cluster) {
    upload(cluster, "testing", "1.0.0");
    let size = write_input(cluster, true);
    let job = json!({
        "name": "seeded",
        "lifecycle": "once",
        "workers": 1,
        "max_retries": 0,
        "assets": ["testing"],
        "operations": [
            {"_op": "file_reader", "path": cluster.stage.path("input.ldjson"), "format": "ldjson", "size": size},
            {"_op": "test_fail", "_dead_letter_action": "throw"},
            {"_op": "delay", "ms": 40},
            {"_op": "file_exporter", "path": cluster.stage.path("out"), "format": "ldjson"},
        ],
    });
    let (job_id, seed) = cluster.submit(&job);
    await_processed(cluster, &seed, 4);
    stop(cluster, &job_id);
    let record = cluster.await_status(&seed, &["stopped"]);
    assert_eq!(record["_has_errors"], true);
    let count =
        |state: &str| list(&cluster.get(&format!("/v1/ex/{seed}/slices?state={state}&size=1000"))).len();
    let (completed, failed, pending) = (count("completed"), count("error"), count("pending"));
    assert_eq!((failed, (completed + failed + pending) as u64), (2, SEEDED));
    assert!(completed >= 2 && pending >= 1, "{completed} completed, {pending} pending");
    assert_eq!(list(&cluster.get(&format!("/ex/{seed}/errors"))).len(), failed);

    write_input(cluster, false);
    for (kind, slices) in [("errors", failed), ("all", failed + pending), ("pending", pending)] {
        clear(cluster);
        let ex_id = begin(cluster, &format!("/ex/{seed}/_recover?cleanup_type={kind}"));
        let record = cluster.await_status(&ex_id, &["completed"]);
        assert_eq!(record["recovered_execution"], seed.as_str());
        assert_eq!(record["recovered_slice_type"], kind);
        assert_eq!(cluster.stage.lines("out").len(), slices * 100, "{kind}");
    }
    clear(cluster);
}

fn slow(workers: u64) -> LedgerJob {
    LedgerJob { records: 4_000, slice: 2_000, delay: 50, workers }
}

fn goes_on_by_itself_with_autorecover(cluster: &Cluster) {
    let mut job = slow(1).prepare(&cluster.stage);
    let (job_id, first) = cluster.submit(&job);
    await_processed(cluster, &first, 3);
    stop(cluster, &job_id);
    job["autorecover"] = true.into();
    assert_eq!(cluster.request("PUT", &format!("/jobs/{job_id}"), Some(&job)).status, 200);

    let second = begin(cluster, &format!("/jobs/{job_id}/_start"));
    cluster.await_status(&second, &["recovering"]);
    let record = cluster.await_status(&second, &["running", "completed"]);
    assert_eq!(record["recovered_execution"], first.as_str());
    assert_eq!(record["recovered_slice_type"], "pending");
    let stopped = cluster.post(&format!("/jobs/{job_id}/_stop"), None);
    assert!(["stopped", "completed"].contains(&text(&stopped["status"])), "{stopped}");

    let third = begin(cluster, &format!("/jobs/{job_id}/_start"));
    let record = cluster.await_status(&third, &["completed"]);
    assert_eq!(record["recovered_execution"], second.as_str());
    slow(1).check_lines(cluster);
    clear(cluster);
}

fn goes_on_from_a_recovery(cluster: &Cluster) {
    let (job_id, first) = cluster.submit(&slow(2).prepare(&cluster.stage));
    let mut last = first;
    for _ in 0..2 {
        await_processed(cluster, &last, 4);
        stop(cluster, &job_id);
        let next = begin(cluster, &format!("/jobs/{job_id}/_recover"));
        let record = cluster.execution(&next);
        assert_eq!(record["recovered_execution"], last.as_str());
        assert!(record.get("recovered_slice_type").is_none(), "{record}");
        last = next;
    }
    cluster.await_status(&last, &["completed"]);
    slow(2).check_lines(cluster);
    clear(cluster);
}

#[test]
fn jobs_are_kept_replaced_and_deleted() {
    let cluster = one_node();
    keeps_jobs_as_submitted(&cluster);
    replaces_jobs(&cluster);
    refuses_to_hold_what_has_ended(&cluster);
    deletes_jobs_out_of_sight(&cluster);
}

fn keeps_jobs_as_submitted(cluster: &Cluster) {
    let (job_id, ex_id) = cluster.submit(&short());
    let stored = cluster.get(&format!("/jobs/{job_id}"));
    for (key, value) in short().as_object().expect("what the case itself has made is there") {
        assert_eq!(stored[key], *value, "{key}");
    }
    cluster.await_status(&ex_id, &["completed"]);
}

fn replaces_jobs(cluster: &Cluster) {
    let mut job = short();
    job["probation_window"] = 1_000.into();
    let job_id = text(&cluster.post("/jobs?start=false", Some(&job))["job_id"]).to_owned();
    let before = cluster.get(&format!("/jobs/{job_id}"));
    assert_eq!(before["probation_window"], 1_000);
    let mut job = short();
    job["workers"] = 3.into();
    assert_eq!(cluster.request("PUT", &format!("/jobs/{job_id}"), Some(&job)).status, 200);
    let after = cluster.get(&format!("/jobs/{job_id}"));
    assert_eq!((&after["workers"], after.get("probation_window")), (&json!(3), None));
    assert_eq!(after["_created"], before["_created"]);
}

fn refuses_to_hold_what_has_ended(cluster: &Cluster) {
    let (job_id, ex_id) = cluster.submit(&short());
    cluster.await_status(&ex_id, &["completed"]);
    for path in [format!("/jobs/{job_id}"), format!("/ex/{ex_id}")] {
        check_refused(&post(cluster, &format!("{path}/_pause")), 404, &[]);
        check_refused(&post(cluster, &format!("{path}/_resume")), 404, &[]);
    }
}

fn deletes_jobs_out_of_sight(cluster: &Cluster) {
    let (job_id, ex_id) = cluster.submit(&endless(1));
    cluster.await_status(&ex_id, &["running"]);
    let path = format!("/jobs/{job_id}");
    check_refused(&cluster.request("DELETE", &path, None), 409, &[&job_id]);
    stop(cluster, &job_id);
    let deleted = cluster.request("DELETE", &path, None);
    assert_eq!((deleted.status, &deleted.body["_deleted"]), (200, &json!(true)));
    assert!(deleted.body["_deleted_on"].is_string());
    assert_eq!(deleted.body["active"], false);

    let is_listed =
        |path: &str, key: &str, id: &str| list(&cluster.get(path)).iter().any(|record| record[key] == id);
    for (listed, key, id) in [("/jobs", "job_id", &job_id), ("/ex", "ex_id", &ex_id)] {
        assert!(!is_listed(listed, key, id), "{listed}");
        assert!(is_listed(&format!("{listed}?deleted=true"), key, id), "{listed}");
    }
    assert!(text(&cluster.get("/txt/jobs?deleted=true")).contains(&job_id));
    assert!(!text(&cluster.get("/txt/jobs")).contains(&job_id));
    let phrase = |done: &str| format!("has been deleted and cannot be {done}");
    check_refused(&post(cluster, &format!("{path}/_start")), 410, &[&job_id, &phrase("started")]);
    check_refused(&cluster.request("PUT", &path, Some(&short())), 410, &[&job_id, &phrase("updated")]);
    check_refused(&post(cluster, &format!("{path}/_recover")), 410, &[&job_id, &phrase("recovered")]);
}

#[test]
fn nodes_and_workers_are_where_the_state_says() {
    if !has_nodes() {
        return;
    }
    let mut cluster = three_nodes();
    shows_an_idle_cluster(&cluster);
    shows_the_processes_of_executions(&cluster);
    scales_workers(&cluster);
    holds_one_job_while_another_runs(&cluster);
    shows_nodes_that_come_and_go(&mut cluster);
}

fn await_available(cluster: &Cluster, expected: &[(&str, u64)]) {
    cluster.wait(&format!("free slots {expected:?}"), WAIT_MAX, |cluster| {
        let state = cluster.get("/cluster/state");
        let is_so = |(node, free): &(&str, u64)| state[node]["available"] == *free;
        (state.as_object()?.len() == expected.len() && expected.iter().all(is_so)).then_some(())
    });
}

fn shows_an_idle_cluster(cluster: &Cluster) {
    await_available(cluster, &[("master", 6), ("node-0", 8), ("node-1", 8)]);
    let state = cluster.get("/cluster/state");
    for node in state.as_object().expect("what the case itself has made is there").values() {
        assert_eq!((&node["total"], &node["state"]), (&json!(8), &json!("connected")));
    }
    let roles: Vec<_> = list(&state["master"]["active"]).iter().map(|it| text(&it["assignment"])).collect();
    assert_eq!(roles, ["cluster_master", "assets_service"]);
    assert_eq!(state["node-0"]["active"], json!([]));
}

fn shows_the_processes_of_executions(cluster: &Cluster) {
    for workers in [1, 4] {
        let (job_id, ex_id) = cluster.submit(&endless(workers));
        let count = usize::try_from(workers).expect("what the case itself has made is there");
        let spread = cluster.await_processes(&ex_id, "worker", count);
        cluster.await_processes(&ex_id, "execution_controller", 1);
        let state = cluster.get("/cluster/state");
        let nodes = state.as_object().expect("what the case itself has made is there").values();
        let active: Vec<_> = nodes.flat_map(|node| list(&node["active"])).collect();
        let ours =
            active.iter().filter(|it| it["ex_id"] == ex_id.as_str() && it["job_id"] == job_id.as_str());
        assert_eq!((ours.count(), active.len()), (count + 1, count + 3), "{state}");
        let mut nodes: Vec<_> = spread.into_iter().map(|(node, _)| node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), count.min(3), "workers are spread over nodes");
        stop(cluster, &job_id);
        await_available(cluster, &[("master", 6), ("node-0", 8), ("node-1", 8)]);
    }
}

fn scales_workers(cluster: &Cluster) {
    let (job_id, ex_id) = cluster.submit(&endless(2));
    cluster.await_processes(&ex_id, "worker", 2);
    let steps = [
        ("add=1", "1 workers have been enqueued", 3),
        ("remove=2", "2 workers have been remove", 1),
        ("total=2", "1 workers have been enqueued", 2),
    ];
    for (change, said, count) in steps {
        let answer = cluster.post(&format!("/jobs/{job_id}/_workers?{change}"), None);
        assert_eq!(answer["message"], format!("{said} for execution: {ex_id}"));
        cluster.await_processes(&ex_id, "worker", count);
    }
    stop(cluster, &job_id);
    cluster.await_processes(&ex_id, "worker", 0);
}

fn holds_one_job_while_another_runs(cluster: &Cluster) {
    let jobs = [cluster.submit(&endless(1)), cluster.submit(&endless(1))];
    for (_, ex_id) in &jobs {
        cluster.await_status(ex_id, &["running"]);
    }
    for ((job_id, ex_id), (_, other)) in [(&jobs[0], &jobs[1]), (&jobs[1], &jobs[0])] {
        cluster.post(&format!("/jobs/{job_id}/_pause"), None);
        cluster.await_status(ex_id, &["paused"]);
        await_processed(cluster, other, processed(cluster, other) + 3);
        assert_eq!(cluster.execution(other)["_status"], "running");
        cluster.post(&format!("/jobs/{job_id}/_resume"), None);
        cluster.await_status(ex_id, &["running"]);
    }
    stop(cluster, &jobs[0].0);
    await_processed(cluster, &jobs[1].1, processed(cluster, &jobs[1].1) + 3);
    stop(cluster, &jobs[1].0);
    cluster.await_quiet();
}

fn shows_nodes_that_come_and_go(cluster: &mut Cluster) {
    cluster.start_node(2);
    await_available(cluster, &[("master", 6), ("node-0", 8), ("node-1", 8), ("node-2", 8)]);
    assert_eq!(cluster.stop_node(2), Some(0));
    let limit = Duration::from_secs(10);
    cluster.wait("the node to be gone", limit, |cluster| {
        cluster.get("/cluster/state").get("node-2").is_none().then_some(())
    });
}
