//! The laws of [`Slicer`] and [`Fetcher`], checked on a real input.

use async_trait::async_trait;
use futures::FutureExt;
use teraslice_model::{
    batch::Batch,
    id::{ExId, JobId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};

use crate::operation::{Fetcher, SliceContext, Slicer};

/// An input that can be sliced and fetched.
#[async_trait]
pub trait Source: Send + Sync {
    /// Makes a slicer that goes on from a position, or begins.
    async fn slicer(&self, position: Option<Request>) -> Box<dyn Slicer>;

    /// Makes a fetcher.
    async fn fetcher(&self) -> Box<dyn Fetcher>;

    /// Returns every record of the input, in order, as text.
    fn records(&self) -> Vec<String>;
}

/// Checks every law.
///
/// # Panics
///
/// When a law does not hold.
pub async fn run(source: &impl Source) {
    let all = slices(source, None, 3).await;
    makes_the_same_slices_in_portions_of_any_size(source, &all).await;
    goes_on_from_every_position(source).await;
    loses_nothing_when_a_call_is_dropped(source, &all).await;
    reads_every_record_once(source, &all).await;
    reads_a_slice_alike_each_time(source, &all).await;
}

async fn makes_the_same_slices_in_portions_of_any_size(source: &impl Source, all: &[Request]) {
    for size in [1, 2, 1_000] {
        assert_eq!(slices(source, None, size).await, all, "{size} at once");
    }
}

async fn goes_on_from_every_position(source: &impl Source) {
    let all = slices(source, None, 1).await;
    let mut slicer = source.slicer(None).await;
    let mut made = 0;
    loop {
        let sliced = slicer.next(1).await.expect("the input can be sliced");
        made += sliced.requests.len();
        if sliced.is_exhausted {
            return;
        }
        let rest = slices(source, Some(sliced.position), 2).await;
        assert_eq!(rest, all[made..], "after {made} slices");
    }
}

async fn loses_nothing_when_a_call_is_dropped(source: &impl Source, all: &[Request]) {
    let mut slicer = source.slicer(None).await;
    let mut made = Vec::new();
    if let Some(sliced) = slicer.next(2).now_or_never() {
        // It has not waited, so that there was nothing to drop: then its answer counts.
        made.extend(sliced.expect("the input can be sliced").requests);
    }
    while made.len() < all.len() {
        made.extend(slicer.next(2).await.expect("the input can be sliced").requests);
    }
    assert_eq!(made, all);
}

async fn reads_every_record_once(source: &impl Source, all: &[Request]) {
    let mut fetcher = source.fetcher().await;
    let mut records = Vec::new();
    for request in all {
        records.extend(read(fetcher.as_mut(), request).await);
    }
    assert_eq!(records, source.records());
}

async fn reads_a_slice_alike_each_time(source: &impl Source, all: &[Request]) {
    let (mut one, mut other) = (source.fetcher().await, source.fetcher().await);
    for request in all {
        let first = read(one.as_mut(), request).await;
        assert_eq!(first, read(one.as_mut(), request).await);
        assert_eq!(first, read(other.as_mut(), request).await);
    }
}

async fn slices(source: &impl Source, from: Option<Request>, size: usize) -> Vec<Request> {
    let mut slicer = source.slicer(from).await;
    let mut all = Vec::new();
    loop {
        let sliced = slicer.next(size).await.expect("the input can be sliced");
        assert!(sliced.requests.len() <= size, "no more than asked for");
        all.extend(sliced.requests);
        if sliced.is_exhausted {
            return all;
        }
    }
}

async fn read(fetcher: &mut dyn Fetcher, request: &Request) -> Vec<String> {
    let ex_id = ExId::from_random([1; 16]);
    let slice = SliceContext {
        ex_id,
        job_id: JobId::from_random([2; 16]),
        worker: WorkerId::new("conformance"),
        slice: Slice::new(ex_id, 0, 1, request.clone(), Timestamp::default()),
        attempt: 0,
    };
    let mut stream = fetcher.open(&slice).await.expect("the slice can be read");
    let mut records = Vec::new();
    while let Some(fetched) = stream.next().await.expect("the slice can be read") {
        assert!(fetched.batch.len() <= Batch::RECORDS_MAX, "batches are bounded");
        let text = |at| String::from_utf8_lossy(fetched.batch.record(at)).into_owned();
        records.extend((0..fetched.batch.len()).map(text));
    }
    records
}
