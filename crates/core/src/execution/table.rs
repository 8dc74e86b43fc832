//! The unfinished slices of an execution, in the order in which they are handed out.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use teraslice_model::{
    id::{SliceId, WorkerId},
    slice::Slice,
};

use crate::link::Session;

/// A place in the table; taken again after its slice has left.
pub(super) type Slot = u32;

/// An unfinished slice.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slice: Slice,
    /// How often it was handed out before.
    pub(super) attempt: u32,
    /// Workers that were lost while they ran it and nothing else.
    pub(super) deaths: u32,
    pub(super) holder: Option<Session>,
    /// Whether the ledger has the slice as it stands.
    pub(super) is_stored: bool,
    /// Whether it is handed out alone, because a worker was lost that held it.
    pub(super) is_suspect: bool,
    /// Whether it comes from an earlier execution.
    pub(super) is_recovered: bool,
}

impl Entry {
    pub(super) const fn new(slice: Slice) -> Self {
        Self {
            slice,
            attempt: 0,
            deaths: 0,
            holder: None,
            is_stored: false,
            is_suspect: false,
            is_recovered: false,
        }
    }
}

/// The unfinished slices.
///
/// ```text
/// insert -> ready | pinned -> lease -> finish
///             ^       ^          |
///             |       +----------+ put back (released)
///             +-- suspects <-----+ put back (worker lost)
/// ```
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    by_id: HashMap<SliceId, Slot, BuildHasherDefault<IdHasher>>,
    ready: VecDeque<Slot>,
    /// Handed out before the ready ones, each to a worker that holds nothing else.
    suspects: VecDeque<Slot>,
    /// Slices that only one worker may run.
    pinned: HashMap<WorkerId, VecDeque<Slot>>,
    pinned_len: usize,
}

impl Table {
    /// Adds a slice behind all others.
    pub(super) fn insert(&mut self, entry: Entry) -> Slot {
        let id = entry.slice.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                Slot::try_from(self.entries.len() - 1).expect("the queue is bounded far below 4 billion")
            }
        };
        self.by_id.insert(id, slot);
        self.enqueue(slot, End::Back);
        slot
    }

    /// Returns the slice in `slot` if it still is the one of that id.
    pub(super) fn get(&mut self, slot: Slot, id: SliceId) -> Option<&mut Entry> {
        self.entries[slot as usize].as_mut().filter(|entry| entry.slice.id == id)
    }

    /// Returns where a slice is.
    pub(super) fn find(&self, id: SliceId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// Returns a slice that is known to be there.
    pub(super) fn at(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize].as_mut().expect("slots in queues and leases are taken")
    }

    /// Takes the next slice for `session`.
    pub(super) fn lease(&mut self, session: Session, worker: Option<&WorkerId>) -> Option<Slot> {
        let slot = self.pop_pinned(worker).or_else(|| self.ready.pop_front())?;
        self.at(slot).holder = Some(session);
        Some(slot)
    }

    /// Takes the next suspect for `session`, which must hold nothing else.
    pub(super) fn lease_suspect(&mut self, session: Session) -> Option<Slot> {
        let slot = self.suspects.pop_front()?;
        self.at(slot).holder = Some(session);
        Some(slot)
    }

    /// Puts a slice back at the head.
    pub(super) fn put_back(&mut self, slot: Slot) {
        let entry = self.at(slot);
        entry.holder = None;
        entry.attempt += 1;
        self.enqueue(slot, End::Front);
    }

    /// Removes a slice that is finished.
    pub(super) fn remove(&mut self, slot: Slot) -> Entry {
        let entry = self.entries[slot as usize].take().expect("a leased slot is taken");
        self.by_id.remove(&entry.slice.id);
        self.free.push(slot);
        entry
    }

    /// Returns how many slices wait.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.suspects.len() + self.pinned_len
    }

    /// Returns how many slices any worker may have at once.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Tells whether suspects wait.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Tells whether there is no unfinished slice.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns how many slices are handed out.
    pub(super) fn leased(&self) -> usize {
        self.by_id.len() - self.waiting()
    }

    fn pop_pinned(&mut self, worker: Option<&WorkerId>) -> Option<Slot> {
        if self.pinned_len == 0 {
            return None;
        }
        let slot = self.pinned.get_mut(worker?)?.pop_front()?;
        self.pinned_len -= 1;
        Some(slot)
    }

    fn enqueue(&mut self, slot: Slot, end: End) {
        let entry = self.at(slot);
        let is_suspect = entry.is_suspect;
        let queue = match entry.slice.request.worker() {
            _ if is_suspect => &mut self.suspects,
            Some(worker) => {
                self.pinned_len += 1;
                self.pinned.entry(worker).or_default()
            }
            None => &mut self.ready,
        };
        match end {
            End::Front => queue.push_front(slot),
            End::Back => queue.push_back(slot),
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// Hashes slice ids by their last eight bytes: they are SHA-1 output already.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut last = [0; 8];
        let from = bytes.len().saturating_sub(8);
        last[..bytes.len() - from].copy_from_slice(&bytes[from..]);
        self.0 = u64::from_le_bytes(last);
    }

    fn write_usize(&mut self, _len: usize) {}
}

