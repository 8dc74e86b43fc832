//! `teraslice controller`: runs one execution for a cluster. Started by nodes, not by people.

use teraslice_core::context::Context;
use teraslice_node::{
    cluster::{ProcessError, controller::ControllerProcess},
    exit_code,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::session::{Session, runtime};
use crate::failure::Failure;

/// Runs the execution until it is over, or until told to leave it to a later controller; returns the exit code.
pub(crate) fn execute(session: &Session) -> Result<u8, Failure> {
    let _traces = session.start_service_log("execution_controller")?;
    let process = ControllerProcess::start(&session.parts).map_err(of_process)?;
    let runtime = runtime(None)?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        // A terminal sends this to the whole group; the node decides.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let context = Context::system();
        let work = Box::pin(process.run(&context, stop.clone()));
        tokio::pin!(work);
        loop {
            tokio::select! {
                ended = &mut work => return ended.map_err(of_process),
                _signal = terminate.recv() => stop.cancel(),
                _signal = interrupt.recv() => {}
            }
        }
    });
    runtime.shutdown_background();
    let end = ended?;
    Ok(if end.is_resumable { exit_code::INTERRUPTED } else { exit_code::DONE })
}

/// Says why a process of an execution could not work.
pub(super) fn of_process(error: ProcessError) -> Failure {
    let code = error.exit_code();
    match error {
        ProcessError::Job(problems) => {
            Failure::text(code, "the job cannot run in this process").with_problems(problems)
        }
        other => Failure::new(code, other),
    }
}
