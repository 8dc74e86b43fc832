//! Runs leases one after the other, each with its tries.

use std::{sync::Arc, time::Duration};

use futures::poll;
use teraslice_model::{dead_letter::DeadLetter, slice::Slice};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    WorkerOptions,
    failure::Failure,
    pipeline::{Done, Pipeline},
};
use crate::{
    context::Context,
    link::{Lease, Outcome, SliceResult},
    operation::SliceContext,
    plan::Plan,
    registry::WorkerContext,
    trace,
};

/// So many results are handed over at once while slices are quick.
const RESULTS_LEN: usize = 32;
/// A result waits this long at most for others, and only while the next slice never has to wait for anything.
const RESULTS_DELAY: Duration = Duration::from_millis(1);

/// Runs the leases of one worker, in order.
pub(super) struct Runner {
    leases: mpsc::Receiver<Lease>,
    outbox: Outbox,
    tries: Tries,
    /// No new slice is begun after it.
    drain: CancellationToken,
    /// The slice at work is dropped.
    abort: CancellationToken,
}

/// Results on their way to the worker's loop.
struct Outbox {
    results: mpsc::Sender<Vec<SliceResult>>,
    gathered: Vec<SliceResult>,
    oldest: Instant,
}

/// Tries a slice as often as the job allows.
struct Tries {
    options: WorkerOptions,
    context: Context,
    plan: Plan,
    drain: CancellationToken,
    /// Made with the first slice, and anew after a panic.
    pipeline: Option<Pipeline>,
}

impl Runner {
    pub(super) fn new(
        options: WorkerOptions,
        context: Context,
        plan: Plan,
        leases: mpsc::Receiver<Lease>,
        results: mpsc::Sender<Vec<SliceResult>>,
        [drain, abort]: [CancellationToken; 2],
    ) -> Self {
        let outbox = Outbox { results, gathered: Vec::new(), oldest: context.now() };
        let tries = Tries { options, context, plan, drain: drain.clone(), pipeline: None };
        Self { leases, outbox, tries, drain, abort }
    }

    /// Runs until no lease can come any more, and answers each.
    pub(super) async fn run(mut self) {
        while let Some(lease) = self.next().await {
            if self.drain.is_cancelled() || self.abort.is_cancelled() {
                self.outbox.push(released(&lease), self.tries.context.now());
                continue;
            }
            let result = self.lease(&lease).await;
            let now = self.tries.context.now();
            self.outbox.push(result, now);
            if self.outbox.is_due(now) {
                self.outbox.flush().await;
            }
        }
        self.outbox.flush().await;
        self.tries.close().await;
    }

    async fn next(&mut self) -> Option<Lease> {
        match self.leases.try_recv() {
            Ok(lease) => Some(lease),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.outbox.flush().await;
                self.leases.recv().await
            }
        }
    }

    async fn lease(&mut self, lease: &Lease) -> SliceResult {
        let traced = trace::slice(&self.tries.options, lease);
        let result = self.work(lease).await;
        trace::note_slice(&traced, &self.tries.plan, &result);
        result
    }

    async fn work(&mut self, lease: &Lease) -> SliceResult {
        let span = tracing::debug_span!("slice", slice_id = %lease.slice.id, attempt = lease.attempt);
        let result = {
            let mut running = std::pin::pin!(self.tries.run(lease).instrument(span));
            if let std::task::Poll::Ready(result) = poll!(running.as_mut()) {
                return result;
            }
            // The slice waits for something: others need not wait with it.
            self.outbox.flush().await;
            tokio::select! {
                biased;
                result = running.as_mut() => return result,
                () = self.drain.cancelled() => {}
                () = self.abort.cancelled() => {}
            }
            while let Ok(waiting) = self.leases.try_recv() {
                self.outbox.gathered.push(released(&waiting));
            }
            self.outbox.flush().await;
            tokio::select! {
                biased;
                result = running.as_mut() => Some(result),
                () = self.abort.cancelled() => None,
            }
        };
        if let Some(result) = result {
            return result;
        }
        self.tries.abort().await;
        released(lease)
    }
}

