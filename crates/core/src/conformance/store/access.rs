//! The laws of assets, tokens and the audit log.

use std::sync::Arc;

use serde_json::json;
use teraslice_model::{
    access::{AccessRole, AuditEntry, TokenRecord},
    asset::AssetRecord,
    timestamp::Timestamp,
};

use super::ALL;
use crate::store::{Page, StateStore, StoreError};

/// Checks every law, each on an empty store.
pub(super) async fn run(make: &impl AsyncFn() -> Arc<dyn StateStore>) {
    keeps_assets_newest_first(&*make().await).await;
    keeps_assets_apart(&*make().await).await;
    lets_one_of_two_assets_in(&*make().await).await;
    keeps_tokens_by_name(&*make().await).await;
    notes_changes_newest_first(&*make().await).await;
}

fn asset(id: &str, version: &str) -> AssetRecord {
    AssetRecord {
        id: id.to_owned(),
        name: "standard".to_owned(),
        version: version.to_owned(),
        description: Some("what everyone needs".to_owned()),
        node_version: None,
        platform: None,
        arch: None,
        minimum_teraslice_version: None,
        sha256: "00".to_owned(),
        size: u64::from(u32::MAX) + 1,
        created: Timestamp::from_millis(1_600_000_000_000),
    }
}

async fn asset_ids(store: &dyn StateStore) -> String {
    store.assets().await.expect("assets can be listed").into_iter().map(|asset| asset.id).collect()
}

async fn keeps_assets_newest_first(store: &dyn StateStore) {
    assert_eq!(asset_ids(store).await, "");
    for (id, version) in [("b", "2.0.0"), ("a", "3.0.0"), ("c", "1.0.0")] {
        store.create_asset(asset(id, version)).await.expect("a new asset is accepted");
    }
    assert_eq!(asset_ids(store).await, "cab");
    assert_eq!(store.assets().await.expect("lists")[1], asset("a", "3.0.0"));
    store.delete_asset("a").await.expect("it is there");
    assert_eq!(asset_ids(store).await, "cb");
    let refused = store.delete_asset("a").await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    store.create_asset(asset("a", "3.0.0")).await.expect("what is gone may come again");
    assert_eq!(asset_ids(store).await, "acb");
}

async fn keeps_assets_apart(store: &dyn StateStore) {
    let first = asset("a", "1.0.0");
    store.create_asset(first.clone()).await.expect("a new asset is accepted");
    let with = |id: &str, node_version, platform: Option<&str>, arch: Option<&str>| AssetRecord {
        id: id.to_owned(),
        node_version,
        platform: platform.map(str::to_owned),
        arch: arch.map(str::to_owned),
        ..first.clone()
    };
    let accepted = [
        with("b", Some(22), None, None),
        with("c", Some(24), None, None),
        with("d", None, Some("linux"), None),
        with("e", None, None, Some("linux")),
        with("f", Some(22), Some("linux"), Some("x64")),
        AssetRecord { name: "other".to_owned(), ..asset("g", "1.0.0") },
    ];
    for asset in accepted {
        store.create_asset(asset).await.expect("it is another");
    }
    let refused = [
        asset("a", "9.9.9"),
        asset("x", "1.0.0"),
        with("x", Some(24), None, None),
        with("x", None, None, Some("linux")),
        with("x", Some(22), Some("linux"), Some("x64")),
    ];
    for asset in refused {
        let refused = store.create_asset(asset).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    }
    assert_eq!(asset_ids(store).await, "gfedcba", "a refused creation changes nothing");
}

async fn lets_one_of_two_assets_in(store: &dyn StateStore) {
    let (one, two) =
        tokio::join!(store.create_asset(asset("a", "1.0.0")), store.create_asset(asset("b", "1.0.0")));
    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
    assert_eq!(asset_ids(store).await, if one.is_ok() { "a" } else { "b" });
}

async fn keeps_tokens_by_name(store: &dyn StateStore) {
    let token = |name: &str, role| TokenRecord {
        name: name.to_owned(),
        role,
        hash: "00".to_owned(),
        created: Timestamp::from_millis(1_600_000_000_000),
    };
    assert!(store.tokens().await.expect("lists").is_empty());
    for (name, role) in [("b", AccessRole::Read), ("ä", AccessRole::Operate), ("a'", AccessRole::Admin)] {
        store.create_token(token(name, role)).await.expect("a free name is accepted");
    }
    let refused = store.create_token(token("b", AccessRole::Admin)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let wanted =
        [token("a'", AccessRole::Admin), token("b", AccessRole::Read), token("ä", AccessRole::Operate)];
    assert_eq!(store.tokens().await.expect("lists"), wanted);
    store.delete_token("b").await.expect("it is there");
    let refused = store.delete_token("b").await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert_eq!(store.tokens().await.expect("lists"), [wanted[0].clone(), wanted[2].clone()]);
}

async fn notes_changes_newest_first(store: &dyn StateStore) {
    let entry = |number: i64| AuditEntry {
        at: Timestamp::from_millis(1_600_000_000_000 - number),
        who: "ops".to_owned(),
        address: "127.0.0.1".to_owned(),
        action: "POST /v1/jobs".to_owned(),
        target: number.to_string(),
        before: json!(null),
        after: json!({"name": "größer", "number": number}),
    };
    assert!(store.audit(ALL).await.expect("lists").is_empty());
    for number in 1..=5 {
        store.note(entry(number)).await.expect("a change is noted");
    }
    let wanted: Vec<_> = (1..=5).rev().map(entry).collect();
    assert_eq!(store.audit(ALL).await.expect("lists"), wanted);
    assert_eq!(store.audit(Page { from: 1, size: 2 }).await.expect("lists"), wanted[1..3]);
    assert!(store.audit(Page { from: u64::MAX, size: u64::MAX }).await.expect("lists").is_empty());
}
