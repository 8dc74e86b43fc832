//! What to do next for one execution: a pure function of what is wanted and what is seen.

use std::time::Duration;

use teraslice_model::{execution::Execution, id::Generation, status::Status, timestamp::Timestamp};

use super::{
    Patience,
    history::{History, between},
};
use crate::backend::{Instance, Retire, Role};

/// While a controller starts, its status is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What users want beyond what the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Workers.
    pub(super) workers: u32,
    /// Whether it shall end.
    pub(super) is_stop_asked: bool,
}

/// What the backend is asked to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The controller object.
    pub(super) generation: Generation,
    /// Workers.
    pub(super) workers: u32,
}

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// The execution as stored; read after `observed`, so that a controller that has ended is not taken for a crashed one.
    pub(super) execution: &'a Execution,
    pub(super) wanted: Wanted,
    pub(super) history: &'a History,
    pub(super) observed: &'a [Instance],
    pub(super) patience: &'a Patience,
    pub(super) now: Timestamp,
}

/// One thing to do; of several the first that fails ends the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Change the status.
    Move(Status),
    /// Tell the backend what is wanted.
    Ensure(Wish),
    /// Remove instances.
    Retire { upto: Generation, how: Retire },
    /// Fail the execution.
    Fail(String),
    /// Look again after so long at the latest.
    Wait(Duration),
}

/// Decides what to do next.
pub(super) fn decide(scene: &Scene<'_>) -> Vec<Action> {
    let execution = scene.execution;
    let mut actions = retire_older(scene);
    if execution.status.is_terminal() {
        let how = Retire::Drain { grace: scene.patience.drain_grace };
        actions.push(Action::Retire { upto: execution.generation, how });
    } else if execution.status == Status::Stopping || scene.wanted.is_stop_asked {
        actions.extend(stop(scene));
    } else if let Some(reason) = scene.history.verdict(scene.now, scene.patience) {
        actions.push(Action::Fail(reason));
    } else {
        actions.extend(run(scene));
    }
    actions
}

/// Kills what belongs to earlier controller objects: they are fenced, and can do nothing useful any more.
fn retire_older(scene: &Scene<'_>) -> Vec<Action> {
    let older = scene.observed.iter().map(|instance| instance.generation);
    let newest = older.filter(|generation| *generation < scene.execution.generation).max();
    newest.map(|upto| Action::Retire { upto, how: Retire::Kill }).into_iter().collect()
}

fn stop(scene: &Scene<'_>) -> Vec<Action> {
    let has_live = scene.observed.iter().any(|instance| instance.phase.is_live());
    if !has_live {
        return vec![Action::Move(Status::Stopped)];
    }
    if scene.execution.status != Status::Stopping {
        return vec![Action::Move(Status::Stopping)];
    }
    let how = Retire::Drain { grace: scene.patience.drain_grace };
    vec![Action::Retire { upto: scene.execution.generation, how }]
}

fn run(scene: &Scene<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    let execution = scene.execution;
    if execution.status == Status::Pending {
        actions.push(Action::Move(Status::Scheduling));
    }
    let wish = Wish { generation: execution.generation, workers: scene.wanted.workers };
    let due = if !is_live(scene, Role::Controller, 0) {
        Some(scene.history.due(Role::Controller))
    } else if (0..wish.workers).any(|ordinal| !is_live(scene, Role::Worker, ordinal)) {
        Some(scene.history.due(Role::Worker))
    } else {
        (scene.history.applied != Some(wish)).then_some(scene.now)
    };
    match due {
        Some(due) if due > scene.now => {
            actions.push(Action::Wait(between(scene.now, due)));
            return actions;
        }
        Some(_) => actions.push(Action::Ensure(wish)),
        None => {}
    }
    match execution.status {
        Status::Pending | Status::Scheduling => actions.push(Action::Move(Status::Initializing)),
        Status::Initializing => actions.push(Action::Wait(LOOK_EVERY)),
        _ => {}
    }
    actions
}

fn is_live(scene: &Scene<'_>, role: Role, ordinal: u32) -> bool {
    scene.observed.iter().any(|instance| {
        instance.generation == scene.execution.generation
            && instance.role == role
            && instance.ordinal == ordinal
            && instance.phase.is_live()
    })
}

#[cfg(test)]
mod tests;
