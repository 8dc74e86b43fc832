//! `teraslice run --dry-run`: a few slices without writing, and what a whole run would take.

use std::fmt::Write as _;

use teraslice_core::{context::Context, plan::Plan};
use teraslice_node::{
    dry_run::{DryRun, DryRunError, SampledOperation, dry_run},
    exit_code,
};

use super::session::Session;
use crate::{
    failure::Failure,
    output,
    table::{Align, Table},
    units,
};

/// Makes a dry run and prints what it has found; returns the exit code.
pub(crate) async fn execute(session: &Session, plan: &Plan, samples: usize) -> Result<u8, Failure> {
    let found =
        dry_run(&Context::system(), &session.parts, plan, samples).await.map_err(|error| match error {
            DryRunError::Job(problems) => {
                Failure::text(exit_code::BAD_JOB, "the job cannot be run without writing")
                    .with_problems(problems)
            }
            slicing @ DryRunError::Slicing(_) => Failure::new(exit_code::FAILED, slicing),
        })?;
    output::print(session.output(), &found, || render(&found, plan.job().workers))?;
    Ok(if found.failures.is_empty() { exit_code::DONE } else { exit_code::FAILED })
}

fn render(found: &DryRun, workers: u32) -> String {
    let more = if found.is_lower_bound { "at least " } else { "" };
    let mut text = format!(
        "dry run: {} of {more}{} slices, nothing was written\n\n",
        units::count(found.sampled as u64),
        units::count(found.slices)
    );
    text.push_str(&table(found).render());
    let memory = found.memory.map_or_else(|| "unknown".to_owned(), |bytes| units::bytes(bytes as f64));
    let _infallible = writeln!(
        text,
        "\nestimate for the whole job: {more}{} slices, {more}{} with {workers} workers, memory {memory}",
        units::count(found.slices),
        units::duration(found.time_estimate),
    );
    section(&mut text, "sample output", found.records.iter().cloned());
    section(
        &mut text,
        "refused",
        found.refused.iter().map(|refused| format!("{}\n    {}", refused.reason, refused.record.trim_end())),
    );
    section(&mut text, "failed slices", found.failures.iter().cloned());
    text
}

fn section(text: &mut String, head: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if !lines.is_empty() {
        let _infallible = write!(text, "\n{head}:\n");
        for line in lines {
            let _infallible = writeln!(text, "  {line}");
        }
    }
}

fn table(found: &DryRun) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("operation", Left),
        ("received", Right),
        ("emitted", Right),
        ("dropped", Right),
        ("refused", Right),
    ]);
    for (index, SampledOperation { op, counts }) in found.operations.iter().enumerate() {
        table.row([
            op.clone(),
            units::count(counts.received + if index == 0 { counts.created } else { 0 }),
            units::count(counts.emitted),
            units::count(counts.dropped),
            units::count(counts.failed + counts.dead_lettered),
        ]);
    }
    table
}
