//! What is asked of a cluster about the jobs of files, and what is written into the files.

use std::{fs, path::PathBuf};

use serde_json::json;
use teraslice_api::client::stub::Stub;

use super::*;
use crate::{
    args::cluster::Watching,
    command::cluster::testing::{Place, code, common, waiting},
};

const JOB: &str = r#"{"name": "a", "workers": 2, "operations": []}"#;

fn files(place: &Place, names: &[&str]) -> Files {
    let files = names.iter().map(PathBuf::from).collect();
    Files { files, src_dir: place.path(""), access: place.access() }
}

fn register_of(place: &Place, start: bool) -> Tjm {
    let (files, watching) = (files(place, &["job.json"]), Watching::default());
    Tjm::Register(RegisterFiles { alias: "here".to_owned(), files, start, watching, waiting: waiting() })
}

fn content_of(place: &Place) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path("job.json")).unwrap()).unwrap()
}

/// A folder with the file of job 1 of a cluster.
fn registered(stub: &Stub) -> Place {
    let place = Place::new(&stub.url());
    let job = json!({
        "name": "a", "workers": 2, "operations": [],
        "__metadata": {"other": 1, "cli": {"cluster": stub.url(), "version": "2.0.0", "job_id": "1", "updated": "then"}},
    });
    fs::write(place.path("job.json"), job.to_string()).unwrap();
    place
}

#[test]
fn registers_without_metadata_and_writes_it_down() {
    for (is_started, line) in [(false, "POST /v1/jobs?start=false"), (true, "POST /v1/jobs?start=true")] {
        let stub = Stub::knowing(&[(line, 200, json!({"job_id": "1", "ex_id": "e"}))]);
        let place = Place::new(&stub.url());
        fs::write(place.path("job.json"), JOB).unwrap();
        assert_eq!(code(execute(&common(), &register_of(&place, is_started))), 0);
        assert_eq!(stub.asked()[0].json(), serde_json::from_str::<Value>(JOB).unwrap());
        let about = content_of(&place)["__metadata"]["cli"].clone();
        let keys: Vec<_> = about.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["cluster", "version", "job_id", "updated"]);
        assert_eq!((&about["cluster"], &about["job_id"]), (&json!(stub.url()), &json!("1")));
        assert_eq!(code(execute(&common(), &register_of(&place, is_started))), exit_code::BAD_JOB);
        assert_eq!(stub.lines().len(), 1, "a file is registered once");
    }
}

#[test]
fn leaves_the_file_alone_when_the_job_is_refused() {
    let refused = json!({"error": 500, "message": "no operations"});
    let stub = Stub::knowing(&[("POST /v1/jobs?start=false", 500, refused)]);
    let place = Place::new(&stub.url());
    fs::write(place.path("job.json"), JOB).unwrap();
    assert_eq!(code(execute(&common(), &register_of(&place, false))), exit_code::UNAVAILABLE);
    assert_eq!(fs::read_to_string(place.path("job.json")).unwrap(), JOB);
}

#[test]
fn updates_the_job_and_when_that_was() {
    let stub = Stub::knowing(&[
        ("PUT /v1/jobs/1", 200, json!({"job_id": "1", "warnings": ["old"]})),
        ("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "e"})),
    ]);
    let place = registered(&stub);
    let (files, watching) = (files(&place, &["job.json"]), Watching::default());
    let command = Tjm::Update(UpdateFiles { files, start: true, watching, waiting: waiting() });
    assert_eq!(code(execute(&common(), &command)), 0);
    assert_eq!(stub.lines(), ["PUT /v1/jobs/1", "POST /v1/jobs/1/_start"]);
    assert_eq!(stub.asked()[0].json(), serde_json::from_str::<Value>(JOB).unwrap());
    let about = content_of(&place)["__metadata"].clone();
    assert_eq!((&about["other"], about["cli"]["updated"] == "then"), (&json!(1), false));
}

#[test]
fn does_to_the_job_what_is_asked_of_the_file() {
    let stub = Stub::knowing(&[
        ("POST /v1/jobs/1/_start", 200, json!({"job_id": "1", "ex_id": "e"})),
        ("POST /v1/jobs/1/_pause", 200, json!({"status": "paused"})),
        ("POST /v1/jobs/1/_workers?total=3", 200, json!({"message": "3 workers"})),
    ]);
    let place = registered(&stub);
    let files = || files(&place, &["job.json"]);
    let start = StartFiles { files: files(), watching: Watching::default(), waiting: waiting() };
    let total = FileWorkers { action: crate::args::cluster::Scaling::Total, number: 3, files: files() };
    for command in [Tjm::Start(start), Tjm::Pause(files()), Tjm::Workers(total)] {
        assert_eq!(code(execute(&common(), &command)), 0);
    }
    assert_eq!(stub.lines().len(), 3);
}

#[test]
fn shows_where_file_and_job_differ() {
    let stub = Stub::knowing(&[
        (
            "GET /v1/jobs/1",
            200,
            json!({"job_id": "1", "_created": "x", "name": "a", "workers": 3, "operations": []}),
        ),
        ("GET /v1/jobs/1", 200, json!({"job_id": "1", "name": "a", "workers": 2, "operations": []})),
    ]);
    let place = registered(&stub);
    let view = || Tjm::View(ViewFiles { files: files(&place, &["job.json"]), diff: true });
    assert_eq!(code(execute(&common(), &view())), exit_code::FAILED);
    assert_eq!(code(execute(&common(), &view())), 0);
}

#[test]
fn deletes_the_job_and_makes_the_file_new() {
    let stub = Stub::knowing(&[("DELETE /v1/jobs/1", 200, json!({"job_id": "1"}))]);
    let place = registered(&stub);
    let delete = |yes| Tjm::Delete(DeleteFiles { files: files(&place, &["job.json"]), yes });
    assert_eq!(code(execute(&common(), &delete(false))), exit_code::BAD_JOB);
    assert_eq!(code(execute(&common(), &delete(true))), 0);
    assert_eq!(content_of(&place), serde_json::from_str::<Value>(JOB).unwrap());
    assert_eq!(code(execute(&common(), &delete(true))), exit_code::BAD_JOB, "it belongs to no job");
}

#[test]
fn makes_an_example_that_can_be_registered() {
    let place = Place::new("http://h");
    let new = || NewFiles { files: vec![PathBuf::from("job.json")], src_dir: place.path("") };
    assert_eq!(code(execute(&common(), &Tjm::Init(new()))), 0);
    assert_eq!(content_of(&place)["assets"], json!([]), "the program of the original wants it");
    assert_eq!(code(execute(&common(), &Tjm::Init(new()))), exit_code::BAD_JOB, "nothing is overwritten");
    assert_eq!(code(execute(&common(), &Tjm::Reset(new()))), 0);
}
