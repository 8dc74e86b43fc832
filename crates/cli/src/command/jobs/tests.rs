//! What is asked of a cluster about its jobs, and what is made of the answers.

use serde_json::json;
use teraslice_api::client::stub::Stub;

use super::*;
use crate::{
    args::cluster::{Cleanup, ExportJobs, Paging, Recovery, Scaling, Wanted, Watching},
    command::cluster::testing::{Place, code, common, waiting},
};

const PAGE: &str = "GET /v1/jobs?from=0&size=500&sort=_created:asc&ex=ex_id,_status";

fn selection(place: &Place, ids: &[&str]) -> Selection {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Selection { alias: "here".to_owned(), ids, status: Vec::new(), yes: true, access: place.access() }
}

fn start_of(place: &Place, ids: &[&str], watch: u64) -> StartJobs {
    let watching = Watching { watch };
    StartJobs { jobs: selection(place, ids), save: false, watching, waiting: waiting() }
}

/// Runs a command against a cluster that knows these; returns the exit code and what was asked.
fn run(known: &[(&str, u16, Value)], command: impl FnOnce(&Place) -> Jobs) -> (u8, Vec<String>) {
    let stub = Stub::knowing(known);
    let place = Place::new(&stub.url());
    let code = code(execute(&common(), &command(&place)));
    (code, stub.lines())
}

#[test]
fn lists_with_the_parameters_of_the_original() {
    let line = "GET /v1/jobs?from=5&size=10&sort=name:asc&filter=a&active=true&deleted=true&ex=ex_id,_status";
    let (code, _) = run(&[(line, 200, json!([]))], |place| {
        let paging =
            Paging { from: 5, size: 10, sort: Some("name:asc".to_owned()), filter: Some("a".to_owned()) };
        let (alias, active, access) = ("here".to_owned(), Some(true), place.access());
        Jobs::List(ListJobs { alias, active, deleted: true, paging, access })
    });
    assert_eq!(code, 0);
}

