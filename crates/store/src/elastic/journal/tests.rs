//! The journal as it grows, settles and is made shorter: what is read again is what was written.

use std::collections::BTreeMap;

use teraslice_core::{
    conformance::store::{execution, record},
    store::{Flush, SliceRecord, Totals, Writer},
};
use teraslice_model::{
    dead_letter::Encoding,
    id::{Epoch, ExId, Generation},
};

use super::*;

const STORE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// The documents of a journal, and what a store has in memory of them.
struct Stage {
    documents: BTreeMap<u64, Entry>,
    journal: Journal,
    appends: u64,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self { documents: BTreeMap::new(), journal: Journal::default(), appends: 0 };
        stage.append(STORE, Draft::Barrier);
        stage
    }

    fn append(&mut self, store: Uuid, draft: Draft<'_>) -> usize {
        self.appends += 1;
        let entries = self.journal.draft(author(store, self.appends), draft);
        let count = entries.len();
        for entry in entries {
            assert!(self.documents.insert(entry.seq, entry.clone()).is_none(), "a place is taken once");
            self.journal.apply(entry);
        }
        count
    }

    fn flush(&mut self, slices: Vec<SliceRecord>) {
        self.append(STORE, Draft::Flush(&Flush { slices, ..Flush::default() }));
    }

    fn settle(&mut self) -> Batch {
        let batch = self.journal.batch(at(0));
        batch.slices.iter().for_each(|kept| self.journal.settled(kept));
        batch.letters.iter().for_each(|letter| self.journal.settled_letter(letter));
        batch.stale.iter().for_each(|stale| self.journal.settled_stale(*stale));
        for seq in &batch.entries {
            let gone = self.documents.remove(seq);
            assert!(
                gone.is_some_and(|entry| !entry.is_barrier),
                "only what is there is deleted, and no barrier"
            );
            self.journal.deleted(*seq);
        }
        batch
    }

    /// Reads the documents again.
    fn read(&self) -> Journal {
        let mut read = Journal::default();
        read.load(self.documents.values().cloned().collect());
        assert!(!read.is_torn);
        read
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_600_000_000_000 + millis)
}

fn author(store: Uuid, append: u64) -> Author {
    let writer = Writer { generation: Generation(1), epoch: Epoch(1) };
    Author { ex_id: ex_id(), writer, store, append, at: at(0) }
}

fn ex_id() -> ExId {
    execution(1).ex_id
}

fn slice(order: u64, state: SliceState) -> SliceRecord {
    record(ex_id(), 0, order, state)
}

fn letter(slice: &SliceRecord, reason: &str) -> DeadLetter {
    DeadLetter {
        slice_id: slice.slice.id,
        operation: 1,
        op: "filter".to_owned(),
        reason: reason.to_owned(),
        record: "{}".to_owned(),
        encoding: Encoding::Text,
        metadata: None,
    }
}

#[test]
fn reads_what_was_written_whatever_has_gone() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut stage = Stage::new();
        for turn in 0..random.u64(1..400) {
            let states = [SliceState::Pending, SliceState::Completed, SliceState::Error];
            let mut slices = Vec::new();
            for _ in 0..random.usize(..4) {
                let state = states[random.usize(..3)];
                slices.push(record(ex_id(), random.u32(..2), random.u64(1..60), state));
            }
            let dead_letters: Vec<_> = slices
                .iter()
                .filter(|slice| slice.state == SliceState::Completed)
                .map(|slice| letter(slice, "refused"))
                .collect();
            let checkpoints = vec![Checkpoint { order: turn, ..Checkpoint::start(random.u32(..2)) }];
            let totals = Totals { completed: turn, ..Totals::default() };
            let flush = Flush { slices, checkpoints, dead_letters, totals };
            match random.u32(..20) {
                0 => stage.append(OTHER, Draft::Barrier),
                1 => stage.append(STORE, Draft::Rest),
                _ => stage.append(STORE, Draft::Flush(&flush)),
            };
            if random.u32(..3) == 0 {
                stage.settle();
            }
            if random.u32(..10) == 0 {
                let read = stage.read();
                assert_eq!(read.ledger(), stage.journal.ledger(), "seed {seed}, turn {turn}");
                assert_eq!(read.next_letter, stage.journal.next_letter, "seed {seed}, turn {turn}");
                let is_there = |place| read.finished.contains_key(place);
                assert!(stage.journal.finished.keys().all(is_there), "seed {seed}, turn {turn}");
                let is_there = |number| read.letters.contains_key(number);
                assert!(stage.journal.letters.keys().all(is_there), "seed {seed}, turn {turn}");
                stage.journal = read;
            }
            assert!(stage.journal.live.keys().all(|seq| stage.documents.contains_key(seq)), "seed {seed}");
        }
    }
}

