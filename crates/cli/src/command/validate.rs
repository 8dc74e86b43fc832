//! `teraslice validate`: everything that is wrong with a job.

use std::fmt::Write as _;

use serde_json::json;
use teraslice_model::{job::Warning, problem::Problem};
use teraslice_node::{
    exit_code,
    parts::{Prepared, Refused},
};

use super::session::Session;
use crate::{
    args::Validate,
    failure::{Failure, render_problem},
    output,
};

/// Checks a job; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &Validate) -> Result<u8, Failure> {
    session.start_log(None)?;
    let job = session.read(&arguments.file)?;
    let (problems, warnings) = match session.parts.prepare(&job) {
        Ok(Prepared { warnings, .. }) => (Vec::new(), warnings),
        Err(Refused { problems, warnings }) => (problems, warnings),
    };
    let file = arguments.file.job.display().to_string();
    let result = json!({
        "file": file,
        "is_valid": problems.is_empty(),
        "problems": problems,
        "warnings": warnings,
    });
    output::print(session.output(), &result, || render(&file, &problems, &warnings))?;
    Ok(if problems.is_empty() { exit_code::DONE } else { exit_code::BAD_JOB })
}

fn render(file: &str, problems: &[Problem], warnings: &[Warning]) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = match (problems.len(), warnings.len()) {
        (0, 0) => format!("{file}: valid\n"),
        (0, some) => format!("{file}: valid, {}\n", count(some, "warning")),
        (some, 0) => format!("{file}: {}\n", count(some, "problem")),
        (some, more) => format!("{file}: {}, {}\n", count(some, "problem"), count(more, "warning")),
    };
    for problem in problems {
        text.push_str(&render_problem("problem", problem));
    }
    for warning in warnings {
        match warning {
            Warning::Problem(problem) => text.push_str(&render_problem("warning", problem)),
            Warning::Deprecation(deprecation) => {
                let (pointer, field) = (&deprecation.pointer, &deprecation.field);
                let description = &deprecation.description;
                let _infallible = write!(
                    text,
                    "warning  {pointer}\n         {field:?} is deprecated\n         hint: {description}\n"
                );
            }
        }
    }
    text
}
