//! `set_field`: a constant into a field.

use serde::Deserialize;
use serde_json::Value as Json;
use teraslice_guest_sdk::{ConfigError, Error, Info, Operation, Path, Record, Verdict, config};

/// `set_field`: a constant into a field.
#[derive(Debug)]
pub struct SetField {
    field: Path,
    json: Vec<u8>,
    overwrite: bool,
}

/// Settings of `set_field`.
#[derive(Debug, Deserialize)]
pub struct Config {
    field: Path,
    value: Json,
    #[serde(default, deserialize_with = "config::flag")]
    overwrite: bool,
}

impl Operation for SetField {
    type Config = Config;

    const INFO: Info = Info::new(
        "set_field",
        "Sets a field to a constant.",
        r#"{
          "type": "object",
          "properties": {
            "field": { "type": "string", "minLength": 1, "description": "The field, or a path to it." },
            "value": { "not": { "type": "null" }, "description": "What it is set to." },
            "overwrite": { "type": "boolean", "default": false, "description": "Replace what is there, null included." }
          },
          "required": ["field", "value"]
        }"#,
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.value.is_null() {
            return Err(ConfigError::new("value", config.value, "anything but null"));
        }
        Ok(Self {
            field: config.field,
            json: config.value.to_string().into_bytes(),
            overwrite: config.overwrite,
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if self.overwrite || record.get_path(&self.field).is_none() {
            record.set_path(&self.field, &self.json);
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn a_constant_is_set_where_nothing_is() {
        let cases = [
            (r#"{"field":"a.b","value":1}"#, "{}", r#"{"a":{"b":1}}"#),
            (r#"{"field":"a.b","value":1}"#, r#"{"a":{"b":null}}"#, r#"{"a":{"b":null}}"#),
            (r#"{"field":"a.b","value":1}"#, r#"{"a":5}"#, r#"{"a":{"b":1}}"#),
            (r#"{"field":"a.b","value":1}"#, r#"{"a.b":2}"#, r#"{"a.b":2}"#),
            (r#"{"field":"a","value":{"x":[1]}}"#, r#"{"b":0}"#, r#"{"b":0,"a":{"x":[1]}}"#),
            (r#"{"field":"a","value":"é\n"}"#, r#"{"a":null}"#, r#"{"a":null}"#),
            (
                r#"{"field":"a","value":"é\n","overwrite":true}"#,
                r#"{"a":null,"b":1}"#,
                r#"{"a":"é\n","b":1}"#,
            ),
        ];
        for (config, record, expected) in cases {
            assert_eq!(Run::of::<SetField>(config, &[record]).records, [expected], "{config} {record}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let cases = [
            ("{}", "field is missing"),
            (r#"{"field":"a"}"#, "value is missing"),
            (r#"{"field":"a","value":null}"#, "value is null, expected anything but null"),
            (r#"{"field":["a"],"value":1}"#, r#"field is ["a"], expected a string"#),
        ];
        for (config, message) in cases {
            assert_eq!(config_error::<SetField>(config).unwrap().1, message);
        }
    }
}
