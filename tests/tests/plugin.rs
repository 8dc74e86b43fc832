//! Clusters whose controllers and workers are started by backends of third parties.

use std::{env, fs, process::Command, time::Duration};

use serde_json::{Value, json};
use teraslice_tests::{
    Ended, Stage,
    backends::{config, library, python},
    balanced, binary,
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    finish, flights,
    ledger::LedgerJob,
    root,
};

/// Blocks of the page are followed within this.
const PAGE_MAX: Duration = Duration::from_mins(5);

fn options(backend: &Value) -> ClusterOptions {
    ClusterOptions { nodes: 0, config: config(backend), ..ClusterOptions::default() }
}

fn runs_a_job(backend: &Value) {
    let mut cluster = Cluster::start(options(backend));
    let job = LedgerJob { records: 40_000, delay: 10, ..LedgerJob::default() };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["running"]);
    assert_eq!(cluster.get("/v1/health/ready"), json!({"status": "ready"}));
    // What runs goes on without a master, and the next one takes it up.
    let before = cluster.wait("a controller and two workers", WAIT_MAX, |cluster| {
        let started = cluster.started();
        (started.len() == 3).then_some(started)
    });
    let shown = cluster.wait("the state to show them", WAIT_MAX, |cluster| {
        let state = cluster.get("/v1/cluster/state");
        (state["mine"]["active"].as_array().is_some_and(|active| active.len() == 3)).then_some(state)
    });
    assert_eq!(
        (&shown["mine"]["total"], &shown["mine"]["active"][0]["ex_id"]),
        (&json!("N/A"), &json!(ex_id))
    );
    cluster.kill_master();
    cluster.start_master();
    assert!(cluster.started().iter().all(|pid| before.contains(pid)), "nothing was started twice");
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
    assert_eq!(cluster.stop_master(), Some(0));
}

fn runs_the_flights(backend: &Value) {
    let cluster = Cluster::start(options(backend));
    let table = flights::table();
    let (_, ex_id) = cluster.submit(&flights::job_with(&table, &cluster.stage.path("out"), 2));
    cluster.await_status(&ex_id, &["completed"]);
    flights::check(&cluster.stage.lines("out"), &flights::expected(&table).0);
    let counts = balanced(&cluster.execution(&ex_id)["_slicer_stats"]);
    assert_eq!(counts[0]["created"], flights::ROWS);
    cluster.await_quiet();
}

#[test]
fn runs_the_flights_by_a_shared_library() {
    runs_the_flights(&json!({"path": library()}));
}

#[test]
fn runs_the_flights_by_a_process_in_python() {
    runs_the_flights(&json!({"command": [python()]}));
}

#[test]
fn runs_a_job_by_a_shared_library() {
    runs_a_job(&json!({"path": library()}));
}

#[test]
fn runs_a_job_by_a_process_in_python() {
    runs_a_job(&json!({"command": [python()]}));
}

#[test]
fn stays_up_without_its_backend_and_says_so() {
    let stage = Stage::default();
    let path = stage.path("backend.so");
    let cluster = Cluster::start(options(&json!({"path": path})));
    let job = LedgerJob { records: 2_000, ..LedgerJob::default() };
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    let health = cluster.wait("the backend to be degraded", WAIT_MAX, |cluster| {
        let health = cluster.get("/v1/health/ready");
        (health["backend"]["status"] == "degraded").then_some(health)
    });
    assert_eq!(health["status"], "ready");
    let reason = health["backend"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("failed to read") && reason.contains("install it there"), "{health}");
    let explained = cluster.get(&format!("/v1/ex/{ex_id}/explain"));
    assert_eq!(explained["cause"], "backend_unavailable", "{explained}");
    fs::copy(library(), &path).expect("the library can be copied");
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    assert_eq!(cluster.get("/v1/health/ready"), json!({"status": "ready"}));
}

#[test]
fn lists_backends_and_holds_them_against_the_laws() {
    let stage = Stage::default();
    let backends = json!({
        "rust": {"path": library()},
        "python": {"command": [python()], "config": {"log_directroy": "x"}},
        "gone": {"path": "/nowhere/libx.so"},
    });
    stage.write("config.yaml", json!({"teraslice": {"cluster_backends": backends}}).to_string());
    let listed = stage.run(&["backends", "list", "-o", "json"]);
    assert_eq!(listed.code, Some(65), "{}", listed.stderr);
    let listed = listed.json();
    let entry = |name: &str| {
        listed.as_array().and_then(|all| all.iter().find(|it| it["name"] == name)).expect("it is listed")
    };
    assert_eq!(entry("rust")["description"]["name"], "fork-exec");
    let error = entry("python")["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("/teraslice/cluster_backends/python/config: ") && error.contains("log_directroy"),
        "{error}"
    );
    assert!(entry("gone")["error"].as_str().is_some_and(|it| it.contains("install it there")), "{listed}");
    let checked = stage.run(&["backends", "check", "rust", "-o", "json"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let checked = checked.json();
    assert_eq!((&checked["broken"], checked["laws"].as_array().map(Vec::len)), (&json!(0), Some(17)));
    let unknown = stage.run(&["backends", "check", "rsut"]);
    assert!(unknown.stderr.contains("did you mean \"rust\"?"), "{}", unknown.stderr);
}

/// Follows `docs/writing-a-backend.md`: every block of files and commands, in their order.
#[test]
fn follows_the_page_word_for_word() {
    let stage = Stage::default();
    let page = fs::read_to_string(root().join("docs/writing-a-backend.md")).expect("the page is there");
    let mut followed = 0;
    let mut blocks = page.split("```");
    blocks.next();
    while let Some(block) = blocks.next() {
        let (kind, text) = block.split_once('\n').expect("a block has lines");
        blocks.next();
        if let Some(name) = kind.strip_prefix("yaml ") {
            stage.write(name, text.replace("/opt/teraslice", &stage.path("").display().to_string()));
            followed += 1;
        } else if kind == "sh" {
            let ended = shell(&stage, text);
            assert_eq!(ended.code, Some(0), "{text}\n{}\n{}", ended.stdout, ended.stderr);
            followed += 1;
        }
    }
    assert!(followed >= 6, "{followed} blocks");
    assert!(stage.path("my-library/target/debug/libmy_library.so").is_file());
}

/// Runs commands of the page in the folder of the case, with the built binary and the SDK of this repository.
fn shell(stage: &Stage, commands: &str) -> Ended {
    let folder = binary().parent().expect("the binary lies in a folder").display().to_string();
    let path = format!("{folder}:{}", env::var("PATH").unwrap_or_default());
    let commands = commands
        .replace("/opt/teraslice", &stage.path("").display().to_string())
        .replace("../teraslice/crates/plugin-sdk", &root().join("crates/plugin-sdk").display().to_string());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &commands]).current_dir(stage.path("")).env("PATH", path);
    command.env_remove("TERAFOUNDATION_CONFIG").env("TERASLICE_STATE_DIRECTORY", stage.path("state"));
    command.env_remove("CARGO_TARGET_DIR").stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(command.spawn().expect("the shell starts"), PAGE_MAX)
}
