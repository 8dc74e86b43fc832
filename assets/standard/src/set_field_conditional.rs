//! `set_field_conditional`: a constant into a field when another has a listed value.

use serde::Deserialize;
use serde_json::Value as Json;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Path, Record, Verdict};

use crate::constant::Constant;

/// `set_field_conditional`: a constant into a field when another has a listed value.
#[derive(Debug)]
pub struct SetFieldConditional {
    condition: Name,
    values: Vec<Constant>,
    target: Path,
    json: Vec<u8>,
}

/// Settings of `set_field_conditional`.
#[derive(Debug, Deserialize)]
pub struct Config {
    conditional_field: Name,
    #[serde(default)]
    conditional_values: Vec<Constant>,
    set_field: Path,
    #[serde(default)]
    value: Json,
}

impl Operation for SetFieldConditional {
    type Config = Config;

    const INFO: Info = Info::new(
        "set_field_conditional",
        "Sets a field to a constant where another field has one of some values.",
        r#"{
          "type": "object",
          "properties": {
            "conditional_field": { "type": "string", "minLength": 1, "description": "The field that decides." },
            "conditional_values": { "type": "array", "default": [], "description": "Its values; types count." },
            "set_field": { "type": "string", "minLength": 1, "description": "The field, or a path to it, that is set; what is there is replaced." },
            "value": { "default": null, "description": "What it is set to." }
          },
          "required": ["conditional_field", "set_field"]
        }"#,
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            condition: config.conditional_field,
            values: config.conditional_values,
            target: config.set_field,
            json: config.value.to_string().into_bytes(),
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let value = record.get(&self.condition);
        if value.is_some_and(|value| self.values.iter().any(|wanted| wanted.is(value))) {
            record.set_path(&self.target, &self.json);
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn a_constant_is_set_where_the_condition_holds() {
        let config =
            r#"{"conditional_field":"t","conditional_values":["x",1],"set_field":"o.k","value":"v"}"#;
        let cases = [
            (r#"{"t":"x"}"#, r#"{"t":"x","o":{"k":"v"}}"#),
            (r#"{"t":"1"}"#, r#"{"t":"1"}"#),
            (r#"{"t":1}"#, r#"{"t":1,"o":{"k":"v"}}"#),
            (r#"{"t":1.0,"o":{"k":0}}"#, r#"{"t":1.0,"o":{"k":"v"}}"#),
            (r#"{"t":["x"]}"#, r#"{"t":["x"]}"#),
            ("{}", "{}"),
        ];
        for (record, expected) in cases {
            assert_eq!(Run::of::<SetFieldConditional>(config, &[record]).records, [expected], "{record}");
        }
        let none = r#"{"conditional_field":"t","conditional_values":[null],"set_field":"o"}"#;
        let run = Run::of::<SetFieldConditional>(none, &[r#"{"t":null}"#, "{}"]);
        assert_eq!(run.records, [r#"{"t":null,"o":null}"#, "{}"]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let config = r#"{"conditional_field":"t","set_field":"a","conditional_values":"x"}"#;
        let message = config_error::<SetFieldConditional>(config).unwrap().1;
        assert_eq!(message, r#"conditional_values is "x", expected a sequence"#);
    }
}
