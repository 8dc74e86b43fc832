//! A constant of the settings that values of records are compared with.

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use teraslice_guest_sdk::{Kind, Value};

/// A constant, compared strictly: by type and value. Lists and objects are like nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    Never,
}

impl Constant {
    pub(crate) fn new(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Boolean(*value),
            Json::Number(number) => number.as_f64().map_or(Self::Never, Self::Number),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(_) | Json::Object(_) => Self::Never,
        }
    }

    pub(crate) fn is(&self, value: Value<'_>) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean(wanted) => value.as_bool() == Some(*wanted),
            Self::Number(wanted) => value.kind() == Kind::Number && value.as_f64() == Some(*wanted),
            Self::Text(wanted) => value.is_text(wanted),
            Self::Never => false,
        }
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::deserialize(deserializer).map(|json| Self::new(&json))
    }
}
