//! Assets: published, listed, fetched, removed.

use axum::{body::Body, http::Method};
use serde_json::json;

use crate::support::{Reply, Stage, request};

async fn upload(stage: &Stage, text: &str) -> Reply {
    let mut sent = request(Method::POST, "/assets", Body::from(text.to_owned()));
    sent.headers_mut().insert("content-type", "application/octet-stream".parse().unwrap());
    stage.send(sent).await
}

#[tokio::test(start_paused = true)]
async fn publishes_a_bundle_and_says_what_is_wrong_with_one() {
    let stage = Stage::new().await;
    assert_eq!(upload(&stage, "PK standard 1.0.0").await.status, 201);
    assert_eq!(upload(&stage, "PK standard 1.0.0").await.status, 200);
    assert!(upload(&stage, "PK").await.refused(422).contains("asset.json"));
    upload(&stage, "PK standard 1.0.0 other").await.refused(409);
    upload(&stage, "text").await.refused(500);
    let audit = stage.get("/v1/audit").await.ok();
    assert_eq!(audit.as_array().unwrap().len(), 1, "only what was new is a change");
}

#[tokio::test(start_paused = true)]
async fn takes_a_bundle_larger_than_other_bodies() {
    let stage = Stage::with(|options| options.body_len_max = 10).await;
    assert_eq!(upload(&stage, &format!("PK large 1.0.0 {}", "x".repeat(1_000))).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn lists_assets_by_name_and_version() {
    let stage = Stage::new().await;
    for text in ["PK a 1.0.0", "PK a 1.1.0", "PK a 2.0.0", "PK b 1.0.0"] {
        upload(&stage, text).await;
    }
    let names = async |path: &str| {
        let listed = stage.get(path).await.ok();
        let names = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", it["name"].as_str().unwrap(), it["version"].as_str().unwrap()));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("/assets").await, ["b 1.0.0", "a 2.0.0", "a 1.1.0", "a 1.0.0"]);
    assert_eq!(names("/v1/assets/a").await, ["a 2.0.0", "a 1.1.0", "a 1.0.0"]);
    assert_eq!(names("/assets/a/1.*?sort=version:asc").await, ["a 1.0.0", "a 1.1.0"]);
    assert_eq!(names("/assets?from=1&size=2&sort=name:asc").await, ["a 1.1.0", "a 1.0.0"]);
    stage.get("/assets?size=x").await.refused(500);
}

#[tokio::test]
async fn hands_out_a_bundle() {
    let stage = Stage::new().await;
    let id: String = upload(&stage, "PK a 1.0.0").await.id("asset_id");
    let reply = stage.get(&format!("/v1/assets/{id}/bundle")).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "PK a 1.0.0"));
    assert_eq!(
        (&reply.headers["content-type"], &reply.headers["content-length"]),
        (&"application/zip".parse().unwrap(), &"10".parse().unwrap(),)
    );
    stage.get("/v1/assets/none/bundle").await.refused(404);
    assert_eq!(stage.get("/assets/a/bundle").await.ok(), json!([]), "without v1 it is a version");
}

#[tokio::test(start_paused = true)]
async fn removes_an_asset() {
    let stage = Stage::new().await;
    let id: String = upload(&stage, "PK a 1.0.0").await.id("asset_id");
    assert_eq!(stage.delete(&format!("/assets/{id}")).await.ok(), json!({"asset_id": id}));
    stage.delete(&format!("/assets/{id}")).await.refused(404);
    stage.delete(&format!("/assets/{}", "f".repeat(40))).await.refused(409);
    let reply = stage.delete("/assets/short").await;
    assert_eq!(reply.status, 400);
    assert!(reply.json()["error"].as_str().unwrap().contains("40 characters"));
    assert!(reply.json().get("message").is_none());
}
