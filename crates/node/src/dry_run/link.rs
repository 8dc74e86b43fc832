//! A link without a controller: it hands out a fixed list of leases.

use std::{collections::VecDeque, future::pending};

use async_trait::async_trait;
use teraslice_core::link::{FromWorker, Lease, LinkClosed, SliceResult, ToWorker, WorkerLink};
use tokio::sync::mpsc;

/// Hands out leases as long as there are some, then says that the execution is over.
#[derive(Debug)]
pub(super) struct SampleLink {
    leases: VecDeque<Lease>,
    credits: usize,
    unanswered: usize,
    is_finished: bool,
    results: mpsc::UnboundedSender<SliceResult>,
}

impl SampleLink {
    /// Makes a link and the place where the results arrive.
    pub(super) fn new(leases: Vec<Lease>) -> (Self, mpsc::UnboundedReceiver<SliceResult>) {
        let (results, arrived) = mpsc::unbounded_channel();
        (Self { leases: leases.into(), credits: 0, unanswered: 0, is_finished: false, results }, arrived)
    }
}

#[async_trait]
impl WorkerLink for SampleLink {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        match message {
            FromWorker::Credit(more) => self.credits += more as usize,
            FromWorker::Results(results) => {
                self.credits += results.len();
                self.unanswered = self.unanswered.saturating_sub(results.len());
                for result in results {
                    self.results.send(result).map_err(|_| LinkClosed)?;
                }
            }
            FromWorker::Hello { .. } | FromWorker::Heartbeat | FromWorker::Goodbye => {}
        }
        Ok(())
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        let count = self.credits.min(self.leases.len());
        if count > 0 {
            self.credits -= count;
            self.unanswered += count;
            return Some(ToWorker::Leases(self.leases.drain(..count).collect()));
        }
        if self.unanswered == 0 && self.leases.is_empty() && !self.is_finished {
            self.is_finished = true;
            return Some(ToWorker::Finished);
        }
        // The worker drops this to send its results, and asks again.
        pending().await
    }
}
