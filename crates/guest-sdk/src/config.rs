//! Reads settings, and says of a wrong one which it is, what it is, and what would be right.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::operation::ConfigError;

/// Reads the settings of an operation; names of settings it does not know are passed over.
pub(crate) fn read<T: DeserializeOwned>(settings: Map<String, Value>) -> Result<T, ConfigError> {
    let error = match T::deserialize(Value::Object(settings.clone())) {
        Ok(config) => return Ok(config),
        Err(error) => error.to_string(),
    };
    // The reader stops at the first wrong setting without naming it: it is the one without which the error is another.
    let culprit = settings.iter().find(|(name, _)| {
        let mut others = settings.clone();
        let _without = others.remove(*name);
        let other = T::deserialize(Value::Object(others)).err().map(|error| error.to_string());
        let lacks_only_it = other.as_deref().and_then(missing) == Some(name) && missing(&error).is_some();
        other.as_deref() != Some(&error) && !lacks_only_it
    });
    Err(match (culprit, missing(&error)) {
        (Some((field, value)), Some(part)) => {
            ConfigError::new(field, value.clone(), &format!("{part} in each of its parts"))
        }
        (Some((field, value)), None) => {
            let expected = error.rsplit_once("expected ").map_or(error.as_str(), |(_, expected)| expected);
            ConfigError::new(field, value.clone(), expected)
        }
        (None, Some(field)) => {
            ConfigError { field: field.to_owned(), message: format!("{field} is missing") }
        }
        (None, None) => ConfigError::several(error),
    })
}

fn missing(error: &str) -> Option<&str> {
    error.strip_prefix("missing field `")?.split('`').next()
}

/// Reads a boolean the way jobs may spell it: `true`, `"true"`, `1`, `"1"`. For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// When it is anything else.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_u64();
    match (value.as_str(), number) {
        _ if value.is_boolean() => Ok(value == Value::Bool(true)),
        (Some("true" | "1"), _) | (_, Some(1)) => Ok(true),
        (Some("false" | "0"), _) | (_, Some(0)) => Ok(false),
        _ => Err(serde::de::Error::custom("expected true or false")),
    }
}

/// Reads a list, or one value in place of a list of one. For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// When a value is of the wrong type.
pub fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let values = match Value::deserialize(deserializer)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    values.into_iter().map(|value| T::deserialize(value).map_err(serde::de::Error::custom)).collect()
}

/// Reads a value that may be null, keeping `null` apart from nothing at all. For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// When the value is of the wrong type.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[derive(Debug, Deserialize)]
    struct Settings {
        field: Name,
        #[serde(default, deserialize_with = "flag")]
        invert: bool,
        #[serde(default, deserialize_with = "one_or_many")]
        names: Vec<String>,
        #[serde(default)]
        parts: Vec<Part>,
    }

    #[derive(Debug, Deserialize)]
    struct Part {
        #[expect(dead_code, reason = "only read")]
        name: String,
    }

    fn settings(json: &str) -> Result<Settings, String> {
        read(serde_json::from_str(json).unwrap())
            .map_err(|error| format!("{}: {}", error.field, error.message))
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value_and_what_would_be_right() {
        let cases = [
            (r#"{"invert":true}"#, "field: field is missing"),
            (r#"{"a":1,"field":5}"#, "field: field is 5, expected a string"),
            (r#"{"field":""}"#, "field: field is \"\", expected the name of a field"),
            (r#"{"field":"x","invert":"maybe"}"#, "invert: invert is \"maybe\", expected true or false"),
            (r#"{"field":"x","names":["a",1]}"#, "names: names is [\"a\",1], expected a string"),
            (r#"{"field":"x","parts":[{}]}"#, "parts: parts is [{}], expected name in each of its parts"),
        ];
        for (json, message) in cases {
            assert_eq!(settings(json).unwrap_err(), message);
        }
    }

    #[test]
    fn settings_may_be_spelled_loosely() {
        let read = settings(r#"{"_op":"x","other":1,"field":"f","invert":"1","names":"n"}"#).unwrap();
        assert_eq!((read.field.as_str(), read.invert, read.names), ("f", true, vec!["n".to_owned()]));
        assert!(read.parts.is_empty());
    }
}
