//! The client against a server that answers what it is told.

use std::{fs, time::Duration};

use serde_json::json;

use super::{
    Client, ClientError, Event, Options,
    stub::{Asked, Reply, Stub},
};

fn client(stub: &Stub) -> Client {
    let options =
        Options { token: Some("s3cret".to_owned()), backoff: Duration::from_millis(1), ..Options::default() };
    Client::new(&stub.url(), options).unwrap()
}

/// Answers with these, one after another, the last one for good.
fn in_turn(replies: Vec<Reply>) -> Stub {
    let mut turn = 0;
    Stub::start(move |_| {
        let reply = replies[turn.min(replies.len() - 1)].clone();
        turn += 1;
        reply
    })
}

#[test]
fn asks_below_the_version_with_the_token() {
    let stub = in_turn(vec![Reply::Json(200, json!([{"job_id": "1"}]))]);
    let found = client(&stub).get(&["jobs"], &[("size", "2"), ("filter", "name:\"a b\"")]).unwrap();
    assert_eq!(found[0]["job_id"], "1");
    assert_eq!(stub.lines(), ["GET /v1/jobs?size=2&filter=name:%22a%20b%22"]);
    assert_eq!(stub.asked()[0].header("authorization"), Some("Bearer s3cret"));
    assert_eq!(stub.asked()[0].body, b"");
}

#[test]
fn sends_documents_as_plain_json() {
    let stub = Stub::knowing(&[("POST /v1/jobs?start=false", 200, json!({"job_id": "1"}))]);
    let answer = client(&stub).submit(&json!({"name": "a"}), false).unwrap();
    assert_eq!(answer["job_id"], "1");
    let asked = &stub.asked()[0];
    assert_eq!(asked.header("content-type"), Some("application/json"), "the original takes nothing else");
    assert_eq!(asked.json(), json!({"name": "a"}));
}

#[test]
fn asks_for_actions_without_a_body() {
    let stub = Stub::knowing(&[("POST /v1/jobs/1/_stop?blocking=false", 200, json!({"status": "stopping"}))]);
    let answer = client(&stub).post(&["jobs", "1", "_stop"], &[("blocking", "false")], None).unwrap();
    assert_eq!(answer["status"], "stopping");
    let asked = &stub.asked()[0];
    assert_eq!((asked.header("content-length"), asked.header("content-type")), (Some("0"), None));
}

#[test]
fn keeps_an_id_within_its_segment() {
    let stub = in_turn(vec![Reply::Json(404, json!({"error": 404, "message": "no"}))]);
    assert!(client(&stub).delete(&["jobs", "../ex?x=1"]).is_err());
    assert_eq!(stub.lines(), ["DELETE /v1/jobs/..%2Fex%3Fx%3D1"]);
}

#[test]
fn uploads_a_file_with_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    fs::write(&file, &bytes).unwrap();
    let stub = Stub::knowing(&[("POST /v1/assets?blocking=true", 201, json!({"asset_id": "a"}))]);
    assert_eq!(client(&stub).upload_asset(&file, true).unwrap()["asset_id"], "a");
    let asked = &stub.asked()[0];
    assert_eq!(asked.header("content-type"), Some("application/octet-stream"));
    assert_eq!(asked.header("content-length"), Some("300000"));
    assert!(asked.body == bytes);
    let missing = client(&stub).upload_asset(&folder.path().join("b.zip"), true).unwrap_err();
    assert!(matches!(missing, ClientError::File { .. }), "{missing}");
}

#[test]
fn carries_what_the_body_of_an_error_says() {
    let stub = in_turn(vec![Reply::Json(409, json!({"error": 409, "message": "job 1 is running"}))]);
    let error = client(&stub).post(&["jobs", "1", "_start"], &[], None).unwrap_err();
    let ClientError::Refused(answer) = &error else { panic!("{error}") };
    assert_eq!((answer.status, answer.code, &answer.error), (409, 409, &json!(409)));
    assert_eq!(error.to_string(), "the cluster has refused POST /v1/jobs/1/_start: job 1 is running (409)");
}

