//! Writes the records of slices with bulk requests, several under way at a time.

use std::collections::VecDeque;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use teraslice_core::operation::{OperationError, Rejected, Sink, SliceContext, Written};
use teraslice_model::batch::Batch;
use uuid::Uuid;

use super::{
    body::Body,
    item::{Input, Items},
    sending::{Refusal, Sender},
};
use crate::task::Task;

/// Writes the records of slices.
///
/// Where refused records fail the slice, requests stay under way from one batch to the next. Where they go elsewhere, each
/// batch is answered before the next one, so that its refusals can be told with it.
pub(super) struct BulkSink {
    items: Items,
    sender: Sender,
    /// Goes into derived ids beside the slice.
    salt: String,
    is_exact: bool,
    slice: String,
    place: u64,
    body: Body,
    under_way: VecDeque<Task<Result<Vec<Refusal>, OperationError>>>,
}

impl BulkSink {
    pub(super) fn new(items: Items, sender: Sender, salt: String, is_exact: bool) -> Self {
        Self {
            items,
            sender,
            salt,
            is_exact,
            slice: String::new(),
            place: 0,
            body: Body::default(),
            under_way: VecDeque::new(),
        }
    }

    fn forget(&mut self) {
        self.under_way.clear();
        self.body.clear();
        self.place = 0;
    }

    /// Sends what has gathered.
    async fn dispatch(&mut self) {
        if self.body.len() == 0 {
            return;
        }
        let permit = self.sender.target.permit().await;
        let work = self.sender.clone().send(self.body.take(), permit);
        self.under_way.push_back(Task::start(&self.sender.context, work));
    }

    /// Waits for all that is under way; returns the refused records.
    async fn settle(&mut self) -> Result<Vec<Refusal>, OperationError> {
        let mut refusals = Vec::new();
        while let Some(task) = self.under_way.front_mut() {
            let done = task.done().await?;
            let _ended = self.under_way.pop_front();
            refusals.extend(done?);
        }
        Ok(refusals)
    }

    /// Looks at what has been answered so far.
    async fn reap(&mut self) -> Result<(), OperationError> {
        while let Some(task) = self.under_way.front_mut().filter(|task| task.is_done()) {
            let done = task.done().await?;
            let _ended = self.under_way.pop_front();
            none(&done?)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for BulkSink {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        self.forget();
        let id = Uuid::new_v5(slice.slice.id.uuid(), self.salt.as_bytes());
        self.slice = URL_SAFE_NO_PAD.encode(id.as_bytes());
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let mut refusals = Vec::new();
        let mut bytes = 0;
        for at in 0..batch.len() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let before = self.body.bytes();
            let input = Input {
                record: batch.record(at),
                metadata: batch.metadata_of(at),
                slice: &self.slice,
                place: self.place,
                number,
            };
            self.place += 1;
            if let Err(reason) = self.items.write(&mut self.body, input) {
                refusals.push(Refusal { record: number, reason });
            }
            bytes += (self.body.bytes() - before) as u64;
            let (items_max, bytes_max) = self.sender.target.limits();
            if self.body.len() >= items_max || self.body.bytes() >= bytes_max {
                self.dispatch().await;
            }
        }
        if self.is_exact {
            self.dispatch().await;
            refusals.extend(self.settle().await?);
            refusals.sort_by_key(|refusal| refusal.record);
        } else {
            self.reap().await?;
        }
        refusals.dedup_by_key(|refusal| refusal.record);
        Ok(Written {
            bytes,
            rejected: refusals.into_iter().map(|refusal| rejected(batch, refusal)).collect(),
        })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        self.dispatch().await;
        let refusals = self.settle().await?;
        none(&refusals)
    }

    async fn abort(&mut self) {
        self.forget();
    }
}

/// Fails the slice if a record was refused: which one it was cannot be told with its batch any more.
fn none(refusals: &[Refusal]) -> Result<(), OperationError> {
    match refusals {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            Err(OperationError::retry(format!("refused a record: {}{more}", first.reason)))
        }
    }
}

fn rejected(batch: &Batch, refusal: Refusal) -> Rejected {
    let at = refusal.record as usize;
    Rejected {
        step: 0,
        reason: refusal.reason,
        record: batch.record(at).to_vec(),
        metadata: batch.metadata_of(at).map(<[u8]>::to_vec),
        is_fault: false,
    }
}
