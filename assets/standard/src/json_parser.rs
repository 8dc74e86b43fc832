//! `json_parser`: raw bytes to a record.

use serde::{Deserialize, de::IgnoredAny};
use teraslice_guest_sdk::{ConfigError, Error, Info, Operation, Record, Verdict};

/// `json_parser`: raw bytes to a record.
///
/// The bytes are checked and go on as they are; what would break a line file is taken out of them.
#[derive(Debug)]
pub struct JsonParser;

/// Settings of `json_parser`: none.
#[derive(Debug, Deserialize)]
pub struct Config {}

impl Operation for JsonParser {
    type Config = Config;

    const INFO: Info = Info::new(
        "json_parser",
        "Makes records of raw bytes that hold JSON objects.",
        r#"{
          "type": "object",
          "properties": {
            "_dead_letter_action": { "type": "string", "default": "log", "description": "What becomes of bytes that are no JSON object." }
          }
        }"#,
    )
    .raw();

    fn new(_config: Config) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let bytes = record.bytes();
        let parsed = if bytes.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r')) {
            let cleaned: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            check(&cleaned)?;
            Some(without_line_breaks(&cleaned))
        } else {
            check(&bytes)?;
            None
        };
        if let Some(parsed) = parsed {
            record.set_bytes(&parsed);
        }
        Ok(Verdict::Keep)
    }
}

fn check(bytes: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::reject(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
    let _value: IgnoredAny =
        serde_json::from_str(text).map_err(|error| Error::reject(format!("invalid JSON: {error}")))?;
    if text.trim_start().starts_with('{') {
        return Ok(());
    }
    Err(Error::reject("the JSON must be an object"))
}

/// Line breaks stand only between the parts of JSON: inside of strings they are escaped.
fn without_line_breaks(json: &[u8]) -> Vec<u8> {
    json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::{Entry, testing::Run};

    use super::*;
    use crate::SetField;

    #[test]
    fn objects_go_on_with_their_metadata() {
        let records = [(r#"{"a":1}"#, r#"{"_key":"k"}"#), (r#" { "a" : [1.0] } "#, "")];
        let run = Run::with_metadata::<JsonParser>("{}", &records);
        assert_eq!(run.records, [r#"{"a":1}"#, r#" { "a" : [1.0] } "#]);
        assert_eq!(run.metadata, [r#"{"_key":"k"}"#, ""]);
    }

    #[test]
    fn everything_else_is_refused() {
        let cases = [
            ("{bad", "invalid JSON: key must be a string at line 1 column 2"),
            ("", "invalid JSON: EOF while parsing a value at line 1 column 0"),
            (r#"{"a":1}{"#, "invalid JSON: trailing characters at line 1 column 8"),
            ("[1]", "the JSON must be an object"),
            ("\"s\"", "the JSON must be an object"),
            ("5", "the JSON must be an object"),
            ("null", "the JSON must be an object"),
        ];
        for (bytes, message) in cases {
            let run = Run::of::<JsonParser>("{}", &[bytes]);
            assert_eq!((run.failures[0].message.as_str(), run.records.len()), (message, 0), "{bytes}");
            assert_eq!(run.failures[0].data, None, "the host has the bytes");
        }
        assert_eq!(check(b"{\"a\":\"\xff\"}"), Err(Error::reject("invalid UTF-8 at byte 6")));
    }

    #[test]
    fn what_would_break_a_line_file_goes() {
        let run =
            Run::of::<JsonParser>("{}", &["{\n  \"a\": 1,\r\n  \"b\": \"x\\n y\"\n}\n", "{\"a\"\0:1}\0\n"]);
        assert_eq!(run.records, ["{  \"a\": 1,  \"b\": \"x\\n y\"}\n", "{\"a\":1}\n"]);
    }

    #[test]
    fn the_operations_behind_see_fields() {
        let known = [Entry::of::<JsonParser>(), Entry::of::<SetField>()];
        let steps = [("json_parser", "{}"), ("set_field", r#"{"field":"b","value":2}"#)];
        let run = Run::of_chain(&known, &steps, &[("{\n\"\\u0061\":1}\n", ""), ("[]", "")]);
        assert_eq!((run.records, run.failures.len()), (vec!["{\"\\u0061\":1,\"b\":2}\n".to_owned()], 1));
        let run = Run::of_chain(&known, &steps[1..], &[("[]", ""), ("no json", "")]);
        assert_eq!(
            run.failures[1].message,
            "the record is no JSON object; json_parser makes one of raw bytes"
        );
        assert_eq!(run.counts, [[2, 0, 0, 2, 0]]);
    }
}
