//! What goes on inside: slices, dead letters and their replays, explanations, events, metrics.

use serde_json::{Value, json};
use teraslice_core::{
    conformance::store::record,
    store::{Flush, Letters, Page},
};
use teraslice_model::{
    dead_letter::{DeadLetter, Encoding},
    id::ExId,
    slice::SliceState,
    status::Status,
};

use crate::support::{Stage, busy, job};

fn letter(ex_id: ExId, order: u64, op: &str, operation: u32) -> DeadLetter {
    DeadLetter {
        slice_id: record(ex_id, 0, order, SliceState::Completed).slice.id,
        operation,
        op: op.to_owned(),
        reason: "it is bad".to_owned(),
        record: "{}".to_owned(),
        encoding: Encoding::Text,
        metadata: None,
    }
}

/// Returns an ended execution with two slices and three letters.
async fn with_letters(stage: &Stage) -> ExId {
    let (_, ex_id, puppet) = stage.running_job(&job()).await;
    let slices = vec![record(ex_id, 0, 1, SliceState::Completed), record(ex_id, 0, 2, SliceState::Pending)];
    let dead_letters =
        vec![letter(ex_id, 1, "noop", 1), letter(ex_id, 1, "test-reader", 0), letter(ex_id, 1, "noop", 1)];
    stage.append(ex_id, Flush { slices, dead_letters, ..Flush::default() }).await;
    drop(puppet);
    stage.end(ex_id, Status::Stopped).await;
    ex_id
}

#[tokio::test(start_paused = true)]
async fn lists_slices_by_state() {
    let stage = Stage::new().await;
    let ex_id = with_letters(&stage).await;
    let list = async |query: &str| stage.get(&format!("/v1/ex/{ex_id}/slices{query}")).await.ok();
    let pending = list("").await;
    assert_eq!(pending[0]["slicer_order"], 2);
    assert_eq!(pending[0]["ex_id"], json!(ex_id));
    assert_eq!(list("?state=pending").await, pending);
    assert_eq!(list("?state=completed").await[0]["request"]["start"], 1);
    assert_eq!(list("?state=error").await, json!([]));
    assert_eq!(list("?state=completed&from=1").await, json!([]));
    stage.get(&format!("/v1/ex/{ex_id}/slices?state=lost")).await.refused(400);
    stage.get(&format!("/ex/{ex_id}/slices")).await.refused(405);
}

#[tokio::test(start_paused = true)]
async fn replays_dead_letters_once() {
    let stage = Stage::new().await;
    let ex_id = with_letters(&stage).await;
    let path = format!("/v1/ex/{ex_id}/dead_letters");
    assert_eq!(stage.get(&path).await.ok().as_array().unwrap().len(), 3);
    let answer = stage.post(&format!("{path}/_replay")).await.ok();
    let replays = answer["replays"].as_array().unwrap();
    assert_eq!(replays.len(), 1, "letters of the reader and of the first operation go in at the same place");
    assert_eq!((&replays[0]["letters"], &replays[0]["operation"]), (&json!(3), &json!(1)));
    let replay: ExId = replays[0]["ex_id"].as_str().unwrap().parse().unwrap();
    let execution = stage.execution(replay).await;
    assert_eq!(execution.job["operations"][0]["_op"], "dead_letter_reader");
    assert_eq!(execution.job["operations"][0]["ex_id"], json!(ex_id));
    assert_eq!(execution.job["name"], "a job (replay)");
    let page = Page { from: 0, size: 10 };
    let held = stage.store.dead_letters(ex_id, Letters::ReplayedIn(replay), page).await.unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(stage.get(&format!("{path}?which=open")).await.ok(), json!([]));
    assert_eq!(stage.post(&format!("{path}/_replay")).await.ok(), json!({"replays": []}));
    stage.until(async || stage.execution(replay).await.status == Status::Initializing).await;
    let again = json!({"again": true});
    let path = format!("{path}/_replay");
    assert_eq!(stage.post_json(&path, &again).await.ok(), json!({"replays": []}), "the replay has not ended");
    stage.post(&format!("/ex/{replay}/_stop")).await.ok();
    assert_eq!(stage.post_json(&path, &again).await.ok()["replays"][0]["letters"], 3);
}

