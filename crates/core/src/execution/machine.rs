//! The execution controller as a pure state machine: events in, effects out, no I/O.

mod command;

use std::{sync::Arc, time::Duration};

use teraslice_model::{
    counts::check_balance,
    execution::Stats,
    id::ExId,
    job::Lifecycle,
    slice::{Slice, SliceState},
    status::Status,
    timestamp::Timestamp,
};

use super::{
    event::{Effect, End, Event},
    health::Health,
    journal::Journal,
    limits::Limits,
    setup::Setup,
    slicing::Slicers,
    table::{Entry, Slot, Table},
    workers::Workers,
};
use crate::{
    link::{FromWorker, Lease, LinkEvent, Outcome, Session, SliceResult, ToWorker},
    operation::Sliced,
    store::SliceRecord,
};

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Running,
    Paused,
    /// Waits for the workers' last answers, until the deadline.
    Ending(End, Duration),
    Ended {
        is_over: bool,
    },
}

/// The execution controller's state.
///
/// ```text
///            +--------- pause ---------+
///            v                         |
/// start -> Paused --- resume ------> Running --- all slices done, or failed, or stopped ---> Ending -> Ended
/// ```
///
/// Law: every slice that a slicer made is in exactly one place: waiting, leased, or finished. It leaves only by a result of
/// its current attempt, or by the death limit.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    ex_id: ExId,
    lifecycle: Lifecycle,
    phase: Phase,
    status: Status,
    table: Table,
    slicers: Slicers,
    workers: Workers,
    journal: Journal,
    health: Health,
    /// Slices of an earlier execution that are not finished yet.
    recovering: u64,
    /// Since when no worker is connected.
    alone_since: Option<Duration>,
    stats: Stats,
    effects: Vec<Effect>,
}

impl Machine {
    /// Makes a machine; `Event::Tick` at time 0 sets it going.
    #[must_use]
    pub fn new(setup: Setup, limits: Limits) -> Self {
        let mut table = Table::default();
        let mut recovering = 0;
        for record in setup.ledger.unfinished {
            let mut entry = Entry::new(record.slice);
            entry.deaths = record.deaths;
            entry.is_suspect = record.deaths > 0;
            entry.is_stored = true;
            entry.is_recovered = !entry.slice.is_of(setup.ex_id);
            recovering += u64::from(entry.is_recovered);
            table.insert(entry);
        }
        let totals = setup.ledger.totals;
        let has_failed = totals.failed > 0;
        let health = Health::new(Duration::ZERO, setup.lifecycle, setup.probation_window, has_failed);
        let phase = match setup.status {
            Status::Paused => Phase::Paused,
            Status::Stopping => Phase::Ending(End::Terminal(Status::Stopped, None), Duration::ZERO),
            _ => Phase::Running,
        };
        let stats = Stats { started: Some(setup.started), ..Stats::default() };
        Self {
            slicers: Slicers::new(setup.checkpoints, setup.lifecycle, limits.queue_len_max),
            limits,
            ex_id: setup.ex_id,
            lifecycle: setup.lifecycle,
            phase,
            status: setup.status,
            table,
            workers: Workers::default(),
            journal: Journal::new(totals),
            health,
            recovering,
            alone_since: Some(Duration::ZERO),
            stats,
            effects: Vec::new(),
        }
    }

