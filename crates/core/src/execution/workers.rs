//! The connected workers, and how many slices each may hold.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use teraslice_model::id::WorkerId;

use super::table::{Slot, Table};
use crate::link::Session;

/// A worker holds leases for about this much work, so that it never runs dry and never hoards.
const LEASED_WORK: Duration = Duration::from_millis(20);
/// One running and one waiting, at the least.
const WINDOW_MIN: u32 = 2;

/// One connected worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: Option<WorkerId>,
    /// Leases it still has room for.
    pub(super) credit: u32,
    /// What it holds, in the order it runs them.
    pub(super) leases: VecDeque<Slot>,
    /// When it last said anything.
    pub(super) last_seen: Duration,
    /// How many leases it may hold: follows its pace.
    window: u32,
    /// When its last results came, or its first lease after it held none.
    paced_from: Duration,
    /// Whether it was told to take no more.
    pub(super) is_draining: bool,
}

impl Worker {
    /// Tells whether it runs a suspect; then it gets nothing else: its death has to be the suspect's.
    pub(super) fn holds_suspect(&self, table: &mut Table) -> bool {
        match self.leases.front() {
            Some(slot) if self.leases.len() == 1 => table.at(*slot).is_suspect,
            _ => false,
        }
    }

    const fn new(now: Duration) -> Self {
        Self {
            id: None,
            credit: 0,
            leases: VecDeque::new(),
            last_seen: now,
            window: WINDOW_MIN,
            paced_from: now,
            is_draining: false,
        }
    }

    /// Returns how many more leases it may get now.
    pub(super) fn room(&self) -> u32 {
        if self.is_draining || self.id.is_none() {
            return 0;
        }
        let held = u32::try_from(self.leases.len()).unwrap_or(u32::MAX);
        self.credit.min(self.window.saturating_sub(held))
    }

    /// Notes a lease.
    pub(super) fn take(&mut self, now: Duration, slot: Slot) {
        if self.leases.is_empty() {
            self.paced_from = now;
        }
        self.leases.push_back(slot);
        self.credit -= 1;
    }

    /// Notes that a lease was answered; false if it was not held.
    pub(super) fn give_back(&mut self, slot: Slot) -> bool {
        let Some(at) = self.leases.iter().position(|held| *held == slot) else { return false };
        self.leases.remove(at);
        self.credit += 1;
        true
    }

    /// Fits the window to the pace: `count` results have come since the last ones.
    pub(super) fn pace(&mut self, now: Duration, count: u32) {
        let per_slice = (now.saturating_sub(self.paced_from) / count.max(1)).max(Duration::from_micros(1));
        let fitting = u32::try_from(LEASED_WORK.as_micros() / per_slice.as_micros()).unwrap_or(u32::MAX);
        self.window = fitting.clamp(WINDOW_MIN, self.window.saturating_mul(2));
        self.paced_from = now;
    }
}

/// All connected workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    sessions: BTreeMap<Session, Worker>,
    pub(super) joined: u64,
    pub(super) disconnected: u64,
    pub(super) reconnected: u64,
}

impl Workers {
    pub(super) fn open(&mut self, now: Duration, session: Session) {
        self.sessions.insert(session, Worker::new(now));
        self.joined += 1;
    }

    pub(super) fn close(&mut self, session: Session) -> Option<Worker> {
        let worker = self.sessions.remove(&session)?;
        self.disconnected += 1;
        Some(worker)
    }

    pub(super) fn get(&mut self, session: Session) -> Option<&mut Worker> {
        self.sessions.get_mut(&session)
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns how many workers hold a lease.
    pub(super) fn active(&self) -> usize {
        self.sessions.values().filter(|worker| !worker.leases.is_empty()).count()
    }

    /// Returns the leases that all workers together may hold.
    pub(super) fn window(&self) -> usize {
        self.sessions.values().map(|worker| worker.window.min(worker.credit + WINDOW_MIN) as usize).sum()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Session, &mut Worker)> {
        self.sessions.iter_mut().map(|(session, worker)| (*session, worker))
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        self.sessions.keys().copied().collect()
    }

    /// Returns the other session of a worker that has connected again.
    pub(super) fn earlier(&self, id: &WorkerId, session: Session) -> Option<Session> {
        let mut others = self.sessions.iter().filter(|(other, _)| **other != session);
        others.find(|(_, worker)| worker.id.as_ref() == Some(id)).map(|(other, _)| *other)
    }

    /// Returns the sessions that have been silent since `before`.
    pub(super) fn silent_since(&self, before: Duration) -> Vec<Session> {
        let silent = self.sessions.iter().filter(|(_, worker)| worker.last_seen < before);
        silent.map(|(session, _)| *session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(credit: u32) -> Worker {
        let mut worker = Worker::new(Duration::ZERO);
        worker.id = Some(WorkerId::new("w"));
        worker.credit = credit;
        worker
    }

    #[test]
    fn starts_with_one_running_and_one_waiting() {
        assert_eq!(worker(64).room(), 2);
    }

    #[test]
    fn gives_a_fast_worker_more_and_a_slow_one_less() {
        let mut worker = worker(64);
        for round in 1..=5 {
            worker.pace(Duration::from_micros(round * 100), 10);
        }
        assert_eq!(worker.room(), 64);
        worker.pace(Duration::from_secs(10), 1);
        assert_eq!(worker.room(), 2);
    }

    #[test]
    fn gets_nothing_before_it_has_said_who_it_is() {
        let mut worker = worker(8);
        worker.id = None;
        assert_eq!(worker.room(), 0);
    }
}
