//! `teraslice history`: the runs of this machine.

use std::time::Duration;

use serde::Serialize;
use teraslice_core::{
    context::Context,
    store::{Page, StateStore, StoreError},
};
use teraslice_model::{execution::Execution, id::ExId, status::Status, timestamp::Timestamp};
use teraslice_node::{exit_code, local::record};

use super::session::{Session, of_store, runtime};
use crate::{
    args::History,
    failure::Failure,
    output,
    summary::Summary,
    table::{Align, Table},
    units,
};

/// Lists runs, or shows one; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &History) -> Result<u8, Failure> {
    session.start_log(None)?;
    let runtime = runtime(None)?;
    let _guard = runtime.enter();
    let store = session.store_read_only(&Context::system())?;
    let found = match store {
        Some(store) => runtime.block_on(find(store.as_ref(), arguments)).map_err(of_store)?,
        None => Vec::new(),
    };
    if let Some(ex_id) = arguments.ex_id {
        return show(session, ex_id, found.into_iter().next());
    }
    let rows: Vec<_> = found.iter().map(Row::of).collect();
    output::print(session.output(), &rows, || render(&rows))?;
    Ok(exit_code::DONE)
}

async fn find(store: &dyn StateStore, arguments: &History) -> Result<Vec<Execution>, StoreError> {
    let mut found = match arguments.ex_id {
        Some(ex_id) => store.execution(ex_id).await?.into_iter().collect(),
        None => store.executions(Page { from: 0, size: arguments.size }).await?,
    };
    for execution in &mut found {
        record::refresh(store, execution).await?;
    }
    Ok(found)
}

/// One run in the list.
#[derive(Debug, Serialize)]
struct Row {
    ex_id: ExId,
    job: String,
    status: Status,
    is_resumable: bool,
    completed: u64,
    failed: u64,
    records: u64,
    created: Timestamp,
    /// Milliseconds from the start to the last change.
    millis: u64,
}

impl Row {
    fn of(execution: &Execution) -> Self {
        let stats = &execution.stats;
        Self {
            ex_id: execution.ex_id,
            job: job_name(execution),
            status: execution.status,
            is_resumable: !execution.status.is_terminal(),
            completed: stats.processed.saturating_sub(stats.failed),
            failed: stats.failed,
            records: stats.operations.first().map_or(0, |reader| reader.emitted),
            created: execution.created,
            millis: u64::try_from(millis(execution)).unwrap_or_default(),
        }
    }
}

fn millis(execution: &Execution) -> i64 {
    execution.updated.as_millis() - execution.created.as_millis()
}

fn job_name(execution: &Execution) -> String {
    execution.job.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned()
}

fn render(rows: &[Row]) -> String {
    use Align::{Left, Right};
    if rows.is_empty() {
        return "no runs yet\n".to_owned();
    }
    let mut table = Table::new(&[
        ("execution", Left),
        ("job", Left),
        ("status", Left),
        ("slices", Right),
        ("failed", Right),
        ("records", Right),
        ("started", Left),
        ("time", Right),
    ]);
    for row in rows {
        let status =
            if row.is_resumable { format!("{} (resumable)", row.status) } else { row.status.to_string() };
        table.row([
            row.ex_id.to_string(),
            row.job.clone(),
            status,
            units::count(row.completed),
            units::count(row.failed),
            units::count(row.records),
            row.created.to_string(),
            units::duration(Duration::from_millis(row.millis)),
        ]);
    }
    table.render()
}

/// Shows the summary of one run.
fn show(session: &Session, ex_id: ExId, execution: Option<Execution>) -> Result<u8, Failure> {
    let execution = execution.ok_or_else(|| {
        Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}"))
            .with_hint("`teraslice history` lists all runs")
    })?;
    let operations = execution.job.get("operations").and_then(|all| all.as_array());
    let name =
        |op: &serde_json::Value| op.get("_op").and_then(|op| op.as_str()).unwrap_or_default().to_owned();
    let names: Vec<_> = operations.into_iter().flatten().map(name).collect();
    let time = Duration::from_millis(u64::try_from(millis(&execution)).unwrap_or_default());
    let (job, status, failure) = (job_name(&execution), execution.status, execution.failure.clone());
    let summary = Summary::new(ex_id, job, status, failure, &execution.stats, time, &names);
    output::print(session.output(), &summary, || summary.render())?;
    Ok(exit_code::DONE)
}
