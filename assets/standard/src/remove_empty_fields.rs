//! `remove_empty_fields`: removes fields that hold nothing.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Kind, Operation, Record, Value, Verdict};

/// `remove_empty_fields`: removes top-level fields that hold nothing.
#[derive(Debug)]
pub struct RemoveEmptyFields;

/// Settings of `remove_empty_fields`: none.
#[derive(Debug, Deserialize)]
pub struct Config {}

impl Operation for RemoveEmptyFields {
    type Config = Config;

    const INFO: Info = Info::new(
        "remove_empty_fields",
        "Removes fields that are null, blank, or an empty list or object.",
        r#"{ "type": "object", "properties": {} }"#,
    );

    fn new(_config: Config) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        record.retain(|_, value| !is_empty(value));
        Ok(Verdict::Keep)
    }
}

fn is_empty(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Boolean | Kind::Number => false,
        Kind::String => value.as_str().is_some_and(|text| text.trim().is_empty()),
        Kind::Array => value.elements().next().is_none(),
        Kind::Object => value.members().next().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::Run;

    use super::*;

    #[test]
    fn only_fields_that_hold_nothing_go() {
        let cases = [
            (
                r#"{"a":"","b":" ","c":null,"d":0,"e":false,"f":[],"g":{},"h":{"i":""},"j":[null]}"#,
                r#"{"d":0,"e":false,"h":{"i":""},"j":[null]}"#,
            ),
            (r#"{"a":""}"#, "{}"),
            (r#"{"a":"\n\t","b":"x","c":[ ],"d":{ }}"#, r#"{"b":"x"}"#),
        ];
        for (record, expected) in cases {
            assert_eq!(Run::of::<RemoveEmptyFields>("{}", &[record]).records, [expected], "{record}");
        }
    }
}
