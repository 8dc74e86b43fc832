//! Single properties of a job set by path, as with `--set operations.0.size=1000`.

use serde_json::{Map, Value};

use super::RawJob;

/// A property that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set {path:?}: {reason}")]
pub struct SetError {
    /// The path as given.
    pub path: String,
    /// What is in the way.
    pub reason: String,
}

impl RawJob {
    /// Sets the property at `path`, such as `operations.0.size`; a dot within a name is written `\.`.
    ///
    /// The value is read as JSON, and taken as text when it is not. Objects on the way are made; in a list an existing
    /// place is changed, and the place behind the last one is added.
    ///
    /// # Errors
    ///
    /// When the path is empty, leads through something that is no object or list, or beyond the end of a list.
    pub fn set(&mut self, path: &str, value: &str) -> Result<(), SetError> {
        let fail = |reason: String| SetError { path: path.to_owned(), reason };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let steps = split(path);
        let Some((first, rest)) = steps.split_first().filter(|_| steps.iter().all(|step| !step.is_empty()))
        else {
            return Err(fail(
                "a path is names and numbers with dots between, as in operations.0.size".to_owned(),
            ));
        };
        if rest.is_empty() {
            self.0.insert(first.clone(), value);
            return Ok(());
        }
        let mut place = self.0.entry(first.as_str()).or_insert_with(|| Value::Object(Map::new()));
        let mut walked = first.clone();
        for step in rest {
            place = descend(place, step).map_err(|reason| fail(format!("{walked:?} {reason}")))?;
            walked = format!("{walked}.{step}");
        }
        *place = value;
        Ok(())
    }
}

/// Splits at dots that no backslash precedes.
fn split(path: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let last = steps.last_mut().expect("there is one from the start");
        match character {
            '\\' if characters.peek() == Some(&'.') => {
                characters.next();
                last.push('.');
            }
            '.' => steps.push(String::new()),
            other => last.push(other),
        }
    }
    steps
}

/// Goes one step down, making what is missing.
fn descend<'a>(place: &'a mut Value, step: &str) -> Result<&'a mut Value, String> {
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(properties) => Ok(properties.entry(step).or_insert(Value::Null)),
        Value::Array(items) => {
            let len = items.len();
            let index: usize =
                step.parse().map_err(|_| format!("is a list: a number must follow, not {step:?}"))?;
            if index > len {
                return Err(format!("has {len} entries, {index} is beyond its end"));
            }
            if index == len {
                items.push(Value::Null);
            }
            Ok(&mut items[index])
        }
        other => Err(format!("is {}, which has no properties", super::fields::describe(other))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> RawJob {
        let Value::Object(properties) = json!({"name": "a", "operations": [{"_op": "x"}]}) else {
            unreachable!()
        };
        RawJob(properties)
    }

    #[test]
    fn sets_values_as_json_or_else_as_text() {
        let cases = [
            ("workers", "8", json!({"name": "a", "operations": [{"_op": "x"}], "workers": 8})),
            ("name", "b c", json!({"name": "b c", "operations": [{"_op": "x"}]})),
            ("name", "\"8\"", json!({"name": "8", "operations": [{"_op": "x"}]})),
            ("operations.0.size", "1000", json!({"name": "a", "operations": [{"_op": "x", "size": 1000}]})),
            ("operations.1._op", "y", json!({"name": "a", "operations": [{"_op": "x"}, {"_op": "y"}]})),
            ("labels.a\\.b", "c", json!({"name": "a", "operations": [{"_op": "x"}], "labels": {"a.b": "c"}})),
            ("operations.0.a.b", "[1]", json!({"name": "a", "operations": [{"_op": "x", "a": {"b": [1]}}]})),
            ("operations.0._op", "", json!({"name": "a", "operations": [{"_op": ""}]})),
        ];
        for (path, value, wanted) in cases {
            let mut job = job();
            job.set(path, value).unwrap();
            assert_eq!(Value::Object(job.0), wanted, "{path}={value}");
        }
    }

    #[test]
    fn says_what_is_in_the_way() {
        let cases = [
            ("", "a path is names and numbers with dots between, as in operations.0.size"),
            ("a..b", "a path is names and numbers with dots between, as in operations.0.size"),
            ("name.x", "\"name\" is text, which has no properties"),
            ("operations.first", "\"operations\" is a list: a number must follow, not \"first\""),
            ("operations.7.size", "\"operations\" has 1 entries, 7 is beyond its end"),
            ("operations.0._op.x", "\"operations.0._op\" is text, which has no properties"),
        ];
        for (path, reason) in cases {
            assert_eq!(job().set(path, "1").unwrap_err().reason, reason, "{path}");
        }
    }
}
