//! `dedupe`: the first record per key in the slice.

use std::collections::HashMap;

use serde::Deserialize;
use teraslice_guest_sdk::{
    ConfigError, Error, Held, Info, Kind, Name, Operation, Record, Released, Value, Verdict, host,
};

use crate::{date, key::KEY};

/// `dedupe`: the first record per key in the slice.
#[derive(Debug)]
pub struct Dedupe {
    field: Option<Name>,
    key: Name,
    adjust: Vec<AdjustTime>,
    now_ms: i64,
    /// Where each key's first record is held.
    first: HashMap<Key, usize>,
    /// The dates of each held record, one per adjusted field.
    dates: Vec<Vec<Date>>,
}

/// Settings of `dedupe`.
#[derive(Debug, Deserialize)]
pub struct Config {
    field: Option<Name>,
    #[serde(default)]
    adjust_time: Vec<AdjustTime>,
}

#[derive(Clone, Debug, Deserialize)]
struct AdjustTime {
    field: Name,
    preference: Preference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preference {
    Oldest,
    Newest,
}

/// A value as a key: of different types, values are different.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Missing,
    Null,
    Boolean(bool),
    Number(u64),
    Text(Box<str>),
    /// Lists and objects are like no other.
    Unique(usize),
}

#[derive(Clone, Debug, Default)]
struct Date {
    ms: Option<i64>,
    /// The value that the held record is to get.
    json: Option<Box<[u8]>>,
}

impl Operation for Dedupe {
    type Config = Config;

    const INFO: Info = Info::new(
        "dedupe",
        "Keeps the first record of each key in the slice.",
        r#"{
          "type": "object",
          "properties": {
            "field": { "type": ["string", "null"], "minLength": 1, "description": "The field with the key; absent: _key of the metadata." },
            "adjust_time": {
              "type": "array",
              "default": [],
              "description": "Dates that the kept record takes from the others if they are older or newer.",
              "items": {
                "type": "object",
                "properties": { "field": { "type": "string" }, "preference": { "enum": ["oldest", "newest"] } },
                "required": ["field", "preference"]
              }
            }
          }
        }"#,
    )
    .per_slice();

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            field: config.field,
            key: Name::new(KEY),
            adjust: config.adjust_time,
            now_ms: i64::try_from(host::now_ms()).unwrap_or(i64::MAX / 2),
            first: HashMap::new(),
            dates: Vec::new(),
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let next = self.first.len();
        let key = match &self.field {
            Some(field) => Key::of(record.get(field), next),
            None => match Key::of(record.metadata(&self.key), next) {
                key @ Key::Number(_) => key,
                Key::Text(text) if !text.is_empty() => Key::Text(text),
                _ => return Err(Error::reject("no key has been set in the metadata")),
            },
        };
        let mut place = next;
        let _place = self.first.entry(key).and_modify(|first| place = *first).or_insert(next);
        if self.adjust.is_empty() {
            return Ok(Verdict::keep_if(place == next));
        }
        if place == next {
            self.dates.push(self.adjust.iter().map(|adjust| self.date(record, adjust)).collect());
            return Ok(Verdict::Hold);
        }
        self.adjust_dates(record, place);
        Ok(Verdict::Drop)
    }

    fn finish(&mut self, mut held: Vec<Held>) -> Result<Released, Error> {
        for (record, dates) in held.iter_mut().zip(&self.dates) {
            let changed = || {
                self.adjust.iter().zip(dates).filter_map(|(adjust, date)| Some((adjust, date.json.as_ref()?)))
            };
            if changed().next().is_some() {
                record.edit(|record| changed().for_each(|(adjust, json)| record.set(&adjust.field, json)));
            }
        }
        Ok(held.into())
    }
}

impl Dedupe {
    fn date(&self, record: &Record<'_>, adjust: &AdjustTime) -> Date {
        Date {
            ms: record.get(&adjust.field).and_then(|value| date::read_or_math(value, self.now_ms)),
            json: None,
        }
    }

    fn adjust_dates(&mut self, record: &Record<'_>, place: usize) {
        for (at, adjust) in self.adjust.iter().enumerate() {
            let incoming = self.date(record, adjust).ms;
            let Some(kept) = self.dates.get_mut(place).and_then(|dates| dates.get_mut(at)) else { return };
            let takes = match (kept.ms, incoming, adjust.preference) {
                (_, None, _) => false,
                (None, Some(_), _) => true,
                (Some(kept), Some(incoming), Preference::Newest) => incoming > kept,
                (Some(kept), Some(incoming), Preference::Oldest) => incoming <= kept,
            };
            if takes {
                *kept =
                    Date { ms: incoming, json: record.get(&adjust.field).map(|value| value.json().into()) };
            }
        }
    }
}

