//! `add_key`: a hash of field values as key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value as Json;
use teraslice_guest_sdk::{
    ConfigError, Error, Info, Kind, Name, Operation, Path, Record, Value, Verdict, config,
};

use crate::{hash::Algorithm, js, key::KEY, location};

/// `add_key`: a hash of field values as key.
///
/// The text that is hashed is that of the original, byte for byte: keys have to match those of existing indices.
#[derive(Debug)]
pub struct AddKey {
    config: Config,
    key: Name,
    original_key: Name,
    delete_id: Name,
}

/// Settings of `add_key`.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(default = "key_name")]
    key_name: Name,
    #[serde(default)]
    key_fields: Vec<Path>,
    #[serde(default, deserialize_with = "config::flag")]
    invert_key_fields: bool,
    #[serde(default)]
    hash_algorithm: Algorithm,
    #[serde(default)]
    minimum_field_count: f64,
    #[serde(default, deserialize_with = "config::flag")]
    preserve_original_key: bool,
    #[serde(default, deserialize_with = "config::flag")]
    delete_original: bool,
    #[serde(default)]
    truncate_location: Vec<String>,
    #[serde(default = "four")]
    truncate_location_places: u8,
}

fn key_name() -> Name {
    Name::new(KEY)
}

const fn four() -> u8 {
    4
}

impl Operation for AddKey {
    type Config = Config;

    const INFO: Info = Info::new(
        "add_key",
        "Makes a hash of field values the key of a record.",
        include_str!("add_key.json"),
    );

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.truncate_location_places > 15 {
            return Err(ConfigError::new(
                "truncate_location_places",
                config.truncate_location_places,
                "a number of digits up to 15",
            ));
        }
        Ok(Self {
            config,
            key: Name::new(KEY),
            original_key: Name::new("_original_key"),
            delete_id: Name::new("_delete_id"),
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let (text, count) = self.text(record)?;
        if count < self.config.minimum_field_count {
            return Ok(Verdict::Drop);
        }
        let key =
            format!("\"{}\"", URL_SAFE_NO_PAD.encode(self.config.hash_algorithm.digest(text.as_bytes())));
        let before = record.metadata(&self.key).map(|value| value.json().to_vec());
        if self.config.preserve_original_key {
            match &before {
                Some(before) => record.set(&self.original_key, before),
                None => _ = record.remove(&self.original_key),
            }
        }
        if self.config.delete_original {
            match &before {
                Some(before) => record.set_metadata(&self.delete_id, before),
                None => _ = record.remove_metadata(&self.delete_id),
            }
        }
        record.set(&self.config.key_name, key.as_bytes());
        record.set_metadata(&self.config.key_name, key.as_bytes());
        Ok(Verdict::Keep)
    }
}

impl AddKey {
    /// Returns the text that is hashed, and how many values went into it.
    fn text(&self, record: &Record<'_>) -> Result<(String, f64), Error> {
        let (mut text, mut count) = (String::new(), 0.0);
        let mut add = |name: &str, value: Value<'_>| -> Result<(), Error> {
            if !is_absent(value) {
                count += 1.0;
                self.add_text(name, value, &mut text)?;
            }
            Ok(())
        };
        if self.config.key_fields.is_empty() || self.config.invert_key_fields {
            let is_wanted = |name: &str| self.config.key_fields.iter().all(|field| field.as_str() != name);
            let mut fields: Vec<_> = record.fields().filter(|(name, _)| is_wanted(name)).collect();
            fields.sort_by(|(a, _), (b, _)| js::compare(a, b));
            for (name, value) in fields {
                add(&name, value)?;
            }
        } else {
            for field in &self.config.key_fields {
                if let Some(value) = record.get_path(field) {
                    add(field.as_str(), value)?;
                }
            }
        }
        Ok((text, count))
    }

    fn add_text(&self, name: &str, value: Value<'_>, text: &mut String) -> Result<(), Error> {
        if self.config.truncate_location.iter().any(|location| location == name) {
            let json = location::truncate(value, self.config.truncate_location_places)
                .ok_or_else(|| Error::reject(format!("the location {name} cannot be truncated")))?;
            *text += &text_of(Value::new(json.to_string().as_bytes()));
        } else {
            *text += &text_of(value);
        }
        Ok(())
    }
}

fn is_absent(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Array => value.elements().next().is_none(),
        Kind::Object => value.members().next().is_none(),
        _ => false,
    }
}

