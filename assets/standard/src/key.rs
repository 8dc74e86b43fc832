//! The key of a record, and the operations that set, remove and copy metadata.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict};

/// The name of the key in the metadata.
pub(crate) const KEY: &str = "_key";

fn key() -> Name {
    Name::new(KEY)
}

/// `set_key`: metadata `_key` from a field.
#[derive(Debug)]
pub struct SetKey {
    field: Name,
    key: Name,
}

/// Settings of `set_key`.
#[derive(Debug, Deserialize)]
pub struct SetKeyConfig {
    #[serde(default = "key")]
    field: Name,
}

impl Operation for SetKey {
    type Config = SetKeyConfig;

    const INFO: Info = Info::new(
        "set_key",
        "Sets the key of a record, in its metadata, to the value of a field.",
        r#"{
          "type": "object",
          "properties": {
            "field": { "type": "string", "minLength": 1, "default": "_key", "description": "The field; a record without it keeps its key." }
          }
        }"#,
    );

    fn new(config: SetKeyConfig) -> Result<Self, ConfigError> {
        Ok(Self { field: config.field, key: key() })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if let Some(value) = record.get(&self.field) {
            let json = value.json().to_vec();
            record.set_metadata(&self.key, &json);
        }
        Ok(Verdict::Keep)
    }
}

/// `remove_key`: unsets metadata `_key`.
#[derive(Debug)]
pub struct RemoveKey(Name);

/// Settings of `remove_key`: none.
#[derive(Debug, Deserialize)]
pub struct RemoveKeyConfig {}

impl Operation for RemoveKey {
    type Config = RemoveKeyConfig;

    const INFO: Info = Info::new(
        "remove_key",
        "Removes the key of a record from its metadata.",
        r#"{ "type": "object", "properties": {} }"#,
    );

    fn new(_config: RemoveKeyConfig) -> Result<Self, ConfigError> {
        Ok(Self(key()))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let _is_removed = record.remove_metadata(&self.0);
        Ok(Verdict::Keep)
    }
}

/// `copy_metadata_field`: metadata into a field.
#[derive(Debug)]
pub struct CopyMetadataField(CopyMetadataFieldConfig);

/// Settings of `copy_metadata_field`.
#[derive(Debug, Deserialize)]
pub struct CopyMetadataFieldConfig {
    destination: Name,
    #[serde(default = "key")]
    meta_key: Name,
}

impl Operation for CopyMetadataField {
    type Config = CopyMetadataFieldConfig;

    const INFO: Info = Info::new(
        "copy_metadata_field",
        "Copies a value of the metadata into a field.",
        r#"{
          "type": "object",
          "properties": {
            "destination": { "type": "string", "minLength": 1, "description": "The field; removed where the metadata has no such value." },
            "meta_key": { "type": "string", "minLength": 1, "default": "_key", "description": "The name in the metadata." }
          },
          "required": ["destination"]
        }"#,
    );

    fn new(config: CopyMetadataFieldConfig) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let value = record.metadata(&self.0.meta_key).map(|value| value.json().to_vec());
        match value {
            Some(json) => record.set(&self.0.destination, &json),
            None => _ = record.remove(&self.0.destination),
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{Run, config_error};

    use super::*;

    type Pair = (&'static str, &'static str);

    fn check<T: Operation>(cases: &[(&str, Pair, Pair)]) {
        for (config, before, (record, metadata)) in cases {
            let run = Run::with_metadata::<T>(config, &[*before]);
            assert_eq!(
                (run.records[0].as_str(), run.metadata[0].as_str()),
                (*record, *metadata),
                "{before:?}"
            );
        }
    }

    #[test]
    fn keys_are_set() {
        let by_id = r#"{"field":"id"}"#;
        check::<SetKey>(&[
            (by_id, (r#"{"id":5}"#, r#"{"_key":"z"}"#), (r#"{"id":5}"#, r#"{"_key":5}"#)),
            (by_id, (r#"{"id":"x"}"#, ""), (r#"{"id":"x"}"#, r#"{"_key":"x"}"#)),
            (by_id, (r#"{"id":"x"}"#, r#"{"a":1}"#), (r#"{"id":"x"}"#, r#"{"a":1,"_key":"x"}"#)),
            // Unlike in the original, a record without the field keeps its key.
            (by_id, ("{}", r#"{"_key":"z"}"#), ("{}", r#"{"_key":"z"}"#)),
            ("{}", (r#"{"_key":"a"}"#, ""), (r#"{"_key":"a"}"#, r#"{"_key":"a"}"#)),
        ]);
        assert_eq!(config_error::<SetKey>(r#"{"field":""}"#).unwrap().0, "field");
    }

    #[test]
    fn keys_are_removed() {
        check::<RemoveKey>(&[
            ("{}", (r#"{"a":1}"#, r#"{"_key":"k"}"#), (r#"{"a":1}"#, "")),
            ("{}", (r#"{"_key":1}"#, r#"{"_key":1,"t":2}"#), (r#"{"_key":1}"#, r#"{"t":2}"#)),
            ("{}", ("{}", ""), ("{}", "")),
        ]);
    }

    #[test]
    fn metadata_is_copied() {
        let id = r#"{"destination":"id"}"#;
        check::<CopyMetadataField>(&[
            (id, (r#"{"a":1}"#, r#"{"_key":"k"}"#), (r#"{"a":1,"id":"k"}"#, r#"{"_key":"k"}"#)),
            (
                r#"{"destination":"id","meta_key":"topic"}"#,
                ("{}", r#"{"topic":"t"}"#),
                (r#"{"id":"t"}"#, r#"{"topic":"t"}"#),
            ),
            (id, (r#"{"id":1}"#, ""), ("{}", "")),
        ]);
    }
}
