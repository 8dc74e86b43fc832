//! The ledger as messages. A flush goes in parts, so that no message is larger than it has to be.

use prost::Message;
use teraslice_core::store::{ErrorRecord, Flush, KeptLetter, Ledger, SliceRecord, Totals, Writer};
use teraslice_model::{
    checkpoint::Checkpoint,
    id::{Epoch, ExId, Generation},
    slice::{Request, SliceState},
    timestamp::Timestamp,
};

use super::{Malformed, id, numbers, v1};

/// Cuts a flush into parts of about so many bytes.
pub(crate) fn flush_parts(id: ExId, writer: Writer, flush: Flush, len_soft: usize) -> Vec<v1::FlushPart> {
    let (ex_id_high, ex_id_low) = numbers(id.uuid());
    let first = v1::FlushPart {
        ex_id_high,
        ex_id_low,
        generation: writer.generation.0,
        epoch: writer.epoch.0,
        totals: Some(flush.totals.into()),
        ..v1::FlushPart::default()
    };
    let mut parts = Parts { done: Vec::new(), part: first, len: 0, len_soft };
    for record in flush.slices {
        let record = v1::SliceRecord::from(record);
        parts.room(record.encoded_len()).slices.push(record);
    }
    for checkpoint in flush.checkpoints {
        let checkpoint = v1::Checkpoint::from(checkpoint);
        parts.room(checkpoint.encoded_len()).checkpoints.push(checkpoint);
    }
    for letter in flush.dead_letters {
        let letter = v1::DeadLetter::from(letter);
        parts.room(letter.encoded_len()).dead_letters.push(letter);
    }
    let Parts { mut done, part, .. } = parts;
    done.push(v1::FlushPart { is_last: true, ..part });
    done
}

struct Parts {
    done: Vec<v1::FlushPart>,
    part: v1::FlushPart,
    len: usize,
    len_soft: usize,
}

impl Parts {
    /// Returns the part that has room for so many bytes more; an item that is larger than a part gets one of its own.
    fn room(&mut self, len: usize) -> &mut v1::FlushPart {
        if self.len > 0 && self.len + len > self.len_soft {
            self.done.push(std::mem::take(&mut self.part));
            self.len = 0;
        }
        self.len += len;
        &mut self.part
    }
}

/// Joins the parts of a flush, all in one by now.
pub(crate) fn flush(whole: v1::FlushPart) -> Result<(ExId, Writer, Flush), Malformed> {
    let writer = Writer { generation: Generation(whole.generation), epoch: Epoch(whole.epoch) };
    let flush = Flush {
        slices: read_all(whole.slices)?,
        checkpoints: whole.checkpoints.into_iter().map(Into::into).collect(),
        dead_letters: whole.dead_letters.into_iter().map(Into::into).collect(),
        totals: whole.totals.ok_or(Malformed("totals"))?.into(),
    };
    Ok((ExId::new(id(whole.ex_id_high, whole.ex_id_low)), writer, flush))
}

fn read_all<W, T: TryFrom<W, Error = Malformed>>(list: Vec<W>) -> Result<Vec<T>, Malformed> {
    list.into_iter().map(TryInto::try_into).collect()
}

impl From<SliceRecord> for v1::SliceRecord {
    fn from(record: SliceRecord) -> Self {
        let state = match record.state {
            SliceState::Pending => v1::SliceState::Pending,
            SliceState::Completed => v1::SliceState::Completed,
            SliceState::Error => v1::SliceState::Error,
        };
        Self {
            slice: Some(record.slice.into()),
            state: state.into(),
            error: record.error.as_deref().map(str::to_owned),
            retry_count: record.retry_count,
            deaths: record.deaths,
        }
    }
}

impl TryFrom<v1::SliceRecord> for SliceRecord {
    type Error = Malformed;

