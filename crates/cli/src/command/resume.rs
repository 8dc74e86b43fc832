//! `teraslice resume`: goes on where a run was interrupted or killed.

use std::{env, path::Path, sync::Arc};

use teraslice_core::{context::Context, store::StateStore};
use teraslice_model::{execution::Execution, job::RawJob};
use teraslice_node::{
    exit_code,
    local::{Local, Wanted, record},
};

use super::{
    attend::{attend, of_local},
    session::{Session, of_store, runtime},
    signals::Signals,
};
use crate::{args::Resume, failure::Failure};

/// Resumes a run; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &Resume) -> Result<u8, Failure> {
    let small = runtime(None)?;
    let _guard = small.enter();
    let signals = Signals::listen()?;
    let context = Context::system();
    let store = session.store(&context)?;
    let execution = small.block_on(find(store.as_ref(), arguments))?;
    let _traces = session.start_work_log(Some(&execution.job), "run")?;
    go_back(session, &execution)?;
    let mut job = RawJob(execution.job.clone());
    if let Some(workers) = arguments.workers.workers {
        job.0.insert("workers".to_owned(), workers.into());
    }
    let plan = session.prepare(&job, &format!("the job of execution {}", execution.ex_id))?.plan;
    session.screen.say(&format!("resuming execution {} of job {:?}", execution.ex_id, plan.job().name));
    let workers = session.workers(arguments.workers)?;
    let wanted = Wanted::Stored(execution.ex_id, arguments.workers.workers);
    let runtime = runtime(Some(plan.job()))?;
    let done = runtime.block_on(Box::pin(async {
        let local = Local::start(&context, &session.parts, Arc::clone(&store), &plan, wanted, workers).await;
        attend(session, &context, store.as_ref(), execution.ex_id, local.map_err(of_local)?, signals).await
    }));
    runtime.shutdown_background();
    small.shutdown_background();
    done
}

async fn find(store: &dyn StateStore, arguments: &Resume) -> Result<Execution, Failure> {
    let hint = "`teraslice history` lists all runs";
    let ex_id = match arguments.ex_id {
        Some(ex_id) => ex_id,
        None => record::latest_resumable(store).await.map_err(of_store)?.ok_or_else(|| {
            Failure::text(exit_code::BAD_JOB, "there is no run that can go on").with_hint(hint)
        })?,
    };
    let found = store.execution(ex_id).await.map_err(of_store)?;
    let execution = found.ok_or_else(|| {
        Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}")).with_hint(hint)
    })?;
    if execution.status.is_terminal() {
        let message = format!("execution {ex_id} is {}: there is nothing to go on with", execution.status);
        return Err(Failure::text(exit_code::BAD_JOB, message).with_hint(hint));
    }
    Ok(execution)
}

/// Goes to the folder that the run was started in: relative paths of the job begin there.
pub(crate) fn go_back(session: &Session, execution: &Execution) -> Result<(), Failure> {
    let directory =
        execution.metadata.get("cli").and_then(|cli| cli.get("directory")).and_then(|at| at.as_str());
    let Some(directory) = directory.filter(|at| env::current_dir().is_ok_and(|now| now != Path::new(at)))
    else {
        return Ok(());
    };
    env::set_current_dir(directory).map_err(|error| {
        let message = format!("failed to go to {directory}, where the run was started");
        Failure::new(exit_code::BAD_JOB, anyhow::Error::new(error).context(message))
    })?;
    session.screen.say(&format!("in {directory}, where the run was started"));
    Ok(())
}
