//! A full disk: said clearly, nothing half written, and gone when there is room again.

use std::process::Command;

use teraslice_model::{access::AccessRole, status::Status};

use super::*;

/// Appends until the store is full; returns the orders written and the error.
async fn fill(store: &SqliteStore, id: ExId) -> (u64, StoreError) {
    let mut last = 10;
    loop {
        match store.append(id, FIRST, flush(id, last + 1, last + 500)).await {
            Ok(()) => last += 500,
            Err(error) => return (last, error),
        }
    }
}

#[tokio::test]
async fn says_that_it_is_full_and_keeps_what_it_has() {
    let (directory, id) = used().await;
    let small = SqliteOptions { size_max: Some(512 << 10), ..options() };
    let store = SqliteStore::open(directory.path(), small).unwrap();
    let (last, error) = fill(&store, id).await;
    let path = directory.path().join(FILE);
    let wanted = format!(
        "the state store cannot be used: no space is left for {}: free some space on the disk, then resume",
        path.display()
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(store.ledger(id).await.unwrap().checkpoints[0].order, last, "half a flush was written");
    assert_eq!(store.slice_counts(id).await.unwrap().pending, last / 2);
    drop(store);
    let store = open(&directory);
    store.append(id, FIRST, flush(id, last + 1, last + 500)).await.unwrap();
    assert_eq!(store.slice_counts(id).await.unwrap().pending, (last + 500) / 2);
}

#[tokio::test]
async fn says_so_of_everything_that_is_written() {
    let (directory, id) = used().await;
    let small = SqliteOptions { size_max: Some(512 << 10), ..options() };
    let store = SqliteStore::open(directory.path(), small).unwrap();
    let text = "x".repeat(1 << 20);
    let at = execution(1).created;
    let metadata = [("note".to_owned(), text.clone().into())].into_iter().collect();
    let entry = AuditEntry {
        at,
        who: text.clone(),
        address: String::new(),
        action: String::new(),
        target: String::new(),
        before: serde_json::Value::Null,
        after: serde_json::Value::Null,
    };
    let token = TokenRecord { name: text.clone(), role: AccessRole::Read, hash: String::new(), created: at };
    let mut job = execution(1).job;
    job.insert("text".to_owned(), text.into());
    let job = JobRecord { job_id: execution(1).job_id, job, deleted: None, created: at, updated: at };
    let errors = [
        store.put_job(job).await.unwrap_err(),
        store
            .update_execution(id, ExecutionUpdate { metadata, ..ExecutionUpdate::default() })
            .await
            .unwrap_err(),
        store.create_token(token).await.unwrap_err(),
        store.note(entry).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("no space is left for"), "{error}");
    }
    assert_eq!(store.execution(id).await.unwrap(), Some(execution(1)), "half an update was written");
    assert!(store.tokens().await.unwrap().is_empty());
    store.update_execution(id, ExecutionUpdate::default()).await.unwrap();
}

#[tokio::test]
async fn writes_what_fits_when_a_neighbour_in_the_group_does_not() {
    let (directory, id) = used().await;
    let small = SqliteOptions { size_max: Some(512 << 10), ..options() };
    let store = SqliteStore::open(directory.path(), small).unwrap();
    let change = StatusChange::new(Status::Pending, Status::Running);
    let (big, small, late) = tokio::join!(
        store.append(id, FIRST, flush(id, 11, 50_000)),
        store.set_status(id, change),
        store.append(id, FIRST, flush(id, 11, 20)),
    );
    assert!(matches!(big, Err(StoreError::Broken { .. })), "{big:?}");
    small.unwrap();
    late.unwrap();
    assert_eq!(store.slice_counts(id).await.unwrap().pending, 10);
}

#[tokio::test]
#[ignore = "needs root to mount a small file system"]
async fn survives_a_disk_that_is_really_full() {
    let directory = tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).arg(directory.path()).status().unwrap();
        assert!(done.success(), "{program} failed");
    };
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let store = open(&directory);
    store.create_execution(execution(1)).await.unwrap();
    let id = execution(1).ex_id;
    let (last, error) = fill(&store, id).await;
    let written = store.ledger(id).await.unwrap().checkpoints[0].order;
    drop(store);
    run("mount", &["-o", "remount,size=8m"]);
    let store = open(&directory);
    let found = store.ledger(id).await.unwrap().checkpoints[0].order;
    drop(store);
    run("umount", &[]);
    assert!(error.to_string().contains("no space is left"), "{error}");
    assert_eq!((written, found), (last, last));
}
