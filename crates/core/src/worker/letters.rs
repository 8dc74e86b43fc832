//! What becomes of refused records: `_dead_letter_action`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use teraslice_model::{
    batch::{Batch, FrameBuilder},
    counts::Counts,
    dead_letter::{DeadLetter, Encoding},
    id::SliceId,
};

use super::{
    DeadLetterLimits,
    failure::{Failure, Place},
    sinks::SinkStage,
};
use crate::{
    operation::{OperationError, Rejected, SliceContext},
    plan::{Plan, Refusal},
    registry::WorkerContext,
};

/// A reason is kept up to this many bytes.
const REASON_BYTES_MAX: usize = 512;
/// A record is logged up to this many bytes.
const LOGGED_BYTES_MAX: usize = 4_096;
/// What a dead letter takes beside its texts.
const LETTER_BYTES: usize = 128;

/// Puts the refused records of a slice where the job wants them.
///
/// Letter boxes are sinks under the slice's own begin and commit; they are made when they are first needed.
pub(super) struct Letters {
    plan: Plan,
    worker: WorkerContext,
    limits: DeadLetterLimits,
    boxes: Vec<Option<LetterBox>>,
    stored: Vec<DeadLetter>,
    stored_bytes: usize,
}

struct LetterBox {
    sink: SinkStage,
    waiting: FrameBuilder,
}

/// A dead letter as a letter box gets it.
#[derive(Serialize)]
struct Letter<'a> {
    record: Text<'a>,
    error: &'a str,
    operation: &'a str,
    slice_id: SliceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Text<'a>>,
}

/// Bytes within a line of JSON: as they are if they are JSON themselves, else as text.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Json(&'a RawValue),
    Lines(serde_json::Value),
    Plain(std::borrow::Cow<'a, str>),
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let plain = || Self::Plain(String::from_utf8_lossy(bytes));
        if bytes.contains(&b'\n') {
            // Written anew, as a letter has to stay on one line.
            return serde_json::from_slice(bytes).map_or_else(|_| plain(), Self::Lines);
        }
        serde_json::from_slice(bytes).map_or_else(|_| plain(), Self::Json)
    }
}

impl Letters {
    pub(super) fn new(plan: Plan, worker: WorkerContext, limits: DeadLetterLimits) -> Self {
        let boxes = plan.letter_boxes().iter().map(|_| None).collect();
        Self { plan, worker, limits, boxes, stored: Vec::new(), stored_bytes: 0 }
    }

    /// Starts an attempt.
    pub(super) fn begin(&mut self) {
        self.stored.clear();
        self.stored_bytes = 0;
    }

    /// Takes the records that the operation at `place` refused.
    pub(super) async fn take(
        &mut self,
        place: &Place,
        rejected: Vec<Rejected>,
        counts: &mut Counts,
        slice: &Arc<SliceContext>,
    ) -> Result<(), Failure> {
        for mut refused in rejected {
            cut(&mut refused.reason, REASON_BYTES_MAX);
            let refusal = match refused.is_fault {
                true => self.plan.fault(place.operation),
                false => self.plan.refusal(place.operation),
            };
            match refusal {
                Refusal::Throw => {
                    let reason = format!("{}: refused a record: {}", place.text(), refused.reason);
                    return Err(Failure::Retry { reason, after: None });
                }
                Refusal::Log => {
                    log(place, &refused, slice);
                    counts.failed += 1;
                }
                Refusal::Drop => counts.failed += 1,
                Refusal::Store => {
                    self.store(place, refused, slice)?;
                    counts.dead_lettered += 1;
                }
                Refusal::Letter(at) => {
                    self.post(at, place, &refused, slice).await?;
                    counts.dead_lettered += 1;
                }
            }
        }
        Ok(())
    }

