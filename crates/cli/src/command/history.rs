//! `teraslice history`: the runs of this machine.

use std::time::Duration;

use serde::Serialize;
use teraslice_core::{
    context::Context,
    store::{ExecutionQuery, Page, SliceRecord, StateStore, StoreError},
};
use teraslice_model::{execution::Execution, id::ExId, status::Status, timestamp::Timestamp};
use teraslice_node::{exit_code, local::record};

use super::session::{Session, of_store, runtime};
use crate::{
    args::History,
    failure::Failure,
    output,
    summary::{Summary, job_name},
    table::{Align, Table},
    units,
};

/// Lists runs, or shows one; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &History) -> Result<u8, Failure> {
    session.start_log(None)?;
    let runtime = runtime(None)?;
    let _guard = runtime.enter();
    let store = session.store_read_only(&Context::system())?;
    let found = store.map(|store| runtime.block_on(find(store.as_ref(), arguments)));
    let found = found.transpose().map_err(of_store)?.unwrap_or_default();
    let Some(ex_id) = arguments.ex_id else {
        let rows: Vec<_> = found.iter().map(|(execution, _)| Row::of(execution)).collect();
        output::print(session.output(), &rows, || render(&rows))?;
        return Ok(exit_code::DONE);
    };
    let (execution, failed) = found.into_iter().next().ok_or_else(|| {
        Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}"))
            .with_hint("`teraslice history` lists all runs")
    })?;
    let summary = Summary::new(&execution, &failed, time(&execution));
    output::print(session.output(), &summary, || summary.render())?;
    Ok(exit_code::DONE)
}

/// Finds the runs that are asked for; if only one is, its first failed slices too.
async fn find(
    store: &dyn StateStore,
    arguments: &History,
) -> Result<Vec<(Execution, Vec<SliceRecord>)>, StoreError> {
    let executions = match arguments.ex_id {
        Some(ex_id) => store.execution(ex_id).await?.into_iter().collect(),
        None => store.executions(ExecutionQuery::page(Page { from: 0, size: arguments.size })).await?,
    };
    let mut found = Vec::new();
    for mut execution in executions {
        record::refresh(store, &mut execution).await?;
        let failed = match arguments.ex_id {
            Some(ex_id) => record::first_failed(store, ex_id, Summary::ERRORS_MAX).await?,
            None => Vec::new(),
        };
        found.push((execution, failed));
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
            job: job_name(execution).to_owned(),
            status: execution.status,
            is_resumable: !execution.status.is_terminal(),
            completed: stats.processed.saturating_sub(stats.failed),
            failed: stats.failed,
            records: stats.operations.first().map_or(0, |reader| reader.emitted),
            created: execution.created,
            millis: u64::try_from(time(execution).as_millis()).unwrap_or_default(),
        }
    }
}

/// Returns the time from the start of a run to its last change.
fn time(execution: &Execution) -> Duration {
    let millis = execution.updated.as_millis() - execution.created.as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
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
