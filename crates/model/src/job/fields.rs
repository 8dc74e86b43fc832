//! The properties of one object, read one by one: coerced, checked, noted down with their defaults.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use super::{
    duration::{from_millis, parse_duration},
    warning::Warning,
};
use crate::problem::{Problem, escape_pointer};

/// What a check has found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Faults: the job is refused.
    pub(super) problems: Vec<Problem>,
    /// Things to look at: the job runs.
    pub(super) warnings: Vec<Warning>,
}

/// A value as the engine uses it and as the document shows it, or what is wrong with it.
pub(super) type Coerced<T> = Result<(T, Value), String>;

/// The properties of one object.
pub(super) struct Fields<'a> {
    source: &'a Map<String, Value>,
    document: Map<String, Value>,
    known: Vec<&'static str>,
    pointer: String,
    /// Where faults go.
    pub(super) report: &'a mut Report,
}

impl<'a> Fields<'a> {
    /// Starts on the object at `pointer`.
    pub(super) fn new(source: &'a Map<String, Value>, pointer: String, report: &'a mut Report) -> Self {
        Self { source, document: source.clone(), known: Vec::new(), pointer, report }
    }

    /// Returns the pointer of a property.
    pub(super) fn pointer(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, escape_pointer(key))
    }

    /// Returns the object as it was written.
    pub(super) fn source(&self) -> &'a Map<String, Value> {
        self.source
    }

    /// Returns a property as it was written.
    pub(super) fn raw(&self, key: &'static str) -> Option<&'a Value> {
        self.source.get(key)
    }

    /// Notes a fault of a property.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let pointer = self.pointer(key);
        self.report.problems.push(Problem::new(pointer, message));
    }

    /// Reads a property that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Coerced<T>,
    ) -> Option<T> {
        self.known.push(key);
        match read(self.source.get(key)?) {
            Ok((value, shown)) => {
                self.document.insert(key.to_owned(), shown);
                Some(value)
            }
            Err(wrong) => {
                self.problem(key, format!("{key} {wrong}"));
                None
            }
        }
    }

    /// Reads a property whose default the document shows.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        default: (T, Value),
        read: impl FnOnce(&Value) -> Coerced<T>,
    ) -> T {
        if !self.source.contains_key(key) {
            self.document.insert(key.to_owned(), default.1);
        }
        self.optional(key, read).unwrap_or(default.0)
    }

    /// Puts another value into the document than was written.
    pub(super) fn show(&mut self, key: &str, value: Value) {
        self.document.insert(key.to_owned(), value);
    }

    /// Takes a property out of the document.
    pub(super) fn hide(&mut self, key: &str) {
        self.document.shift_remove(key);
    }

    /// Returns the properties that were not read and do not begin with an underscore.
    pub(super) fn unread(&self) -> Map<String, Value> {
        let unread = self.source.iter().filter(|(key, _)| !key.starts_with('_') && !self.is_known(key));
        unread.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Tells whether a property was read.
    pub(super) fn is_known(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Returns the names of the properties that were read.
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Returns the object with defaults filled in.
    pub(super) fn into_document(self) -> Map<String, Value> {
        self.document
    }
}

/// Says what a value is, for messages.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Says what was wanted, and what was found instead.
pub(super) fn wanted(what: &str, found: &Value) -> String {
    let shown = match found {
        Value::Null | Value::Array(_) | Value::Object(_) => describe(found).to_owned(),
        scalar => scalar.to_string(),
    };
    format!("must be {what}, found {shown}")
}

/// Reads a boolean; also `"true"`, `"false"`, 1, 0, `"1"`, `"0"`.
pub(super) fn boolean(value: &Value) -> Coerced<bool> {
    let read = match value {
        Value::Bool(read) => Some(*read),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    read.map(|read| (read, read.into())).ok_or_else(|| wanted("true or false", value))
}

/// Returns the number that a value is or spells.
fn spelled(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// Reads a whole number of at least `min`; also as text.
pub(super) fn whole(min: u32) -> impl Fn(&Value) -> Coerced<u32> {
    move |value| {
        let number = spelled(value).filter(|number| number.fract() == 0.0 && *number >= f64::from(min));
        // Text such as "4294967295" reaches an f64 exactly; what is larger than u32 does not fit either way.
        let read = number.filter(|number| *number <= f64::from(u32::MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds were checked")]
        let read = read.map(|number| number as u32);
        read.map(|read| (read, read.into()))
            .ok_or_else(|| wanted(&format!("a whole number of at least {min}"), value))
    }
}

/// Reads a number above 0; also as text.
pub(super) fn positive(value: &Value) -> Coerced<f64> {
    let number = spelled(value).filter(|number| *number > 0.0);
    let number = number.ok_or_else(|| wanted("a number above 0", value))?;
    let shown = if value.is_number() { value.clone() } else { number.into() };
    Ok((number, shown))
}

/// Reads a number of bytes; also as text.
pub(super) fn bytes(value: &Value) -> Coerced<u64> {
    let number = spelled(value).filter(|number| number.fract() == 0.0 && (1.0..=9e15).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds were checked")]
    let number = number.map(|number| number as u64);
    number
        .map(|number| (number, number.into()))
        .ok_or_else(|| wanted("a whole number of bytes above 0", value))
}

/// Reads a duration: milliseconds, or text such as "5 minutes".
pub(super) fn duration(value: &Value) -> Coerced<Duration> {
    let read = match value {
        Value::Number(number) => number.as_f64().and_then(from_millis),
        Value::String(text) => parse_duration(text),
        _ => None,
    };
    let read = read.ok_or_else(|| wanted("milliseconds or a duration such as \"5 minutes\"", value))?;
    let millis = u64::try_from(read.as_millis()).unwrap_or(u64::MAX);
    Ok((read, millis.into()))
}

/// Reads text that is not empty.
pub(super) fn text(value: &Value) -> Coerced<String> {
    match value {
        Value::String(read) if !read.is_empty() => Ok((read.clone(), value.clone())),
        other => Err(wanted("text that is not empty", other)),
    }
}

/// Reads one of some words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Coerced<T> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        let read = found.map(|(_, read)| (*read, value.clone()));
        read.ok_or_else(|| {
            let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let near = value.as_str().and_then(|text| crate::problem::nearest(text, &all));
            let guess = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
            wanted(&format!("one of {}", all.join(", ")), value) + &guess
        })
    }
}

/// Reads an object of names and text, neither empty; numbers and booleans count as text.
pub(super) fn text_map(value: &Value) -> Coerced<BTreeMap<String, String>> {
    let Value::Object(entries) = value else { return Err(wanted("an object of text", value)) };
    let mut read = BTreeMap::new();
    let mut shown = Map::new();
    for (key, entry) in entries {
        let text = match entry {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => entry.to_string(),
            other => return Err(format!("has an entry {key:?} that {}", wanted("text", other))),
        };
        if key.is_empty() || text.is_empty() {
            return Err(format!("must have no empty keys or values, found {key:?}: {text:?}"));
        }
        shown.insert(key.clone(), text.as_str().into());
        read.insert(key.clone(), text);
    }
    Ok((read, shown.into()))
}

/// Lets null stand for the default.
pub(super) fn nullable<T: Default>(
    read: impl FnOnce(&Value) -> Coerced<T>,
) -> impl FnOnce(&Value) -> Coerced<T> {
    |value| if value.is_null() { Ok((T::default(), Value::Null)) } else { read(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_booleans_in_six_spellings() {
        for yes in [json!(true), json!("true"), json!(1), json!("1")] {
            assert_eq!(boolean(&yes), Ok((true, json!(true))), "{yes}");
        }
        for no in [json!(false), json!("false"), json!(0), json!("0")] {
            assert_eq!(boolean(&no), Ok((false, json!(false))), "{no}");
        }
        for neither in [json!("yes"), json!(2), json!(null), json!([])] {
            assert!(boolean(&neither).is_err(), "{neither}");
        }
    }

    #[test]
    fn reads_whole_numbers_also_as_text() {
        for three in [json!(3), json!("3"), json!(3.0), json!(" 3 ")] {
            assert_eq!(whole(1)(&three), Ok((3, json!(3))), "{three}");
        }
        for wrong in
            [json!(0), json!(-1), json!(1.5), json!("x"), json!(""), json!(1e10), json!("NaN"), json!(true)]
        {
            assert!(whole(1)(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn guesses_the_word_that_was_meant() {
        let error = one_of(&[("once", 1), ("persistent", 2)])(&json!("persistant")).unwrap_err();
        assert_eq!(
            error,
            "must be one of once, persistent, found \"persistant\" (did you mean \"persistent\"?)"
        );
    }

    #[test]
    fn shows_durations_in_milliseconds() {
        assert_eq!(duration(&json!("5 minutes")), Ok((Duration::from_secs(300), json!(300_000))));
        assert_eq!(duration(&json!(20)), Ok((Duration::from_millis(20), json!(20))));
        assert_eq!(
            duration(&json!(-1)).unwrap_err(),
            "must be milliseconds or a duration such as \"5 minutes\", found -1"
        );
    }

    #[test]
    fn takes_numbers_as_text_in_maps() {
        let (read, shown) = text_map(&json!({"A": 1, "B": true, "C": "x"})).unwrap();
        assert_eq!(read["A"], "1");
        assert_eq!(shown, json!({"A": "1", "B": "true", "C": "x"}));
    }
}