    /// Hands what waits to the letter boxes.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        for letter_box in self.boxes.iter_mut().flatten() {
            letter_box.flush().await?;
        }
        Ok(())
    }

    /// Commits every letter box of the slice.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        for letter_box in self.boxes.iter_mut().flatten().filter(|letter_box| letter_box.sink.is_open()) {
            letter_box.sink.commit(&mut Counts::default()).await?;
        }
        Ok(())
    }

    pub(super) async fn abort(&mut self) {
        for letter_box in self.boxes.iter_mut().flatten() {
            letter_box.waiting = FrameBuilder::default();
            letter_box.sink.abort().await;
        }
    }

    pub(super) async fn close(&mut self) -> Result<(), Failure> {
        for letter_box in self.boxes.iter_mut().flatten() {
            letter_box.sink.close().await?;
        }
        Ok(())
    }

    /// Returns what the state store shall keep.
    pub(super) fn stored(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.stored)
    }

    fn store(&mut self, place: &Place, refused: Rejected, slice: &SliceContext) -> Result<(), Failure> {
        let (encoding, record) = Encoding::encode(refused.record);
        let letter = DeadLetter {
            slice_id: slice.slice.id,
            operation: u32::try_from(place.operation).unwrap_or(u32::MAX),
            op: place.op.clone(),
            reason: refused.reason,
            record,
            encoding,
            metadata: refused.metadata.map(text),
        };
        let metadata = letter.metadata.as_ref().map_or(0, String::len);
        self.stored_bytes += LETTER_BYTES + letter.reason.len() + letter.record.len() + metadata;
        self.stored.push(letter);
        let DeadLetterLimits { letters, bytes } = self.limits;
        if self.stored.len() > letters || self.stored_bytes > bytes {
            let what = format!(
                "the slice has too many dead letters to store: more than {letters}, or than {bytes} bytes; \
                 name an api in _dead_letter_action, or make smaller slices"
            );
            return Err(place.broken(what));
        }
        Ok(())
    }

    async fn post(
        &mut self,
        at: usize,
        place: &Place,
        refused: &Rejected,
        slice: &Arc<SliceContext>,
    ) -> Result<(), Failure> {
        let letter = Letter {
            record: Text::of(&refused.record),
            error: &refused.reason,
            operation: &place.op,
            slice_id: slice.slice.id,
            metadata: refused.metadata.as_deref().map(Text::of),
        };
        let json = serde_json::to_vec(&letter).map_err(|error| place.broken(error))?;
        let letter_box = match &mut self.boxes[at] {
            Some(made) => made,
            none => none.insert(LetterBox::make(&self.plan, at, place, &self.worker).await?),
        };
        if !letter_box.sink.is_open() {
            letter_box.sink.begin(slice).await?;
        }
        letter_box.waiting.push(&json).map_err(|error| place.broken(error))?;
        if letter_box.waiting.len() >= Batch::RECORDS_MAX || letter_box.waiting.bytes() >= Batch::BYTES_TARGET
        {
            letter_box.flush().await?;
        }
        Ok(())
    }
}

impl LetterBox {
    async fn make(plan: &Plan, at: usize, from: &Place, worker: &WorkerContext) -> Result<Self, Failure> {
        let planned = &plan.letter_boxes()[at];
        let place = Place { operation: from.operation, op: planned.name.clone() };
        let sink = place.run(planned.sink.sink(worker.clone())).await?;
        let sink = SinkStage::new(worker.context.clone(), place, sink);
        Ok(Self { sink, waiting: FrameBuilder::default() })
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let letters = Batch::new(std::mem::take(&mut self.waiting).finish());
        let refused = self.sink.write(&[letters], &mut Counts::default()).await?;
        match refused.into_iter().flatten().next() {
            None => Ok(()),
            Some(refused) => {
                let reason = format!("a dead letter was refused: {}", refused.reason);
                Err(self.sink.failed(OperationError::slice(reason)))
            }
        }
    }
}

fn log(place: &Place, refused: &Rejected, slice: &SliceContext) {
    let shown = &refused.record[..refused.record.len().min(LOGGED_BYTES_MAX)];
    tracing::error!(
        slice_id = %slice.slice.id,
        operation = place.operation,
        op = place.op,
        reason = refused.reason,
        record = %String::from_utf8_lossy(shown),
        "record refused"
    );
}

/// Makes text of metadata, without copying where it is UTF-8.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Cuts a text to at most `bytes` bytes, between two characters.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_json_as_it_is_and_quotes_the_rest() {
        let written = |bytes: &[u8]| serde_json::to_string(&Text::of(bytes)).unwrap();
        assert_eq!(written(b"{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(written(b"{\"a\":\n 1}"), "{\"a\":1}");
        assert_eq!(written(b"{\"a\""), "\"{\\\"a\\\"\"");
        assert_eq!(written(b"\xff"), "\"\u{fffd}\"");
    }

    #[test]
    fn cuts_a_reason_between_characters() {
        let mut reason = "é".repeat(300);
        cut(&mut reason, 511);
        assert_eq!(reason.len(), 510);
    }
}
