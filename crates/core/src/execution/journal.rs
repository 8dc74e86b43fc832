//! What the ledger does not have yet.

use std::{collections::BTreeMap, time::Duration};

use teraslice_model::{checkpoint::Checkpoint, dead_letter::DeadLetter, id::SliceId, slice::SliceState};

use super::table::{Slot, Table};
use crate::store::{Flush, SliceRecord, Totals};

/// Gathers changes until they are flushed. One flush is under way at a time.
#[derive(Debug)]
pub(super) struct Journal {
    /// Slices that are new or whose deaths changed; those that finish before the flush are written once.
    unstored: Vec<(Slot, SliceId)>,
    finished: Vec<SliceRecord>,
    checkpoints: BTreeMap<u32, Checkpoint>,
    dead_letters: Vec<DeadLetter>,
    totals: Totals,
    /// When the oldest change came in.
    since: Option<Duration>,
    is_flushing: bool,
}

impl Journal {
    pub(super) const fn new(totals: Totals) -> Self {
        Self {
            unstored: Vec::new(),
            finished: Vec::new(),
            checkpoints: BTreeMap::new(),
            dead_letters: Vec::new(),
            totals,
            since: None,
            is_flushing: false,
        }
    }

    pub(super) const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Notes a slice that is unfinished and not stored as it stands.
    pub(super) fn unstored(&mut self, now: Duration, slot: Slot, id: SliceId) {
        self.unstored.push((slot, id));
        self.since.get_or_insert(now);
    }

    /// Notes how far a slicer has come.
    pub(super) fn checkpoint(&mut self, now: Duration, checkpoint: Checkpoint) {
        self.checkpoints.insert(checkpoint.slicer_id, checkpoint);
        self.since.get_or_insert(now);
    }

    /// Notes a slice that completed, its counts and its dead letters.
    pub(super) fn completed(
        &mut self,
        now: Duration,
        record: SliceRecord,
        counts: &[teraslice_model::counts::Counts],
        dead_letters: Vec<DeadLetter>,
    ) {
        self.totals.completed += 1;
        if self.totals.operations.len() < counts.len() {
            self.totals.operations.resize(counts.len(), Default::default());
        }
        for (total, count) in self.totals.operations.iter_mut().zip(counts) {
            *total += count;
        }
        self.dead_letters.extend(dead_letters);
        self.finished.push(record);
        self.since.get_or_insert(now);
    }

    /// Notes a slice that was given up.
    pub(super) fn failed(&mut self, now: Duration, record: SliceRecord) {
        self.totals.failed += 1;
        self.finished.push(record);
        self.since.get_or_insert(now);
    }

    /// Returns how many slices wait to be written.
    pub(super) fn len(&self) -> usize {
        self.unstored.len() + self.finished.len()
    }

    /// Tells whether the ledger has everything.
    pub(super) const fn is_clean(&self) -> bool {
        self.since.is_none() && !self.is_flushing
    }

    /// Returns when the next flush is due; none while one is under way.
    pub(super) fn due(&self, delay: Duration) -> Option<Duration> {
        if self.is_flushing { None } else { self.since.map(|since| since + delay) }
    }

    /// Begins a flush of everything gathered.
    pub(super) fn begin_flush(&mut self, table: &mut Table) -> Flush {
        let mut slices = std::mem::take(&mut self.finished);
        for (slot, id) in self.unstored.drain(..) {
            if let Some(entry) = table.get(slot, id).filter(|entry| !entry.is_stored) {
                entry.is_stored = true;
                slices.push(SliceRecord {
                    slice: entry.slice.clone(),
                    state: SliceState::Pending,
                    error: None,
                    retry_count: 0,
                    deaths: entry.deaths,
                });
            }
        }
        self.since = None;
        self.is_flushing = true;
        Flush {
            slices,
            checkpoints: std::mem::take(&mut self.checkpoints).into_values().collect(),
            dead_letters: std::mem::take(&mut self.dead_letters),
            totals: self.totals.clone(),
        }
    }

    /// Ends the flush under way.
    pub(super) const fn end_flush(&mut self) {
        self.is_flushing = false;
    }
}
