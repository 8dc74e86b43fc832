//! Backends that misbehave while they are used: the host stays up, says what is wrong, and goes on when it can.

use std::time::Duration;

use serde_json::json;
use teraslice_backend_plugin::{PluginBackend, Transport};
use teraslice_core::{
    backend::{BackendError, ClusterBackend as _, Scope},
    conformance::backend::Cluster as _,
    context::Context,
};
use teraslice_model::{
    id::Term,
    job::{CheckEnvironment, RawJob},
};
use tokio::time::{sleep, timeout};

use crate::support::{Stage, process, wrong_library, wrong_process};

/// Everything has to happen within this.
const PATIENCE: Duration = Duration::from_secs(20);

fn faulty(fault: &str) -> Stage {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugin/faulty.py");
    Stage::wrong(process(&[script, fault]), fault)
}

async fn observe(backend: &PluginBackend) -> Result<usize, String> {
    match timeout(PATIENCE, backend.observe(Scope::Cluster)).await.expect("an answer in time") {
        Ok(snapshot) => Ok(snapshot.instances.len()),
        Err(BackendError::Unavailable { reason, .. }) => Err(reason),
        Err(other) => panic!("{other:?}"),
    }
}

fn degraded(backend: &PluginBackend) -> Option<String> {
    backend.trouble().borrow().as_ref().map(|trouble| trouble.reason.clone())
}

/// Observes until it works.
async fn recovers(backend: &PluginBackend) {
    let well = async {
        while observe(backend).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, well).await.expect("it is well again in time");
    assert_eq!(degraded(backend), None);
}

#[tokio::test]
async fn says_what_is_wrong_with_a_handshake() {
    let cases = [
        ("exits_at_once", "its last words: no queue manager here"),
        ("other_version", "speaks version 2.0 of the protocol, this program 1.0"),
        ("other_magic", "expected the magic \"teraslice-backend\", found \"hello\""),
        ("no_schema", "is not a JSON Schema"),
    ];
    for (fault, expected) in cases {
        let stage = faulty(fault);
        let refused = stage.connect().open().await.unwrap_err().line();
        assert!(refused.contains(expected), "{fault}: {refused}");
    }
}

#[tokio::test]
async fn gives_up_a_handshake_that_hangs() {
    let stage = faulty("hangs");
    let mut options = stage.options();
    options.open_max = Duration::from_millis(300);
    let backend = PluginBackend::new(options, Context::system());
    let refused = backend.open().await.unwrap_err().line();
    assert!(refused.contains("did not finish handshake within 0.3 s"), "{refused}");
    for transport in [wrong_library(), wrong_process()] {
        let mut options = Stage::wrong(transport, "hangs_at_start").options();
        options.open_max = Duration::from_millis(300);
        let refused = PluginBackend::new(options, Context::system()).open().await.unwrap_err().line();
        assert!(refused.contains("did not finish start within 0.3 s"), "{refused}");
    }
}

#[tokio::test]
async fn takes_a_panic_for_an_answer() {
    for transport in [wrong_library(), wrong_process()] {
        let stage = Stage::wrong(transport, "panics_at_start");
        let refused = stage.connect().open().await.unwrap_err().line();
        assert!(refused.contains("the backend panicked: no start today"), "{refused}");
    }
}

#[tokio::test]
async fn starts_a_process_that_has_ended_again() {
    let stage = faulty("exits");
    let backend = stage.connect();
    backend.open().await.unwrap();
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("exit status: 3, its last words: the disk is gone"), "{error}");
    assert!(degraded(&backend).is_some());
    // Not at once: there is a pause.
    let refused = backend.observe(Scope::Cluster).await.unwrap_err();
    assert!(
        matches!(refused, BackendError::Unavailable { retry_after: Some(pause), .. } if pause < Duration::from_secs(2))
    );
    sleep(Duration::from_millis(1_100)).await;
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("exit status: 3"), "the second process has ended too: {error}");
}

#[tokio::test]
async fn is_not_stopped_by_a_flood_on_standard_error() {
    let backend = faulty("floods_stderr");
    let backend = PluginBackend::new(
        teraslice_backend_plugin::PluginOptions { call_max: PATIENCE, ..backend.options() },
        Context::system(),
    );
    assert_eq!(observe(&backend).await, Ok(0));
    assert_eq!(degraded(&backend), None);
}

