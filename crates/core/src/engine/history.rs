//! What the engine remembers of an execution's processes: who ended, how soon, and when the next may start.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use teraslice_model::{id::Generation, timestamp::Timestamp};

use super::{Condition, Patience, decide::Wish};
use crate::backend::{ExitReason, Instance, InstanceId, Phase, Role};

/// Exit codes after which a repetition would end the same way: a bad job, a bad configuration.
const HOPELESS: [i32; 2] = [64, 78];

/// The past of one execution, as far as the engine has seen it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    generation: Generation,
    live: BTreeMap<InstanceId, Seen>,
    ended: BTreeSet<InstanceId>,
    controller: Falls,
    workers: Falls,
    /// Why the controller has not started, and since when something is in the way.
    waiting: Option<(Timestamp, String)>,
    /// What the backend has accepted last.
    pub(super) applied: Option<Wish>,
    /// The revision of that.
    pub(super) revision: u64,
}

/// A live instance.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    since: Timestamp,
    was_draining: bool,
}

/// Ends that nobody asked for, in a row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Falls {
    count: u32,
    last: Option<ExitReason>,
    at: Timestamp,
    due: Timestamp,
}

impl History {
    /// Takes in what is observed now.
    pub(super) fn note(
        &mut self,
        now: Timestamp,
        generation: Generation,
        observed: &[Instance],
        patience: &Patience,
    ) {
        if generation > self.generation {
            *self = Self { generation, revision: self.revision, ..Self::default() };
        }
        let mut worker_falls = None;
        for instance in observed.iter().filter(|instance| instance.generation == generation) {
            match &instance.phase {
                Phase::Exited(reason) => {
                    if !self.ended.insert(instance.id.clone()) {
                        continue;
                    }
                    let seen = self.live.remove(&instance.id);
                    match instance.role {
                        Role::Controller => self.controller_ended(now, reason, seen, patience),
                        Role::Worker => {
                            let is_fall = is_fall(now, reason, seen, patience);
                            let fall = is_fall.then(|| reason.clone());
                            worker_falls = fall.or(worker_falls);
                            if is_orderly(reason) || seen.is_some_and(|seen| seen.was_draining) {
                                self.workers.hold_until(later(now, patience.pause_min));
                            }
                        }
                    }
                }
                phase => {
                    let seen = Seen { since: now, was_draining: false };
                    let seen = self.live.entry(instance.id.clone()).or_insert(seen);
                    seen.was_draining |= *phase == Phase::Draining;
                }
            }
        }
        if let Some(reason) = worker_falls {
            self.workers_fell(now, reason, patience);
        }
        self.note_waiting(now, generation, observed);
        let present: BTreeSet<_> = observed.iter().map(|instance| &instance.id).collect();
        self.ended.retain(|id| present.contains(id));
        self.live.retain(|id, _| present.contains(id));
    }

    fn note_waiting(&mut self, now: Timestamp, generation: Generation, observed: &[Instance]) {
        let mut controllers = observed
            .iter()
            .filter(|it| it.generation == generation && it.role == Role::Controller && it.phase.is_live());
        self.waiting = controllers.find_map(|controller| match &controller.phase {
            Phase::Waiting(reason) => {
                let since = self.waiting.as_ref().map_or(now, |(since, _)| *since);
                Some((since, reason.clone()))
            }
            _ => None,
        });
    }

    fn controller_ended(
        &mut self,
        now: Timestamp,
        reason: &ExitReason,
        seen: Option<Seen>,
        patience: &Patience,
    ) {
        // Its node may be leaving, and nobody need have seen it leave.
        let was_asked = *reason == ExitReason::INTERRUPTED;
        if was_asked || seen.is_some_and(|seen| seen.was_draining) {
            return self.controller.hold_until(later(now, patience.pause_min));
        }
        let lived = seen.map_or(Duration::ZERO, |seen| between(seen.since, now));
        let before = if lived >= patience.controller_stable_after { 0 } else { self.controller.count };
        let pause = if before == 0 { Duration::ZERO } else { patience.pause(before) };
        let (count, last) = (before + 1, Some(reason.clone()));
        self.controller = Falls { count, last, at: now, due: later(now, pause) };
        // Its workers fell with it.
        self.workers = Falls::default();
    }

