//! Names of fields, prepared once so that looking them up is cheap.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The name of a top-level field. Made once, from the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    text: Box<str>,
    /// The first eight bytes, little-endian, filled up with zeros.
    pub(crate) prefix: u64,
    /// The name as JSON with a colon behind it.
    pub(crate) json: Box<[u8]>,
}

impl Name {
    /// Prepares a name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut json = quoted(text);
        json.push(b':');
        Self { prefix: prefix(text.as_bytes()), json: json.into(), text: text.into() }
    }

    /// Returns the name as text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Tells whether the name is spelled in JSON as it is.
    pub(crate) const fn is_plain(&self) -> bool {
        self.json.len() == self.text.len() + 3
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        required(deserializer).map(|text| Self::new(&text))
    }
}

/// A path into a record: `a.b`, `a.0.b`, `a[0].b`.
///
/// A top-level field that is spelled like the whole path, dots and all, goes before what the path leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    /// The whole path as the name of one field.
    pub(crate) whole: Name,
    /// The first part, where there are several.
    pub(crate) head: Option<Name>,
    /// The other parts.
    pub(crate) rest: Vec<Segment>,
}

/// One part of a path below the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    /// Its value where it can be the place of an array's element.
    pub(crate) index: Option<usize>,
}

impl Path {
    /// Reads a path.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let parts = split(text);
        let segment = |part: &&str| Segment { name: Name::new(part), index: index(part) };
        match parts.as_slice() {
            [] | [_] => Self { whole: Name::new(text), head: None, rest: Vec::new() },
            [head, rest @ ..] => Self {
                whole: Name::new(text),
                head: Some(Name::new(head)),
                rest: rest.iter().map(segment).collect(),
            },
        }
    }

    /// Returns the whole path as the name of one top-level field.
    #[must_use]
    pub const fn as_name(&self) -> &Name {
        &self.whole
    }

    /// Returns the path as it was written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        self.whole.as_str()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        required(deserializer).map(|text| Self::new(&text))
    }
}

fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::custom("an empty string, expected the name of a field"));
    }
    Ok(text)
}

fn split(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() || indices.is_empty() {
            parts.push(name);
        }
        parts.extend(
            indices
                .split('[')
                .filter_map(|text| text.strip_suffix(']'))
                .map(|text| text.trim_matches(['"', '\''])),
        );
    }
    parts
}

fn index(part: &str) -> Option<usize> {
    let is_canonical = part == "0" || !part.starts_with('0');
    part.parse().ok().filter(|_| is_canonical && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a string is JSON: nothing in it can fail")
}

/// Returns the first eight bytes as a number, filled up with zeros.
pub(crate) fn prefix(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = bytes.len().min(8);
    first[..len].copy_from_slice(&bytes[..len]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_like_those_of_javascript() {
        let cases: [(&str, &[&str]); 7] = [
            ("a", &["a"]),
            ("a.b", &["a", "b"]),
            ("a[0].b", &["a", "0", "b"]),
            ("a.0.b", &["a", "0", "b"]),
            ("a[0][1]", &["a", "0", "1"]),
            ("a[\"x\"]", &["a", "x"]),
            ("a..b", &["a", "", "b"]),
        ];
        for (path, parts) in cases {
            assert_eq!(split(path), parts, "{path}");
        }
    }

    #[test]
    fn only_plain_whole_numbers_are_places() {
        assert_eq!(
            [index("0"), index("12"), index("01"), index("-1"), index("x"), index("")],
            [Some(0), Some(12), None, None, None, None]
        );
    }

    #[test]
    fn a_name_that_needs_escapes_is_not_plain() {
        assert!(Name::new("plain").is_plain());
        assert!(!Name::new("qu\"ote").is_plain());
    }
}
