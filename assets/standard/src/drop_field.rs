//! `drop_field`: removes fields.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict, config};

/// `drop_field`: removes top-level fields.
#[derive(Debug)]
pub struct DropField(Config);

/// Settings of `drop_field`.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(deserialize_with = "config::one_or_many")]
    field: Vec<Name>,
}

impl Operation for DropField {
    type Config = Config;

    const INFO: Info = Info::new(
        "drop_field",
        "Removes fields.",
        r#"{
          "type": "object",
          "properties": {
            "field": {
              "description": "The field or fields; a name with dots is one name.",
              "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "array", "items": { "type": "string", "minLength": 1 } }]
            }
          },
          "required": ["field"]
        }"#,
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        for field in &self.0.field {
            let _is_removed = record.remove(field);
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn fields_are_removed() {
        let cases = [
            (r#"{"field":"a"}"#, r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            (r#"{"field":"b"}"#, r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            (r#"{"field":"b"}"#, r#"{"a":1, "b" : [1,{"a":2}] ,"c":"}"}"#, r#"{"a":1,"c":"}"}"#),
            (r#"{"field":["a","b"]}"#, r#"{"a":1,"b":2}"#, "{}"),
            (r#"{"field":"a.b"}"#, r#"{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
            (r#"{"field":[]}"#, r#"{ "a": 1 }"#, r#"{ "a": 1 }"#),
            (r#"{"field":"é"}"#, r#"{"\u00e9":1,"b":2}"#, r#"{"b":2}"#),
        ];
        for (config, record, expected) in cases {
            assert_eq!(Run::of::<DropField>(config, &[record]).records, [expected], "{config} {record}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(config_error::<DropField>("{}").unwrap().1, "field is missing");
        assert_eq!(config_error::<DropField>(r#"{"field":5}"#).unwrap().1, "field is 5, expected a string");
    }
}