#[test]
fn reads_again_until_the_master_is_ready() {
    let busy = Reply::Json(503, json!({"error": 503, "message": "api is not available"}));
    let stub = in_turn(vec![Reply::Hangup, busy, Reply::Json(200, json!([]))]);
    assert_eq!(client(&stub).get(&["jobs"], &[]).unwrap(), json!([]));
    assert_eq!(stub.lines().len(), 3);
}

#[test]
fn reads_four_times_at_most() {
    let stub = in_turn(vec![Reply::Hangup]);
    let error = client(&stub).get(&["jobs"], &[]).unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    assert_eq!(stub.lines().len(), 4);
}

#[test]
fn never_repeats_a_change_that_may_have_been_taken() {
    for reply in [Reply::Hangup, Reply::Json(503, json!({"error": "api is not available"}))] {
        let stub = in_turn(vec![reply]);
        assert!(client(&stub).submit(&json!({}), true).is_err());
        assert_eq!(stub.lines(), ["POST /v1/jobs?start=true"]);
    }
}

#[test]
fn says_who_cannot_be_reached() {
    let url = Stub::knowing(&[]).url();
    let options = Options { backoff: Duration::from_millis(1), ..Options::default() };
    let error = Client::new(&url, options).unwrap().submit(&json!({}), true).unwrap_err();
    assert_eq!(error.to_string(), format!("failed to reach the cluster at {url}"));
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[test]
fn gives_up_on_an_answer_that_takes_too_long() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let stub = Stub::start(move |_| {
        let _released = held.recv_timeout(Duration::from_secs(10));
        Reply::Hangup
    });
    let options = Options { timeout: Duration::from_millis(50), ..Options::default() };
    let error = Client::new(&stub.url(), options).unwrap().submit(&json!({}), true).unwrap_err();
    drop(release);
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
}

#[test]
fn takes_no_redirect_and_no_page_for_an_answer() {
    let moved = Reply::Raw(302, "location: http://elsewhere/\r\n", Vec::new());
    let page = Reply::Raw(200, "content-type: text/html\r\n", b"<html>".to_vec());
    for reply in [moved, page] {
        let stub = in_turn(vec![reply]);
        let error = client(&stub).get(&["jobs"], &[]).unwrap_err();
        assert!(matches!(error, ClientError::Strange { .. }), "{error:?}");
        assert_eq!(stub.lines().len(), 1);
    }
}

#[test]
fn takes_404_of_an_execution_as_never_started() {
    let stub = Stub::knowing(&[("GET /v1/jobs/1/ex", 200, json!({"ex_id": "2"}))]);
    assert_eq!(client(&stub).latest_execution("1").unwrap(), Some(json!({"ex_id": "2"})));
    assert_eq!(client(&stub).latest_execution("3").unwrap(), None);
}

#[test]
fn listens_to_events() {
    let body = b"event: status\ndata: {\"status\":\"completed\"}\n\n".to_vec();
    let kind = "content-type: text/event-stream\r\n";
    let stub = Stub::start(move |asked: &Asked| match asked.line.as_str() {
        "GET /v1/ex/1/events" => Reply::Raw(200, kind, body.clone()),
        _ => Reply::Json(405, json!({"error": 405, "message": "cannot GET endpoint"})),
    });
    let silence_max = Duration::from_secs(5);
    let events: Vec<_> = client(&stub).events("1", silence_max).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(events, [Event { name: "status".to_owned(), data: json!({"status": "completed"}) }]);
    let error = client(&stub).events("2", silence_max).unwrap_err();
    assert!(matches!(error, ClientError::Refused(answer) if answer.status == 405));
}

#[test]
fn prints_no_token() {
    let stub = Stub::knowing(&[]);
    assert!(!format!("{:?}", client(&stub)).contains("s3cret"));
    let options = Options { token: Some("a\nb".to_owned()), ..Options::default() };
    let error = Client::new("host", options).unwrap_err();
    assert!(matches!(error, ClientError::BadToken));
}

#[test]
fn refuses_certificates_that_are_none() {
    for pem in ["", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let options = Options { ca: Some(pem.as_bytes().to_vec()), ..Options::default() };
        assert!(matches!(Client::new("host", options), Err(ClientError::Certificates { .. })));
    }
}
