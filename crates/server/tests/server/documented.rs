//! Every answer of every test has a status that the OpenAPI document knows for its endpoint.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value};
use teraslice_server::openapi;

use crate::support::{Stage, request};

static PATHS: LazyLock<Map<String, Value>> = LazyLock::new(|| match &openapi::document()["paths"] {
    Value::Object(paths) => paths.clone(),
    other => panic!("no paths: {other}"),
});

/// Fails where an endpoint has given an answer that is not documented.
#[track_caller]
pub(crate) fn check_documented(method: &Method, path: &str, status: StatusCode) {
    let method = method.as_str().to_ascii_lowercase();
    let Some(operation) = found(path).and_then(|item| item.get(method.replace("head", "get"))) else {
        let is_known = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NO_CONTENT, StatusCode::UNAUTHORIZED]
            .contains(&status)
            || status == StatusCode::SERVICE_UNAVAILABLE;
        assert!(is_known, "{method} {path} is not documented, and answered {status}");
        return;
    };
    let is_documented =
        status == StatusCode::METHOD_NOT_ALLOWED || operation["responses"].get(status.as_str()).is_some();
    assert!(is_documented, "{status} is not documented for {method} {path}");
}

/// Returns the entry of a path; of several the one with the fewest variable parts.
fn found(path: &str) -> Option<&'static Value> {
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let path = if path.is_empty() { "/" } else { path };
    let matching = PATHS.iter().filter(|(template, _)| {
        let template = template.strip_prefix("/v1").unwrap_or(template);
        let template = if template.is_empty() { "/" } else { template };
        let (parts, wanted) = (path.split('/').collect::<Vec<_>>(), template.split('/').collect::<Vec<_>>());
        parts.len() == wanted.len()
            && parts.iter().zip(&wanted).all(|(part, wanted)| wanted.starts_with('{') || part == wanted)
    });
    matching.min_by_key(|(template, _)| template.matches('{').count()).map(|(_, item)| item)
}

#[tokio::test(start_paused = true)]
async fn every_documented_path_is_served() {
    let stage = Stage::new().await;
    let (job_id, ex_id) = stage.started_job(&crate::support::job()).await;
    for (template, item) in PATHS.iter() {
        for method in item.as_object().unwrap().keys() {
            if template.ends_with("/events") {
                // It would not end before the execution does.
                continue;
            }
            let id = if template.contains("/jobs/") { job_id.to_string() } else { ex_id.to_string() };
            let path = template.replace("{id}", &id).replace("{version}", "1.0.0");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let reply = stage.send(request(method, &path, axum::body::Body::empty())).await;
            assert_ne!(reply.status, 405, "{template}");
        }
    }
}
