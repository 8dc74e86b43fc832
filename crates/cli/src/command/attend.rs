//! Attends a run on this machine: shows progress, takes signals, sums up.

use std::{process, time::Duration};

use teraslice_core::{
    context::Context,
    engine::Condition,
    execution::{ControllerError, ExecutionEnd},
    store::{StateStore, StoreError},
};
use teraslice_model::{execution::Stats, id::ExId, status::Status};
use teraslice_node::{
    exit_code,
    local::{Local, LocalError, record},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    session::{Session, of_store},
    signals::Signals,
};
use crate::{failure::Failure, output, progress::Progress, summary::Summary};

/// Waits for the end of a run and prints its summary; returns the exit code.
pub(crate) async fn attend(
    session: &Session,
    context: &Context,
    store: &dyn StateStore,
    ex_id: ExId,
    local: Local,
    mut signals: Signals,
) -> Result<u8, Failure> {
    let start = context.now();
    let mut progress = Progress::new(session.screen.clone(), start);
    let mut ticks = interval(Progress::LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut is_leaving = false;
    let mut troubles = Troubles::default();
    let handle = local.handle();
    let wait = local.wait();
    tokio::pin!(wait);
    let end = loop {
        tokio::select! {
            biased;
            () = signals.next() => {
                if is_leaving {
                    session.screen.clear();
                    session.screen.say(&goodbye(ex_id));
                    process::exit(exit_code::INTERRUPTED.into());
                }
                is_leaving = true;
                session.screen.say("interrupted: finishing the slices at work (once more to leave at once)");
                handle.release().await;
            }
            end = &mut wait => break end,
            _ = ticks.tick() => {
                troubles.look(session, handle.conditions());
                progress.look(&handle.stats(), context.now());
            }
        }
    };
    progress.end();
    let ExecutionEnd { status, stats, is_resumable, .. } = end.map_err(of_local)?;
    let time = context.now() - start;
    let summary = summary(store, ex_id, stats, time).await.map_err(of_store)?;
    output::print(session.output(), &summary, || summary.render())?;
    if is_resumable {
        session.screen.say(&goodbye(ex_id));
    }
    Ok(match status {
        _ if is_resumable => exit_code::INTERRUPTED,
        Status::Completed | Status::Stopped => exit_code::DONE,
        _ => exit_code::FAILED,
    })
}

async fn summary(
    store: &dyn StateStore,
    ex_id: ExId,
    stats: Stats,
    time: Duration,
) -> Result<Summary, StoreError> {
    let stored = store.execution(ex_id).await?;
    let mut execution = stored.ok_or_else(|| StoreError::NotFound { what: format!("execution {ex_id}") })?;
    execution.stats = stats;
    let failed = record::first_failed(store, ex_id, Summary::ERRORS_MAX).await?;
    Ok(Summary::new(&execution, &failed, time))
}

/// What is in the way of a run, each told once.
#[derive(Default)]
struct Troubles {
    told: Vec<String>,
}

impl Troubles {
    fn look(&mut self, session: &Session, conditions: Vec<Condition>) {
        let present: Vec<_> = conditions.iter().map(describe).collect();
        for trouble in present.iter().filter(|trouble| !self.told.contains(trouble)) {
            session.screen.say(&format!("warning: {trouble}"));
        }
        self.told = present;
    }
}

fn describe(condition: &Condition) -> String {
    match condition {
        Condition::ControllerFailing { exits, last } => {
            format!("the controller has ended too early {exits} times in a row, the last time {last}")
        }
        Condition::WorkersFailing { last, .. } => {
            format!("workers end soon after they start, the last one {last}")
        }
        Condition::Waiting(reason) => format!("waiting: {reason}"),
        Condition::Unavailable(reason) => format!("trying again: {reason}"),
    }
}

fn goodbye(ex_id: ExId) -> String {
    format!("resume with: teraslice resume {ex_id}")
}

/// Says why a run could not start or go on.
pub(crate) fn of_local(error: LocalError) -> Failure {
    let code = match &error {
        LocalError::Controller(ControllerError::Fenced(_)) => exit_code::FENCED,
        LocalError::Controller(ControllerError::NotRunnable { .. }) => exit_code::BAD_JOB,
        LocalError::Controller(ControllerError::Store(_)) | LocalError::Store(_) | LocalError::Submit(_) => {
            exit_code::STATE
        }
        LocalError::Processes(_) | LocalError::Engine(_) => exit_code::INTERNAL,
    };
    Failure::new(code, error)
}
