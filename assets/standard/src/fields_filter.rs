//! `filter_by_required_fields` and `filter_by_unknown_fields`: keep records by which fields they have.

use serde::Deserialize;
use serde_json::Value as Json;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict, config};

/// `filter_by_required_fields`: keeps records that have fields.
#[derive(Debug)]
pub struct FilterByRequiredFields {
    fields: Vec<Name>,
    needs_all: bool,
    invert: bool,
}

/// Settings of `filter_by_required_fields`.
#[derive(Debug, Deserialize)]
pub struct RequiredConfig {
    required_fields: Vec<Name>,
    filter_type: Option<String>,
    #[serde(default, deserialize_with = "config::flag")]
    invert: bool,
}

impl Operation for FilterByRequiredFields {
    type Config = RequiredConfig;

    const INFO: Info = Info::new(
        "filter_by_required_fields",
        "Keeps records that have some fields.",
        r#"{
          "type": "object",
          "properties": {
            "required_fields": { "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "The fields; null counts as missing." },
            "filter_type": { "enum": ["AND", "OR", "and", "or"], "default": "AND", "description": "All of them, or at least one." },
            "invert": { "type": "boolean", "default": false, "description": "Keep the others." }
          },
          "required": ["required_fields"]
        }"#,
    );

    fn new(config: RequiredConfig) -> Result<Self, ConfigError> {
        check_fields("required_fields", &config.required_fields)?;
        let filter_type = config.filter_type.unwrap_or_else(|| "AND".to_owned());
        let needs_all = filter_type.eq_ignore_ascii_case("and");
        if !needs_all && !filter_type.eq_ignore_ascii_case("or") {
            return Err(ConfigError::new("filter_type", filter_type, "AND or OR"));
        }
        Ok(Self { fields: config.required_fields, needs_all, invert: config.invert })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let is_there = |field: &Name| record.get(field).is_some_and(|value| !value.is_null());
        let is_complete =
            if self.needs_all { self.fields.iter().all(is_there) } else { self.fields.iter().any(is_there) };
        Ok(Verdict::keep_if(is_complete != self.invert))
    }
}

/// `filter_by_unknown_fields`: drops records with unlisted fields.
#[derive(Debug)]
pub struct FilterByUnknownFields(UnknownConfig);

/// Settings of `filter_by_unknown_fields`.
#[derive(Debug, Deserialize)]
pub struct UnknownConfig {
    known_fields: Vec<Name>,
    #[serde(default, deserialize_with = "config::flag")]
    invert: bool,
}

impl Operation for FilterByUnknownFields {
    type Config = UnknownConfig;

    const INFO: Info = Info::new(
        "filter_by_unknown_fields",
        "Keeps records that have no fields but the listed ones.",
        r#"{
          "type": "object",
          "properties": {
            "known_fields": { "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "The fields." },
            "invert": { "type": "boolean", "default": false, "description": "Keep the others." }
          },
          "required": ["known_fields"]
        }"#,
    );

    fn new(config: UnknownConfig) -> Result<Self, ConfigError> {
        check_fields("known_fields", &config.known_fields)?;
        Ok(Self(config))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let known = &self.0.known_fields;
        let is_known = record.fields().all(|(name, _)| known.iter().any(|known| known.as_str() == name));
        Ok(Verdict::keep_if(is_known != self.0.invert))
    }
}

fn check_fields(setting: &str, fields: &[Name]) -> Result<(), ConfigError> {
    if fields.is_empty() {
        return Err(ConfigError::new(setting, Json::Array(Vec::new()), "at least one field"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    fn is_kept<T: Operation>(config: &str, record: &str) -> bool {
        Run::of::<T>(config, &[record]).records == [record]
    }

    #[test]
    fn records_need_their_fields() {
        let and = r#"{"required_fields":["a","b"]}"#;
        let or = r#"{"required_fields":["a","b"],"filter_type":"OR"}"#;
        let lower = r#"{"required_fields":["a","b"],"filter_type":"or"}"#;
        let inverted = r#"{"required_fields":["a","b"],"invert":true}"#;
        let cases = [
            (and, r#"{"a":1}"#, false),
            (and, r#"{"a":1,"b":0}"#, true),
            (and, r#"{"a":"","b":false}"#, true),
            (and, r#"{"a":1,"b":null}"#, false),
            (or, r#"{"a":1}"#, true),
            (lower, r#"{"a":1}"#, true),
            (or, r#"{"a":null}"#, false),
            (inverted, r#"{"a":1}"#, true),
            (inverted, r#"{"a":1,"b":0}"#, false),
        ];
        for (config, record, expected) in cases {
            assert_eq!(is_kept::<FilterByRequiredFields>(config, record), expected, "{config} {record}");
        }
    }

    #[test]
    fn records_may_have_known_fields_only() {
        let (config, inverted) =
            (r#"{"known_fields":["a","b"]}"#, r#"{"known_fields":["a","b"],"invert":true}"#);
        let cases = [
            (config, r#"{"a":1}"#, true),
            (config, "{}", true),
            (config, r#"{"a":1,"z":1}"#, false),
            (inverted, r#"{"a":1,"z":1}"#, true),
        ];
        for (config, record, expected) in cases {
            assert_eq!(is_kept::<FilterByUnknownFields>(config, record), expected, "{config} {record}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let message = |config: &str| config_error::<FilterByRequiredFields>(config).unwrap().1;
        assert_eq!(message("{}"), "required_fields is missing");
        assert_eq!(
            message(r#"{"required_fields":[]}"#),
            "required_fields is [], expected at least one field"
        );
        assert_eq!(
            message(r#"{"required_fields":["a"],"filter_type":"XOR"}"#),
            "filter_type is \"XOR\", expected AND or OR"
        );
        assert_eq!(
            config_error::<FilterByUnknownFields>(r#"{"known_fields":[]}"#).unwrap().0,
            "known_fields"
        );
    }
}