    fn try_from(record: v1::SliceRecord) -> Result<Self, Malformed> {
        let state = match record.state() {
            v1::SliceState::Unspecified => return Err(Malformed("state of a slice")),
            v1::SliceState::Pending => SliceState::Pending,
            v1::SliceState::Completed => SliceState::Completed,
            v1::SliceState::Error => SliceState::Error,
        };
        Ok(Self {
            slice: record.slice.ok_or(Malformed("slice"))?.into(),
            state,
            error: record.error.map(Into::into),
            retry_count: record.retry_count,
            deaths: record.deaths,
        })
    }
}

impl From<Checkpoint> for v1::Checkpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { slicer_id, order, position, is_exhausted } = checkpoint;
        Self { slicer_id, order, position: position.map(|at| at.json().to_owned()), is_exhausted }
    }
}

impl From<v1::Checkpoint> for Checkpoint {
    fn from(checkpoint: v1::Checkpoint) -> Self {
        let v1::Checkpoint { slicer_id, order, position, is_exhausted } = checkpoint;
        Self { slicer_id, order, position: position.map(Request::from_json), is_exhausted }
    }
}

impl From<Totals> for v1::Totals {
    fn from(totals: Totals) -> Self {
        let Totals { completed, failed, operations } = totals;
        Self { completed, failed, operations: operations.into_iter().map(Into::into).collect() }
    }
}

impl From<v1::Totals> for Totals {
    fn from(totals: v1::Totals) -> Self {
        let v1::Totals { completed, failed, operations } = totals;
        Self { completed, failed, operations: operations.into_iter().map(Into::into).collect() }
    }
}

impl From<Ledger> for v1::Ledger {
    fn from(ledger: Ledger) -> Self {
        Self {
            checkpoints: ledger.checkpoints.into_iter().map(Into::into).collect(),
            unfinished: ledger.unfinished.into_iter().map(Into::into).collect(),
            totals: Some(ledger.totals.into()),
        }
    }
}

impl TryFrom<v1::Ledger> for Ledger {
    type Error = Malformed;

    fn try_from(ledger: v1::Ledger) -> Result<Self, Malformed> {
        Ok(Self {
            checkpoints: ledger.checkpoints.into_iter().map(Into::into).collect(),
            unfinished: read_all(ledger.unfinished)?,
            totals: ledger.totals.ok_or(Malformed("totals"))?.into(),
        })
    }
}

