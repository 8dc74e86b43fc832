//! Executions: stopped, paused, resumed, scaled, recovered.

use std::time::Duration;

use serde_json::json;
use teraslice_model::{execution::Cleanup, status::Status};

use crate::support::{Stage, job};

#[tokio::test(start_paused = true)]
async fn stops_an_execution_and_waits_for_its_end() {
    let stage = Stage::new().await;
    let (job_id, ex_id, _puppet) = stage.running_job(&job()).await;
    assert_eq!(stage.post(&format!("/jobs/{job_id}/_stop")).await.ok(), json!({"status": "stopped"}));
    assert_eq!(stage.execution(ex_id).await.status, Status::Stopped);
    assert_eq!(stage.post(&format!("/ex/{ex_id}/_stop")).await.ok(), json!({"status": "stopped"}));
}

#[tokio::test(start_paused = true)]
async fn stops_without_waiting_on_demand() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    let status = stage.post(&format!("/ex/{ex_id}/_stop?blocking=false")).await.ok()["status"].clone();
    assert!(status == "stopping" || status == "stopped", "{status}");
    stage.until(async || stage.execution(ex_id).await.status == Status::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn answers_a_forced_stop_with_a_message() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    let reply = stage.post(&format!("/ex/{ex_id}/_stop?force=true")).await.ok();
    assert!(reply["message"].as_str().unwrap().contains(&ex_id.to_string()));
    assert!(reply["status"].is_string());
}

#[tokio::test(start_paused = true)]
async fn stops_an_execution_that_the_engine_has_not_found_yet() {
    let stage = Stage::new().await;
    let waiting = teraslice_core::conformance::store::execution(9);
    let ex_id = waiting.ex_id;
    stage.store.create_execution(waiting).await.unwrap();
    assert_eq!(stage.post(&format!("/ex/{ex_id}/_stop")).await.ok()["status"], "stopped");
}

#[tokio::test(start_paused = true)]
async fn refuses_parameters_that_are_none() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    for query in ["timeout=soon", "blocking=maybe", "force=1"] {
        stage.post(&format!("/ex/{ex_id}/_stop?{query}")).await.refused(400);
    }
    assert_eq!(stage.execution(ex_id).await.status, Status::Running);
}

#[tokio::test(start_paused = true)]
async fn pauses_and_resumes_by_the_controller() {
    let stage = Stage::new().await;
    let (job_id, ex_id, puppet) = stage.running_job(&job()).await;
    for path in [format!("/jobs/{job_id}"), format!("/ex/{ex_id}")] {
        assert_eq!(stage.post(&format!("{path}/_pause")).await.ok(), json!({"status": "paused"}));
        assert_eq!(stage.post(&format!("{path}/_resume")).await.ok(), json!({"status": "running"}));
    }
    drop(puppet);
    stage.until(async || stage.controllers.stats(ex_id).is_none()).await;
    let message = stage.post(&format!("/ex/{ex_id}/_pause")).await.refused(500);
    assert!(message.contains("not connected"), "{message}");
    stage.end(ex_id, Status::Completed).await;
    for path in [format!("/jobs/{job_id}"), format!("/ex/{ex_id}")] {
        stage.post(&format!("{path}/_pause")).await.refused(404);
        stage.post(&format!("{path}/_resume")).await.refused(404);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_the_workers_for_good() {
    let stage = Stage::new().await;
    let (job_id, ex_id, _puppet) = stage.running_job(&job()).await;
    let path = format!("/jobs/{job_id}/_workers");
    let cases = [
        ("add=1", "1 workers have been enqueued", 3),
        ("remove=2", "2 workers have been remove", 1),
        ("total=2", "1 workers have been enqueued", 2),
        ("total=2", "2 workers have been set", 2),
        ("add=0", "0 workers have been enqueued", 2),
    ];
    for (query, said, wanted) in cases {
        let message = stage.post(&format!("{path}?{query}")).await.ok()["message"].clone();
        assert_eq!(message, format!("{said} for execution: {ex_id}"));
        assert_eq!(stage.execution(ex_id).await.workers_wanted, Some(wanted), "{query}");
        let view = stage.engine.watch(ex_id).await.unwrap();
        stage.until(async || view.borrow().workers_live == wanted).await;
    }
    for query in ["remove=2", "total=0", "total=10001", "add=x", "", "add=1&total=2"] {
        stage.post(&format!("{path}?{query}")).await.refused(400);
    }
    assert_eq!(stage.get(&format!("/ex/{ex_id}")).await.ok()["workers"], 2);
}

#[tokio::test(start_paused = true)]
async fn loses_no_worker_of_requests_at_the_same_time() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    let path = format!("/ex/{ex_id}/_workers?add=1");
    let replies = futures::future::join_all((0..10).map(|_| stage.post(&path))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(stage.execution(ex_id).await.workers_wanted, Some(12));
}

#[tokio::test(start_paused = true)]
async fn sets_the_level_of_logs() {
    let stage = Stage::new().await;
    let (job_id, ex_id, puppet) = stage.running_job(&job()).await;
    let path = format!("/jobs/{job_id}/_settings");
    let expected = json!({"exId": ex_id, "level": "debug"});
    assert_eq!(stage.post(&format!("{path}?log_level=debug")).await.ok(), expected);
    assert_eq!(stage.post_json(&path, &json!({"log_level": "debug"})).await.ok(), expected);
    stage.post(&path).await.refused(400);
    drop(puppet);
    stage.until(async || stage.controllers.stats(ex_id).is_none()).await;
    stage.post(&format!("{path}?log_level=debug")).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn recovers_an_execution_into_a_new_one() {
    let stage = Stage::new().await;
    let (job_id, first) = stage.ended_job(&job(), Status::Failed).await;
    let reply = stage.post(&format!("/ex/{first}/_recover?cleanup_type=errors")).await;
    let second = stage.execution(reply.id("ex_id")).await;
    assert_eq!(second.recovered_execution, Some(first));
    assert_eq!(second.recovered_slice_type, Some(Cleanup::Errors));
    assert_eq!(second.job["name"], stage.execution(first).await.job["name"]);
    stage.post(&format!("/jobs/{job_id}/_recover")).await.refused(409);
    stage.post(&format!("/ex/{}/_recover", second.ex_id)).await.refused(409);
    stage.post(&format!("/ex/{first}/_recover")).await.refused(409);
}

#[tokio::test(start_paused = true)]
async fn recovers_with_the_job_as_it_is_now() {
    let stage = Stage::new().await;
    let (job_id, first) = stage.ended_job(&job(), Status::Stopped).await;
    let mut changed = job();
    changed["workers"] = 9.into();
    stage.put_json(&format!("/jobs/{job_id}"), &changed).await.ok();
    let reply = stage.post(&format!("/jobs/{job_id}/_recover")).await;
    let second = stage.execution(reply.id("ex_id")).await;
    assert_eq!((second.recovered_execution, second.recovered_slice_type), (Some(first), None));
    assert_eq!(second.job["workers"], 9);
    assert!(stage.get(&format!("/ex/{}", second.ex_id)).await.ok().get("recovered_slice_type").is_none());
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_stop_no_longer_than_asked() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    let before = stage.context.now();
    stage.post(&format!("/ex/{ex_id}/_stop?timeout=50")).await.ok();
    assert!(stage.context.now() - before < Duration::from_secs(5));
}