    /// Takes an event at time `now` (since the start, never going back) and returns what is to be done, in order.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::Sliced { slicer_id, sliced, wall } => self.sliced(now, slicer_id, sliced, wall),
            Event::SlicerFailed { slicer_id, error } => {
                self.fail(now, format!("slicer {slicer_id} failed: {error}"));
            }
            Event::Link(event) => self.link(now, event),
            Event::Flushed => self.journal.end_flush(),
            Event::Tick => self.tick(now),
            Event::Command(command) => self.command(now, command),
        }
        self.go_on(now);
        std::mem::take(&mut self.effects)
    }

    /// Returns when to send a tick at the latest.
    #[must_use]
    pub fn deadline(&self, now: Duration) -> Duration {
        let mut due = now + self.limits.worker_lease_timeout / 4;
        let others = [
            self.journal.due(self.limits.flush_delay),
            self.health.due(),
            self.slicers.due(now),
            match &self.phase {
                // Once it has passed, only the flush under way is waited for.
                Phase::Ending(_, deadline) if *deadline > now => Some(*deadline),
                _ => None,
            },
        ];
        for other in others.into_iter().flatten() {
            due = due.min(other);
        }
        due
    }

    /// Returns the statistics as clients see them.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (totals, active) = (self.journal.totals(), self.workers.active());
        Stats {
            workers_available: (self.workers.len() - active) as u64,
            workers_active: active as u64,
            workers_joined: self.workers.joined,
            workers_reconnected: self.workers.reconnected,
            workers_disconnected: self.workers.disconnected,
            failed: totals.failed,
            processed: totals.completed + totals.failed,
            queued: self.table.waiting() as u64,
            leased: self.table.leased() as u64,
            slicers: self.slicers.active() as u64,
            operations: totals.operations.clone(),
            ..self.stats.clone()
        }
    }

    /// Returns the present status.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Does what the new state asks for: hand out, make more, write, change status, end.
    fn go_on(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Ended { .. }) {
            return;
        }
        if self.phase == Phase::Running {
            if self.journal.len() < self.limits.journal_len_max {
                self.dispatch(now);
                self.ask(now);
            }
            let is_done = self.slicers.is_exhausted() && self.table.is_empty();
            if is_done && self.lifecycle == Lifecycle::Once {
                let end = self.completion();
                self.phase = Phase::Ending(end, now);
            }
        }
        self.update_status();
        self.flush(now);
        self.end(now);
    }

    fn sliced(&mut self, now: Duration, slicer_id: u32, sliced: Sliced, wall: Timestamp) {
        let made = sliced.requests.len();
        let answered = self.slicers.answered(now, slicer_id, made, sliced.position, sliced.is_exhausted);
        let Some((first, checkpoint)) = answered else { return };
        for (order, request) in (first..).zip(sliced.requests) {
            let slice = Slice::new(self.ex_id, slicer_id, order, request, wall);
            let id = slice.id;
            let slot = self.table.insert(Entry::new(slice));
            self.journal.unstored(now, slot, id);
        }
        if made > 1 {
            self.stats.subslices += made as u64;
        }
        if made > 0 || checkpoint.is_exhausted {
            self.journal.checkpoint(now, checkpoint);
        }
        if self.slicers.is_exhausted() && self.stats.queuing_complete.is_none() {
            self.stats.queuing_complete = Some(wall);
        }
    }

    fn link(&mut self, now: Duration, event: LinkEvent) {
        match event {
            LinkEvent::Opened { session } => {
                self.workers.open(now, session);
                self.alone_since = None;
                match self.phase {
                    Phase::Ending(..) => self.drain(session),
                    Phase::Ended { is_over } => self.dismiss(session, is_over),
                    Phase::Running | Phase::Paused => {}
                }
            }
            LinkEvent::Message { session, message } => self.message(now, session, message),
            // Closed, or silent for too long: either way nothing of this session counts any more. A process that still
            // runs cannot do harm: sinks write under names derived from the slice.
            LinkEvent::Closed { session, is_dead: _ } => self.lost(now, session),
        }
    }

    fn message(&mut self, now: Duration, session: Session, message: FromWorker) {
        let Some(worker) = self.workers.get(session) else { return };
        worker.last_seen = now;
        match message {
            FromWorker::Hello { worker: id } => {
                worker.id = Some(id.clone());
                if let Some(earlier) = self.workers.earlier(&id, session) {
                    self.workers.reconnected += 1;
                    self.effects.push(Effect::Close(earlier));
                    self.lost(now, earlier);
                }
            }
            FromWorker::Credit(more) => worker.credit = worker.credit.saturating_add(more),
            FromWorker::Results(results) => {
                worker.pace(now, u32::try_from(results.len()).unwrap_or(u32::MAX));
                for result in results {
                    self.result(now, session, result);
                }
            }
            FromWorker::Heartbeat => {}
            FromWorker::Goodbye => {
                self.effects.push(Effect::Close(session));
                self.lost(now, session);
            }
        }
    }

    /// Takes a result; one that is late or repeated counts for nothing.
    fn result(&mut self, now: Duration, session: Session, result: SliceResult) {
        let Some(slot) = self.table.find(result.slice_id) else { return };
        let entry = self.table.at(slot);
        if entry.holder != Some(session) || entry.attempt != result.attempt {
            return;
        }
        let held = self.workers.get(session).is_some_and(|worker| worker.give_back(slot));
        debug_assert!(held, "the holder of a slice has its lease");
        let balance = check_balance(&result.operations);
        match (result.outcome, balance) {
            (Outcome::Completed, Ok(())) => {
                let record = self.take_out(slot, SliceState::Completed, result.retry_count, None);
                self.journal.completed(now, record, &result.operations, result.dead_letters);
                self.health.completed();
            }
            (Outcome::Completed, Err(imbalance)) => {
                self.give_up(now, slot, result.retry_count, &format!("records went missing: {imbalance}"));
            }
            (Outcome::Failed { error }, _) => self.give_up(now, slot, result.retry_count, &error),
            (Outcome::JobFault { error }, _) => {
                self.table.put_back(slot);
                self.fail(now, error);
            }
            (Outcome::Released, _) => {
                self.table.put_back(slot);
                if let Some(leaving) = self.workers.get(session) {
                    leaving.is_draining = true;
                }
            }
        }
    }

    fn take_out(&mut self, slot: Slot, state: SliceState, retries: u32, error: Option<&str>) -> SliceRecord {
        let entry = self.table.remove(slot);
        self.recovering -= u64::from(entry.is_recovered);
        self.slicers.finished(1);
        SliceRecord {
            slice: entry.slice,
            state,
            error: error.map(Arc::from),
            retry_count: retries,
            deaths: entry.deaths,
        }
    }

    fn give_up(&mut self, now: Duration, slot: Slot, retries: u32, error: &str) {
        let record = self.take_out(slot, SliceState::Error, retries, Some(error));
        self.journal.failed(now, record);
        self.health.failed(now);
    }

    /// Takes back what a lost worker held. Which of several slices it died of cannot be known: they become suspects, each
    /// handed out alone from now on, and only a death of a slice that ran alone counts against it.
    fn lost(&mut self, now: Duration, session: Session) {
        let Some(worker) = self.workers.close(session) else { return };
        if self.workers.is_empty() {
            self.alone_since = Some(now);
        }
        let was_alone = worker.leases.len() == 1;
        for slot in worker.leases.into_iter().rev() {
            let limit = self.limits.slice_death_limit;
            let entry = self.table.at(slot);
            entry.is_suspect = true;
            if was_alone {
                entry.deaths += 1;
                entry.is_stored = false;
                let (deaths, id) = (entry.deaths, entry.slice.id);
                if deaths >= limit {
                    self.give_up(
                        now,
                        slot,
                        0,
                        &format!("{deaths} workers were lost while they ran this slice"),
                    );
                    continue;
                }
                self.journal.unstored(now, slot, id);
            }
            self.table.put_back(slot);
        }
    }

    fn tick(&mut self, now: Duration) {
        let timeout = self.limits.worker_lease_timeout;
        if let Some(before) = now.checked_sub(timeout) {
            for session in self.workers.silent_since(before) {
                self.effects.push(Effect::Close(session));
                self.lost(now, session);
            }
        }
        if self.phase != Phase::Paused {
            self.health.tick(now);
        }
        self.watch_for_workers(now);
    }

    fn watch_for_workers(&mut self, now: Duration) {
        let Some(since) = self.alone_since.filter(|_| self.phase == Phase::Running) else { return };
        let alone = now.saturating_sub(since);
        let (limit, what) = if self.workers.joined == 0 {
            (self.limits.slicer_timeout, "no worker has connected")
        } else {
            (self.limits.worker_disconnect_timeout, "all workers have been gone")
        };
        if alone >= limit {
            self.fail(now, format!("{what} for {} seconds", alone.as_secs()));
        }
    }

    fn fail(&mut self, now: Duration, reason: String) {
        if self.is_live() {
            self.begin_end(now, End::Terminal(Status::Failed, Some(reason)));
        }
    }

    fn begin_end(&mut self, now: Duration, end: End) {
        self.phase = Phase::Ending(end, now + self.limits.drain_timeout);
        for session in self.workers.sessions() {
            self.drain(session);
        }
    }

    fn drain(&mut self, session: Session) {
        if let Some(worker) = self.workers.get(session) {
            worker.is_draining = true;
        }
        self.effects.push(Effect::Send(session, ToWorker::Drain));
    }

    fn completion(&self) -> End {
        match self.journal.totals().failed {
            0 => End::Terminal(Status::Completed, None),
            1 => End::Terminal(Status::Failed, Some("1 slice failed".to_owned())),
            failed => End::Terminal(Status::Failed, Some(format!("{failed} slices failed"))),
        }
    }

    /// Hands slices to the workers that have room. Suspects go first, each alone; while some wait nothing else goes out.
    fn dispatch(&mut self, now: Duration) {
        if self.table.waiting() == 0 {
            return;
        }
        let share = self.table.ready().div_ceil(self.workers.len().max(1)).max(1);
        for (session, worker) in self.workers.iter_mut() {
            let mut leases = Vec::new();
            let room = worker.room() as usize;
            if self.table.has_suspects() {
                if room > 0 && worker.leases.is_empty() {
                    leases.extend(self.table.lease_suspect(session));
                }
            } else if !worker.holds_suspect(&mut self.table) {
                let fair = room.min(
                    share.saturating_sub(worker.leases.len()).max(usize::from(worker.leases.is_empty())),
                );
                let next = std::iter::from_fn(|| self.table.lease(session, worker.id.as_ref()));
                leases.extend(next.take(fair));
            }
            if leases.is_empty() {
                continue;
            }
            let table = &mut self.table;
            let leases = leases.into_iter().map(|slot| {
                worker.take(now, slot);
                let entry = table.at(slot);
                Lease { slice: entry.slice.clone(), attempt: entry.attempt }
            });
            let leases = leases.collect();
            self.effects.push(Effect::Send(session, ToWorker::Leases(leases)));
        }
    }

    fn ask(&mut self, now: Duration) {
        let asked = self.slicers.ask(now, self.table.waiting(), self.workers.window());
        self.effects.extend(asked.into_iter().map(|(slicer_id, max)| Effect::Ask { slicer_id, max }));
    }

    fn update_status(&mut self) {
        let status = match &self.phase {
            Phase::Paused => Status::Paused,
            Phase::Ending(End::Terminal(Status::Stopped, _), _) => Status::Stopping,
            Phase::Ending(..) | Phase::Ended { .. } => return,
            Phase::Running if self.health.is_failing() => Status::Failing,
            Phase::Running if self.recovering > 0 => Status::Recovering,
            Phase::Running => Status::Running,
        };
        if status != self.status {
            self.status = status;
            self.effects.push(Effect::Status(status));
        }
    }

    fn flush(&mut self, now: Duration) {
        let Some(due) = self.journal.due(self.limits.flush_delay) else { return };
        let is_ending = matches!(self.phase, Phase::Ending(..));
        if now >= due || is_ending || self.journal.len() >= self.limits.flush_len {
            let flush = self.journal.begin_flush(&mut self.table);
            self.slicers.next_interval();
            self.effects.push(Effect::Flush(flush));
        }
    }

    /// Ends once nothing is handed out any more (or the deadline has passed) and the ledger has everything.
    fn end(&mut self, now: Duration) {
        let Phase::Ending(end, deadline) = &self.phase else { return };
        let is_settled = self.table.leased() == 0 || now >= *deadline;
        if !is_settled || !self.journal.is_clean() {
            return;
        }
        let end = end.clone();
        let is_over = end != End::Released;
        for session in self.workers.sessions() {
            self.dismiss(session, is_over);
        }
        self.effects.push(Effect::End(end));
        self.phase = Phase::Ended { is_over };
    }

    /// Tells a worker that all is over; where a later controller goes on it is to look for that one.
    fn dismiss(&mut self, session: Session, is_over: bool) {
        self.effects.extend(is_over.then_some(Effect::Send(session, ToWorker::Finished)));
    }
}

#[cfg(test)]
mod tests;
