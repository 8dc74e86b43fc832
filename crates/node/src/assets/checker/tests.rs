use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use teraslice_server::library::Library;

use super::*;
use crate::assets::testing::{Place, bundle, job};

/// A cluster with `ex1` 0.0.1 and 0.1.1, both with `evil`, and `more` with `good`; and their ids.
async fn cluster() -> (Place, JobChecker, [String; 3]) {
    let place = Place::new();
    let ids = [
        upload(&place, &bundle("ex1", "0.0.1", "evil")).await,
        upload(&place, &bundle("ex1", "0.1.1", "evil")).await,
        upload(&place, &bundle("more", "1.0.0", "good")).await,
    ];
    let checker = JobChecker::new(place.parts.clone(), place.context.clone(), Arc::clone(&place.store));
    (place, checker, ids)
}

async fn upload(place: &Place, zip: &[u8]) -> String {
    let body = stream::iter([Ok(Bytes::copy_from_slice(zip))]).boxed();
    place.library().await.upload(body).await.unwrap().id
}

fn problems(refused: &Refused) -> Vec<String> {
    refused.problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn pins_assets_to_the_ids_that_their_names_stand_for_now() {
    let (place, checker, [old, new, more]) = cluster().await;
    let raw = job(&json!(["more", "ex1:0.0.1", "ex1"]), &["good", "evil@ex1:0.0.1", "evil@ex1"]);
    let checked = checker.check(raw.clone()).await.unwrap();
    assert_eq!(checked.document["assets"], json!([more, old, new]));
    let ops: Vec<_> =
        checked.document["operations"].as_array().unwrap().iter().map(|op| &op["_op"]).collect();
    assert_eq!(ops[1..4], [&json!("good"), &json!(format!("evil@{old}")), &json!(format!("evil@{new}"))]);
    assert_eq!(
        checked.document["workers"],
        json!(place.parts.config().check_environment().workers_default())
    );
    assert!(checked.is_recoverable);
    let newest = upload(&place, &bundle("ex1", "0.2.0", "evil")).await;
    assert_eq!(checker.check(raw).await.unwrap().document["assets"], json!([more, old, newest]));
}

#[tokio::test]
async fn what_it_returns_is_a_fixed_point() {
    let (place, checker, _) = cluster().await;
    let mut raw = job(&json!(["ex1", "more"]), &["evil@ex1", "good"]);
    raw.0.insert(
        "apis".to_owned(),
        json!([{"_name": "file_sender_api@ex1:tag", "path": "/tmp", "format": "ldjson"}]),
    );
    raw.0["operations"][1]["_dead_letter_action"] = json!("file_sender_api@ex1:tag");
    let first = checker.check(raw).await.unwrap().document;
    let again = checker.check(RawJob(first.clone())).await.unwrap().document;
    assert_eq!(again, first);
    // Controllers and workers read it so, from the bundles alone.
    let prepared = place.parts.prepare(&RawJob(first.clone())).unwrap();
    assert_eq!(prepared.plan.job().document, first);
    assert!(RawJob(first).check(&place.parts.config().check_environment()).is_ok());
}

#[tokio::test]
async fn refuses_an_operation_that_several_listed_assets_have() {
    let (_place, checker, _) = cluster().await;
    let refused = checker.check(job(&json!(["ex1:0.0.1", "ex1:^0.1"]), &["evil"])).await.unwrap_err();
    assert_eq!(
        problems(&refused),
        [
            "/operations/1/_op: operation \"evil\" is in several assets: ex1:0.0.1 and ex1:0.1.1 (write evil@ex1:0.0.1 or evil@ex1:^0.1)"
        ]
    );
}

#[tokio::test]
async fn says_everything_that_is_wrong_at_once() {
    let (_place, checker, _) = cluster().await;
    let mut raw = job(&json!(["ex1:7", "mor"]), &["evil", "nopp"]);
    raw.0.insert("workers".to_owned(), json!(0));
    let refused = checker.check(raw).await.unwrap_err();
    let found = problems(&refused);
    let begins = [
        "/workers: ",
        "/assets/0: no version of asset \"ex1\"",
        "/assets/1: unknown asset \"mor\"",
        "/operations/2/_op: ",
    ];
    assert_eq!(found.len(), begins.len(), "{found:?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}");
    }
    let refused = checker.check(job(&json!(["more"]), &["evil@more", "good@ex1"])).await.unwrap_err();
    assert_eq!(
        problems(&refused),
        [
            "/operations/2/_op: asset \"ex1\" of \"good\" is not in the job's assets (behind the @ it has to be written as there: more)",
            "/operations/1/_op: unknown operation of asset more \"evil\" (known: good)",
        ]
    );
}

#[tokio::test]
async fn jobs_without_assets_need_no_library() {
    let (_place, checker, _) = cluster().await;
    let checked = checker.check(job(&Value::Null, &[])).await.unwrap();
    assert_eq!(checked.document["assets"], Value::Null);
    let refused = checker.check(RawJob::default()).await.unwrap_err();
    assert!(problems(&refused)[0].starts_with("/operations: "), "{refused:?}");
}

#[tokio::test]
async fn loads_a_set_of_assets_once_for_many_checks() {
    let (_place, checker, _) = cluster().await;
    let checks = (0..100).map(|_| checker.check(job(&json!(["ex1"]), &["evil"])));
    assert!(join_all(checks).await.iter().all(Result::is_ok));
    assert_eq!(checker.inner.loaded.lock().unwrap().len(), 1);
    for memory in 1..=LOADED_MAX as u64 + 5 {
        let mut other = job(&json!(["ex1"]), &["evil"]);
        other.0.insert("wasm_memory".to_owned(), ((8 + memory) << 20).into());
        checker.check(other).await.unwrap();
    }
    assert_eq!(checker.inner.loaded.lock().unwrap().len(), LOADED_MAX);
}

#[tokio::test]
async fn says_on_operations_where_their_api_sends_refused_records() {
    let (_place, checker, _) = cluster().await;
    let mut raw = job(&json!([]), &["noop"]);
    raw.0.insert(
        "apis".to_owned(),
        json!([{"_name": "file_sender_api", "path": "/tmp", "format": "ldjson", "_dead_letter_action": "log"}]),
    );
    raw.0["operations"][2] = json!({"_op": "file_exporter", "_api_name": "file_sender_api"});
    let document = checker.check(raw).await.unwrap().document;
    assert_eq!(document["operations"][1].get("_dead_letter_action"), None);
    assert_eq!(document["operations"][2]["_dead_letter_action"], "log");
}
