//! Slices, counts and dead letters as messages.

use teraslice_model::{
    counts::Counts,
    dead_letter::{DeadLetter, Encoding},
    id::SliceId,
    slice::{Request, Slice},
    timestamp::Timestamp,
};
use uuid::Uuid;

use super::v1;

/// Splits a UUID into the two numbers that stand for it.
pub(crate) const fn numbers(id: &Uuid) -> (u64, u64) {
    id.as_u64_pair()
}

/// Joins the two numbers that stand for a UUID.
pub(crate) const fn id(high: u64, low: u64) -> Uuid {
    Uuid::from_u64_pair(high, low)
}

impl From<Slice> for v1::Slice {
    fn from(slice: Slice) -> Self {
        let (id_high, id_low) = numbers(slice.id.uuid());
        Self {
            id_high,
            id_low,
            slicer_id: slice.slicer_id,
            slicer_order: slice.slicer_order,
            request: slice.request.json().to_owned(),
            created_ms: slice.created.as_millis(),
        }
    }
}

impl From<v1::Slice> for Slice {
    fn from(slice: v1::Slice) -> Self {
        Self {
            id: SliceId::new(id(slice.id_high, slice.id_low)),
            slicer_id: slice.slicer_id,
            slicer_order: slice.slicer_order,
            request: Request::from_json(slice.request),
            created: Timestamp::from_millis(slice.created_ms),
        }
    }
}

impl From<Counts> for v1::Counts {
    fn from(counts: Counts) -> Self {
        let Counts { received, emitted, dropped, failed, dead_lettered, created, bytes, micros } = counts;
        Self { received, emitted, dropped, failed, dead_lettered, created, bytes, micros }
    }
}

impl From<v1::Counts> for Counts {
    fn from(counts: v1::Counts) -> Self {
        let v1::Counts { received, emitted, dropped, failed, dead_lettered, created, bytes, micros } = counts;
        Self { received, emitted, dropped, failed, dead_lettered, created, bytes, micros }
    }
}

impl From<DeadLetter> for v1::DeadLetter {
    fn from(letter: DeadLetter) -> Self {
        let (slice_id_high, slice_id_low) = numbers(letter.slice_id.uuid());
        let DeadLetter { slice_id: _, operation, op, reason, record, encoding, metadata } = letter;
        let is_base64 = encoding == Encoding::Base64;
        Self { slice_id_high, slice_id_low, operation, op, reason, record, is_base64, metadata }
    }
}

impl From<v1::DeadLetter> for DeadLetter {
    fn from(letter: v1::DeadLetter) -> Self {
        let slice_id = SliceId::new(id(letter.slice_id_high, letter.slice_id_low));
        let encoding = if letter.is_base64 { Encoding::Base64 } else { Encoding::Text };
        let v1::DeadLetter { operation, op, reason, record, metadata, .. } = letter;
        Self { slice_id, operation, op, reason, record, encoding, metadata }
    }
}
