//! Faults on a cluster of real processes: whatever is killed or cut, every record arrives once and the books balance.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use teraslice_tests::{
    backends::has_nodes,
    clock,
    cluster::{Cluster, ClusterOptions},
    kill,
    ledger::LedgerJob,
    network, tell, terminate,
};

/// About 4 s of work for four workers.
const JOB: LedgerJob = LedgerJob { records: 40_000, slice: 2_000, delay: 30, workers: 4 };

fn two_nodes() -> ClusterOptions {
    ClusterOptions { nodes: 2, ..ClusterOptions::default() }
}

/// About 12 s of work.
const LONG_JOB: LedgerJob = LedgerJob { delay: 120, ..JOB };

/// Starts the job and waits until it is well under way.
fn start(cluster: &Cluster) -> String {
    start_job(cluster, &JOB)
}

fn start_job(cluster: &Cluster, job: &LedgerJob) -> String {
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    cluster.await_processes(&ex_id, "worker", 4);
    ex_id
}

/// Checks that the fault has met a job at work, waits for its end, and checks that nothing is lost, doubled, or left over.
fn finish(cluster: &Cluster, ex_id: &str) {
    let status = cluster.execution(ex_id)["_status"].clone();
    assert_eq!(status, "running", "the fault came too late");
    cluster.await_status(ex_id, &["completed"]);
    JOB.check(cluster, ex_id);
    cluster.await_quiet();
}

/// Says loudly that a case was not run here.
fn has_networks() -> bool {
    if !has_nodes() {
        return false;
    }
    let has = network::is_available();
    if !has {
        tell("NOT RUN: this case needs network namespaces (root and iproute2)");
    }
    has
}