impl std::fmt::Debug for IdHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdHasher")
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::{id::ExId, slice::Request, timestamp::Timestamp};

    use super::*;

    fn entry(order: u64, request: &str) -> Entry {
        let ex_id = ExId::from_random([1; 16]);
        let request = Request::from_json(request);
        Entry::new(Slice::new(ex_id, 0, order, request, Timestamp::default()))
    }

    fn orders(table: &mut Table, worker: &str) -> Vec<u64> {
        let worker = WorkerId::new(worker);
        let mut orders = Vec::new();
        while let Some(slot) = table.lease(Session(1), Some(&worker)) {
            orders.push(table.at(slot).slice.slicer_order);
        }
        orders
    }

    #[test]
    fn hands_slices_out_in_order() {
        let mut table = Table::default();
        for order in 1..=3 {
            table.insert(entry(order, "{}"));
        }
        assert_eq!(orders(&mut table, "w"), [1, 2, 3]);
        assert_eq!(table.leased(), 3);
    }

    #[test]
    fn puts_a_released_slice_back_at_the_head() {
        let mut table = Table::default();
        table.insert(entry(1, "{}"));
        table.insert(entry(2, "{}"));
        let slot = table.lease(Session(1), None).unwrap();
        table.put_back(slot);
        assert_eq!(table.at(slot).attempt, 1);
        assert_eq!(orders(&mut table, "w"), [1, 2]);
    }

    #[test]
    fn keeps_a_pinned_slice_for_its_worker() {
        let mut table = Table::default();
        table.insert(entry(1, "{\"request_worker\":\"b\"}"));
        table.insert(entry(2, "{}"));
        assert_eq!(orders(&mut table, "a"), [2]);
        assert_eq!(table.waiting(), 1);
        assert_eq!(orders(&mut table, "b"), [1]);
    }

    #[test]
    fn hands_suspects_out_only_on_request() {
        let mut table = Table::default();
        table.insert(entry(1, "{}"));
        let slot = table.lease(Session(1), None).unwrap();
        table.at(slot).is_suspect = true;
        table.put_back(slot);
        assert_eq!(orders(&mut table, "a"), [0; 0]);
        assert_eq!(table.lease_suspect(Session(2)), Some(slot));
    }

    #[test]
    fn does_not_take_a_new_slice_for_the_old_one_in_its_slot() {
        let mut table = Table::default();
        let slot = table.insert(entry(1, "{}"));
        let old = table.at(slot).slice.id;
        table.lease(Session(1), None);
        table.remove(slot);
        assert_eq!(table.insert(entry(2, "{}")), slot);
        assert!(table.get(slot, old).is_none());
        assert_eq!(table.find(old), None);
    }
}