#[test]
fn lets_no_slow_slice_keep_all_entries() {
    let mut stage = Stage::new();
    stage.flush(vec![slice(1, SliceState::Pending)]);
    for order in 2..1_000 {
        stage.flush(vec![slice(order, SliceState::Completed)]);
        stage.settle();
        assert!(stage.documents.len() < 110, "{}", stage.documents.len());
    }
    assert_eq!(stage.read().ledger().unfinished, [slice(1, SliceState::Pending)]);
}

#[test]
fn rests_on_one_entry() {
    let mut stage = Stage::new();
    for order in 1..=10 {
        stage.flush(vec![slice(order, SliceState::Pending)]);
    }
    stage.settle();
    assert!(stage.journal.can_rest());
    stage.append(STORE, Draft::Rest);
    stage.settle();
    assert!(!stage.journal.can_rest());
    assert_eq!(stage.documents.len(), 2, "the barrier and the rest");
    assert_eq!(stage.read().ledger().unfinished.len(), 10);
}

#[test]
fn writes_a_large_flush_in_parts_of_which_only_all_count() {
    let mut stage = Stage::new();
    stage.flush(vec![slice(1, SliceState::Pending)]);
    let before = stage.journal.ledger();
    let mut slices: Vec<_> = (2..=5).map(|order| slice(order, SliceState::Error)).collect();
    for slice in &mut slices {
        slice.error = Some("x".repeat(10 << 20).into());
    }
    let dead_letters = vec![letter(&slices[0], "refused")];
    let flush = Flush { slices, dead_letters, ..Flush::default() };
    assert_eq!(stage.append(STORE, Draft::Flush(&flush)), 4);
    assert_eq!(stage.journal.waiting(), 5);
    assert_eq!(stage.read().waiting(), 5);
    let last = *stage.documents.last_key_value().unwrap().0;
    stage.documents.remove(&last);
    stage.journal = stage.read();
    assert_eq!((stage.journal.ledger(), stage.journal.waiting()), (before.clone(), 0));
    stage.append(OTHER, Draft::Barrier);
    stage.settle();
    assert_eq!((stage.read().ledger(), stage.read().waiting()), (before, 0));
}

#[test]
fn carries_all_that_is_pending_once_entries_are_lost() {
    let mut stage = Stage::new();
    stage.flush(vec![slice(1, SliceState::Pending)]);
    stage.documents.clear();
    stage.journal.is_torn = true;
    stage.flush(vec![slice(2, SliceState::Pending)]);
    assert_eq!(stage.read().ledger().unfinished.len(), 2);
}

#[test]
fn shows_slices_that_wait_long_and_those_that_wait_again() {
    let mut stage = Stage::new();
    stage.flush(vec![slice(1, SliceState::Pending), slice(2, SliceState::Error)]);
    let shown = |journal: &Journal, millis| -> Vec<_> {
        let batch = journal.batch(at(millis));
        batch
            .slices
            .iter()
            .map(|kept| (kept.line.record.slice.slicer_order, kept.line.record.state))
            .collect()
    };
    assert_eq!(shown(&stage.journal, 9_999), [(2, SliceState::Error)]);
    stage.settle();
    assert_eq!(shown(&stage.journal, 10_000), [(1, SliceState::Pending)]);
    stage.flush(vec![slice(2, SliceState::Pending)]);
    assert_eq!(shown(&stage.journal, 1), [(2, SliceState::Pending)], "its record says error");
    stage.settle();
    assert!(shown(&stage.journal, 1).is_empty());
}

#[test]
fn lets_earlier_dead_letters_go() {
    let mut stage = Stage::new();
    let (one, two) = (slice(1, SliceState::Completed), slice(2, SliceState::Completed));
    let flush = |slices: &[SliceRecord]| Flush {
        slices: slices.to_vec(),
        dead_letters: slices.iter().map(|slice| letter(slice, "refused")).collect(),
        ..Flush::default()
    };
    stage.append(STORE, Draft::Flush(&flush(&[one.clone(), two])));
    stage.append(STORE, Draft::Flush(&flush(std::slice::from_ref(&one))));
    let batch = stage.settle();
    let numbers: Vec<_> = batch.letters.iter().map(|letter| letter.number).collect();
    assert_eq!(numbers, [1, 2], "the first was replaced before it had a record");
    assert_eq!((batch.stale[0].slice_id, batch.stale[0].before), (one.slice.id, 2));
    assert_eq!(stage.journal.waiting(), 0);
}