#[test]
fn outlives_killed_workers() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..3 {
        for (_, pid) in cluster.await_processes(&ex_id, "worker", 4).into_iter().take(2) {
            kill(pid);
        }
        sleep(Duration::from_millis(150));
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_killed_controllers() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..2 {
        for (_, pid) in cluster.await_processes(&ex_id, "execution_controller", 1) {
            kill(pid);
        }
        sleep(Duration::from_millis(300));
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_workers_and_controllers_that_are_told_to_end() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for (_, pid) in cluster.await_processes(&ex_id, "worker", 4).into_iter().take(2) {
        terminate(pid);
    }
    sleep(Duration::from_millis(100));
    for (_, pid) in cluster.await_processes(&ex_id, "execution_controller", 1) {
        terminate(pid);
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_killed_master() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    for _ in 0..2 {
        cluster.kill_master();
        sleep(Duration::from_millis(100));
        cluster.start_master();
    }
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_master_that_is_told_to_end() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    let before = cluster.started().len();
    assert_eq!(cluster.stop_master(), Some(0));
    assert_eq!(cluster.started().len(), before, "what runs goes on");
    cluster.start_master();
    finish(&cluster, &ex_id);
}

#[test]
fn ends_everything_with_the_master_when_asked_to() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    assert_eq!(cluster.stop_master(), Some(0));
    cluster.start_master_with(&["--terminate"]);
    cluster.await_nodes(2);
    assert_eq!(cluster.stop_master(), Some(0));
    cluster.await_quiet();
    cluster.start_master();
    cluster.await_status(&ex_id, &["completed"]);
    JOB.check(&cluster, &ex_id);
    cluster.await_quiet();
}

#[test]
fn outlives_a_killed_node_agent() {
    if !has_nodes() {
        return;
    }
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    cluster.kill_node(0);
    sleep(Duration::from_millis(300));
    cluster.start_node(0);
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_the_loss_of_a_node_with_all_its_processes() {
    if !has_nodes() {
        return;
    }
    let options = ClusterOptions { config: json!({"node_disconnect_timeout": "2 seconds"}), ..two_nodes() };
    let mut cluster = Cluster::start(options);
    let ex_id = start(&cluster);
    let lost = "node-0";
    let mut all = cluster.processes(&ex_id, "worker");
    all.extend(cluster.processes(&ex_id, "execution_controller"));
    cluster.kill_node(0);
    all.into_iter().filter(|(node, _)| node == lost).for_each(|(_, pid)| kill(pid));
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_node_that_is_told_to_end() {
    if !has_nodes() {
        return;
    }
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    assert_eq!(cluster.stop_node(1), Some(0));
    sleep(Duration::from_millis(200));
    cluster.start_node(1);
    finish(&cluster, &ex_id);
}

#[test]
fn outlives_a_short_cut_of_a_link() {
    if !has_networks() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions { is_networked: true, ..two_nodes() });
    let ex_id = start(&cluster);
    cluster.network().cut(0);
    sleep(Duration::from_secs(2));
    cluster.network().mend(0);
    finish(&cluster, &ex_id);
}

#[test]
fn replaces_a_node_behind_a_cut_link_and_fences_it_when_it_comes_back() {
    if !has_networks() {
        return;
    }
    let config = json!({"node_disconnect_timeout": "3 seconds", "node_state_interval": "500 ms"});
    let cluster = Cluster::start(ClusterOptions { is_networked: true, config, ..two_nodes() });
    let ex_id = start(&cluster);
    cluster.network().cut(1);
    cluster.await_status(&ex_id, &["completed"]);
    JOB.check(&cluster, &ex_id);
    cluster.network().mend(1);
    cluster.await_nodes(2);
    cluster.await_quiet();
    JOB.check(&cluster, &ex_id);
}

#[test]
fn does_not_heed_a_clock_that_jumps_by_an_hour() {
    if !has_clocks() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions { has_clock: true, ..two_nodes() });
    let ex_id = start_job(&cluster, &LONG_JOB);
    let before = cluster.started();
    assert_eq!(before.len(), 5, "a controller and four workers");
    assert!(before.iter().all(|pid| cluster.clock().is_seen_by(*pid)), "who is started gets the clock too");
    for seconds in [HOUR, 0, -HOUR, 0, HOUR, -HOUR] {
        cluster.clock().set(seconds);
        // Several heartbeats, reports and flushes of the ledger.
        sleep(Duration::from_millis(600));
        let wrong = clock_of_the_master(&cluster);
        assert!((wrong - seconds).abs() < 60, "the master's clock is {wrong} s wrong, not {seconds}");
        cluster.await_nodes(2);
        assert_eq!(cluster.started(), before, "nothing was given up or replaced");
    }
    finish(&cluster, &ex_id);
    let record = cluster.execution(&ex_id);
    let stats = &record["_slicer_stats"];
    for count in ["workers_disconnected", "workers_reconnected", "failed"] {
        assert_eq!(stats[count], 0, "{count}: {stats}");
    }
}

#[test]
fn outlives_restarts_by_a_clock_that_was_moved_by_an_hour() {
    if !has_nodes() || !has_clocks() {
        return;
    }
    let mut cluster = Cluster::start(ClusterOptions { has_clock: true, ..two_nodes() });
    let ex_id = start_job(&cluster, &LONG_JOB);
    // Who starts now goes by another time than who has not ended.
    for (seconds, node) in [(-HOUR, 0), (HOUR, 1)] {
        cluster.clock().set(seconds);
        cluster.kill_node(node);
        for (_, pid) in cluster.processes(&ex_id, "worker").into_iter().take(2) {
            kill(pid);
        }
        cluster.kill_master();
        cluster.start_master();
        cluster.start_node(node);
        cluster.await_nodes(2);
        for (_, pid) in cluster.await_processes(&ex_id, "execution_controller", 1) {
            kill(pid);
        }
        cluster.await_processes(&ex_id, "worker", 4);
    }
    finish(&cluster, &ex_id);
}

/// Seconds.
const HOUR: i64 = 3_600;

/// Says loudly that a case was not run here.
fn has_clocks() -> bool {
    let has = clock::is_available();
    if !has {
        tell("NOT RUN: this case needs a clock that can be moved (libfaketime)");
    }
    has
}

/// Returns by how many seconds the master's clock is before the right time, by the stamp of a line that it is made to log.
#[expect(clippy::disallowed_methods, reason = "the right time is the machine's")]
fn clock_of_the_master(cluster: &Cluster) -> i64 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    const DAY: i64 = 24 * HOUR;
    // It warns of each name once.
    let name = format!("nobody_reads_{}", SERIAL.fetch_add(1, Ordering::Relaxed));
    let _jobs = cluster.get(&format!("/v1/jobs?{name}=1"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let now = i64::try_from(now).expect("seconds fit");
    let log = std::fs::read_to_string(cluster.stage.path("master.log")).expect("the master logs");
    let line = log.lines().find(|line| line.contains(&name)).expect("the master warns before it answers");
    // As in "2026-01-31T08:49:37.123456Z  WARN".
    let (_, time) = line.split_once('T').expect("a line has a stamp");
    let number = |part: &str| part.parse::<i64>().expect("a time is numbers");
    let shown = time[..8].split(':').fold(0, |sum, part| sum * 60 + number(part));
    (shown - now + DAY / 2).rem_euclid(DAY) - DAY / 2
}

#[test]
fn lets_one_of_two_controllers_go_on() {
    let cluster = Cluster::start(two_nodes());
    let ex_id = start(&cluster);
    let (_, pid) = cluster.await_processes(&ex_id, "execution_controller", 1).remove(0);
    // The same once more: its epoch is higher, the first is fenced and ends, and whoever replaces that fences the copy.
    let copy = copy_of(pid, &cluster);
    finish(&cluster, &ex_id);
    let ended = teraslice_tests::finish(copy, Duration::from_secs(30));
    assert_eq!(ended.code, Some(76), "{}", ended.stderr);
}

/// Starts a process like another.
fn copy_of(pid: u32, cluster: &Cluster) -> std::process::Child {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).expect("the process runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let parts = |bytes: Vec<u8>| bytes.split(|byte| *byte == 0).map(text).collect::<Vec<_>>();
    let arguments = parts(read("cmdline"));
    let variables = parts(read("environ"));
    let variables = variables.iter().filter_map(|variable| variable.split_once('='));
    std::process::Command::new(&arguments[0])
        .args(arguments[1..].iter().filter(|argument| !argument.is_empty()))
        .env_clear()
        .envs(variables)
        .current_dir(cluster.stage.path(""))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn keeps_its_word_when_the_master_dies_during_submit() {
    let mut cluster = Cluster::start(ClusterOptions { nodes: 1, slots: 64, ..ClusterOptions::default() });
    let job = json!({
        "name": "tiny", "workers": 1,
        "operations": [{"_op": "data_generator", "size": 10, "seed": 1}, {"_op": "noop"}],
    });
    let mut accepted = Vec::new();
    for round in 0..3_u64 {
        let url = cluster.url();
        let sender = {
            let job = job.to_string();
            std::thread::spawn(move || submit_until_refused(&url, &job))
        };
        sleep(Duration::from_millis(150 + 70 * round));
        cluster.kill_master();
        accepted.extend(sender.join().expect("the sender does not panic"));
        cluster.start_master();
    }
    assert!(!accepted.is_empty(), "no job was accepted");
    for ex_id in &accepted {
        cluster.await_status(ex_id, &["completed"]);
    }
    // Those whose answer was lost have run as well, or were never taken.
    cluster.wait("every execution to end", Duration::from_secs(60), |cluster| {
        let all = cluster.get("/v1/ex?size=1000");
        all.as_array()?.iter().all(|record| record["_status"] == "completed").then_some(())
    });
    cluster.await_quiet();
}

fn submit_until_refused(url: &str, job: &str) -> Vec<String> {
    let mut accepted = Vec::new();
    loop {
        let sent = ureq::post(format!("{url}/v1/jobs")).header("content-type", "application/json").send(job);
        let Ok(mut answer) = sent else { return accepted };
        let Ok(text) = answer.body_mut().read_to_string() else { return accepted };
        let answer: serde_json::Value = serde_json::from_str(&text).expect("an answer is JSON");
        accepted.push(answer["ex_id"].as_str().expect("a started job has an execution").to_owned());
    }
}

#[test]
fn stops_what_it_was_told_to_stop_before_it_died() {
    let mut cluster = Cluster::start(two_nodes());
    let ex_id = start_job(&cluster, &LONG_JOB);
    let answer = cluster.post(&format!("/v1/ex/{ex_id}/_stop?blocking=false"), None);
    assert_eq!(answer["status"], "stopping");
    cluster.kill_master();
    cluster.start_master();
    cluster.await_status(&ex_id, &["stopped"]);
    cluster.await_quiet();
    // What is left is done by a recovery, begun just before the master dies again.
    let recovered = cluster.post(&format!("/v1/ex/{ex_id}/_recover"), None);
    cluster.kill_master();
    cluster.start_master();
    let recovered = recovered["ex_id"].as_str().expect("a recovery has an execution").to_owned();
    cluster.await_status(&recovered, &["completed"]);
    JOB.check_lines(&cluster);
    cluster.await_quiet();
}

#[test]
fn publishes_whole_assets_only_when_the_master_dies_during_uploads() {
    let mut cluster = Cluster::start(ClusterOptions::default());
    let zip = testing_asset();
    for round in 0..4_u64 {
        let (url, sent) = (format!("{}/v1/assets?blocking=true", cluster.url()), zip.clone());
        let upload = std::thread::spawn(move || ureq::post(url).send(&sent[..]).is_ok());
        sleep(Duration::from_millis(3 + 8 * round));
        cluster.kill_master();
        let is_confirmed = upload.join().expect("the sender does not panic");
        cluster.start_master();
        let listed = cluster.get("/v1/assets/testing");
        let listed = listed.as_array().expect("assets are a list");
        assert!(listed.len() <= 1 && (!is_confirmed || listed.len() == 1), "{listed:?}");
        if let Some(asset) = listed.first() {
            let id = asset["id"].as_str().expect("an asset has an id");
            let mut bundle =
                ureq::get(format!("{}/v1/assets/{id}/bundle", cluster.url())).call().expect("a bundle");
            assert!(bundle.body_mut().read_to_vec().expect("a bundle") == zip, "the bundle is whole");
            assert_eq!(cluster.request("DELETE", &format!("/v1/assets/{id}"), None).status, 200);
        }
    }
}

/// Returns the bundle of the asset for tests.
fn testing_asset() -> Vec<u8> {
    let dist = std::fs::read_dir(teraslice_tests::root().join("assets/dist")).expect("assets are built");
    let zip = dist.flatten().map(|file| file.path()).find(|path| path.to_string_lossy().contains("testing"));
    std::fs::read(zip.expect("the testing asset is built")).expect("a zip can be read")
}
