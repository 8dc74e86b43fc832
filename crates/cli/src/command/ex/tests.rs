//! What is asked of a cluster about its executions, and what is made of the answers.

use serde_json::json;
use teraslice_api::client::stub::{Asked, Reply, Stub};

use super::*;
use crate::{
    args::{
        cluster::{Cleanup, Paging, Recovery, Watching},
        executions::TailExecution,
    },
    command::cluster::testing::{Place, code, common, waiting},
};

fn one(place: &Place) -> OneExecution {
    OneExecution { alias: "here".to_owned(), id: "e".to_owned(), access: place.access() }
}

fn run(known: &[(&str, u16, Value)], command: impl FnOnce(&Place) -> Ex) -> (u8, Vec<String>) {
    let stub = Stub::knowing(known);
    let place = Place::new(&stub.url());
    let code = code(execute(&common(), &command(&place)));
    (code, stub.lines())
}

fn paging() -> Paging {
    Paging { from: 0, size: 100, sort: Some("_updated:desc".to_owned()), filter: None }
}

#[test]
fn lists_by_status() {
    let line = "GET /v1/ex?from=0&size=100&sort=_updated:desc&status=running,failing";
    let (code, _) = run(&[(line, 200, json!([]))], |place| {
        let (alias, access) = ("here".to_owned(), place.access());
        let status = vec!["running".to_owned(), "failing".to_owned()];
        Ex::List(ListExecutions { alias, status, deleted: false, paging: paging(), access })
    });
    assert_eq!(code, 0);
}

#[test]
fn tells_the_status_of_a_failed_execution_without_failing() {
    let record = json!({"ex_id": "e", "_status": "failed", "_failureReason": "no space", "_slicer_stats": {"processed": 2}});
    let some = |place: &Place| SomeExecutions {
        alias: "here".to_owned(),
        ids: vec!["e".to_owned()],
        access: place.access(),
    };
    assert_eq!(run(&[("GET /v1/ex/e", 200, record)], |place| Ex::Status(some(place))).0, 0);
    assert_eq!(run(&[], |place| Ex::Status(some(place))).0, exit_code::REFUSED);
}

#[test]
fn stops_and_looks_until_it_has() {
    let known = [
        ("POST /v1/ex/e/_stop?timeout=20000&blocking=false&force=true", 200, json!({"status": "stopping"})),
        ("GET /v1/ex/e", 200, json!({"_status": "stopping"})),
        ("GET /v1/ex/e", 200, json!({"_status": "stopped"})),
    ];
    let (code, asked) = run(&known, |place| {
        let executions =
            SomeExecutions { alias: "here".to_owned(), ids: vec!["e".to_owned()], access: place.access() };
        Ex::Stop(StopExecutions { executions, force: true, waiting: waiting() })
    });
    assert_eq!((code, asked.len()), (0, 3));
}

#[test]
fn recovers_and_lists_what_failed() {
    let known = [
        ("POST /v1/ex/e/_recover?cleanup_type=all", 200, json!({"job_id": "j", "ex_id": "f"})),
        ("GET /v1/ex/e/errors?from=0&size=100&sort=_updated:desc", 200, json!([])),
        ("GET /v1/ex/e/slices?from=0&size=100&state=error", 200, json!([])),
    ];
    let recover = |place: &Place| {
        let (recovery, watching) = (Recovery { cleanup: Some(Cleanup::All) }, Watching::default());
        Ex::Recover(RecoverExecution { execution: one(place), recovery, watching, waiting: waiting() })
    };
    assert_eq!(run(&known, recover).0, 0);
    let errors = |place: &Place| Ex::Errors(PageOfExecution { execution: one(place), paging: paging() });
    assert_eq!(run(&known, errors).0, 0);
    let slices = |place: &Place| {
        Ex::Slices(ListSlices { execution: one(place), state: "error".to_owned(), from: 0, size: 100 })
    };
    assert_eq!(run(&known, slices).0, 0);
}

#[test]
fn explains_with_evidence_of_any_shape() {
    let text = render(&json!({
        "status": "running", "cause": "no_free_slot", "message": "every slot is taken",
        "evidence": {"nodes": 2, "free": 0}, "hint": "add a node",
    }));
    assert_eq!(
        text,
        "status    running\ncause     no_free_slot\n          every slot is taken\n\
         evidence  nodes: 2\n          free: 0\nhint      add a node\n"
    );
    let text = render(&json!({"status": "paused", "cause": "paused", "evidence": ["by\nme"]}));
    assert_eq!(text, "status    paused\ncause     paused\nevidence  by me\n");
    assert_eq!(render(&json!({})), "status    -\ncause     -\n");
}

#[test]
fn follows_events_to_the_end() {
    let mut turn = 0;
    let stub = Stub::start(move |_: &Asked| {
        turn += 1;
        // The first stream breaks off.
        let text: &[u8] = match turn {
            1 => b"event: status\ndata: {\"status\":\"running\"}\n\n",
            _ => b"event: end\ndata: {\"status\":\"failed\",\"failure\":\"no space\"}\n\n",
        };
        Reply::Raw(200, "content-type: text/event-stream\r\n", text.to_vec())
    });
    let place = Place::new(&stub.url());
    let command = Ex::Tail(TailExecution { execution: one(&place), waiting: waiting() });
    assert_eq!(code(execute(&common(), &command)), exit_code::FAILED);
    assert_eq!(stub.lines(), ["GET /v1/ex/e/events"; 2]);
}

#[test]
fn says_that_an_older_master_has_no_events() {
    let known = [("GET /v1/ex/e/events", 405, json!({"error": 405, "message": "cannot GET endpoint"}))];
    let (code, _) =
        run(&known, |place| Ex::Tail(TailExecution { execution: one(place), waiting: waiting() }));
    assert_eq!(code, exit_code::REFUSED);
}