#[tokio::test]
async fn passes_over_an_answer_that_comes_too_late() {
    let backend = faulty("late").connect();
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("did not answer observe within 1 s"), "{error}");
    assert!(degraded(&backend).is_some());
    recovers(&backend).await;
}

#[tokio::test]
async fn notices_an_answer_to_what_was_not_asked() {
    let backend = faulty("answers_another").connect();
    let mut trouble = backend.trouble();
    let asked = observe(&backend);
    let noticed = async {
        let is_it = |reason: &str| reason.contains("answered the call 4711");
        let noticed = trouble.wait_for(|trouble| trouble.as_ref().is_some_and(|it| is_it(&it.reason)));
        noticed.await.map(drop)
    };
    let (asked, noticed) = tokio::join!(asked, timeout(PATIENCE, noticed));
    noticed.expect("noticed in time").unwrap();
    assert!(asked.unwrap_err().contains("did not answer observe"));
}

#[tokio::test]
async fn ends_a_process_that_sends_too_much() {
    let stage = faulty("sends_too_much");
    let mut options = stage.options();
    options.call_max = PATIENCE;
    let backend = PluginBackend::new(options, Context::system());
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("it sent a message of more than 16777216 bytes"), "{error}");
    assert!(degraded(&backend).is_some());
}

#[tokio::test]
async fn says_what_it_does_not_understand() {
    let backend = faulty("garbage").connect();
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("its answer to observe is not understood"), "{error}");
    let backend = faulty("chatters").connect();
    let error = observe(&backend).await.unwrap_err();
    assert!(error.contains("it sent 100 lines that are no messages"), "{error}");
}

#[tokio::test]
async fn ends_a_process_that_answers_nothing_any_more() {
    let Transport::Process { command, .. } = wrong_process() else { panic!("not a process") };
    let folder = tempfile::tempdir().unwrap();
    // Others run the same program: this one has a name of its own.
    let program = folder.path().join("stopped");
    std::fs::copy(&command[0], &program).unwrap();
    let backend = Stage::wrong(process(&[program.to_str().unwrap()]), "answers_nothing").connect();
    backend.adopt(Term(1)).await.unwrap();
    let pids = children("stopped");
    assert_eq!(pids.len(), 1);
    signal(pids[0], "STOP");
    for _ in 0..3 {
        let error = observe(&backend).await.unwrap_err();
        assert!(error.contains("did not answer observe"), "{error}");
    }
    recovers(&backend).await;
}

#[tokio::test]
async fn stays_up_without_a_library_and_takes_it_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.so");
    let stage = Stage::new(Transport::Library { path: path.clone(), sha256: None }, json!({"fault": "none"}));
    let backend = stage.connect();
    let error = observe(&backend).await.unwrap_err();
    assert!(
        error.contains("cannot be used: failed to read") && error.contains("install it there"),
        "{error}"
    );
    assert!(degraded(&backend).is_some());
    crate::support::spoil(folder.path(), "late.so", |_| {});
    recovers(&backend).await;
}

#[tokio::test]
async fn holds_jobs_against_the_schema_of_the_backend() {
    let backend = Stage::wrong(wrong_library(), "none").connect();
    backend.open().await.unwrap();
    let job = |workers: u32| {
        let job = json!({"workers": workers, "operations": [{"_op": "test-reader"}, {"_op": "noop"}]});
        let environment = CheckEnvironment {
            known_connections: None,
            cpus: 2,
            is_kubernetes: false,
            overrides_enabled: false,
        };
        serde_json::from_value::<RawJob>(job).unwrap().check(&environment).unwrap().0
    };
    assert_eq!(backend.validate(&job(100)), Ok(Vec::new()));
    let problems = backend.validate(&job(101)).unwrap_err();
    assert_eq!(problems[0].pointer, "/workers");
}

/// Returns the processes of a program that this process has started.
fn children(program: &str) -> Vec<i32> {
    let me = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned));
        stat.contains(&format!("({program})")) && parent.as_deref() == Some(&me)
    })
    .collect()
}

fn signal(pid: i32, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}