impl Outbox {
    fn push(&mut self, result: SliceResult, now: Instant) {
        if self.gathered.is_empty() {
            self.oldest = now;
        }
        self.gathered.push(result);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.gathered.len() >= RESULTS_LEN || now.duration_since(self.oldest) >= RESULTS_DELAY
    }

    async fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            // Without a loop nobody waits for results.
            let _loop_gone = self.results.send(gathered).await;
        }
    }
}

impl Tries {
    async fn run(&mut self, lease: &Lease) -> SliceResult {
        let retries_max = self.plan.job().max_retries;
        let mut retry_count = 0;
        loop {
            let failure = match self.once(&lease.slice, lease.attempt.saturating_add(retry_count)).await {
                Ok(done) => {
                    return result(
                        lease,
                        Outcome::Completed,
                        retry_count,
                        done.operations,
                        done.dead_letters,
                    );
                }
                Err(failure) => failure,
            };
            let (reason, after) = match failure {
                Failure::Retry { reason, after } => (reason, after),
                Failure::Interrupted if self.drain.is_cancelled() => return released(lease),
                Failure::Interrupted => ("interrupted".to_owned(), None),
                Failure::Job { reason } => {
                    tracing::error!(slice_id = %lease.slice.id, error = reason, "job cannot run");
                    return ended(lease, Outcome::JobFault { error: reason }, retry_count);
                }
                Failure::Slice { reason } | Failure::Panic { reason } => {
                    tracing::error!(slice_id = %lease.slice.id, error = reason, "slice failed");
                    return ended(lease, Outcome::Failed { error: reason }, retry_count);
                }
            };
            if retry_count >= retries_max {
                tracing::error!(slice_id = %lease.slice.id, error = reason, retry_count, "slice failed");
                return ended(lease, Outcome::Failed { error: reason }, retry_count);
            }
            let pause = self.options.backoff.pause(&self.context, retry_count).max(after.unwrap_or_default());
            tracing::warn!(slice_id = %lease.slice.id, error = reason, retry_count, ?pause, "slice is tried again");
            if self.drain.run_until_cancelled(sleep(pause)).await.is_none() {
                return released(lease);
            }
            retry_count += 1;
        }
    }

    async fn once(&mut self, slice: &Slice, attempt: u32) -> Result<Done, Failure> {
        let pipeline = match &mut self.pipeline {
            Some(made) => made,
            none => {
                let worker = WorkerContext {
                    context: self.context.clone(),
                    ex_id: self.options.ex_id,
                    worker: self.options.id.clone(),
                };
                none.insert(Pipeline::make(&self.plan, &worker, self.options.dead_letters_max).await?)
            }
        };
        let slice = Arc::new(SliceContext {
            ex_id: self.options.ex_id,
            job_id: self.options.job_id,
            worker: self.options.id.clone(),
            slice: slice.clone(),
            attempt,
        });
        let done = pipeline.run(&slice).await;
        if done.is_err() {
            self.abort().await;
        }
        if matches!(done, Err(Failure::Panic { .. })) {
            self.pipeline = None;
        }
        done
    }

    async fn abort(&mut self) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.abort().await;
        }
    }

    async fn close(&mut self) {
        if let Some(pipeline) = self.pipeline.take()
            && let Err(failure) = pipeline.close().await
        {
            tracing::error!(worker = %self.options.id, ?failure, "failed to close a sink");
        }
    }
}

fn result(
    lease: &Lease,
    outcome: Outcome,
    retry_count: u32,
    operations: Vec<teraslice_model::counts::Counts>,
    dead_letters: Vec<DeadLetter>,
) -> SliceResult {
    let (slice_id, attempt) = (lease.slice.id, lease.attempt);
    SliceResult { slice_id, attempt, outcome, retry_count, operations, dead_letters }
}

fn ended(lease: &Lease, outcome: Outcome, retry_count: u32) -> SliceResult {
    result(lease, outcome, retry_count, Vec::new(), Vec::new())
}

/// Makes the answer to a lease that the worker gives back.
pub(super) fn released(lease: &Lease) -> SliceResult {
    ended(lease, Outcome::Released, 0)
}
