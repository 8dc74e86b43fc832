//! Entries: what one append adds to the journal of an execution, as one document.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use teraslice_core::store::{SliceRecord, Totals, Writer};
use teraslice_model::{
    checkpoint::Checkpoint,
    dead_letter::DeadLetter,
    id::{ExId, SliceId},
    slice::{Request, Slice, SliceState},
    timestamp::Timestamp,
};
use uuid::Uuid;

/// The form of entries that this program writes, and the latest that it reads.
pub(super) const FORMAT: u32 = 1;

/// An entry in the journal of an execution, under the id `<ex_id>-<seq>`: whoever makes that document first has it.
///
/// ```text
/// seq     1        2        3        4        5        6        7
///      barrier   slices   slices  barrier   part 1   part 2   slices      since = 5: 2 and 3 may be deleted,
///      store A   store A  store A store B   more     the end  store B     1 and 4 stay
/// ```
///
/// A store begins with a barrier, so that one that wrote before collides with it: barriers stay for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) format: u32,
    pub(super) ex_id: ExId,
    /// Its place, from 1.
    pub(super) seq: u64,
    #[serde(flatten)]
    pub(super) writer: Writer,
    /// The store that wrote it.
    pub(super) store: Uuid,
    /// Names the append within the store; the parts of one have the same.
    pub(super) append: u64,
    #[serde(rename = "_created")]
    pub(super) at: Timestamp,
    /// The first entry that still counts; all before have been carried on or have settled.
    pub(super) since: u64,
    pub(super) is_barrier: bool,
    /// Whether it has finished slices or dead letters: searched for.
    pub(super) has_outcomes: bool,
    /// Whether it counts only together with the next.
    #[serde(default, skip_serializing_if = "is_no")]
    pub(super) has_more: bool,
    /// Of all slicers.
    #[serde(with = "marks")]
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) totals: Totals,
    /// For each slicer the highest order of its slices so far, without those of this entry.
    pub(super) orders: Vec<(u32, u64)>,
    /// The number of the first dead letter.
    pub(super) first_letter: u64,
    pub(super) slices: Vec<Line>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

/// A slice in an entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) record: SliceRecord,
    /// The index that holds its record already, under the slice's own id; absent: which follows from the slice.
    pub(super) home: Option<Arc<str>>,
}

/// A line as text. The request is text as well: servers are choosy about JSON.
#[derive(Serialize, Deserialize)]
struct Text<R> {
    slice_id: SliceId,
    slicer_id: u32,
    slicer_order: u64,
    request: R,
    #[serde(rename = "_created")]
    created: i64,
    state: SliceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    retry_count: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    deaths: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Line {
    /// Returns about how many bytes it takes up.
    pub(super) fn len(&self) -> usize {
        let SliceRecord { slice, error, .. } = &self.record;
        256 + slice.request.json().len() + error.as_ref().map_or(0, |error| error.len())
    }
}

impl From<SliceRecord> for Line {
    fn from(record: SliceRecord) -> Self {
        Self { record, home: None }
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SliceRecord { slice, state, error, retry_count, deaths } = &self.record;
        let text = Text {
            slice_id: slice.id,
            slicer_id: slice.slicer_id,
            slicer_order: slice.slicer_order,
            request: slice.request.json(),
            created: slice.created.as_millis(),
            state: *state,
            error: error.clone(),
            retry_count: *retry_count,
            deaths: *deaths,
            home: self.home.clone(),
        };
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::<Arc<str>>::deserialize(deserializer)?;
        let slice = Slice {
            id: text.slice_id,
            slicer_id: text.slicer_id,
            slicer_order: text.slicer_order,
            request: Request::from_json(text.request),
            created: Timestamp::from_millis(text.created),
        };
        let Text { state, error, retry_count, deaths, home, .. } = text;
        Ok(Self { record: SliceRecord { slice, state, error, retry_count, deaths }, home })
    }
}

/// Checkpoints with their positions as text, for the same reason.
mod marks {
    use super::{Arc, Checkpoint, Deserialize, Deserializer, Request, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Mark<P> {
        slicer_id: u32,
        order: u64,
        position: Option<P>,
        is_exhausted: bool,
    }

    pub(super) fn serialize<S: Serializer>(
        checkpoints: &[Checkpoint],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(checkpoints.iter().map(|checkpoint| Mark {
            slicer_id: checkpoint.slicer_id,
            order: checkpoint.order,
            position: checkpoint.position.as_ref().map(Request::json),
            is_exhausted: checkpoint.is_exhausted,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Checkpoint>, D::Error> {
        let marks = Vec::<Mark<Arc<str>>>::deserialize(deserializer)?;
        let read = |mark: Mark<Arc<str>>| Checkpoint {
            slicer_id: mark.slicer_id,
            order: mark.order,
            position: mark.position.map(Request::from_json),
            is_exhausted: mark.is_exhausted,
        };
        Ok(marks.into_iter().map(read).collect())
    }
}

/// Returns the id of the document of an entry.
pub(super) fn entry_id(ex_id: ExId, seq: u64) -> String {
    format!("{ex_id}-{seq}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as the first version has written it.
    const SAMPLE: &str = include_str!("tests/entry-1.json");

    #[test]
    fn reads_an_old_entry_and_writes_it_alike() {
        let entry: Entry = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(entry.slices[0].record.slice.request.json(), "{\"start\":1}");
        assert_eq!(entry.slices[1].home.as_deref(), Some("c__state-2020.09"));
        assert_eq!(entry.checkpoints[0].position, Some(Request::from_json("{\"at\":2}")));
        let written: serde_json::Value = serde_json::to_value(&entry).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(SAMPLE).unwrap());
    }
}
