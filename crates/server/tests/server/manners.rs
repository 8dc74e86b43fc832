//! What holds for every request: versions, methods, slashes, readiness.

use axum::{body::Body, http::Method};

use crate::support::{Stage, job, request};

#[tokio::test(start_paused = true)]
async fn answers_with_and_without_a_version() {
    let stage = Stage::new().await;
    for path in [
        "/",
        "/cluster/state",
        "/cluster/stats",
        "/cluster/controllers",
        "/jobs",
        "/ex",
        "/ex/errors",
        "/assets",
    ] {
        let plain = stage.get(path).await;
        assert_eq!(plain.status, 200, "{path}");
        assert_eq!(stage.get(&format!("/v1{path}")).await.text, plain.text, "{path}");
        assert_eq!(
            stage.get(&format!("{}/", path.trim_end_matches('/'))).await.text,
            plain.text,
            "{path} with a slash"
        );
    }
    for path in ["/tokens", "/audit", "/health/live"] {
        stage.get(path).await.refused(405);
        assert_eq!(stage.get(&format!("/v1{path}")).await.status, 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_what_is_no_endpoint() {
    let stage = Stage::new().await;
    let cases = [
        (Method::GET, "/nothing?a=1", "cannot GET endpoint /nothing?a=1"),
        (Method::PATCH, "/jobs", "cannot PATCH endpoint /jobs"),
        (Method::POST, "/v1/cluster/state", "cannot POST endpoint /v1/cluster/state"),
        (Method::GET, "//nothing", "cannot GET endpoint //nothing"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(stage.send(request(method, path, Body::empty())).await.refused(405), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn says_which_methods_a_path_has() {
    let stage = Stage::new().await;
    let options = stage.send(request(Method::OPTIONS, "/jobs", Body::empty())).await;
    assert_eq!((options.status.as_u16(), options.text.as_str()), (204, ""));
    let allowed = options.headers["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let refused = stage.send(request(Method::PATCH, "/jobs", Body::empty())).await;
    assert_eq!(refused.headers["allow"].to_str().unwrap(), allowed);
    let head = stage.send(request(Method::HEAD, "/jobs", Body::empty())).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

#[tokio::test(start_paused = true)]
async fn answers_nothing_but_health_until_it_is_ready() {
    let stage = Stage::new().await;
    stage.readiness.set(false);
    for path in ["/", "/jobs", "/txt/jobs", "/nothing"] {
        assert_eq!(stage.get(path).await.refused(503), "api is not available");
    }
    stage.post_json("/jobs", &job()).await.refused(503);
    assert_eq!(stage.get("/v1/health/live").await.status, 200);
    stage.get("/v1/health/ready").await.refused(503);
    stage.readiness.set(true);
    assert_eq!(stage.get("/v1/health/ready").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn survives_paths_that_are_none() {
    let stage = Stage::new().await;
    stage.get("/jobs/%FF").await.refused(400);
    stage.get("/jobs/not-an-id").await.refused(404);
    stage.get("/ex/not-an-id/controller").await.refused(404);
    stage.post("/ex/%00/_stop").await.refused(404);
}
