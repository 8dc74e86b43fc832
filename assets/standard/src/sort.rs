//! `sort`: orders the slice.

use std::cmp::Ordering;

use serde::Deserialize;
use teraslice_guest_sdk::{
    ConfigError, Error, Held, Info, Kind, Operation, Path, Record, Released, Value, Verdict,
};

use crate::js;

/// `sort`: orders the slice.
///
/// Numbers come before texts that are no numbers, and records without a value last, whatever the direction of the order.
#[derive(Debug)]
pub struct Sort {
    field: Path,
    is_descending: bool,
    keys: Vec<Key>,
}

/// Settings of `sort`.
#[derive(Debug, Deserialize)]
pub struct Config {
    field: Path,
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Clone, Debug, PartialEq)]
enum Key {
    Number(f64),
    Text(Box<str>),
    Missing,
}

impl Operation for Sort {
    type Config = Config;

    const INFO: Info = Info::new(
        "sort",
        "Orders the records of the slice by a field.",
        r#"{
          "type": "object",
          "properties": {
            "field": { "type": "string", "minLength": 1, "description": "The field, or a path to it." },
            "order": { "enum": ["asc", "desc"], "default": "asc", "description": "Upwards or downwards; equal ones keep their order." }
          },
          "required": ["field"]
        }"#,
    )
    .per_slice();

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { field: config.field, is_descending: config.order == Order::Desc, keys: Vec::new() })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        self.keys.push(record.get_path(&self.field).map_or(Key::Missing, Key::of));
        Ok(Verdict::Hold)
    }

    fn finish(&mut self, held: Vec<Held>) -> Result<Released, Error> {
        let mut keys = std::mem::take(&mut self.keys);
        // Among numbers, texts that spell numbers are compared as such; among texts only, as texts.
        if keys.iter().any(|key| matches!(key, Key::Number(_))) {
            keys.iter_mut().for_each(Key::make_number);
        }
        let mut records: Vec<_> = keys.into_iter().zip(held).collect();
        records.sort_by(|(a, _), (b, _)| a.compare(b, self.is_descending));
        Ok(records.into_iter().map(|(_, record)| record).collect::<Vec<_>>().into())
    }
}

impl Key {
    fn of(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Null => Self::Missing,
            Kind::Boolean => Self::Number(if value.as_bool() == Some(true) { 1.0 } else { 0.0 }),
            Kind::Number => value.as_f64().map_or(Self::Missing, Self::Number),
            Kind::String => Self::Text(value.as_str().unwrap_or_default().into()),
            Kind::Array | Kind::Object => Self::Text(js::text(value).into()),
        }
    }

    fn make_number(&mut self) {
        if let Self::Text(text) = self
            && let Some(number) = text.trim().parse().ok().filter(|number: &f64| number.is_finite())
        {
            *self = Self::Number(number);
        }
    }

    fn compare(&self, other: &Self, is_descending: bool) -> Ordering {
        let directed = |order: Ordering| if is_descending { order.reverse() } else { order };
        match (self, other) {
            // Adding zero makes one of the two zeros.
            (Self::Number(a), Self::Number(b)) => directed((a + 0.0).total_cmp(&(b + 0.0))),
            (Self::Text(a), Self::Text(b)) => directed(js::compare(a, b)),
            (Self::Number(_), Self::Text(_)) => directed(Ordering::Less),
            (Self::Text(_), Self::Number(_)) => directed(Ordering::Greater),
            (Self::Missing, Self::Missing) => Ordering::Equal,
            (Self::Missing, _) => Ordering::Greater,
            (_, Self::Missing) => Ordering::Less,
        }
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::{
        Entry,
        testing::{Run, config_error},
    };

    use super::*;
    use crate::Dedupe;

    fn check(config: &str, records: &[&str], places: &[usize]) {
        let run = Run::of::<Sort>(config, records);
        let expected: Vec<_> = places.iter().map(|place| records[*place]).collect();
        assert_eq!(run.records, expected);
        assert!(run.is_balanced() && run.origin.is_empty());
    }

    #[test]
    fn records_are_ordered() {
        check(r#"{"field":"n"}"#, &[r#"{"n":3}"#, r#"{"n":1}"#], &[1, 0]);
        let records = [r#"{"n":3,"i":1}"#, r#"{"n":5}"#, r#"{"n":3,"i":2}"#];
        check(r#"{"field":"n","order":"desc"}"#, &records, &[1, 0, 2]);
        check(r#"{"field":"a.b"}"#, &[r#"{"a":{"b":2}}"#, r#"{"a":{"b":-1}}"#], &[1, 0]);
        check(r#"{"field":"d"}"#, &[r#"{"d":"2020-02-01"}"#, r#"{"d":"2020-01-31"}"#], &[1, 0]);
        check(r#"{"field":"d"}"#, &[], &[]);
    }

    #[test]
    fn numbers_and_texts_mix() {
        check(r#"{"field":"n"}"#, &[r#"{"n":"10"}"#, r#"{"n":"9"}"#], &[0, 1]);
        check(r#"{"field":"n"}"#, &[r#"{"n":"10"}"#, r#"{"n":"x"}"#, r#"{"n":9}"#, "{}"], &[2, 0, 1, 3]);
    }

    #[test]
    fn records_without_a_value_come_last() {
        let records = [r#"{"n":null}"#, r#"{"n":1}"#, "{}", r#"{"n":2}"#];
        check(r#"{"field":"n"}"#, &records, &[1, 3, 0, 2]);
        check(r#"{"field":"n","order":"desc"}"#, &records, &[3, 1, 0, 2]);
    }

    #[test]
    fn what_is_released_runs_through_the_steps_behind() {
        let known = [Entry::of::<Sort>(), Entry::of::<Dedupe>()];
        let dedupe = r#"{"field":"k","adjust_time":[{"field":"n","preference":"newest"}]}"#;
        let steps =
            [("sort", r#"{"field":"n"}"#), ("dedupe", dedupe), ("sort", r#"{"field":"n","order":"desc"}"#)];
        let records =
            [(r#"{"k":1,"n":5}"#, ""), (r#"{"k":2,"n":3}"#, r#"{"_key":"x"}"#), (r#"{"k":1,"n":1}"#, "")];
        let run = Run::of_chain(&known, &steps, &records);
        assert_eq!(run.records, [r#"{"k":1,"n":5}"#, r#"{"k":2,"n":3}"#]);
        assert_eq!(run.metadata, ["", r#"{"_key":"x"}"#]);
        assert_eq!(run.counts, [[3, 3, 0, 0, 0], [3, 2, 1, 0, 0], [2, 2, 0, 0, 0]]);
    }

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(config_error::<Sort>("{}").unwrap().1, "field is missing");
        let message = config_error::<Sort>(r#"{"field":"a","order":"up"}"#).unwrap().1;
        assert_eq!(message, "order is \"up\", expected `asc` or `desc`");
    }
}