impl Key {
    fn of(value: Option<Value<'_>>, unique: usize) -> Self {
        let Some(value) = value else { return Self::Missing };
        match value.kind() {
            Kind::Null => Self::Null,
            Kind::Boolean => Self::Boolean(value.as_bool() == Some(true)),
            // Adding zero makes one of the two zeros.
            Kind::Number => Self::Number((value.as_f64().unwrap_or(f64::NAN) + 0.0).to_bits()),
            Kind::String => Self::Text(value.as_str().unwrap_or_default().into()),
            Kind::Array | Kind::Object => Self::Unique(unique),
        }
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn the_first_record_of_each_key_is_kept() {
        let records =
            [r#"{"id":1,"n":1}"#, r#"{"id":"1"}"#, r#"{"id":1.0}"#, r#"{"id":null}"#, r#"{"id":null}"#];
        let run = Run::of::<Dedupe>(r#"{"field":"id"}"#, &records);
        assert_eq!(run.records, [records[0], records[1], records[3]]);
        assert!(run.is_balanced() && run.dropped == 2);
        assert_eq!(
            Run::of::<Dedupe>(r#"{"field":"id"}"#, &[r#"{"x":1}"#, r#"{"x":2}"#]).records,
            [r#"{"x":1}"#]
        );
        let lists = [r#"{"id":[1]}"#, r#"{"id":[1]}"#, r#"{"id":{}}"#];
        assert_eq!(Run::of::<Dedupe>(r#"{"field":"id"}"#, &lists).records, lists);
    }

    #[test]
    fn the_key_of_the_metadata_is_the_default() {
        let records = [
            ("{\"n\":1}", r#"{"_key":"a"}"#),
            ("{\"n\":2}", r#"{"_key":"a"}"#),
            ("{\"n\":3}", r#"{"_key":5}"#),
        ];
        let run = Run::with_metadata::<Dedupe>("{}", &records);
        assert_eq!(run.records, ["{\"n\":1}", "{\"n\":3}"]);
        let run = Run::with_metadata::<Dedupe>(
            "{}",
            &[("{}", ""), ("{}", r#"{"_key":""}"#), ("{}", r#"{"_key":true}"#)],
        );
        assert_eq!(run.failures.len(), 3);
        assert_eq!(run.failures[0].message, "no key has been set in the metadata");
    }

    #[test]
    fn dates_are_adjusted() {
        let config = r#"{"field":"id","adjust_time":[
            {"field":"first","preference":"oldest"},{"field":"last","preference":"newest"}]}"#;
        let cases: [(&[&str], &[&str]); 3] = [
            (
                &[
                    r#"{"id":1,"first":"2020-01-02","last":"2020-01-02"}"#,
                    r#"{"id":1,"first":"2020-01-01","last":"2020-01-03"}"#,
                ],
                &[r#"{"id":1,"first":"2020-01-01","last":"2020-01-03"}"#],
            ),
            (
                &[r#"{"id":1,"first":0,"last":null}"#, r#"{"id":2}"#, r#"{"id":1,"first":"x","last":7}"#],
                &[r#"{"id":1,"first":0,"last":7}"#, r#"{"id":2}"#],
            ),
            (
                &[r#"{"id":1,"last":5}"#, r#"{"id":1,"last":9}"#, r#"{"id":1,"last":7}"#],
                &[r#"{"id":1,"last":9}"#],
            ),
        ];
        for (records, expected) in cases {
            let run = Run::of::<Dedupe>(config, records);
            assert_eq!(run.records, expected);
            assert!(run.is_balanced(), "{:?}", run.counts);
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let config = r#"{"adjust_time":[{"field":"a","preference":"first"}]}"#;
        let message = config_error::<Dedupe>(config).unwrap().1;
        assert!(
            message.starts_with("adjust_time is [") && message.ends_with("`oldest` or `newest`"),
            "{message}"
        );
        assert_eq!(config_error::<Dedupe>(r#"{"field":5}"#).unwrap().1, "field is 5, expected a string");
    }
}
