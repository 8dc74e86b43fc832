//! Attends a run on this machine: shows progress, takes signals, sums up.

use std::{future::pending, process};

use teraslice_core::{
    context::Context,
    execution::{ControllerError, ExecutionEnd},
    plan::Plan,
};
use teraslice_model::{id::ExId, status::Status};
use teraslice_node::{
    exit_code,
    local::{Local, LocalError},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::session::Session;
use crate::{failure::Failure, output, progress::Progress, summary::Summary};

/// Waits for the end of a run and prints its summary; returns the exit code.
pub(crate) async fn attend(
    session: &Session,
    context: &Context,
    plan: &Plan,
    ex_id: ExId,
    local: Local,
) -> Result<u8, Failure> {
    let start = context.now();
    let mut signals = Signals::new()?;
    let mut progress = Progress::new(session.screen.clone(), start);
    for warning in local.warnings() {
        session.screen.say(&format!("warning: {warning}"));
    }
    let mut ticks = interval(Progress::LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut is_leaving = false;
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
            _ = ticks.tick() => progress.look(&handle.stats(), context.now()),
        }
    };
    progress.end();
    let end = end.map_err(of_local)?;
    let ExecutionEnd { status, failure, stats, is_resumable } = end;
    let names: Vec<_> = plan.operations().iter().map(|info| info.name.clone()).collect();
    let (job, time) = (plan.job().name.clone(), context.now() - start);
    let summary = Summary::new(ex_id, job, status, failure, &stats, time, &names);
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

fn goodbye(ex_id: ExId) -> String {
    format!("resume with: teraslice resume {ex_id}")
}

/// Says why a run could not start or go on.
pub(crate) fn of_local(error: LocalError) -> Failure {
    let code = match &error {
        LocalError::Controller(ControllerError::Fenced(_)) => exit_code::FENCED,
        LocalError::Controller(ControllerError::NotRunnable { .. }) | LocalError::Refused(_) => {
            exit_code::BAD_JOB
        }
        LocalError::Controller(ControllerError::Store(_)) | LocalError::Store(_) | LocalError::Submit(_) => {
            exit_code::STATE
        }
        LocalError::Processes(_) | LocalError::Engine(_) => exit_code::INTERNAL,
    };
    match error {
        LocalError::Refused(problems) => {
            Failure::text(code, "the job cannot run on this machine").with_problems(problems)
        }
        other => Failure::new(code, other),
    }
}

/// The signals that ask a program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = || Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
        let listening: std::io::Result<_> = listen();
        let (interrupt, terminate) = listening.map_err(|error| {
            Failure::new(
                exit_code::INTERNAL,
                anyhow::Error::new(error).context("failed to listen for signals"),
            )
        })?;
        Ok(Self { interrupt, terminate })
    }

    async fn next(&mut self) {
        let received = tokio::select! {
            received = self.interrupt.recv() => received,
            received = self.terminate.recv() => received,
        };
        if received.is_none() {
            // No more signals can come: wait for everything else.
            pending::<()>().await;
        }
    }
}
