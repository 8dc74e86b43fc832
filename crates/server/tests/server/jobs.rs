//! Jobs: submitted, changed, deleted, started.

use axum::{body::Body, http::Method};
use serde_json::json;
use teraslice_core::store::{ExecutionQuery, JobQuery};
use teraslice_model::{execution::Cleanup, id::JobId, status::Status};

use crate::support::{Stage, job, request, with_json};

#[tokio::test(start_paused = true)]
async fn stores_a_job_as_it_was_submitted() {
    let stage = Stage::new().await;
    let job_id = stage.stored_job(&job()).await;
    let stored = stage.store.job(job_id).await.unwrap().unwrap();
    assert_eq!(json!(stored.job), job());
    assert!(stage.store.executions(ExecutionQuery::default()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn runs_the_checked_job_with_its_defaults() {
    let stage = Stage::new().await;
    let (_, ex_id) = stage.started_job(&job()).await;
    let execution = stage.execution(ex_id).await;
    assert_eq!(execution.job["probation_window"], 300_000);
    stage.until(async || stage.execution(ex_id).await.status == Status::Initializing).await;
}

#[tokio::test(start_paused = true)]
async fn stores_nothing_of_a_job_that_is_wrong() {
    let stage = Stage::new().await;
    let wrong = json!({"workers": 0, "lifecycle": "often", "operations": [{"_op": "test-reader"}]});
    let message = stage.post_json("/jobs", &wrong).await.refused(500);
    for part in ["/workers", "/lifecycle", "/operations"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(stage.store.jobs(JobQuery::default()).await.unwrap().is_empty());
    let unknown = json!({"assets": ["unknown"], "operations": job()["operations"]});
    assert!(stage.post_json("/jobs", &unknown).await.refused(500).contains("no asset is called"));
}

#[tokio::test(start_paused = true)]
async fn warns_in_the_shape_that_clients_know() {
    let stage = Stage::new().await;
    let mut old = job();
    old["recycle_worker"] = 5.into();
    old["anything"] = 1.into();
    let reply = stage.post_json("/jobs?start=false", &old).await.ok();
    let warnings = reply["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .all(|it| it["type"] == "JobValidation" && it["reason"]["reason"]["field"].is_string())
    );
    let kinds: Vec<_> = warnings.iter().map(|it| it["reason"]["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"deprecation") && kinds.contains(&"notice"), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn takes_json_under_every_content_type_that_clients_send() {
    let stage = Stage::new().await;
    for kind in ["application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded"] {
        let mut sent = request(Method::POST, "/v1/jobs?start=false", Body::from(job().to_string()));
        sent.headers_mut().insert("content-type", kind.parse().unwrap());
        assert_eq!(stage.send(sent).await.status, 200, "{kind}");
    }
    let mut sent = request(Method::POST, "/jobs", Body::from(job().to_string()));
    sent.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    stage.send(sent).await.refused(415);
}

#[tokio::test(start_paused = true)]
async fn takes_a_large_job_and_refuses_one_beyond_the_limit() {
    let stage = Stage::with(|options| options.body_len_max = 300_000).await;
    let mut large = job();
    large["filler"] = "x".repeat(200_000).into();
    assert_eq!(stage.post_json("/jobs?start=false", &large).await.status, 200);
    large["filler"] = "x".repeat(300_000).into();
    stage.post_json("/jobs?start=false", &large).await.refused(413);
}

#[tokio::test(start_paused = true)]
async fn says_that_no_job_was_posted() {
    let stage = Stage::new().await;
    for body in ["", "[]", "{}", "\"a\"", "null"] {
        let reply = stage.send(request(Method::POST, "/jobs", Body::from(body))).await;
        assert_eq!(reply.refused(400), "No job was posted", "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn replaces_a_job_whole() {
    let stage = Stage::new().await;
    let mut before = job();
    before["max_retries"] = 5.into();
    let job_id = stage.stored_job(&before).await;
    let created = stage.get(&format!("/jobs/{job_id}")).await.ok()["_created"].clone();
    // Clients send back the record that they were given.
    let mut sent = stage.get(&format!("/jobs/{job_id}?ex=_status")).await.ok();
    sent.as_object_mut().unwrap().remove("max_retries");
    sent["workers"] = 7.into();
    let after = stage.put_json(&format!("/jobs/{job_id}"), &sent).await.ok();
    assert_eq!((&after["workers"], &after["_created"]), (&json!(7), &created));
    assert!(after.get("max_retries").is_none() && after.get("ex").is_none());
    let stored = stage.store.job(job_id).await.unwrap().unwrap();
    assert!(!stored.job.contains_key("job_id") && !stored.job.contains_key("_created"));
}

#[tokio::test(start_paused = true)]
async fn checks_a_changed_job_unless_it_goes_out_of_use() {
    let stage = Stage::new().await;
    let job_id = stage.stored_job(&job()).await;
    let path = format!("/jobs/{job_id}");
    let wrong = json!({"active": false, "workers": 0, "operations": []});
    assert_eq!(stage.put_json(&path, &wrong).await.ok()["active"], false);
    stage.put_json(&path, &wrong).await.refused(500);
    stage.put_json(&path, &json!({})).await.refused(400);
    stage.put_json(&format!("/jobs/{}", stage.context.job_id()), &job()).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn marks_a_job() {
    let stage = Stage::new().await;
    let job_id = stage.stored_job(&job()).await;
    assert_eq!(stage.post(&format!("/jobs/{job_id}/_inactive")).await.ok()["active"], false);
    assert_eq!(stage.get("/jobs?active=true").await.ok(), json!([]));
    assert_eq!(stage.get("/jobs?active=false").await.ok().as_array().unwrap().len(), 1);
    assert_eq!(stage.post(&format!("/jobs/{job_id}/_active")).await.ok()["active"], true);
    assert_eq!(stage.get("/jobs?active=false").await.ok(), json!([]));
}

#[tokio::test(start_paused = true)]
async fn deletes_a_job_with_its_executions_and_keeps_the_records() {
    let stage = Stage::new().await;
    let (job_id, ex_id) = stage.ended_job(&job(), Status::Completed).await;
    let path = format!("/jobs/{job_id}");
    let deleted = stage.delete(&path).await.ok();
    assert_eq!((&deleted["_deleted"], &deleted["active"]), (&json!(true), &json!(false)));
    for list in ["/jobs", "/ex"] {
        assert_eq!(stage.get(list).await.ok(), json!([]), "{list}");
        assert_eq!(stage.get(&format!("{list}?deleted=true")).await.ok().as_array().unwrap().len(), 1);
    }
    assert_eq!(stage.get(&format!("/ex/{ex_id}")).await.ok()["_deleted"], true);
    assert_eq!(stage.get(&format!("{path}?ex=_status")).await.ok()["ex"], json!({}));
    for (action, word) in [("_start", "started"), ("_recover", "recovered"), ("_active", "updated")] {
        let message = stage.post(&format!("{path}/{action}")).await.refused(410);
        let expected = format!("Job {job_id} has been deleted and cannot be {word}");
        assert_eq!(message, expected);
    }
    stage.post(&format!("/ex/{ex_id}/_recover?cleanup_type=all")).await.refused(410);
}

#[tokio::test(start_paused = true)]
async fn runs_one_execution_of_a_job_at_a_time() {
    let stage = Stage::new().await;
    let job_id = stage.stored_job(&job()).await;
    let path = format!("/jobs/{job_id}/_start");
    let (one, two) = tokio::join!(stage.post(&path), stage.post(&path));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(stage.get("/ex").await.ok().as_array().unwrap().len(), 1);
    stage.delete(&format!("/jobs/{job_id}")).await.refused(409);
}

#[tokio::test(start_paused = true)]
async fn goes_on_from_the_last_execution_with_autorecover() {
    let stage = Stage::new().await;
    let mut resuming = job();
    resuming["autorecover"] = true.into();
    let (job_id, first) = stage.ended_job(&resuming, Status::Stopped).await;
    assert_eq!(stage.execution(first).await.recovered_execution, None, "the first start is an ordinary one");
    let started = stage.post(&format!("/jobs/{job_id}/_start")).await;
    let second = stage.execution(started.id("ex_id")).await;
    assert_eq!(second.recovered_execution, Some(first));
    assert_eq!(second.recovered_slice_type, Some(Cleanup::Pending));
}

#[tokio::test(start_paused = true)]
async fn does_not_go_on_with_a_reader_that_cannot() {
    let stage = Stage::new().await;
    let stubborn = json!({"operations": [{"_op": "stubborn-reader"}, {"_op": "noop"}]});
    let (job_id, ex_id) = stage.ended_job(&stubborn, Status::Stopped).await;
    for path in [format!("/jobs/{job_id}"), format!("/ex/{ex_id}")] {
        let message = stage.post(&format!("{path}/_recover")).await.refused(422);
        assert!(message.contains("stubborn-reader"), "{message}");
    }
    assert_eq!(stage.post(&format!("/ex/{ex_id}/_recover?cleanup_type=errors")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn carries_a_submit_to_its_end_when_nobody_waits() {
    let stage = Stage::new().await;
    for polls in 0..12 {
        let sent = stage.send(with_json(Method::POST, "/jobs", &job()));
        let mut sent = Box::pin(sent);
        for _ in 0..polls {
            if futures::poll!(&mut sent).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(sent);
    }
    // Every job that is stored has an execution, and the engine runs each.
    let is_whole = async || {
        let jobs = stage.store.jobs(JobQuery::default()).await.unwrap();
        let executions = stage.store.executions(ExecutionQuery::default()).await.unwrap();
        jobs.len() == executions.len() && executions.iter().all(|it| it.status == Status::Initializing)
    };
    stage.until(is_whole).await;
    assert!(!stage.store.jobs(JobQuery::default()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn adds_fields_of_the_latest_execution() {
    let stage = Stage::new().await;
    let (job_id, ex_id) = stage.started_job(&job()).await;
    let never_run = stage.stored_job(&job()).await;
    let listed = stage.get("/jobs?ex=ex_id,_slicer_stats.processed").await.ok();
    for found in listed.as_array().unwrap() {
        let id: JobId = found["job_id"].as_str().unwrap().parse().unwrap();
        let expected = if id == never_run {
            json!({})
        } else {
            assert_eq!(id, job_id);
            json!({"ex_id": ex_id, "_slicer_stats.processed": 0})
        };
        assert_eq!(found["ex"], expected);
    }
}
