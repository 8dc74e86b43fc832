//! The journal of one execution in memory: what its entries add up to, and what of that has not settled yet.

mod draft;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use teraslice_core::store::{Ledger, Totals};
use teraslice_model::{
    checkpoint::Checkpoint, dead_letter::DeadLetter, id::SliceId, slice::SliceState, timestamp::Timestamp,
};
use uuid::Uuid;

use super::entry::{Entry, Line};

pub(super) use draft::{Author, Draft};

/// Pending slices that have waited so long get a record, so that dashboards see them.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// Records that one bulk request writes, about: their number and their bytes.
const BATCH_LEN: usize = 5_000;
const BATCH_BYTES: usize = 8 << 20;
/// Pending slices that an entry may repeat for no other reason than that earlier ones can go.
const REST_LEN: usize = 1_000;

/// A slice's slicer and order.
pub(super) type Place = (u32, u64);

/// What the entries of a journal add up to.
///
/// ```text
/// append -> pending --------------> finished --settle--> (in the state index alone)
///             | waits for 10 s: shown there as well
/// ```
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The last entry; 0: there is none.
    pub(super) last: u64,
    /// The store that wrote it.
    store: Option<Uuid>,
    /// The last entry that is not waiting for another part.
    last_whole: u64,
    /// What the last entry says is the first that counts.
    since: u64,
    checkpoints: BTreeMap<u32, Checkpoint>,
    pub(super) totals: Totals,
    /// For each slicer the highest order of its slices.
    orders: BTreeMap<u32, u64>,
    next_letter: u64,
    pending: BTreeMap<Place, Waiting>,
    /// Pending slices whose records say something else.
    due: BTreeSet<Place>,
    /// Finished slices without records.
    finished: BTreeMap<Place, Arc<Kept>>,
    /// Dead letters without records.
    letters: BTreeMap<u64, Arc<Letter>>,
    /// Completed slices whose earlier dead letters have to go.
    stale: BTreeMap<SliceId, Stale>,
    /// How much of each entry is pending or has not settled; none: absent.
    live: BTreeMap<u64, usize>,
    /// Entries that may be deleted once they do not count.
    deletable: BTreeSet<u64>,
    /// Parts that wait for the last one.
    parts: Vec<Entry>,
    /// Whether entries that count may have got lost, so that the next one carries all that is pending.
    pub(super) is_torn: bool,
}

/// A slice as an entry has it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) line: Line,
    pub(super) seq: u64,
    /// When it was appended.
    pub(super) at: Timestamp,
    /// Whether it may have a record of an earlier end.
    is_again: bool,
}

#[derive(Debug)]
struct Waiting {
    kept: Arc<Kept>,
    since: Timestamp,
    is_shown: bool,
}

/// A dead letter as an entry has it.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) number: u64,
    pub(super) seq: u64,
    pub(super) letter: DeadLetter,
}

/// Earlier dead letters of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    pub(super) slice_id: SliceId,
    /// Those with lower numbers.
    pub(super) before: u64,
    pub(super) seq: u64,
}

/// What one bulk request settles.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) slices: Vec<Arc<Kept>>,
    pub(super) letters: Vec<Arc<Letter>>,
    pub(super) stale: Vec<Stale>,
    /// Entries to delete.
    pub(super) entries: Vec<u64>,
    /// Whether there is more.
    pub(super) is_full: bool,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.letters.is_empty() && self.stale.is_empty() && self.entries.is_empty()
    }
}

impl Journal {
    /// Takes in entries that were read, in their order: those after the last, or all there are.
    pub(super) fn load(&mut self, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        if self.last > 0 && first.seq == self.last + 1 {
            return entries.into_iter().for_each(|entry| self.apply(entry));
        }
        *self = Self::default();
        let since = last.since;
        for entry in entries {
            if entry.seq < since {
                if !entry.is_barrier {
                    self.deletable.insert(entry.seq);
                }
                continue;
            }
            if self.last == 0 {
                self.last = entry.seq - 1;
                self.is_torn = entry.seq != since;
                self.orders = entry.orders.iter().copied().collect();
                self.next_letter = entry.first_letter;
            }
            self.apply(entry);
        }
    }

