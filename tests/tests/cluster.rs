//! Clusters of real processes: nodes with networks of their own, encryption, tokens, limits of the store's disk.

use std::{fs, net::TcpListener, thread::sleep, time::Duration};

use serde_json::{Value, json};
use teraslice_tests::{
    backends::has_nodes,
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    flights, kill,
    ledger::LedgerJob,
    network, tell,
};

#[test]
fn three_nodes_run_the_flights_job_through_faults() {
    if !has_nodes() {
        return;
    }
    if !network::is_available() {
        tell("NOT RUN: this case needs network namespaces (root and iproute2)");
        return;
    }
    let config = json!({"node_disconnect_timeout": "3 seconds", "node_state_interval": "500 ms"});
    let options =
        ClusterOptions { nodes: 3, slots: 5, is_networked: true, config, ..ClusterOptions::default() };
    let mut cluster = Cluster::start(options);
    let table = flights::table();
    let (expected, _) = flights::expected(&table);
    let (_, ex_id) = cluster.submit(&flights::job_with(&table, &cluster.stage.path("out"), 8));
    cluster.await_status(&ex_id, &["running"]);
    let workers = cluster.await_processes(&ex_id, "worker", 8);
    let nodes: std::collections::BTreeSet<_> = workers.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(nodes.len(), 3, "eight workers are spread over three nodes: {workers:?}");
    workers.iter().take(2).for_each(|(_, pid)| kill(*pid));
    let controllers = cluster.await_processes(&ex_id, "execution_controller", 1);
    kill(controllers[0].1);
    cluster.network().cut(2);
    sleep(Duration::from_millis(200));
    cluster.kill_master();
    cluster.start_master();
    cluster.await_status(&ex_id, &["completed"]);
    cluster.network().mend(2);
    cluster.await_nodes(3);
    cluster.await_quiet();
    flights::check(&cluster.stage.lines("out"), &expected);
    let counts = teraslice_tests::balanced(&cluster.execution(&ex_id)["_slicer_stats"]);
    assert_eq!(counts[0]["created"], flights::ROWS);
}

#[test]
fn has_all_processes_of_an_execution_log_at_the_level_that_is_set() {
    if !has_nodes() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions::default());
    let job = LedgerJob { delay: 100, ..LedgerJob::default() };
    let (job_id, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    let before = cluster.await_processes(&ex_id, "worker", 2);
    cluster.post(&format!("/v1/jobs/{job_id}/_settings?log_level=debug"), None);
    let await_lines = |what: &str, count: usize| {
        cluster.wait(&format!("{count} lines {what:?}"), WAIT_MAX, |cluster| {
            let log = std::fs::read_to_string(cluster.stage.path("node-0.log")).ok()?;
            (log.lines().filter(|line| line.contains(what)).count() >= count).then_some(())
        });
    };
    await_lines("log level set", 2);
    // What only details say, of a worker that joins later and of one in whose place another comes.
    cluster.post(&format!("/v1/ex/{ex_id}/_workers?add=1"), None);
    await_lines("worker started", 1);
    kill(before[0].1);
    await_lines("worker started", 2);
    let (_, controller) = cluster.await_processes(&ex_id, "execution_controller", 1).remove(0);
    kill(controller);
    // The next controller is told too, and workers that have found it keep theirs.
    await_lines("worker started", 5);
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
}

#[test]
fn logs_into_a_file_that_all_roles_of_a_machine_share() {
    if !has_nodes() {
        return;
    }
    let foundation = json!({"logging": ["file"]});
    let cluster = Cluster::start(ClusterOptions { foundation, ..ClusterOptions::default() });
    let job = LedgerJob { records: 2_000, ..LedgerJob::default() };
    let mut document = job.prepare(&cluster.stage);
    document["log_level"] = json!("debug");
    let (_, ex_id) = cluster.submit(&document);
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
    let log = fs::read_to_string(cluster.stage.path("teraslice.log")).expect("the log file is there");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let says = |assignment: &str, level: &str, message: &str| {
        lines.iter().any(|line| {
            line["assignment"] == assignment && line["level"] == level && line["message"] == message
        })
    };
    assert!(says("cluster_master", "INFO", "master is ready"), "{log}");
    assert!(says("execution_controller", "INFO", "execution ended"), "{log}");
    // The level of the job is that of its processes.
    assert!(says("worker", "DEBUG", "worker started"), "{log}");
    assert!(lines.iter().all(|line| line["assignment"] != "cluster_master" || line["level"] != "DEBUG"));
    assert!(lines.iter().any(|line| line["assignment"] == "node_master"), "{log}");
    let stderr = fs::read_to_string(cluster.stage.path("node-0.log")).expect("a log");
    assert_eq!(stderr, "", "nothing goes to stderr");
}

