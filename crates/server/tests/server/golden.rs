//! The recorded answers of the running original: ours have the same statuses, types, indents and shapes.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use axum::{body::Body, http::Method};
use serde_json::{Value, json};
use teraslice_core::{conformance::store::record, store::Flush};
use teraslice_model::{id::ExId, slice::SliceState, status::Status};

use crate::support::{Reply, Stage, busy, job, request};

/// Recordings of the original's store, which is not what is tested here.
const OF_THE_STORE: [&str; 2] = ["store-", "mapping-"];

type Answers = BTreeMap<&'static str, Reply>;

#[tokio::test(start_paused = true)]
async fn answers_as_the_original_does() {
    let Some(folder) = folder() else {
        say("GOLDEN ANSWERS NOT FOUND: set TERASLICE_GOLDEN to their folder; nothing was compared");
        return;
    };
    let mut answers = Answers::new();
    let stage = Stage::new().await;
    refusals(&stage, &mut answers).await;
    jobs(&stage, &mut answers).await;
    running(&stage, &mut answers).await;
    ended(&stage, &mut answers).await;
    deleted(&stage, &mut answers).await;
    assets(&stage, &mut answers).await;
    let mut wrong = Vec::new();
    for (name, recorded) in recorded(&folder) {
        match answers.get(name.as_str()) {
            Some(reply) => {
                wrong.extend(compare(&recorded, reply).into_iter().map(|it| format!("{name}: {it}")))
            }
            None => wrong.push(format!("{name}: no test asks for it")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let folder = env::var_os("TERASLICE_GOLDEN").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[expect(clippy::print_stderr, reason = "who runs the test has to see it")]
fn say(text: &str) {
    eprintln!("\n*** {text} ***\n");
}

fn recorded(folder: &Path) -> BTreeMap<String, Value> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let named = json.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path));
    let ours = named.filter(|(name, _)| !OF_THE_STORE.iter().any(|prefix| name.starts_with(prefix)));
    ours.map(|(name, path)| (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())).collect()
}

async fn refusals(stage: &Stage, answers: &mut Answers) {
    let nobody = "00000000-0000-4000-8000-000000000000";
    let invalid =
        json!({"name": "wrong", "workers": 0, "operations": [{"_op": "test-reader"}, {"_op": "noop"}]});
    let mut with_id = job();
    with_id["job_id"] = nobody.into();
    answers.insert("error-bad-deleted", stage.get("/jobs?deleted=x").await);
    answers.insert("error-bad-size", stage.get("/jobs?size=x").await);
    answers.insert("error-empty-job", stage.post_json("/jobs", &json!({})).await);
    answers.insert("error-invalid-job", stage.post_json("/jobs", &invalid).await);
    answers.insert("error-job-id-in-body", stage.post_json("/jobs", &with_id).await);
    answers.insert("error-malformed", stage.send(request(Method::POST, "/jobs", Body::from("{\"a\""))).await);
    answers.insert("error-unknown-ex", stage.get(&format!("/ex/{nobody}")).await);
    answers.insert("error-unknown-job", stage.get(&format!("/jobs/{nobody}")).await);
    answers.insert("error-unknown-route", stage.get("/nothing").await);
    answers.insert("info", stage.get("/").await);
    answers.insert("cluster-state", stage.get("/cluster/state").await);
    answers.insert("cluster-stats", stage.get("/cluster/stats").await);
    answers.insert("txt-nodes", stage.get("/txt/nodes").await);
    answers.insert("txt-workers", stage.get("/txt/workers").await);
}

async fn jobs(stage: &Stage, answers: &mut Answers) {
    let created = stage.post_json("/jobs?start=false", &job()).await;
    let job_id: String = created.id("job_id");
    answers.insert("job-create", created);
    let path = format!("/jobs/{job_id}");
    answers.insert("job-record", stage.get(&path).await);
    answers.insert("job-list", stage.get("/jobs").await);
    answers.insert("txt-jobs", stage.get("/txt/jobs").await);
    answers.insert("job-update", stage.put_json(&path, &job()).await);
    answers.insert("error-no-ex", stage.get(&format!("{path}/ex")).await);
    answers.insert("error-recover-never-run", stage.post(&format!("{path}/_recover")).await);
    answers.insert("job-inactive", stage.post(&format!("{path}/_inactive")).await);
    answers.insert("job-active", stage.post(&format!("{path}/_active")).await);
    answers.insert("job-without-ex", stage.get(&format!("{path}?ex=_status")).await);
    let started = stage.post(&format!("{path}/_start")).await;
    let ex_id: ExId = started.id("ex_id");
    answers.insert("job-start", started);
    answers.insert("job-with-ex", stage.get(&format!("{path}?ex=_status,ex_id")).await);
    stage.post(&format!("/ex/{ex_id}/_stop")).await;
}

async fn running(stage: &Stage, answers: &mut Answers) {
    let submitted = stage.post_json("/jobs", &job()).await;
    let (job_id, ex_id): (String, ExId) = (submitted.id("job_id"), submitted.id("ex_id"));
    answers.insert("job-submit", submitted);
    let path = format!("/jobs/{job_id}");
    answers.insert("error-start-running", stage.post(&format!("{path}/_start")).await);
    answers.insert("error-delete-running", stage.delete(&path).await);
    answers.insert("error-workers", stage.post(&format!("{path}/_workers?add=-1")).await);
    answers.insert("error-settings", stage.post(&format!("{path}/_settings?log_level=loud")).await);
    let puppet = stage.run(ex_id).await;
    answers.insert("ex-running", stage.get(&format!("/ex/{ex_id}")).await);
    puppet.report(busy(&stage.context)).await;
    answers.insert("ex-controller", stage.get(&format!("/ex/{ex_id}/controller")).await);
    answers.insert("job-controller", stage.get(&format!("{path}/controller")).await);
    answers.insert("cluster-controllers", stage.get("/cluster/controllers").await);
    answers.insert("txt-controllers", stage.get("/txt/controllers").await);
    answers.insert("txt-slicers", stage.get("/txt/slicers").await);
    answers.insert("pause", stage.post(&format!("{path}/_pause")).await);
    answers.insert("resume", stage.post(&format!("{path}/_resume")).await);
    answers.insert("workers-add", stage.post(&format!("{path}/_workers?add=1")).await);
    answers.insert("workers-total-same", stage.post(&format!("{path}/_workers?total=3")).await);
    answers.insert("job-settings", stage.post(&format!("{path}/_settings?log_level=debug")).await);
    answers.insert("stop-not-waiting", stage.post(&format!("{path}/_stop?blocking=false")).await);
    answers.insert("stop", stage.post(&format!("{path}/_stop")).await);
    answers.insert("stop-ended", stage.post(&format!("/ex/{ex_id}/_stop")).await);
    drop(puppet);
    stage.until(async || stage.controllers.stats(ex_id).is_none()).await;
    answers.insert("ex-stopped", stage.get(&format!("/ex/{ex_id}")).await);
    answers.insert("error-pause-ended", stage.post(&format!("/ex/{ex_id}/_pause")).await);
    answers.insert("error-bad-cleanup", stage.post(&format!("/ex/{ex_id}/_recover?cleanup_type=x")).await);
}

async fn ended(stage: &Stage, answers: &mut Answers) {
    let (job_id, ex_id) = stage.ended_job(&job(), Status::Completed).await;
    let path = format!("/jobs/{job_id}");
    answers.insert("ex-completed", stage.get(&format!("/ex/{ex_id}")).await);
    answers.insert("job-latest-ex", stage.get(&format!("{path}/ex")).await);
    answers.insert("ex-no-errors", stage.get(&format!("/ex/{ex_id}/errors")).await);
    answers.insert("error-controller-ended", stage.get(&format!("/ex/{ex_id}/controller")).await);
    answers.insert("ex-list", stage.get("/ex?status=completed").await);
    answers.insert("txt-ex", stage.get("/txt/ex").await);

    let (job_id, ex_id, puppet) = stage.running_job(&job()).await;
    let mut failed = record(ex_id, 0, 1, SliceState::Error);
    failed.error = Some("it broke".into());
    stage.append(ex_id, Flush { slices: vec![failed], ..Flush::default() }).await;
    drop(puppet);
    stage.end(ex_id, Status::Failed).await;
    answers.insert("ex-failed", stage.get(&format!("/ex/{ex_id}")).await);
    answers.insert("ex-errors", stage.get(&format!("/ex/{ex_id}/errors")).await);
    answers.insert("job-errors", stage.get(&format!("/jobs/{job_id}/errors")).await);

    let mut with_asset = job();
    with_asset["assets"] = json!(["standard"]);
    let (job_id, _) = stage.ended_job(&with_asset, Status::Stopped).await;
    let recovered = stage.post(&format!("/jobs/{job_id}/_recover?cleanup_type=pending")).await;
    let ex_id: ExId = recovered.id("ex_id");
    answers.insert("job-recover", recovered);
    let puppet = stage.run(ex_id).await;
    drop(puppet);
    stage.end(ex_id, Status::Completed).await;
    answers.insert("ex-recovered", stage.get(&format!("/ex/{ex_id}")).await);
}

async fn deleted(stage: &Stage, answers: &mut Answers) {
    let mut inactive = job();
    inactive["active"] = true.into();
    let job_id = stage.stored_job(&inactive).await;
    let path = format!("/jobs/{job_id}");
    answers.insert("job-delete", stage.delete(&path).await);
    answers.insert("error-delete-deleted", stage.delete(&path).await);
    answers.insert("error-start-deleted", stage.post(&format!("{path}/_start")).await);
    answers.insert("error-update-deleted", stage.put_json(&path, &job()).await);
    answers.insert("job-list-deleted", stage.get("/jobs?deleted=true").await);
    answers.insert("txt-jobs-deleted", stage.get("/txt/jobs?deleted=true").await);
}

async fn assets(stage: &Stage, answers: &mut Answers) {
    let path = "/assets?blocking=true";
    let zip = |text: &str| request(Method::POST, path, Body::from(text.to_owned()));
    let created = stage.send(zip("PK standard 1.0.0")).await;
    let id: String = created.id("asset_id");
    answers.insert("asset-created", created);
    answers.insert("asset-there", stage.send(zip("PK standard 1.0.0")).await);
    answers.insert("asset-list", stage.get("/assets/standard").await);
    answers.insert("asset-version", stage.get("/assets/standard/1.0.0").await);
    answers.insert("asset-none", stage.get("/assets/other").await);
    answers.insert("txt-assets", stage.get("/txt/assets").await);
    answers.insert("error-asset-exists", stage.send(zip("PK standard 1.0.0 changed")).await);
    answers.insert("error-asset-json", stage.post_json("/assets", &json!({})).await);
    answers.insert("error-asset-no-json", stage.send(zip("PK")).await);
    answers.insert("error-asset-no-zip", stage.send(zip("text")).await);
    answers.insert("error-asset-bad-id", stage.delete("/assets/short").await);
    answers.insert("error-asset-unknown", stage.delete(&format!("/assets/{}", "0".repeat(40))).await);
    answers.insert("asset-delete", stage.delete(&format!("/assets/{id}")).await);
}

/// Returns what is not as it was recorded.
fn compare(recorded: &Value, reply: &Reply) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, expected: &Value, found: Value| {
        if *expected != found {
            wrong.push(format!("{what} is {found}, recorded {expected}: {}", reply.text));
        }
    };
    let kind = reply.headers.get("content-type").and_then(|value| value.to_str().ok());
    expect("the status", &recorded["status"], reply.status.as_u16().into());
    expect("the content type", &recorded["type"], kind.into());
    if let Some(columns) = recorded.get("columns") {
        let header = reply.text.lines().next().unwrap_or_default();
        let found: Vec<_> = header.split_whitespace().collect();
        expect("the header", columns, json!(found));
        return wrong;
    }
    let second = reply.text.lines().nth(1).unwrap_or_default();
    let indent = second.len() - second.trim_start().len();
    expect("the indent", &recorded["indent"], indent.into());
    match_shape(&recorded["shape"], &reply.json(), "", &mut wrong);
    wrong
}