#[test]
fn starts_and_returns_at_once() {
    let known = [("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "e"}))];
    let (code, asked) = run(&known, |place| Jobs::Start(start_of(place, &["1"], 0)));
    assert_eq!((code, asked), (0, vec!["POST /v1/jobs/1/_start".to_owned()]));
}

#[test]
fn watches_a_started_job_to_its_bad_end() {
    let known = [
        ("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "e"})),
        ("GET /v1/ex/e", 200, json!({"_status": "failed", "_slicer_stats": {"processed": 1}})),
    ];
    let (code, asked) = run(&known, |place| Jobs::Start(start_of(place, &["1"], u64::MAX)));
    assert_eq!(code, exit_code::FAILED);
    assert_eq!(asked[1..], ["GET /v1/ex/e/events", "GET /v1/ex/e"]);
}

#[test]
fn starts_the_others_when_one_is_refused() {
    let known = [
        ("POST /v1/jobs/1/_start", 409, json!({"error": 409, "message": "job 1 is running"})),
        ("POST /v1/jobs/2/_start", 200, json!({"job_id": "2", "ex_id": "f"})),
    ];
    let (code, asked) = run(&known, |place| Jobs::Start(start_of(place, &["1", "2"], 0)));
    assert_eq!((code, asked.len()), (exit_code::REFUSED, 2));
}

#[test]
fn stops_and_looks_until_it_has() {
    let known = [
        ("POST /v1/jobs/1/_stop?timeout=20000&blocking=false", 200, json!({"status": "stopping"})),
        ("GET /v1/jobs/1/ex", 200, json!({"ex_id": "e", "_status": "stopping"})),
        ("GET /v1/jobs/1/ex", 200, json!({"ex_id": "e", "_status": "stopped"})),
    ];
    let (code, asked) = run(&known, |place| {
        Jobs::Stop(StopJobs { jobs: selection(place, &["1"]), save: false, force: false, waiting: waiting() })
    });
    assert_eq!((code, asked.len()), (0, 3));
}

#[test]
fn restarts_what_runs_and_what_does_not() {
    let known = [
        ("GET /v1/jobs/1/ex", 200, json!({"_status": "running"})),
        ("POST /v1/jobs/1/_stop?timeout=20000&blocking=false", 200, json!({"status": "stopping"})),
        ("GET /v1/jobs/1/ex", 200, json!({"_status": "stopped"})),
        ("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "f"})),
        ("POST /v1/jobs/2/_start", 200, json!({"job_id": "2", "ex_id": "g"})),
    ];
    let (code, asked) = run(&known, |place| Jobs::Restart(start_of(place, &["1"], 0)));
    assert_eq!((code, asked.len(), asked[3].as_str()), (0, 4, "POST /v1/jobs/1/_start"));
    let (code, asked) = run(&known, |place| Jobs::Restart(start_of(place, &["2"], 0)));
    assert_eq!((code, asked), (0, vec!["GET /v1/jobs/2/ex".to_owned(), "POST /v1/jobs/2/_start".to_owned()]));
}

#[test]
fn pauses_resumes_and_recovers() {
    let known = [
        ("POST /v1/jobs/1/_pause", 200, json!({"status": "paused"})),
        ("POST /v1/jobs/1/_resume", 200, json!({"status": "running"})),
        ("POST /v1/jobs/1/_recover?cleanup_type=errors", 200, json!({"job_id": "1", "ex_id": "e"})),
    ];
    let pause = |place: &Place| Jobs::Pause(PauseJobs { jobs: selection(place, &["1"]), save: false });
    assert_eq!(run(&known, pause).0, 0);
    assert_eq!(run(&known, |place| Jobs::Resume(start_of(place, &["1"], 0))).0, 0);
    let recover = |place: &Place| {
        let (recovery, watching) = (Recovery { cleanup: Some(Cleanup::Errors) }, Watching::default());
        Jobs::Recover(RecoverJobs { jobs: selection(place, &["1"]), recovery, watching, waiting: waiting() })
    };
    assert_eq!(run(&known, recover).0, 0);
}

#[test]
fn changes_the_number_of_workers() {
    for (action, line) in [
        (Scaling::Add, "POST /v1/jobs/1/_workers?add=2"),
        (Scaling::Remove, "POST /v1/jobs/1/_workers?remove=2"),
        (Scaling::Total, "POST /v1/jobs/1/_workers?total=2"),
    ] {
        let (code, asked) = run(&[(line, 200, json!({"message": "2 workers"}))], |place| {
            let Selection { alias, ids, status, yes, access } = selection(place, &["1"]);
            Jobs::Workers(JobWorkers { alias, action, number: 2, ids, status, yes, access })
        });
        assert_eq!((code, asked), (0, vec![line.to_owned()]));
    }
}

#[test]
fn shows_status_record_and_errors() {
    let known = [
        ("GET /v1/jobs/1", 200, json!({"job_id": "1", "name": "a", "workers": 2})),
        ("GET /v1/jobs/1/errors?from=0&size=3&sort=_updated:desc&filter=a", 200, json!([{"slice_id": "s"}])),
    ];
    let (code, asked) = run(&known, |place| Jobs::Status(selection(place, &["1"])));
    assert_eq!((code, asked), (0, vec!["GET /v1/jobs/1".to_owned(), "GET /v1/jobs/1/ex".to_owned()]));
    assert_eq!(run(&known, |place| Jobs::View(selection(place, &["1"]))).0, 0);
    let (code, _) = run(&known, |place| {
        let (sort, filter) = (Some("_updated:desc".to_owned()), Some("a".to_owned()));
        Jobs::Errors(JobErrors {
            jobs: selection(place, &["1"]),
            paging: Paging { from: 0, size: 3, sort, filter },
        })
    });
    assert_eq!(code, 0);
}

#[test]
fn waits_for_a_status_and_fails_at_another_end() {
    let wait = |known: &[(&str, u16, Value)], wanted: &[&str]| {
        let status = wanted.iter().map(|word| (*word).to_owned()).collect();
        run(known, |place| {
            let Selection { alias, ids, access, .. } = selection(place, &["1"]);
            Jobs::Await(AwaitJobs { alias, ids, wanted: Wanted { status }, waiting: waiting(), access })
        })
    };
    let known = [
        ("GET /v1/jobs/1/ex", 404, json!({"error": 404, "message": "no execution"})),
        ("GET /v1/jobs/1/ex", 200, json!({"_status": "running"})),
        ("GET /v1/jobs/1/ex", 200, json!({"_status": "failed"})),
    ];
    assert_eq!(wait(&known, &["running"]).0, 0);
    assert_eq!(wait(&known, &["completed", "stopped"]).0, exit_code::FAILED);
    assert_eq!(wait(&known, &["failed"]).0, 0);
}

#[test]
fn saves_what_runs_and_starts_it_again() {
    let stub = Stub::knowing(&[
        (
            PAGE,
            200,
            json!([{"job_id": "1", "ex": {"_status": "running"}}, {"job_id": "2", "ex": {"_status": "stopped"}}]),
        ),
        ("GET /v1/jobs/1", 200, json!({"job_id": "1", "name": "a"})),
        ("GET /v1/jobs/1/ex", 200, json!({"ex_id": "e", "_status": "running", "operations": []})),
        ("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "f"})),
    ]);
    let place = Place::new(&stub.url());
    assert_eq!(code(execute(&common(), &Jobs::Save(selection(&place, &["all"])))), 0);
    let text = std::fs::read_to_string(place.path("home/job_state_files/here.json")).unwrap();
    let saved: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(saved, json!([{"job_id": "1", "name": "a", "ex": {"ex_id": "e", "_status": "running"}}]));
    assert_eq!(code(execute(&common(), &Jobs::Start(start_of(&place, &["all"], 0)))), 0);
    assert_eq!(stub.lines().last().unwrap(), "POST /v1/jobs/1/_start");
}

#[test]
fn deletes_only_when_told_so() {
    let known = [("DELETE /v1/jobs/1", 200, json!({"job_id": "1", "name": "a", "_deleted": true}))];
    assert_eq!(run(&known, |place| Jobs::Delete(selection(place, &["1"]))).0, 0);
    let (code, asked) =
        run(&known, |place| Jobs::Delete(Selection { yes: false, ..selection(place, &["1"]) }));
    assert_eq!((code, asked.len()), (exit_code::BAD_JOB, 0));
}

#[test]
fn exports_files_that_tjm_can_use() {
    let record = json!({"job_id": "1", "_created": "x", "_context": "job", "name": "a/b", "workers": 2, "operations": []});
    let stub = Stub::knowing(&[("GET /v1/jobs/1", 200, record)]);
    let place = Place::new(&stub.url());
    let outdir = place.path("out");
    let command = Jobs::Export(ExportJobs { jobs: selection(&place, &["1"]), outdir: outdir.clone() });
    assert_eq!(code(execute(&common(), &command)), 0);
    let text = std::fs::read_to_string(outdir.join("a_b.json")).unwrap();
    let mut job: Value = serde_json::from_str(&text).unwrap();
    let metadata = job.as_object_mut().unwrap().remove("__metadata").unwrap();
    assert_eq!(job, json!({"name": "a/b", "workers": 2, "operations": []}));
    assert_eq!((&metadata["cli"]["cluster"], &metadata["cli"]["job_id"]), (&json!(stub.url()), &json!("1")));
}
