//! The laws of [`Sink`], checked on a real target.

use async_trait::async_trait;
use futures::FutureExt;
use teraslice_model::{
    batch::{Batch, Frame},
    id::{ExId, JobId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};

use crate::operation::{Sink, SliceContext};

/// Batches of a large slice, some 4 MiB in all.
const LARGE_BATCHES: usize = 18;
/// Records of each.
const LARGE_RECORDS: usize = 1_000;

/// A target that sinks write to, and that can be looked at.
#[async_trait]
pub trait Target: Send + Sync {
    /// Makes the sink of a worker.
    async fn sink(&self, worker: &str) -> Box<dyn Sink>;

    /// Returns the records that count, in any order, as JSON text.
    fn records(&self) -> Vec<String>;
}

/// Checks every law, each on a target of its own.
///
/// # Panics
///
/// When a law does not hold.
pub async fn run<T: Target>(make: impl Fn() -> T) {
    run_forgetful(&make).await;
    leaves_nothing_of_an_unfinished_slice(&make()).await;
    keeps_a_slice_once_that_is_committed_again(&make()).await;
    keeps_a_slice_once_that_two_workers_commit(&make()).await;
    keeps_a_slice_once_that_living_workers_commit_again(&make()).await;
    keeps_a_slice_once_whose_commit_was_given_up(&make()).await;
}

/// Checks the laws of targets that cannot tell a repeat, such as a terminal.
///
/// # Panics
///
/// When a law does not hold.
pub async fn run_forgetful<T: Target>(make: impl Fn() -> T) {
    keeps_what_is_committed(&make()).await;
    keeps_a_large_slice(&make()).await;
    leaves_nothing_of_an_aborted_slice(&make()).await;
    takes_an_empty_slice(&make()).await;
}

async fn keeps_what_is_committed(target: &impl Target) {
    let mut sink = target.sink("a").await;
    for order in 1..=3 {
        commit(sink.as_mut(), order, 0).await;
    }
    sink.close().await.expect("a sink can be closed");
    check(target, &[1, 2, 3]);
}

async fn leaves_nothing_of_an_aborted_slice(target: &impl Target) {
    let mut sink = target.sink("a").await;
    commit(sink.as_mut(), 1, 0).await;
    write(sink.as_mut(), 2, 0).await;
    sink.abort().await;
    check(target, &[1]);
    commit(sink.as_mut(), 3, 0).await;
    check(target, &[1, 3]);
}

/// Whatever is gathered in memory has to go out in between.
async fn keeps_a_large_slice(target: &impl Target) {
    let mut sink = target.sink("a").await;
    write_large(sink.as_mut(), 1).await;
    sink.abort().await;
    check(target, &[]);
    write_large(sink.as_mut(), 2).await;
    sink.commit().await.expect("the slice can be committed");
    sink.close().await.expect("a sink can be closed");
    assert_eq!(target.records().len(), LARGE_BATCHES * LARGE_RECORDS);
}

/// A crash between write and commit: the slice comes again, to a new sink of the same worker.
async fn leaves_nothing_of_an_unfinished_slice(target: &impl Target) {
    let mut before = target.sink("a").await;
    commit(before.as_mut(), 1, 0).await;
    write(before.as_mut(), 2, 0).await;
    drop(before);
    let mut after = target.sink("a").await;
    commit(after.as_mut(), 2, 0).await;
    check(target, &[1, 2]);
}

/// A crash after the commit, before the result is known.
async fn keeps_a_slice_once_that_is_committed_again(target: &impl Target) {
    let mut before = target.sink("a").await;
    commit(before.as_mut(), 1, 0).await;
    drop(before);
    let mut after = target.sink("b").await;
    commit(after.as_mut(), 1, 0).await;
    commit(after.as_mut(), 2, 0).await;
    check(target, &[1, 2]);
}

/// A worker that is taken for lost, and still commits.
async fn keeps_a_slice_once_that_two_workers_commit(target: &impl Target) {
    let (mut first, mut second) = (target.sink("a").await, target.sink("b").await);
    write(second.as_mut(), 1, 1).await;
    commit(first.as_mut(), 1, 0).await;
    second.commit().await.expect("a repeat is no error");
    check(target, &[1]);
}

/// A controller that has lost a result hands the slice out again, as if for the first time.
async fn keeps_a_slice_once_that_living_workers_commit_again(target: &impl Target) {
    let (mut first, mut second) = (target.sink("a").await, target.sink("b").await);
    for sink in [&mut first, &mut second] {
        commit(sink.as_mut(), 1, 0).await;
        commit(sink.as_mut(), 1, 0).await;
    }
    commit(second.as_mut(), 2, 0).await;
    check(target, &[1, 2]);
}

async fn keeps_a_slice_once_whose_commit_was_given_up(target: &impl Target) {
    let (mut first, mut second) = (target.sink("a").await, target.sink("b").await);
    write(first.as_mut(), 1, 0).await;
    // It may be under way now, or done.
    let _answer = first.commit().now_or_never();
    first.abort().await;
    commit(second.as_mut(), 1, 0).await;
    commit(first.as_mut(), 2, 0).await;
    check(target, &[1, 2]);
}

async fn takes_an_empty_slice(target: &impl Target) {
    let mut sink = target.sink("a").await;
    sink.begin(&slice(1, 0)).await.expect("a slice can begin");
    sink.commit().await.expect("an empty slice can be committed");
    check(target, &[]);
}

fn slice(order: u64, attempt: u32) -> SliceContext {
    let ex_id = ExId::from_random([5; 16]);
    SliceContext {
        ex_id,
        job_id: JobId::from_random([6; 16]),
        worker: WorkerId::new("conformance"),
        slice: Slice::new(ex_id, 0, order, Request::from_json("{}"), Timestamp::default()),
        attempt,
    }
}

fn records(order: u64) -> [String; 2] {
    [0, 1].map(|part| format!("{{\"slice\":{order},\"part\":{part}}}"))
}

async fn write(sink: &mut dyn Sink, order: u64, attempt: u32) {
    sink.begin(&slice(order, attempt)).await.expect("a slice can begin");
    for record in records(order) {
        let frame = Frame::of([record + "\n"]).expect("one record is less than 4 GiB");
        let written = sink.write(&Batch::new(frame)).await.expect("the target can be written");
        assert_eq!(written.rejected, []);
    }
}

async fn write_large(sink: &mut dyn Sink, order: u64) {
    sink.begin(&slice(order, 0)).await.expect("a slice can begin");
    let record = |n: usize| format!("{{\"slice\":{order},\"n\":{n},\"pad\":\"{:200}\"}}\n", "");
    for batch in 0..LARGE_BATCHES {
        let records = (0..LARGE_RECORDS).map(|n| record(batch * LARGE_RECORDS + n));
        let frame = Frame::of(records).expect("the batch is less than 4 GiB");
        let written = sink.write(&Batch::new(frame)).await.expect("the target can be written");
        assert_eq!(written.rejected, []);
    }
}

async fn commit(sink: &mut dyn Sink, order: u64, attempt: u32) {
    write(sink, order, attempt).await;
    sink.commit().await.expect("the slice can be committed");
}

fn check(target: &impl Target, orders: &[u64]) {
    let mut expected: Vec<_> = orders.iter().flat_map(|order| records(*order)).collect();
    let mut found = target.records();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}