fn match_shape(shape: &Value, found: &Value, path: &str, wrong: &mut Vec<String>) {
    match shape {
        Value::String(kind) => {
            if !is_of(kind, found) {
                wrong.push(format!("{path} is {found}, recorded {kind}"));
            }
        }
        Value::Object(shape) => {
            for (kind, inner) in shape {
                match_composed(kind, inner, found, path, wrong);
            }
        }
        other => wrong.push(format!("{path} has an unknown shape: {other}")),
    }
}

fn match_composed(kind: &str, inner: &Value, found: &Value, path: &str, wrong: &mut Vec<String>) {
    match (kind, inner, found) {
        ("object", Value::Object(keys), Value::Object(found)) => {
            for (key, shape) in keys {
                let (name, is_optional) =
                    key.strip_suffix('?').map_or((key.as_str(), false), |name| (name, true));
                match found.get(name) {
                    Some(value) => match_shape(shape, value, &format!("{path}/{name}"), wrong),
                    None if is_optional => {}
                    None => wrong.push(format!("{path}/{name} is missing")),
                }
            }
        }
        ("array", Value::String(nothing), Value::Array(found))
            if nothing == "nothing" && found.is_empty() => {}
        ("array", shape, Value::Array(found)) if !found.is_empty() => {
            for (index, value) in found.iter().enumerate() {
                match_shape(shape, value, &format!("{path}/{index}"), wrong);
            }
        }
        ("map", shape, Value::Object(found)) if !found.is_empty() => {
            for (key, value) in found {
                match_shape(shape, value, &format!("{path}/{key}"), wrong);
            }
        }
        _ => wrong.push(format!("{path} is {found}, recorded {kind} of {inner}")),
    }
}

fn is_of(kind: &str, found: &Value) -> bool {
    let text = found.as_str();
    match kind {
        "string" => text.is_some(),
        "uuid" => text.is_some_and(|text| text.parse::<ExId>().is_ok()),
        "time" => text.is_some_and(|text| text.parse::<teraslice_model::timestamp::Timestamp>().is_ok()),
        "sha1" => {
            text.is_some_and(|text| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        "number" => found.is_number(),
        "boolean" => found.is_boolean(),
        "null" => found.is_null(),
        _ => false,
    }
}