impl From<Vec<SliceRecord>> for v1::SliceList {
    fn from(slices: Vec<SliceRecord>) -> Self {
        Self { slices: slices.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::SliceList> for Vec<SliceRecord> {
    type Error = Malformed;

    fn try_from(list: v1::SliceList) -> Result<Self, Malformed> {
        read_all(list.slices)
    }
}

impl From<Vec<KeptLetter>> for v1::LetterList {
    fn from(letters: Vec<KeptLetter>) -> Self {
        let letter = |kept: KeptLetter| {
            let (high, low) = kept.replayed_in.map(|id| numbers(id.uuid())).unzip();
            let letter = Some(kept.letter.into());
            v1::KeptLetter { number: kept.number, replayed_in_high: high, replayed_in_low: low, letter }
        };
        Self { letters: letters.into_iter().map(letter).collect() }
    }
}

impl TryFrom<v1::LetterList> for Vec<KeptLetter> {
    type Error = Malformed;

    fn try_from(list: v1::LetterList) -> Result<Self, Malformed> {
        let letter = |kept: v1::KeptLetter| {
            let replayed_in = kept.replayed_in_high.zip(kept.replayed_in_low);
            Ok(KeptLetter {
                number: kept.number,
                replayed_in: replayed_in.map(|(high, low)| ExId::new(id(high, low))),
                letter: kept.letter.ok_or(Malformed("letter"))?.into(),
            })
        };
        list.letters.into_iter().map(letter).collect()
    }
}

impl From<Vec<ErrorRecord>> for v1::ErrorList {
    fn from(errors: Vec<ErrorRecord>) -> Self {
        let error = |error: ErrorRecord| {
            let (ex_id_high, ex_id_low) = numbers(error.ex_id.uuid());
            let (slice, updated_ms) = (Some(error.slice.into()), error.updated.as_millis());
            v1::ErrorRecord { ex_id_high, ex_id_low, slice, updated_ms }
        };
        Self { errors: errors.into_iter().map(error).collect() }
    }
}

impl TryFrom<v1::ErrorList> for Vec<ErrorRecord> {
    type Error = Malformed;

    fn try_from(list: v1::ErrorList) -> Result<Self, Malformed> {
        let error = |error: v1::ErrorRecord| {
            Ok(ErrorRecord {
                ex_id: ExId::new(id(error.ex_id_high, error.ex_id_low)),
                slice: error.slice.ok_or(Malformed("slice"))?.try_into()?,
                updated: Timestamp::from_millis(error.updated_ms),
            })
        };
        list.errors.into_iter().map(error).collect()
    }
}

#[cfg(test)]
mod tests {
    use teraslice_core::conformance::store::record;
    use teraslice_model::{
        counts::Counts,
        dead_letter::{DeadLetter, Encoding},
    };

    use super::*;

    fn flush_of_everything(ex_id: ExId) -> Flush {
        let slices: Vec<_> = [SliceState::Pending, SliceState::Completed, SliceState::Error]
            .into_iter()
            .zip(1..)
            .map(|(state, order)| SliceRecord {
                error: (state == SliceState::Error).then(|| "no\nluck".into()),
                retry_count: u32::MAX,
                deaths: 2,
                ..record(ex_id, u32::MAX, order, state)
            })
            .collect();
        let letter = |encoding, metadata| DeadLetter {
            slice_id: slices[1].slice.id,
            operation: 1,
            op: "filter".to_owned(),
            reason: String::new(),
            record: "gr\u{f6}\u{df}er".to_owned(),
            encoding,
            metadata,
        };
        Flush {
            checkpoints: vec![
                Checkpoint::start(3),
                Checkpoint {
                    order: u64::MAX,
                    position: Some(Request::from_json("{}")),
                    ..Checkpoint::start(4)
                },
            ],
            dead_letters: vec![letter(Encoding::Text, None), letter(Encoding::Base64, Some(String::new()))],
            totals: Totals {
                completed: 1,
                failed: u64::MAX,
                operations: vec![Counts { micros: 7, ..Counts::default() }, Counts::default()],
            },
            slices,
        }
    }

    #[test]
    fn a_flush_is_the_same_however_it_is_cut() {
        let ex_id = ExId::from_random([1; 16]);
        let writer = Writer { generation: Generation(2), epoch: Epoch(3) };
        let wanted = flush_of_everything(ex_id);
        for (len_soft, count) in [(1 << 20, 1), (0, 7)] {
            let parts = flush_parts(ex_id, writer, wanted.clone(), len_soft);
            assert_eq!(parts.len(), count);
            assert_eq!(parts.iter().filter(|part| part.is_last).count(), 1);
            let mut bytes = Vec::new();
            for part in parts {
                part.encode(&mut bytes).unwrap();
            }
            // Messages that follow one another are one message: lists are joined.
            let whole = v1::FlushPart::decode(bytes.as_slice()).unwrap();
            assert_eq!(flush(whole).unwrap(), (ex_id, writer, wanted.clone()));
        }
    }

    #[test]
    fn an_empty_flush_is_one_part() {
        let ex_id = ExId::from_random([1; 16]);
        let writer = Writer { generation: Generation(0), epoch: Epoch(0) };
        let mut parts = flush_parts(ex_id, writer, Flush::default(), 10);
        assert_eq!(parts.len(), 1);
        assert_eq!(flush(parts.remove(0)).unwrap(), (ex_id, writer, Flush::default()));
    }

    #[test]
    fn refuses_a_state_that_nobody_knows() {
        let mut message =
            v1::SliceRecord::from(record(ExId::from_random([1; 16]), 0, 1, SliceState::Pending));
        message.state = 99;
        assert_eq!(SliceRecord::try_from(message), Err(Malformed("state of a slice")));
    }
}
