//! `filter`: keeps or drops records by a field's value.

use std::borrow::Cow;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value as Json;
use teraslice_guest_sdk::{
    ConfigError, Error, Info, Kind, Name, Operation, Path, Record, Value, Verdict, config,
};

use crate::{
    constant::Constant,
    ip, js, pattern,
    validator::{self, Validator},
};

/// `filter`: keeps or drops records by a field's value.
#[derive(Debug)]
pub struct Filter {
    fields: Vec<Path>,
    index: Option<usize>,
    test: Test,
    keeps_matches: bool,
    refuses: bool,
    exceptions: Vec<Exception>,
}

/// Settings of `filter`.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(deserialize_with = "config::one_or_many")]
    field: Vec<Path>,
    #[serde(default)]
    value: Json,
    #[serde(default)]
    filter_by: By,
    #[serde(default, deserialize_with = "config::flag")]
    invert: bool,
    array_index: Option<f64>,
    validation_function: Option<String>,
    #[serde(default)]
    validation_function_args: Json,
    #[serde(default, deserialize_with = "config::flag")]
    filtered_to_dead_letter_queue: bool,
    exception_rules: Option<Vec<ExceptionConfig>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Match,
    Regex,
    IpRange,
    Validator,
    Size,
}

#[derive(Debug, Deserialize)]
struct ExceptionConfig {
    field: Name,
    value: Json,
    #[serde(default, deserialize_with = "config::flag")]
    regex: bool,
}

#[derive(Debug)]
enum Test {
    Match(Vec<Constant>),
    Regex(Vec<Regex>),
    Ip(Vec<ip::Range>),
    Validator(Validator),
    Size(f64),
}

#[derive(Debug)]
struct Exception {
    field: Name,
    test: Test,
}

impl Operation for Filter {
    type Config = Config;

    const INFO: Info =
        Info::new("filter", "Keeps or drops records by a field's value.", include_str!("filter.json"));

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.field.is_empty() {
            return Err(ConfigError::new("field", Json::Array(Vec::new()), "a field or a list of fields"));
        }
        let exceptions = config.exception_rules.as_deref().unwrap_or_default();
        Ok(Self {
            test: test(&config)?,
            index: config.array_index.and_then(place),
            keeps_matches: config.invert,
            refuses: config.filtered_to_dead_letter_queue,
            exceptions: exceptions.iter().map(exception).collect::<Result<_, _>>()?,
            fields: config.field,
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let is_excepted = |rule: &Exception| {
            record.get(&rule.field).is_some_and(|value| !value.is_null() && rule.test.accepts(value))
        };
        if self.exceptions.iter().any(is_excepted) || self.matches(record) == self.keeps_matches {
            return Ok(Verdict::Keep);
        }
        if self.refuses {
            return Err(Error::reject("the record was filtered out"));
        }
        Ok(Verdict::Drop)
    }
}

impl Filter {
    fn matches(&self, record: &Record<'_>) -> bool {
        if let Test::Size(limit) = self.test {
            return self.fields.iter().any(|field| size(record, field) > limit);
        }
        self.fields.iter().any(|field| match self.index {
            None => self.test.accepts_any(record.get_path(field)),
            Some(index) => {
                let list = record.get(field.as_name());
                self.test.accepts_any(list.and_then(|list| list.elements().nth(index)))
            }
        })
    }
}

impl Test {
    /// Tests a value, or the elements of a list.
    fn accepts_any(&self, value: Option<Value<'_>>) -> bool {
        match (self, value) {
            (Self::Validator(validator), value) => validator.accepts(value),
            (_, None) => false,
            (_, Some(value)) if value.kind() == Kind::Array => {
                value.elements().any(|value| self.accepts(value))
            }
            (_, Some(value)) => self.accepts(value),
        }
    }

    fn accepts(&self, value: Value<'_>) -> bool {
        match self {
            Self::Match(constants) => constants.iter().any(|constant| constant.is(value)),
            Self::Regex(patterns) => {
                let text = value.as_str().or_else(|| (!value.is_null()).then(|| Cow::Owned(js::text(value))));
                text.is_some_and(|text| patterns.iter().any(|pattern| pattern.is_match(&text)))
            }
            Self::Ip(ranges) => {
                value.as_str().is_some_and(|text| ranges.iter().any(|range| range.contains(text.trim())))
            }
            Self::Validator(validator) => validator.accepts(Some(value)),
            Self::Size(_) => false,
        }
    }
}

fn test(config: &Config) -> Result<Test, ConfigError> {
    let values = match &config.value {
        Json::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    match config.filter_by {
        By::Match => Ok(Test::Match(values.iter().map(Constant::new).collect())),
        By::Regex => {
            values.iter().map(|value| regex("value", value)).collect::<Result<_, _>>().map(Test::Regex)
        }
        By::IpRange => {
            let range = |value: &Json| {
                let error =
                    || ConfigError::new("value", value.clone(), "a range of addresses such as 10.0.0.0/8");
                value.as_str().and_then(ip::Range::read).ok_or_else(error)
            };
            values.iter().map(range).collect::<Result<_, _>>().map(Test::Ip)
        }
        By::Validator => {
            let name = config.validation_function.as_deref();
            validator::read(name, &config.validation_function_args).map(Test::Validator)
        }
        By::Size => match config.value.as_f64() {
            Some(limit) => Ok(Test::Size(limit)),
            None => Err(ConfigError::new("value", config.value.clone(), "a number of bytes")),
        },
    }
}

fn regex(field: &str, value: &Json) -> Result<Regex, ConfigError> {
    let error = || ConfigError::new(field, value.clone(), "a regular expression: /PATTERN/FLAGS");
    pattern::read(field, value.as_str().ok_or_else(error)?)
}

fn exception(rule: &ExceptionConfig) -> Result<Exception, ConfigError> {
    let test = if rule.regex {
        Test::Regex(vec![regex("exception_rules", &rule.value)?])
    } else {
        Test::Match(vec![Constant::new(&rule.value)])
    };
    Ok(Exception { field: rule.field.clone(), test })
}

/// Returns the place of an array's element; there is none below zero.
#[expect(clippy::cast_possible_truncation, reason = "it is checked to be in range")]
fn place(index: f64) -> Option<usize> {
    (0.0..1e9).contains(&index).then_some(index as usize)
}

/// Returns the size in memory, as the original counts it: of the whole record for the name `doc`.
fn size(record: &Record<'_>, field: &Path) -> f64 {
    if field.as_str() != "doc" {
        return record.get(field.as_name()).map_or(0.0, size_of);
    }
    record.fields().map(|(name, value)| units(&name) + size_of(value)).sum()
}

fn size_of(value: Value<'_>) -> f64 {
    match value.kind() {
        Kind::Null => 0.0,
        Kind::Boolean => 4.0,
        Kind::Number => 8.0,
        Kind::String => units(&value.as_str().unwrap_or_default()),
        Kind::Array => value.elements().map(size_of).sum(),
        Kind::Object => value.members().map(|(name, value)| units(&name) + size_of(value)).sum(),
    }
}

/// Two bytes for each UTF-16 unit.
fn units(text: &str) -> f64 {
    2.0 * text.encode_utf16().count() as f64
}

#[cfg(test)]
mod tests;
