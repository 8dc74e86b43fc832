//! Reads an operation's settings as its configuration, and says which setting is wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use teraslice_model::problem::{Problem, escape_pointer};

/// Reads settings as `C`; the problem's pointer is relative to the operation.
pub(super) fn read<C: DeserializeOwned>(settings: &Map<String, Value>) -> Result<C, Problem> {
    serde_path_to_error::deserialize(Value::Object(settings.clone())).map_err(|error| {
        let pointer = pointer(error.path());
        let message = error.into_inner().to_string();
        match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(field) => {
                let pointer = format!("{pointer}/{}", escape_pointer(field));
                Problem::new(pointer, "required setting is missing")
            }
            None => Problem::new(pointer, message),
        }
    })
}

fn pointer(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escape_pointer(key)),
        Segment::Enum { variant } => format!("/{}", escape_pointer(variant)),
        Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Config {
        size: u32,
        #[serde(default)]
        fields: Vec<Field>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Field {
        name: String,
    }

    #[test]
    fn names_the_setting_that_is_wrong() {
        let cases = [
            (json!({"size": "many"}), "/size: invalid type: string \"many\", expected u32"),
            (json!({}), "/size: required setting is missing"),
            (
                json!({"size": 1, "fields": [{"name": "a"}, {"name": 2}]}),
                "/fields/1/name: invalid type: integer `2`, expected a string",
            ),
            (json!({"size": 1, "fields": [{}]}), "/fields/0/name: required setting is missing"),
        ];
        for (settings, message) in cases {
            let refused = read::<Config>(settings.as_object().unwrap()).unwrap_err();
            assert_eq!(refused.to_string(), message);
        }
    }
}
