//! What is found again, who may read beside the writer, and that nothing grows without bound.

use std::{fs, future::Future as _, pin::pin, task::Poll};

use futures::future::join_all;
use serde_json::Map;

use super::*;

fn job() -> JobRecord {
    let made = execution(1);
    JobRecord {
        job_id: made.job_id,
        job: Map::new(),
        deleted: None,
        created: made.created,
        updated: made.updated,
    }
}

#[tokio::test]
async fn finds_everything_after_reopening() {
    let (directory, id) = used().await;
    let store = open(&directory);
    assert_eq!(store.execution(id).await.unwrap(), Some(execution(1)));
    let ledger = store.ledger(id).await.unwrap();
    assert_eq!(ledger.unfinished, [2, 4, 6, 8, 10].map(|order| record(id, 0, order, SliceState::Pending)));
    assert_eq!(ledger.checkpoints[0].order, 10);
    assert_eq!(ledger.totals.completed, 5);
    assert_eq!(store.slice_counts(id).await.unwrap().completed, 5);
}

#[tokio::test]
async fn leaves_no_log_behind_when_it_is_closed() {
    let (directory, _id) = used().await;
    let mut files: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, [LOCK_FILE, FILE]);
}

#[tokio::test]
async fn is_read_while_another_writes() {
    let (directory, id) = used().await;
    let writer = open(&directory);
    let reader = SqliteStore::open_read_only(directory.path(), options()).unwrap();
    assert_eq!(reader.ledger(id).await.unwrap().checkpoints[0].order, 10);
    writer.append(id, FIRST, flush(id, 11, 12)).await.unwrap();
    assert_eq!(reader.ledger(id).await.unwrap().checkpoints[0].order, 12);
    drop(writer);
    assert_eq!(reader.executions(ExecutionQuery::page(ALL)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn writes_nothing_when_opened_for_reading() {
    let (directory, id) = used().await;
    let reader = SqliteStore::open_read_only(directory.path(), options()).unwrap();
    let refused = reader.append(id, FIRST, flush(id, 11, 12)).await.unwrap_err();
    assert_eq!(refused.to_string(), "the state store cannot be used: it was opened for reading only");
    assert_eq!(reader.ledger(id).await.unwrap().checkpoints[0].order, 10);
}

#[tokio::test]
async fn does_a_dropped_write_whole_or_not_at_all() {
    let (directory, id) = used().await;
    let store = open(&directory);
    for turn in 1..=20 {
        let first = turn * 10 + 1;
        {
            let mut dropped = pin!(store.append(id, FIRST, flush(id, first, first + 9)));
            std::future::poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context).is_ready())).await;
        }
        // Writes are done in their order: whatever became of the dropped one is settled when this one is confirmed.
        store.put_job(job()).await.unwrap();
        let counts = store.slice_counts(id).await.unwrap();
        assert_eq!((counts.pending + counts.completed) % 10, 0, "half a flush was written");
    }
}

#[tokio::test]
async fn shares_a_transaction_among_waiting_writes() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let ids: Vec<_> = (1..=100).map(|number| execution(number).ex_id).collect();
    let made = (1..=100).map(|number| store.create_execution(execution(number)));
    assert!(join_all(made).await.iter().all(Result::is_ok));
    let early = Writer { generation: Generation(0), epoch: Epoch(0) };
    let append = |(turn, id): (usize, &ExId)| {
        let writer = if turn.is_multiple_of(3) { early } else { FIRST };
        store.append(*id, writer, flush(*id, 1, 10))
    };
    let results = join_all(ids.iter().enumerate().map(append)).await;
    for (turn, (id, result)) in ids.iter().zip(results).enumerate() {
        let written = store.slice_counts(*id).await.unwrap().pending;
        if turn.is_multiple_of(3) {
            assert!(matches!(result, Err(StoreError::Fenced { .. })), "{result:?}");
            assert_eq!(written, 0, "a fenced write among others leaves nothing");
        } else {
            result.unwrap();
            assert_eq!(written, 5);
        }
    }
}

#[tokio::test]
async fn bounds_its_log_under_a_busy_reader() {
    const FLUSHES: u64 = 400;
    let (directory, id) = used().await;
    let store = open(&directory);
    let log = directory.path().join("state.sqlite-wal");
    let write = async {
        for turn in 1..=FLUSHES {
            store.append(id, FIRST, flush(id, turn * 1000 + 1, turn * 1000 + 1000)).await.unwrap();
            assert!(fs::metadata(&log).unwrap().len() < 40 << 20, "the log grows without bound");
        }
    };
    let read = async { while store.slice_counts(id).await.unwrap().completed < FLUSHES * 500 {} };
    tokio::join!(write, read);
}

#[tokio::test]
async fn is_not_available_while_another_program_holds_the_file() {
    let (directory, id) = used().await;
    let impatient = SqliteOptions { busy_max: Duration::from_millis(1), ..options() };
    let store = SqliteStore::open(directory.path(), impatient).unwrap();
    let other = rusqlite::Connection::open(directory.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.append(id, FIRST, flush(id, 11, 12)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_eq!(store.ledger(id).await.unwrap().checkpoints[0].order, 10, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    store.append(id, FIRST, flush(id, 11, 12)).await.unwrap();
}