#[tokio::test(start_paused = true)]
async fn replays_the_chosen_letters_only() {
    let stage = Stage::new().await;
    let ex_id = with_letters(&stage).await;
    let path = format!("/v1/ex/{ex_id}/dead_letters/_replay");
    let of_reader = stage.post_json(&path, &json!({"op": "test-reader"})).await.ok();
    assert_eq!(of_reader["replays"][0]["letters"], 1);
    for wrong in [json!({"everything": true}), json!({"numbers": "all"})] {
        stage.post_json(&path, &wrong).await.refused(400);
    }
    stage.post(&format!("/v1/ex/{}/dead_letters/_replay", stage.context.ex_id())).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn explains_what_is_in_the_way() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.started_job(&job()).await;
    let cause = async || stage.get(&format!("/v1/ex/{ex_id}/explain")).await.ok()["cause"].clone();
    stage.until(async || stage.execution(ex_id).await.status == Status::Initializing).await;
    assert_eq!(cause().await, "initializing");
    let puppet = stage.run(ex_id).await;
    assert_eq!(cause().await, "no_worker");
    puppet.report(busy(&stage.context)).await;
    stage.until(async || cause().await == "nothing").await;
    drop(puppet);
    stage.end(ex_id, Status::Failed).await;
    let explained = stage.get(&format!("/v1/ex/{ex_id}/explain")).await.ok();
    assert_eq!(explained["cause"], "failed");
    assert_eq!(explained["evidence"]["failure"], "2 slices have failed");
    assert!(explained["hint"].is_string());
}

/// Returns the names and data of the events in a stream.
fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split("\n\n").filter(|block| block.contains("event:"));
    let read = |block: &str| {
        let line =
            |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        (line("event:").to_owned(), serde_json::from_str(line("data:")).unwrap())
    };
    blocks.map(read).collect()
}

#[tokio::test(start_paused = true)]
async fn streams_what_happens_until_the_end() {
    let stage = Stage::new().await;
    let (_, ex_id, puppet) = stage.running_job(&job()).await;
    let path = format!("/v1/ex/{ex_id}/events");
    let listening = stage.get(&path);
    let happening = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        puppet.report(busy(&stage.context)).await;
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        stage.post(&format!("/ex/{ex_id}/_stop")).await.ok();
        drop(puppet);
    };
    let (reply, ()) = tokio::join!(listening, happening);
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let events = events(&reply.text);
    assert_eq!((events[0].0.as_str(), &events[0].1["status"]), ("status", &json!("running")));
    assert!(events.iter().any(|(name, data)| name == "progress" && data["stats"]["processed"] == 50));
    let last = events.last().unwrap();
    assert_eq!((last.0.as_str(), &last.1["status"]), ("end", &json!("stopped")));
    assert_eq!(events.iter().filter(|(name, _)| name == "end").count(), 1);
    assert!(reply.text.lines().any(|line| line.starts_with(':')), "comments keep it alive");
}

#[tokio::test(start_paused = true)]
async fn tells_a_listener_of_an_ended_execution_that_it_has_ended() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.ended_job(&job(), Status::Completed).await;
    let reply = stage.get(&format!("/v1/ex/{ex_id}/events")).await;
    let names: Vec<_> = events(&reply.text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["status", "progress", "end"]);
    stage.get(&format!("/v1/ex/{}/events", stage.context.ex_id())).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn bounds_the_number_of_listeners() {
    let stage = Stage::with(|options| options.streams_max = 0).await;
    let (_, ex_id) = stage.started_job(&job()).await;
    stage.get(&format!("/v1/ex/{ex_id}/events")).await.refused(503);
}

#[tokio::test(start_paused = true)]
async fn shows_metrics_as_long_as_an_execution_runs() {
    let stage = Stage::new().await;
    let (job_id, ex_id, puppet) = stage.running_job(&job()).await;
    puppet.report(busy(&stage.context)).await;
    stage.until(async || stage.controllers.totals().processed == 50).await;
    let reply = stage.get("/metrics").await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let labels = format!("ex_id=\"{ex_id}\",job_id=\"{job_id}\",job_name=\"a job\"");
    let common = "name=\"tera\",url=\"\"";
    for line in [
        format!("teraslice_slices_processed{{{common}}} 50"),
        format!("teraslice_controller_slices_queued{{{labels},{common}}} 4"),
        format!("teraslice_execution_status{{{labels},status=\"running\",{common}}} 1"),
        format!("teraslice_execution_status{{{labels},status=\"failed\",{common}}} 0"),
        format!("teraslice_execution_workers{{{labels},{common}}} 2"),
    ] {
        assert!(reply.text.lines().any(|it| it == line), "{line}\n{}", reply.text);
    }
    drop(puppet);
    stage.end(ex_id, Status::Completed).await;
    stage.until(async || stage.controllers.stats(ex_id).is_none()).await;
    assert!(!stage.get("/metrics").await.text.contains(&ex_id.to_string()));
}
