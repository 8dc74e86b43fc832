//! `teraslice run`: a job on this machine, from start to end.

use std::{env, sync::Arc};

use serde_json::{Map, Value, json};
use teraslice_core::context::Context;
use teraslice_model::job::RawJob;
use teraslice_node::{
    local::{Local, Wanted, record},
    parts::Prepared,
};

use super::{
    attend::{attend, of_local},
    dry_run,
    session::{Session, of_store, runtime},
    signals::Signals,
};
use crate::{args::Run, failure::Failure};

/// Runs a job; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &Run) -> Result<u8, Failure> {
    let mut job = session.read(&arguments.file)?;
    if let Some(workers) = arguments.workers.workers {
        job.0.insert("workers".to_owned(), workers.into());
    }
    let _traces = session.start_work_log(Some(&job.0), "run")?;
    let prepared = session.prepare(&job, &arguments.file.job.display().to_string())?;
    let runtime = runtime(Some(prepared.plan.job()))?;
    let done = runtime.block_on(async {
        if arguments.dry_run {
            dry_run::execute(session, &prepared.plan, arguments.samples).await
        } else {
            Box::pin(run(session, arguments, job, prepared)).await
        }
    });
    // What still runs, such as a read that hangs, must not keep the process.
    runtime.shutdown_background();
    done
}

async fn run(session: &Session, arguments: &Run, job: RawJob, prepared: Prepared) -> Result<u8, Failure> {
    let signals = Signals::listen()?;
    let context = Context::system();
    let store = session.store(&context)?;
    let metadata = metadata(arguments);
    let plan = prepared.plan;
    let created = record::create(&context, store.as_ref(), &plan, job.0, metadata).await;
    let execution = created.map_err(of_store)?;
    let ex_id = execution.ex_id;
    session.screen.say(&format!("execution {ex_id} of job {:?}", plan.job().name));
    let workers = session.workers(arguments.workers)?;
    let wanted = Wanted::New(Box::new(execution));
    let local = Local::start(&context, &session.parts, Arc::clone(&store), &plan, wanted, workers).await;
    attend(session, &context, store.as_ref(), ex_id, local.map_err(of_local)?, signals).await
}

/// Notes down where the run was started, so that `resume` finds relative paths again.
fn metadata(arguments: &Run) -> Map<String, Value> {
    let directory = env::current_dir().unwrap_or_default();
    let started = json!({"directory": directory, "file": arguments.file.job});
    Map::from_iter([("cli".to_owned(), started)])
}
