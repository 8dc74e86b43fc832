//! The values of checked keys.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use teraslice_elastic::Connections;
use teraslice_model::job::duration::parse_duration;

use super::keys::Report;

/// The keys that a section sets.
pub(super) type Set<'a> = BTreeMap<&'static str, &'a Value>;

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// Returns text.
pub(super) fn text(set: &Set<'_>, key: &str) -> Option<String> {
    set.get(key).and_then(|value| value.as_str()).map(str::to_owned)
}

/// Returns a flag; false when it is not set.
pub(super) fn flag(set: &Set<'_>, key: &str) -> bool {
    set.get(key).is_some_and(|value| **value == Value::Bool(true) || value.as_str() == Some("true"))
}

/// Returns a duration.
pub(super) fn duration(set: &Set<'_>, key: &str) -> Option<Duration> {
    let value = set.get(key)?;
    value.as_u64().map(Duration::from_millis).or_else(|| parse_duration(value.as_str()?))
}

/// Returns a whole number.
pub(super) fn whole(set: &Set<'_>, key: &str) -> Option<u64> {
    let value = set.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Returns text or a list of text as a list.
pub(super) fn names(set: &Set<'_>, key: &str) -> Option<Vec<String>> {
    match set.get(key)? {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => None,
    }
}

/// Returns the names of all connections, whatever their type.
pub(super) fn connections(connectors: &Value) -> Vec<String> {
    let types = connectors.as_object().into_iter().flat_map(serde_json::Map::values);
    let mut names: Vec<_> =
        types.filter_map(Value::as_object).flat_map(|type_| type_.keys().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the connections to Elasticsearch and OpenSearch; what is no object has been reported before.
pub(super) fn elastic(connectors: Option<&Value>, report: &mut Report) -> Connections {
    let Some(connectors) = connectors.and_then(Value::as_object) else { return Connections::default() };
    Connections::of(connectors).unwrap_or_else(|problems| {
        let problems = problems.into_iter().map(|problem| problem.below("/terafoundation/connectors"));
        report.problems.extend(problems);
        Connections::default()
    })
}

/// Returns the level of `place` (`console`, `file`): a word, or its entry of a list such as `[{console: info}, {file: debug}]`.
pub(super) fn level(value: &Value, place: &str) -> Option<String> {
    let word = match value {
        Value::String(word) => word.as_str(),
        Value::Array(entries) => {
            let of = |place: &str| entries.iter().find_map(|entry| entry.get(place));
            of(place).or_else(|| of("console")).or_else(|| of("file"))?.as_str()?
        }
        _ => return None,
    };
    LEVELS.contains(&word).then(|| word.to_owned())
}

/// Returns names and text; numbers and booleans count as text.
pub(super) fn text_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}
