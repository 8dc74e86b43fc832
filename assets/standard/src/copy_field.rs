//! `copy_field`: copies or moves a field.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Operation, Path, Record, Verdict, config};

/// `copy_field`: copies or moves a field.
#[derive(Debug)]
pub struct CopyField(Config);

/// Settings of `copy_field`.
#[derive(Debug, Deserialize)]
pub struct Config {
    source: Path,
    destination: Path,
    #[serde(default, deserialize_with = "config::flag")]
    delete_source: bool,
}

impl Operation for CopyField {
    type Config = Config;

    const INFO: Info = Info::new(
        "copy_field",
        "Copies a field to another, or moves it.",
        r#"{
          "type": "object",
          "properties": {
            "source": { "type": "string", "minLength": 1, "description": "The field, or a path to it." },
            "destination": { "type": "string", "minLength": 1, "description": "The field, or a path, to copy to." },
            "delete_source": { "type": "boolean", "default": false, "description": "Remove the source, even if it is null." }
          },
          "required": ["source", "destination"]
        }"#,
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let _is_copied = record.copy_path(&self.0.source, &self.0.destination);
        if self.0.delete_source {
            let _is_removed = record.remove_path(&self.0.source);
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    #[test]
    fn fields_are_copied_and_moved() {
        let copy = r#"{"source":"a","destination":"b"}"#;
        let rename = r#"{"source":"a","destination":"b","delete_source":true}"#;
        let nested = r#"{"source":"a.b","destination":"c.d","delete_source":"true"}"#;
        let cases = [
            (copy, r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            (copy, r#"{"a":[1, 2],"b":0,"c":3}"#, r#"{"a":[1, 2],"b":[1, 2],"c":3}"#),
            (copy, r#"{"a":0}"#, r#"{"a":0,"b":0}"#),
            (copy, r#"{"a":null,"b":5}"#, r#"{"a":null,"b":5}"#),
            (copy, r#"{"c":1}"#, r#"{"c":1}"#),
            (rename, r#"{"a":1}"#, r#"{"b":1}"#),
            (rename, r#"{"a":null}"#, "{}"),
            (
                rename,
                r#"{"x":0,"a":12345678901234567890.10,"y":0}"#,
                r#"{"x":0,"y":0,"b":12345678901234567890.10}"#,
            ),
            // A nested source is removed as well, unlike in the original.
            (nested, r#"{"a":{"b":1}}"#, r#"{"a":{},"c":{"d":1}}"#),
            (nested, r#"{"a":{"b":{"x":[]},"k":1}}"#, r#"{"a":{"k":1},"c":{"d":{"x":[]}}}"#),
            (nested, r#"{"a.b":7}"#, r#"{"c":{"d":7}}"#),
            (r#"{"source":"a","destination":"a","delete_source":true}"#, r#"{"a":1}"#, "{}"),
            (r#"{"source":"a","destination":"b.c"}"#, r#"{"a":1,"b":[]}"#, r#"{"a":1,"b":[]}"#),
        ];
        for (config, record, expected) in cases {
            assert_eq!(Run::of::<CopyField>(config, &[record]).records, [expected], "{config} {record}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let (field, message) = config_error::<CopyField>(r#"{"source":"a","destination":""}"#).unwrap();
        assert_eq!(
            (field.as_str(), message.as_str()),
            ("destination", "destination is \"\", expected the name of a field")
        );
        assert_eq!(config_error::<CopyField>(r#"{"destination":"a"}"#).unwrap().0, "source");
    }
}
