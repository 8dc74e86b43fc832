//! `filter_by_date`: keeps records in a time range.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict, host};

use crate::date;

/// `filter_by_date`: keeps records in a time range.
#[derive(Debug)]
pub struct FilterByDate {
    field: Name,
    first_ms: i64,
    last_ms: i64,
}

/// Settings of `filter_by_date`.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(default = "date_field")]
    date_field: Name,
    #[serde(default = "week")]
    limit_past: String,
    #[serde(default = "day")]
    limit_future: String,
}

fn date_field() -> Name {
    Name::new("date")
}

fn week() -> String {
    "1week".to_owned()
}

fn day() -> String {
    "1day".to_owned()
}

impl Operation for FilterByDate {
    type Config = Config;

    const INFO: Info = Info::new(
        "filter_by_date",
        "Keeps records whose date lies in a range around now.",
        r#"{
          "type": "object",
          "properties": {
            "date_field": { "type": "string", "minLength": 1, "default": "date", "description": "The field." },
            "limit_past": { "type": "string", "default": "1week", "description": "A date, or how long before the slice was made: 2 days, 36h." },
            "limit_future": { "type": "string", "default": "1day", "description": "A date, or how long after the slice was made." }
          }
        }"#,
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        let now = i64::try_from(host::now_ms()).unwrap_or(i64::MAX / 2);
        let limit = |field: &str, text: &str, sign: i64| {
            let duration = || date::duration(text).map(|ms| now + sign * ms);
            let error = || ConfigError::new(field, text, "a date, or a duration such as 1week, 2 days, 36h");
            date::read_text(text).or_else(duration).ok_or_else(error)
        };
        Ok(Self {
            first_ms: limit("limit_past", &config.limit_past, -1)?,
            last_ms: limit("limit_future", &config.limit_future, 1)?,
            field: config.date_field,
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let date = record.get(&self.field).and_then(date::read);
        Ok(Verdict::keep_if(date.is_some_and(|date| (self.first_ms..=self.last_ms).contains(&date))))
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn records_outside_of_the_range_are_dropped() {
        let cases = [
            ("{}", r#"{"date":"2026-11-21"}"#, true),
            ("{}", r#"{"date":"2000-01-01"}"#, false),
            ("{}", r#"{"date":"now-1d"}"#, false),
            ("{}", "{}", false),
            ("{}", r#"{"date":1795305600000}"#, true),
            ("{}", r#"{"date":"2026-11-23T00:00:01Z"}"#, false),
            (r#"{"limit_past":"2020-01-01","limit_future":"2020-12-31"}"#, r#"{"date":"2020-12-31"}"#, true),
            (r#"{"date_field":"d","limit_past":"36h"}"#, r#"{"d":"2026-11-20T11:00Z"}"#, false),
        ];
        for (config, record, is_kept) in cases {
            assert_eq!(
                Run::of::<FilterByDate>(config, &[record]).records.len() == 1,
                is_kept,
                "{config} {record}"
            );
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let message = config_error::<FilterByDate>(r#"{"limit_past":"soon"}"#).unwrap().1;
        assert_eq!(
            message,
            "limit_past is \"soon\", expected a date, or a duration such as 1week, 2 days, 36h"
        );
    }
}
