//! Lists: paged, sorted, filtered, as JSON and as text.

use serde_json::{Value, json};
use teraslice_core::{conformance::store::record, store::Flush};
use teraslice_model::{slice::SliceState, status::Status};

use crate::support::{Stage, busy, job};

async fn with_jobs(names: &[&str]) -> Stage {
    let stage = Stage::new().await;
    for (workers, name) in (1..).zip(names) {
        let mut named = job();
        named["name"] = (*name).into();
        named["workers"] = workers.into();
        stage.stored_job(&named).await;
        tokio::time::advance(std::time::Duration::from_millis(5)).await;
    }
    stage
}

async fn names(stage: &Stage, path: &str) -> Vec<String> {
    let listed = stage.get(path).await.ok();
    listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_what_was_changed_last_first() {
    let stage = with_jobs(&["a", "b", "c"]).await;
    assert_eq!(names(&stage, "/jobs").await, ["c", "b", "a"]);
    assert_eq!(names(&stage, "/jobs?from=1&size=1").await, ["b"]);
    assert_eq!(names(&stage, "/jobs?sort=name:asc").await, ["a", "b", "c"]);
    assert_eq!(names(&stage, "/jobs?sort=workers").await, ["a", "b", "c"]);
    assert!(names(&stage, "/jobs?size=0").await.is_empty());
    assert!(names(&stage, "/jobs?from=9007199254740991").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn filters_by_queries_and_says_where_one_is_wrong() {
    let stage = with_jobs(&["alpha", "beta", "gamma"]).await;
    assert_eq!(names(&stage, "/jobs?filter=workers:%3E=2").await, ["gamma", "beta"]);
    let message = stage.get("/jobs?filter=name:(a").await.refused(400);
    assert!(message.contains("at character"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn refuses_lists_that_cannot_be() {
    let stage = Stage::new().await;
    for (query, status) in [
        ("size=10001", 400),
        ("sort=name:up", 400),
        ("deleted=maybe", 400),
        ("from=-1", 400),
        ("size=1e3", 500),
    ] {
        for path in ["/jobs", "/ex", "/txt/jobs"] {
            stage.get(&format!("{path}?{query}")).await.refused(status);
        }
    }
    assert_eq!(stage.get("/jobs?nobody_knows=1&active=perhaps").await.ok(), json!([]));
}

#[tokio::test(start_paused = true)]
async fn lists_executions_by_status() {
    let stage = Stage::new().await;
    stage.ended_job(&job(), Status::Completed).await;
    stage.ended_job(&job(), Status::Failed).await;
    let count = async |query: &str| stage.get(&format!("/ex?{query}")).await.ok().as_array().unwrap().len();
    for (query, expected) in [
        ("", 2),
        ("status=*", 2),
        ("status=failed", 1),
        ("status=failed,completed", 2),
        ("status=running", 0),
        ("status=aborted", 0),
        ("status=", 2),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_slices_that_were_given_up() {
    let stage = Stage::new().await;
    let (job_id, ex_id, _puppet) = stage.running_job(&job()).await;
    let failed = |order| {
        let mut failed = record(ex_id, 0, order, SliceState::Error);
        failed.error = Some("it broke".into());
        failed
    };
    stage.append(ex_id, Flush { slices: (1..=3).map(failed).collect(), ..Flush::default() }).await;
    let (_, other, _puppet) = stage.running_job(&job()).await;
    stage
        .append(other, Flush { slices: vec![record(other, 0, 1, SliceState::Error)], ..Flush::default() })
        .await;
    let orders = async |path: &str| {
        let listed = stage.get(path).await.ok();
        listed.as_array().unwrap().iter().map(|it| it["slicer_order"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(orders(&format!("/jobs/{job_id}/errors?sort=slicer_order:desc")).await, [3, 2, 1]);
    assert_eq!(orders(&format!("/ex/{ex_id}/errors?sort=slicer_order:asc&from=1&size=1")).await, [2]);
    assert_eq!(orders("/ex/errors").await.len(), 4);
    assert_eq!(
        stage.get(&format!("/ex/{ex_id}/errors")).await.ok()[0]["request"].as_str().unwrap().as_bytes()[0],
        b'{'
    );
    stage.get(&format!("/ex/{}/errors", stage.context.ex_id())).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn shows_tables_in_the_layout_that_people_script_against() {
    let stage = with_jobs(&["a", "longer name"]).await;
    let fields = "fields=name,workers,operations.0._op,nothing&sort=name:asc";
    let reply = stage.get(&format!("/txt/jobs?{fields}")).await;
    assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
    let expected = "name         workers  operations.0._op  nothing\n\
                    -----------  -------  ----------------  -------\n\
                    a            1        test-reader       N/A    \n\
                    longer name  2        test-reader       N/A    \n";
    assert_eq!(reply.text, expected);
    let rows = stage.get(&format!("/txt/jobs?{fields}&headers=false&size=1")).await.text;
    assert_eq!(rows, "a  1  test-reader  N/A\n");
    let empty = stage.get("/txt/ex?fields=name,ex_id").await.text;
    assert_eq!(empty, "name  ex_id\n----  -----\n           \n");
}

#[tokio::test(start_paused = true)]
async fn shows_nodes_workers_and_controllers_in_pages() {
    let stage = Stage::new().await;
    let nodes = stage.get("/txt/nodes?fields=node_id,active,total&headers=false").await.text;
    assert_eq!(nodes, "node-1  2  8\n");
    let workers =
        stage.get("/txt/workers?fields=assignment,ex_id,node_id&headers=false&from=1&size=1").await.text;
    assert_eq!(workers, "worker  03030303-0303-4303-8303-030303030303  node-1\n");
    let (_, _, puppet) = stage.running_job(&job()).await;
    puppet.report(busy(&stage.context)).await;
    stage.until(async || stage.controllers.totals().processed > 0).await;
    let controllers = stage.get("/txt/controllers?fields=name,processed,failed&headers=false").await.text;
    assert_eq!(controllers, "a job  50  2\n");
}

#[tokio::test(start_paused = true)]
async fn pages_neither_skip_nor_repeat() {
    let all: Vec<String> = (0..25).map(|number| format!("job-{number:02}")).collect();
    let stage = with_jobs(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen = Vec::new();
    for page in 0..4 {
        seen.extend(names(&stage, &format!("/jobs?size=7&from={}", page * 7)).await);
    }
    seen.sort();
    assert_eq!(seen, all);
    assert_eq!(
        stage.get("/jobs?size=3").await.ok(),
        Value::Array(stage.get("/jobs").await.ok().as_array().unwrap()[..3].to_vec())
    );
}
