//! Records as JSON objects: fields by dotted paths, and their order.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use teraslice_core::store::Sort;
use teraslice_model::{execution::Execution, status::Status};

/// The statuses of executions that are not over.
pub(crate) const NOT_ENDED: [Status; 8] = [
    Status::Pending,
    Status::Scheduling,
    Status::Initializing,
    Status::Recovering,
    Status::Running,
    Status::Failing,
    Status::Paused,
    Status::Stopping,
];

/// Returns an execution as clients see it.
///
/// Every controller can be started again elsewhere and goes on: all are what the original calls relocatable. Checked jobs
/// say where refused records go, unless they fail their slice.
pub(crate) fn execution(execution: &Execution) -> Map<String, Value> {
    let mut document = execution.document();
    document.entry("relocatable").or_insert(Value::Bool(true));
    let operations = document.get_mut("operations").and_then(Value::as_array_mut).into_iter().flatten();
    for operation in operations.filter_map(Value::as_object_mut) {
        operation.entry("_dead_letter_action").or_insert_with(|| "throw".into());
    }
    document
}

/// Returns a field; paths into a record are dotted.
pub(crate) fn field<'a>(document: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match (document.get(first), rest) {
        (found, "") => found,
        (Some(Value::Object(inner)), rest) => field(inner, rest),
        (Some(Value::Array(items)), rest) => {
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let item = items.get(index.parse::<usize>().ok()?)?;
            if rest.is_empty() { Some(item) } else { field(item.as_object()?, rest) }
        }
        _ => None,
    }
}

/// Sorts records; those without the field come last.
pub(crate) fn sort(documents: &mut [Map<String, Value>], sort: &Sort) {
    documents.sort_by(|one, other| match (field(one, &sort.field), field(other, &sort.field)) {
        (Some(one), Some(other)) if sort.is_descending => compare(other, one),
        (Some(one), Some(other)) => compare(one, other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    });
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => one.to_string().cmp(&other.to_string()),
    }
}

/// Returns a value as JSON's object; anything else as an empty one.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_fields_by_dotted_paths() {
        let document = object(json!({"a": {"b": [{"c": 1}]}, "d": 2}));
        for (path, expected) in
            [("d", Some(2)), ("a.b.0.c", Some(1)), ("a.x", None), ("d.x", None), ("", None)]
        {
            assert_eq!(field(&document, path).and_then(Value::as_i64), expected, "{path}");
        }
    }

    #[test]
    fn sorts_records_and_puts_those_without_the_field_last() {
        let mut documents: Vec<_> =
            [json!({"n": 2}), json!({}), json!({"n": 10})].into_iter().map(object).collect();
        let by = |is_descending| Sort { field: "n".to_owned(), is_descending };
        sort(&mut documents, &by(false));
        assert_eq!(json!(documents), json!([{"n": 2}, {"n": 10}, {}]));
        sort(&mut documents, &by(true));
        assert_eq!(json!(documents), json!([{"n": 10}, {"n": 2}, {}]));
    }

    #[test]
    fn lists_every_status_that_is_no_end() {
        let open: Vec<_> = Status::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
        assert_eq!(open, NOT_ENDED);
    }
}
