//! `teraslice worker`: runs slices for a controller in another process. Started by nodes and `run --processes`, not by people.

use teraslice_core::{context::Context, worker::WorkerEnd};
use teraslice_node::{
    cluster::worker::ClusterWorker,
    exit_code,
    local::{WorkerError, WorkerProcess},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    controller::of_process,
    session::{Session, runtime},
};
use crate::failure::Failure;

/// Runs slices until the execution is over; returns the exit code.
pub(crate) fn execute(session: &Session) -> Result<u8, Failure> {
    if ClusterWorker::is_meant() {
        let _traces = session.start_service_log("worker")?;
        let process = ClusterWorker::start(&session.parts).map_err(of_process)?;
        let end = attend(async |context, stop| process.run(context, stop).await.map_err(of_process))?;
        // Whoever leaves before the end is replaced: a Job of Kubernetes takes 0 for the end of all work.
        return Ok(match end {
            WorkerEnd::Finished => exit_code::DONE,
            WorkerEnd::Drained | WorkerEnd::Stopped | WorkerEnd::LinkClosed => exit_code::INTERRUPTED,
        });
    }
    let _traces = session.start_work_log(None, "worker")?;
    let process = WorkerProcess::start(&session.parts).map_err(of_worker)?;
    Ok(match attend(async |context, stop| process.run(context, stop).await.map_err(of_worker))? {
        WorkerEnd::Finished | WorkerEnd::Drained | WorkerEnd::Stopped => exit_code::DONE,
        WorkerEnd::LinkClosed => exit_code::INTERRUPTED,
    })
}

/// Runs a worker until it ends, or the process is told to.
fn attend(
    work: impl AsyncFnOnce(&Context, CancellationToken) -> Result<WorkerEnd, Failure>,
) -> Result<WorkerEnd, Failure> {
    let runtime = runtime(None)?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        // A terminal sends this to the whole group; the process that started this one decides.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let context = Context::system();
        let work = Box::pin(work(&context, stop.clone()));
        tokio::pin!(work);
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                _signal = terminate.recv() => stop.cancel(),
                _signal = interrupt.recv() => {}
            }
        }
    });
    runtime.shutdown_background();
    ended
}

fn of_worker(error: WorkerError) -> Failure {
    match error {
        WorkerError::Job(problems) => {
            Failure::text(exit_code::BAD_JOB, "the job cannot run in this process").with_problems(problems)
        }
        other => Failure::new(exit_code::INTERNAL, other),
    }
}