    /// Takes in the next entry; one that was taken in before changes nothing.
    pub(super) fn apply(&mut self, entry: Entry) {
        if entry.seq <= self.last {
            return;
        }
        self.is_torn |= entry.seq != self.last + 1;
        if self.parts.first().is_some_and(|part| part.append != entry.append || part.store != entry.store) {
            self.parts.clear();
        }
        self.last = entry.seq;
        self.store = Some(entry.store);
        self.since = entry.since;
        if !entry.is_barrier {
            self.deletable.insert(entry.seq);
        }
        if entry.has_more {
            self.parts.push(entry);
            return;
        }
        self.last_whole = entry.seq;
        for part in std::mem::take(&mut self.parts) {
            self.take(part);
        }
        self.take(entry);
    }

    /// Takes in the unfinished slices of an execution of the original, which has no journal.
    pub(super) fn adopt(&mut self, lines: Vec<Line>) {
        for line in lines {
            let place = place(&line);
            self.raise(place);
            let at = line.record.slice.created;
            let kept = Arc::new(Kept { line, seq: 0, at, is_again: false });
            self.pending.insert(place, Waiting { kept, since: at, is_shown: true });
        }
    }

    fn take(&mut self, entry: Entry) {
        for line in entry.slices {
            self.put(line, entry.seq, entry.at);
        }
        for (number, letter) in (entry.first_letter..).zip(entry.dead_letters) {
            self.letters.insert(number, Arc::new(Letter { number, seq: entry.seq, letter }));
            self.enliven(entry.seq);
            self.next_letter = number + 1;
        }
        self.checkpoints = entry.checkpoints.into_iter().map(|it| (it.slicer_id, it)).collect();
        self.totals = entry.totals;
    }

    fn put(&mut self, line: Line, seq: u64, at: Timestamp) {
        let place = place(&line);
        let was_known = !self.raise(place);
        let waiting = self.pending.remove(&place);
        let finished = self.finished.remove(&place);
        self.due.remove(&place);
        for kept in waiting.iter().map(|waiting| &waiting.kept).chain(&finished) {
            Self::leave(&mut self.live, kept.seq);
        }
        let is_again = match &waiting {
            Some(waiting) => waiting.kept.is_again,
            None => was_known,
        };
        let (state, slice_id) = (line.record.state, line.record.slice.id);
        let kept = Arc::new(Kept { line, seq, at, is_again });
        self.enliven(seq);
        if state == SliceState::Pending {
            let since = waiting.as_ref().map_or(at, |waiting| waiting.since);
            let is_shown = waiting.is_some_and(|waiting| waiting.is_shown);
            if is_again && !is_shown {
                self.due.insert(place);
            }
            self.pending.insert(place, Waiting { kept, since, is_shown });
            return;
        }
        self.finished.insert(place, kept);
        if state == SliceState::Completed && is_again && self.next_letter > 0 {
            self.forget_letters(slice_id, seq);
        }
    }

    /// Lets the earlier dead letters of a slice go.
    fn forget_letters(&mut self, slice_id: SliceId, seq: u64) {
        let live = &mut self.live;
        self.letters.retain(|_, letter| {
            let stays = letter.letter.slice_id != slice_id;
            if !stays {
                Self::leave(live, letter.seq);
            }
            stays
        });
        if let Some(earlier) = self.stale.insert(slice_id, Stale { slice_id, before: self.next_letter, seq })
        {
            Self::leave(&mut self.live, earlier.seq);
        }
        self.enliven(seq);
    }

    /// Notes the order of a slice. Returns whether it is higher than all before.
    fn raise(&mut self, (slicer_id, order): Place) -> bool {
        let highest = self.orders.entry(slicer_id).or_default();
        let is_higher = order > *highest;
        *highest = order.max(*highest);
        is_higher
    }

    fn enliven(&mut self, seq: u64) {
        *self.live.entry(seq).or_default() += 1;
    }

    fn leave(live: &mut BTreeMap<u64, usize>, seq: u64) {
        if let Some(left) = live.get_mut(&seq) {
            *left -= 1;
            if *left == 0 {
                live.remove(&seq);
            }
        }
    }

