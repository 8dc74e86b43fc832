//! Access: tokens, roles, the brake on guessing, the audit log.

use axum::{
    body::Body,
    http::{Method, Request},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use teraslice_model::access::AccessRole;
use teraslice_server::{ApiAuth, access::draw};

use crate::support::{Reply, Stage, job, request, with_json};

/// Returns a master that wants tokens, and the word of its first one.
async fn guarded() -> (Stage, String) {
    let stage = Stage::with(|options| options.auth = ApiAuth::Tokens).await;
    let first = draw("root", AccessRole::Admin, stage.context.wall()).unwrap();
    stage.store.create_token(first.record).await.unwrap();
    (stage, first.word)
}

fn bearing(word: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("authorization", format!("Bearer {word}").parse().unwrap());
    request
}

async fn get(stage: &Stage, word: &str, path: &str) -> Reply {
    stage.send(bearing(word, request(Method::GET, path, Body::empty()))).await
}

async fn make(stage: &Stage, word: &str, name: &str, role: &str) -> Reply {
    let body = json!({"name": name, "role": role});
    stage.send(bearing(word, with_json(Method::POST, "/v1/tokens", &body))).await
}

#[tokio::test(start_paused = true)]
async fn wants_a_token_for_everything_but_health() {
    let (stage, word) = guarded().await;
    let reply = stage.get("/v1/jobs").await;
    reply.refused(401);
    assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"teraslice\"");
    for path in ["/", "/jobs", "/nothing", "/metrics", "/txt/jobs", "/v1/audit"] {
        stage.get(path).await.refused(401);
        assert_ne!(get(&stage, &word, path).await.status, 401, "{path}");
    }
    assert_eq!(stage.get("/v1/health/live").await.status, 200);
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("anyone:{word}")));
    let mut sent = request(Method::GET, "/jobs", Body::empty());
    sent.headers_mut().insert("authorization", basic.parse().unwrap());
    assert_eq!(stage.send(sent).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn lets_each_role_do_what_it_may() {
    let (stage, root) = guarded().await;
    let mut words = Vec::new();
    for role in ["read", "operate"] {
        let made = make(&stage, &root, role, role).await;
        assert_eq!(made.status, 201);
        words.push(made.json()["token"].as_str().unwrap().to_owned());
    }
    let post = async |word: &str| {
        stage.send(bearing(word, with_json(Method::POST, "/jobs?start=false", &job()))).await
    };
    assert_eq!(get(&stage, &words[0], "/jobs").await.status, 200);
    let message = post(&words[0]).await.refused(403);
    assert_eq!(message, "token \"read\" has the role read, this needs operate");
    assert_eq!(post(&words[1]).await.status, 200);
    get(&stage, &words[1], "/v1/tokens").await.refused(403);
    let listed = get(&stage, &root, "/v1/tokens").await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert!(!listed.to_string().contains("hash"), "{listed}");
}

#[tokio::test(start_paused = true)]
async fn withdraws_a_token_at_once() {
    let (stage, root) = guarded().await;
    let made = make(&stage, &root, "guest", "read").await.json();
    let word = made["token"].as_str().unwrap();
    assert_eq!(get(&stage, word, "/jobs").await.status, 200);
    let path = "/v1/tokens/guest";
    assert_eq!(stage.send(bearing(&root, request(Method::DELETE, path, Body::empty()))).await.status, 200);
    get(&stage, word, "/jobs").await.refused(401);
    stage.send(bearing(&root, request(Method::DELETE, path, Body::empty()))).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn refuses_tokens_that_cannot_be() {
    let (stage, root) = guarded().await;
    make(&stage, &root, "root", "read").await.refused(409);
    for (name, role) in [("", "read"), ("a b", "read"), ("a", "king"), (&"x".repeat(65), "read")] {
        make(&stage, &root, name, role).await.refused(400);
    }
    let empty = bearing(&root, request(Method::POST, "/v1/tokens", Body::empty()));
    stage.send(empty).await.refused(400);
}

#[tokio::test(start_paused = true)]
async fn slows_down_who_guesses() {
    let (stage, root) = guarded().await;
    for _ in 0..10 {
        get(&stage, "wrong", "/jobs").await.refused(401);
    }
    let reply = get(&stage, &root, "/jobs").await;
    reply.refused(429);
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(get(&stage, &root, "/jobs").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn takes_down_every_change() {
    let (stage, root) = guarded().await;
    let sent = bearing(&root, with_json(Method::POST, "/v1/jobs?start=false", &job()));
    let job_id: String = stage.send(sent).await.id("job_id");
    let mut changed = job();
    changed["workers"] = 3.into();
    let path = format!("/jobs/{job_id}");
    stage.send(bearing(&root, with_json(Method::PUT, &path, &changed))).await.ok();
    stage.send(bearing(&root, request(Method::DELETE, "/jobs/none", Body::empty()))).await.refused(404);
    let audit = get(&stage, &root, "/v1/audit").await.ok();
    let entries = audit.as_array().unwrap();
    assert_eq!(entries.len(), 2, "what was refused has changed nothing: {audit}");
    let (update, submit) = (&entries[0], &entries[1]);
    assert_eq!((&submit["who"], &submit["address"]), (&json!("root"), &json!("10.0.0.9")));
    assert_eq!((&submit["action"], &submit["target"]), (&json!("POST /v1/jobs"), &json!(job_id)));
    assert_eq!((&submit["before"], &submit["after"]["workers"]), (&Value::Null, &json!(2)));
    assert_eq!((&update["before"]["workers"], &update["after"]["workers"]), (&json!(2), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn names_nobody_where_nobody_has_to_say_who_they_are() {
    let stage = Stage::new().await;
    let (_, ex_id, _puppet) = stage.running_job(&job()).await;
    stage.post(&format!("/ex/{ex_id}/_workers?add=1")).await.ok();
    stage.post(&format!("/ex/{ex_id}/_stop")).await.ok();
    stage.post(&format!("/ex/{ex_id}/_stop")).await.ok();
    let audit = stage.get("/v1/audit?size=10").await.ok();
    let actions: Vec<_> = audit.as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    let expected =
        [format!("POST /ex/{ex_id}/_stop"), format!("POST /ex/{ex_id}/_workers"), "POST /jobs".to_owned()];
    assert_eq!(actions, expected);
    assert!(audit.as_array().unwrap().iter().all(|it| it["who"] == "anonymous"));
}
