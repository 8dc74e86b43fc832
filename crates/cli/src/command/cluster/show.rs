//! JSON answers as tables.

use serde_json::Value;

use crate::table::{Align, Table};

/// What stands where there is nothing.
const NOTHING: &str = "-";
/// The longest cell.
const CELL_CHARS_MAX: usize = 100;

/// Writes rows as a table: for each column its head and the field, which may lie deeper (`ex._status`).
pub(crate) fn table(rows: &[Value], columns: &[(&'static str, &str)]) -> String {
    let is_number = |field: &str| {
        !rows.is_empty() && rows.iter().all(|row| find(row, field).is_none_or(Value::is_number))
    };
    let heads: Vec<_> = columns
        .iter()
        .map(|(head, field)| (*head, if is_number(field) { Align::Right } else { Align::Left }))
        .collect();
    let mut table = Table::new(&heads);
    for row in rows {
        table.row(columns.iter().map(|(_, field)| short(&cell(row, field))).collect::<Vec<_>>());
    }
    table.render()
}

/// Writes a field: on one line, without what a terminal would obey.
pub(crate) fn cell(row: &Value, field: &str) -> String {
    match find(row, field) {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) if items.is_empty() => NOTHING.to_owned(),
        Some(other) => plain(&other.to_string()),
    }
}

/// Writes every field of an object on a line of its own.
pub(crate) fn fields(object: &Value) -> String {
    let entries = object.as_object();
    let width = entries.into_iter().flatten().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    let lines =
        entries.into_iter().flatten().map(|(key, _)| format!("{key:<width$}  {}\n", cell(object, key)));
    lines.collect()
}

/// Returns text on one line, without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn find<'a>(row: &'a Value, field: &str) -> Option<&'a Value> {
    // A field may have a dot in its name.
    row.get(field).or_else(|| field.split('.').try_fold(row, |value, key| value.get(key)))
}

fn short(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_numbers_right_and_goes_deeper() {
        let rows =
            [json!({"name": "a\u{1b}[31m\nb", "n": 5, "ex": {"_status": "running"}}), json!({"n": 10})];
        let text = table(&rows, &[("name", "name"), ("n", "n"), ("status", "ex._status")]);
        assert_eq!(text, "name       n  status\na [31m b   5  running\n-         10  -\n");
    }

    #[test]
    fn cuts_long_cells_and_shows_every_field() {
        assert_eq!(short(&"é".repeat(200)).chars().count(), CELL_CHARS_MAX);
        assert_eq!(
            fields(&json!({"a": 1, "long": [], "b": {"c": 2}})),
            "a     1\nlong  -\nb     {\"c\":2}\n"
        );
        assert_eq!(fields(&json!(7)), "");
    }
}