    /// Tells whether a store wrote the last entry.
    pub(super) fn is_of(&self, store: Uuid) -> bool {
        self.store == Some(store)
    }

    /// Returns what a controller starts from.
    pub(super) fn ledger(&self) -> Ledger {
        Ledger {
            checkpoints: self.checkpoints.values().cloned().collect(),
            unfinished: self.pending.values().map(|waiting| waiting.kept.line.record.clone()).collect(),
            totals: self.totals.clone(),
        }
    }

    /// Returns the pending slices, by slicer and order.
    pub(super) fn pending(&self) -> impl ExactSizeIterator<Item = &Arc<Kept>> {
        self.pending.values().map(|waiting| &waiting.kept)
    }

    /// Returns how much waits for records.
    pub(super) fn waiting(&self) -> usize {
        self.finished.len() + self.letters.len() + self.due.len() + self.stale.len()
    }

    /// Tells whether entries stay that a small one could take the place of.
    pub(super) fn can_rest(&self) -> bool {
        self.deletable.len() > 1 && self.pending.len() <= REST_LEN
    }

    /// Returns what can settle next, and which entries can go.
    pub(super) fn batch(&self, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let late = now.as_millis() - i64::try_from(SHOWN_AFTER.as_millis()).unwrap_or(i64::MAX);
        let due = self.due.iter().filter_map(|place| self.pending.get(place));
        let slow = self.pending.values().filter(|it| !it.is_shown && it.since.as_millis() <= late);
        let pending = due.chain(slow.filter(|it| !it.kept.is_again)).map(|waiting| &waiting.kept);
        let mut finished: Vec<_> = self.finished.values().collect();
        if finished.len() > BATCH_LEN {
            // The oldest first, so that their entries can go.
            finished.sort_by_key(|kept| kept.seq);
        }
        for kept in finished.into_iter().chain(pending) {
            batch.is_full = batch.slices.len() >= BATCH_LEN || bytes > BATCH_BYTES;
            if batch.is_full {
                break;
            }
            bytes += kept.line.len();
            batch.slices.push(Arc::clone(kept));
        }
        for letter in self.letters.values() {
            batch.is_full |= batch.letters.len() >= BATCH_LEN || bytes > BATCH_BYTES;
            if batch.is_full {
                break;
            }
            bytes += len_of(&letter.letter);
            batch.letters.push(Arc::clone(letter));
        }
        batch.stale.extend(self.stale.values().take(BATCH_LEN));
        batch.entries.extend(self.deletable.range(..self.since));
        batch
    }

    /// Notes that a slice has its record.
    pub(super) fn settled(&mut self, kept: &Arc<Kept>) {
        let place = place(&kept.line);
        if self.finished.get(&place).is_some_and(|found| found.seq == kept.seq) {
            self.finished.remove(&place);
            Self::leave(&mut self.live, kept.seq);
        } else if let Some(waiting) = self.pending.get_mut(&place)
            && kept.line.record.state == SliceState::Pending
        {
            waiting.is_shown = true;
            self.due.remove(&place);
        }
    }

    /// Notes that a dead letter has its record.
    pub(super) fn settled_letter(&mut self, letter: &Letter) {
        if self.letters.remove(&letter.number).is_some() {
            Self::leave(&mut self.live, letter.seq);
        }
    }

    /// Notes that the earlier dead letters of a slice have gone.
    pub(super) fn settled_stale(&mut self, stale: Stale) {
        if self.stale.get(&stale.slice_id).is_some_and(|found| found.seq == stale.seq) {
            self.stale.remove(&stale.slice_id);
            Self::leave(&mut self.live, stale.seq);
        }
    }

    /// Notes that an entry was deleted.
    pub(super) fn deleted(&mut self, seq: u64) {
        self.deletable.remove(&seq);
    }
}

pub(super) const fn place(line: &Line) -> Place {
    (line.record.slice.slicer_id, line.record.slice.slicer_order)
}

/// Returns about how many bytes a dead letter takes up.
pub(super) fn len_of(letter: &DeadLetter) -> usize {
    let metadata = letter.metadata.as_ref().map_or(0, String::len);
    256 + letter.reason.len() + letter.record.len() + metadata
}

#[cfg(test)]
mod tests;