#[test]
fn serves_metrics_of_every_role_on_ports_of_their_own() {
    if !has_nodes() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    drop(listener);
    let foundation = json!({"prom_metrics_enabled": true, "prom_metrics_port": port});
    let config = json!({"api_auth": "tokens"});
    let cluster =
        Cluster::start_with_token(ClusterOptions { foundation, config, ..ClusterOptions::default() });
    let job = LedgerJob { delay: 100, ..LedgerJob::default() };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    cluster.await_processes(&ex_id, "worker", 2);
    let metrics = |address: &str| {
        let answer = ureq::get(format!("http://{address}/metrics")).call();
        answer.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok()).unwrap_or_default()
    };
    // The master has the port; nobody shows a token there.
    let master = metrics(&format!("127.0.0.1:{port}"));
    assert!(master.contains("\nteraslice_master_info{"), "{master}");
    assert!(master.contains(&format!("ex_id=\"{ex_id}\"")), "{master}");
    // The others take any, and say which.
    let seen = cluster.wait("three ports in the log of the node", WAIT_MAX, |cluster| {
        let log = fs::read_to_string(cluster.stage.path("node-0.log")).ok()?;
        let ports = log.lines().filter(|line| line.contains("metrics are served"));
        let ports: Vec<_> =
            ports.filter_map(|line| line.rsplit(':').next()?.trim().parse::<u16>().ok()).collect();
        (ports.len() == 3).then_some(ports)
    });
    let all: String = seen.iter().map(|port| metrics(&format!("127.0.0.1:{port}"))).collect();
    assert_eq!(all.matches("\nteraslice_job_execution_controller_info{").count(), 1, "{all}");
    assert_eq!(all.matches("\nteraslice_job_worker_info{").count(), 2, "{all}");
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
}

#[test]
fn encrypts_every_link() {
    let options = ClusterOptions { config: json!({"tls": {}}), ..ClusterOptions::default() };
    let cluster = Cluster::start_encrypted(options);
    let job = LedgerJob { records: 2_000, ..LedgerJob::default() };
    let mut document = job.prepare(&cluster.stage);
    document["assets"] = json!(["standard"]);
    let (_, ex_id) = cluster.submit(&document);
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
}

#[test]
fn lets_only_bearers_of_tokens_in() {
    let options = ClusterOptions { config: json!({"api_auth": "tokens"}), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with_token(options);
    let job = LedgerJob { records: 2_000, ..LedgerJob::default() };
    let mut document = job.prepare(&cluster.stage);
    // Nodes fetch the asset with a token of their own.
    document["assets"] = json!(["standard"]);
    let (_, ex_id) = cluster.submit(&document);
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    let reader = cluster.post("/v1/tokens", Some(&json!({"name": "ann", "role": "read"})));
    let audit = cluster.get("/v1/audit");
    assert!(
        audit.as_array().is_some_and(|entries| entries.iter().any(|entry| entry["who"] == "admin")),
        "{audit}"
    );
    cluster.set_token(reader["token"].as_str().expect("a new token has a word"));
    assert_eq!(cluster.request("GET", &format!("/v1/ex/{ex_id}"), None).status, 200);
    assert_eq!(cluster.request("POST", "/v1/jobs", Some(&document)).status, 403);
    cluster.set_token("guessed");
    assert_eq!(cluster.request("GET", "/v1/jobs", None).status, 401);
    assert_eq!(cluster.request("GET", "/v1/health/ready", None).status, 200);
}

#[test]
fn refuses_a_node_that_does_not_know_the_secret() {
    if !has_nodes() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions { nodes: 0, ..ClusterOptions::default() });
    let ended = cluster.run_stranger(&json!({"cluster_secret": "ff".repeat(32), "node_id": "stranger"}));
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not accept"), "{}", ended.stderr);
    assert_eq!(cluster.get("/cluster/state"), json!({}));
}

#[test]
fn goes_on_when_the_full_disk_of_the_store_has_room_again() {
    let Some(cluster) = Cluster::start_on_small_disk(ClusterOptions::default()) else {
        return tell("NOT RUN: this case needs to mount a file system (root)");
    };
    let job = LedgerJob { records: 40_000, slice: 400, delay: 2, workers: 2 };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    cluster.fill_disk();
    sleep(Duration::from_secs(2));
    cluster.free_disk();
    let record = cluster.wait("the execution to end", WAIT_MAX, |cluster| {
        let record = cluster.execution(&ex_id);
        matches!(record["_status"].as_str(), Some("completed" | "failed")).then_some(record)
    });
    if record["_status"] == "failed" {
        let reason = record["_failureReason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty());
        let recovered = cluster.post(&format!("/v1/ex/{ex_id}/_recover"), None);
        let recovered = recovered["ex_id"].as_str().expect("a recovery has an execution").to_owned();
        cluster.await_status(&recovered, &["completed"]);
    }
    job.check_lines(&cluster);
    cluster.await_quiet();
}