    fn workers_fell(&mut self, now: Timestamp, reason: ExitReason, patience: &Patience) {
        let is_old = between(self.workers.at, now) > patience.pause_max * 2;
        let count = if is_old { 1 } else { self.workers.count + 1 };
        let paid = count.saturating_sub(patience.worker_rounds_free);
        let pause = if paid == 0 { Duration::ZERO } else { patience.pause(paid) };
        // Whoever is killed from outside is not to blame, and is soon back.
        let pause = if is_killed(&reason) { pause.min(patience.pause_min / 2) } else { pause };
        let due = self.workers.due.max(later(now, pause));
        self.workers = Falls { count, last: Some(reason), at: now, due };
    }

    /// Returns when an ended instance of that role may be replaced.
    pub(super) const fn due(&self, role: Role) -> Timestamp {
        match role {
            Role::Controller => self.controller.due,
            Role::Worker => self.workers.due,
        }
    }

    /// Returns why the execution cannot go on, if so.
    pub(super) fn verdict(&self, now: Timestamp, patience: &Patience) -> Option<String> {
        if let (Some((since, reason)), Some(limit)) = (&self.waiting, patience.start_max)
            && between(*since, now) >= limit
        {
            let seconds = limit.as_secs();
            return Some(format!(
                "the execution controller could not start within {seconds} seconds: {reason}"
            ));
        }
        if let Some(ExitReason::Code(code)) = self.workers.last
            && HOPELESS.contains(&code)
        {
            return Some(format!("a worker could not start: it ended with exit code {code}"));
        }
        let last = self.controller.last.as_ref()?;
        match last {
            ExitReason::Code(code) if HOPELESS.contains(code) => {
                Some(format!("the execution controller could not start: it ended with exit code {code}"))
            }
            _ if self.controller.count > patience.controller_restarts_max => Some(format!(
                "the execution controller ended {} times in a row, last {}",
                self.controller.count, last
            )),
            _ => None,
        }
    }

    /// Returns what users should know.
    pub(super) fn conditions(
        &self,
        now: Timestamp,
        observed: &[Instance],
        patience: &Patience,
    ) -> Vec<Condition> {
        let is_recent = |falls: &&Falls, for_long| between(falls.at, now) < for_long;
        let waiting = |instance: &Instance| match &instance.phase {
            Phase::Waiting(reason) => Some(Condition::Waiting(reason.clone())),
            _ => None,
        };
        // Without the controller nothing goes on, whatever workers wait for.
        let controllers = observed.iter().filter(|it| it.role == Role::Controller);
        let waiting = controllers.chain(observed).find_map(waiting);
        let controller = Some(&self.controller).filter(|it| is_recent(it, patience.controller_stable_after));
        let controller = controller.and_then(|Falls { count: exits, last, .. }| {
            last.clone().map(|last| Condition::ControllerFailing { exits: *exits, last })
        });
        let workers = Some(&self.workers).filter(|it| is_recent(it, patience.pause_max * 2));
        let workers = workers.filter(|it| it.count > patience.worker_rounds_free);
        let workers = workers.and_then(|Falls { count: rounds, last, .. }| {
            last.clone().map(|last| Condition::WorkersFailing { rounds: *rounds, last })
        });
        controller.into_iter().chain(workers).chain(waiting).collect()
    }
}

impl Falls {
    fn hold_until(&mut self, due: Timestamp) {
        self.due = self.due.max(due);
    }
}

fn is_orderly(reason: &ExitReason) -> bool {
    matches!(*reason, ExitReason::Completed | ExitReason::Code(0) | ExitReason::INTERRUPTED)
}

const fn is_killed(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Signal(9 | 15))
}

fn is_fall(now: Timestamp, reason: &ExitReason, seen: Option<Seen>, patience: &Patience) -> bool {
    if matches!(reason, ExitReason::Code(code) if HOPELESS.contains(code)) {
        return true;
    }
    let lived = seen.map_or(Duration::ZERO, |seen| between(seen.since, now));
    !is_orderly(reason) && !seen.is_some_and(|seen| seen.was_draining) && lived < patience.worker_stable_after
}

/// Returns the moment `after` a moment.
pub(super) fn later(from: Timestamp, after: Duration) -> Timestamp {
    let millis = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(from.as_millis().saturating_add(millis))
}

/// Returns the time from one moment to another, zero if it is none.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    let millis = to.as_millis().saturating_sub(from.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