fn text_of(value: Value<'_>) -> String {
    if value.kind() != Kind::Object {
        return js::text(value);
    }
    let mut json = String::new();
    js::stringify(&value.parse::<Json>().unwrap_or_default(), &mut json);
    let mut pieces: Vec<_> = json.split([',', '{']).filter(|piece| !piece.is_empty()).collect();
    pieces.sort_by(|a, b| js::compare(a, b));
    pieces.concat().replace(['"', '}'], "")
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    fn key(config: &str, record: &str) -> String {
        let run = Run::of::<AddKey>(config, &[record]);
        let metadata: Json = serde_json::from_str(&run.metadata[0]).unwrap();
        let record: Json = serde_json::from_str(&run.records[0]).unwrap();
        assert_eq!(record["_key"], metadata["_key"]);
        metadata["_key"].as_str().unwrap().to_owned()
    }

    #[test]
    fn keys_are_those_of_the_original() {
        let cases = [
            (r#"{"key_fields":["a","o"]}"#, r#"{"a":"red","o":3}"#, "YmH5kKJ_8Siol_3qA37FVA"),
            (r#"{"key_fields":["a","o"]}"#, r#"{"a":"","o":0}"#, "z80ghJXVZe9m59_5-Ydk2g"),
            (r#"{"key_fields":["q"]}"#, r#"{"q":{"b":1,"a":"x"}}"#, "bDxhqOOn3spxFVLPpWXEKw"),
            (r#"{"key_fields":["q"]}"#, r#"{"q":{"a": "x", "b": 1}}"#, "bDxhqOOn3spxFVLPpWXEKw"),
            (
                r#"{"key_fields":["l"],"truncate_location":["l"],"truncate_location_places":2}"#,
                r#"{"l":"33.12345,-112.98765"}"#,
                "ybpi42LY6PbpxkpTE5ZNaA",
            ),
            ("{}", "{}", "1B2M2Y8AsgTpgAmY7PhCfg"),
            ("{}", r#"{"o":3,"a":"red","n":null,"e":[]}"#, "YmH5kKJ_8Siol_3qA37FVA"),
            (
                r#"{"key_fields":["x"],"invert_key_fields":true}"#,
                r#"{"x":9,"o":3,"a":"red"}"#,
                "YmH5kKJ_8Siol_3qA37FVA",
            ),
        ];
        for (config, record, expected) in cases {
            assert_eq!(key(config, record), expected, "{config} {record}");
        }
    }

    #[test]
    fn values_are_spelled_as_by_javascript() {
        let of = |json: &str| text_of(Value::new(json.as_bytes()));
        assert_eq!(of(r#"[1.0,[true,null],"x"]"#), "1,true,,x");
        assert_eq!(of(r#"{"b":1,"a":"x"}"#), "a:xb:1");
        assert_eq!(of(r#"{"o":{"k":"p,q"}}"#), "k:po:q");
    }

    #[test]
    fn records_with_too_few_values_are_dropped() {
        let run =
            Run::of::<AddKey>(r#"{"minimum_field_count":2}"#, &[r#"{"a":1,"b":null}"#, r#"{"a":1,"b":2}"#]);
        assert_eq!((run.dropped, run.records.len()), (1, 1));
    }

    #[test]
    fn the_earlier_key_may_be_kept() {
        let config =
            r#"{"key_fields":["a"],"preserve_original_key":true,"delete_original":true,"key_name":"id"}"#;
        let run =
            Run::with_metadata::<AddKey>(config, &[(r#"{"a":1}"#, r#"{"_key":"k"}"#), (r#"{"a":1}"#, "")]);
        let id = "xMpCOKC5I4INzFCab3WEmw";
        assert_eq!(run.records[0], format!(r#"{{"a":1,"_original_key":"k","id":"{id}"}}"#));
        assert_eq!(run.metadata[0], format!(r#"{{"_key":"k","_delete_id":"k","id":"{id}"}}"#));
        assert_eq!(run.records[1], format!(r#"{{"a":1,"id":"{id}"}}"#));
    }

    #[test]
    fn a_location_that_is_none_is_refused() {
        let config = r#"{"truncate_location":["l"]}"#;
        let run = Run::of::<AddKey>(config, &[r#"{"l":"nowhere!"}"#]);
        assert_eq!(run.failures[0].message, "the location l cannot be truncated");
        assert!(run.records.is_empty());
    }

    #[test]
    fn wrong_settings_are_named() {
        let cases = [
            (r#"{"hash_algorithm":"crc"}"#, "hash_algorithm is \"crc\", expected one of"),
            (r#"{"key_fields":"a"}"#, "key_fields is \"a\", expected a sequence"),
            (
                r#"{"truncate_location_places":16}"#,
                "truncate_location_places is 16, expected a number of digits",
            ),
        ];
        for (config, expected) in cases {
            let (_, message) = config_error::<AddKey>(config).unwrap();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
