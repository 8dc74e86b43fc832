//! What has become of each of several jobs or executions.

use serde_json::{Map, Value, json};
use teraslice_node::exit_code;

use super::{Site, show};
use crate::{failure::Failure, output};

/// What has become of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    row: Map<String, Value>,
    code: u8,
}

impl Outcome {
    /// All went well with this status.
    pub(crate) fn new(status: &str) -> Self {
        let mut outcome = Self { row: Map::new(), code: exit_code::DONE };
        outcome.row.insert("status".to_owned(), status.into());
        outcome
    }

    /// Takes over some fields of an answer, if they are there.
    #[must_use]
    pub(crate) fn with_fields(mut self, answer: &Value, fields: &[&str]) -> Self {
        for field in fields {
            if let Some(value) = answer.get(field).filter(|value| !value.is_null()) {
                self.row.insert((*field).to_owned(), value.clone());
            }
        }
        self
    }

    /// Adds a field.
    #[must_use]
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.row.insert(field.to_owned(), value.into());
        self
    }

    /// Says that the execution has failed.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

/// Fields that head the table, in this order, where any row has them; what else there is comes after.
const FIRST: [&str; 5] = ["file", "name", "job_id", "ex_id", "status"];

/// Does something to each, tells what went wrong, and prints what became of them; returns the exit code: that of the first trouble.
///
/// One that goes wrong does not keep the others from their turn.
pub(crate) fn each<T>(
    site: &Site,
    id: &str,
    items: &[T],
    mut act: impl FnMut(&T) -> Result<Outcome, Failure>,
) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    let mut code = exit_code::DONE;
    for item in items {
        let failed = match act(item) {
            Err(failure) if items.len() == 1 => return Err(failure),
            Err(failure) => failure.report(),
            Ok(outcome) => {
                rows.push(Value::Object(outcome.row));
                outcome.code
            }
        };
        if code == exit_code::DONE {
            code = failed;
        }
    }
    let rows = json!(rows);
    let text = || render(rows.as_array().map(Vec::as_slice).unwrap_or_default());
    match site.output {
        crate::args::Output::Name => site.list(&rows, id, &[])?,
        other => output::print(other, &rows, text)?,
    }
    Ok(code)
}

fn render(rows: &[Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let has = |field: &str| rows.iter().any(|row| row.get(field).is_some());
    let mut columns: Vec<_> =
        FIRST.into_iter().filter(|field| has(field)).map(|field| (field, field)).collect();
    for field in ["processed", "failed", "workers", "message", "path"] {
        if has(field) {
            columns.push((field, field));
        }
    }
    show::table(rows, &columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::cluster::testing::Place;

    #[test]
    fn goes_on_after_a_failure_and_returns_its_code() {
        let site = Place::new("http://h").site();
        let mut seen = Vec::new();
        let done = each(&site, "job_id", &[1, 2, 3], |number| {
            seen.push(*number);
            match number {
                2 => Err(Failure::text(exit_code::REFUSED, "no")),
                3 => Ok(Outcome::new("failed").with_code(exit_code::FAILED)),
                _ => Ok(Outcome::new("completed")),
            }
        });
        assert_eq!(done.unwrap(), exit_code::REFUSED);
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn shows_only_columns_that_have_something() {
        let row =
            Outcome::new("stopped").with_fields(&json!({"job_id": "1", "ex_id": null}), &["job_id", "ex_id"]);
        assert_eq!(render(&[Value::Object(row.row)]), "job_id  status\n1       stopped\n");
    }
}
