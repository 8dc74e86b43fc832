//! A JSON value where it lies in a record, read only as far as it is asked.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::scan::{byte, skip_space, string_end, value_end};

/// A JSON value as text, parsed when touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    json: &'a [u8],
}

/// What sort of value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number
    Number,
    /// Text
    String,
    /// A list
    Array,
    /// An object
    Object,
}

impl<'a> Value<'a> {
    /// Takes JSON text without white space around it.
    #[must_use]
    pub const fn new(json: &'a [u8]) -> Self {
        Self { json }
    }

    /// Returns the JSON text.
    #[must_use]
    pub const fn json(self) -> &'a [u8] {
        self.json
    }

    /// Returns what sort of value it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match byte(self.json, 0) {
            b'"' => Kind::String,
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Tells whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        byte(self.json, 0) == b'n'
    }

    /// Returns the boolean, if it is one.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        (self.kind() == Kind::Boolean).then(|| byte(self.json, 0) == b't')
    }

    /// Returns the number, if it is one; as JavaScript, with 53 bits.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        let text = (self.kind() == Kind::Number).then_some(self.json)?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// Returns the text, if it is a string.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let text = self.text()?;
        if text.contains(&b'\\') {
            Some(Cow::Owned(unescape(text)))
        } else {
            Some(String::from_utf8_lossy(text))
        }
    }

    /// Returns what stands between the quotes, if it is a string.
    fn text(self) -> Option<&'a [u8]> {
        self.json.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }

    /// Tells whether it is this text.
    #[must_use]
    pub fn is_text(self, text: &str) -> bool {
        match self.text() {
            Some(own) if own == text.as_bytes() => !text.contains('\\'),
            Some(own) => own.contains(&b'\\') && unescape(own) == text,
            None => false,
        }
    }

    /// Returns the elements, if it is an array; none otherwise.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        let at = if self.kind() == Kind::Array { 1 } else { self.json.len() };
        Elements { json: self.json, at }
    }

    /// Returns the members, if it is an object; none otherwise. A key that comes twice is listed twice.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        let at = if self.kind() == Kind::Object { 1 } else { self.json.len() };
        Members { json: self.json, at }
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    ///
    /// When it is of another shape.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.json)
    }
}

/// The elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// Returns the place of the next element in the array's text, and moves behind it.
    pub(crate) fn place(&mut self) -> Option<(usize, usize)> {
        let start = next_item(self.json, self.at)?;
        let end = value_end(self.json, start)?;
        self.at = end;
        Some((start, end))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (start, end) = self.place()?;
        self.json.get(start..end).map(Value::new)
    }
}

/// The members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    json: &'a [u8],
    at: usize,
}

/// Where a member lies in its object's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its opening quote.
    pub(crate) start: usize,
    /// Behind its key's closing quote.
    pub(crate) key_end: usize,
    pub(crate) value: usize,
    pub(crate) end: usize,
}

impl<'a> Members<'a> {
    /// Returns the place of the next member in the object's text, and moves behind it.
    pub(crate) fn place(&mut self) -> Option<Member> {
        let start = next_item(self.json, self.at)?;
        if byte(self.json, start) != b'"' {
            return None;
        }
        let (quote, _) = string_end(self.json, start + 1)?;
        let colon = skip_space(self.json, quote + 1);
        if byte(self.json, colon) != b':' {
            return None;
        }
        let value = skip_space(self.json, colon + 1);
        let end = value_end(self.json, value)?;
        self.at = end;
        Some(Member { start, key_end: quote + 1, value, end })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.place()?;
        let key = self.json.get(member.start..member.key_end).map(Value::new)?.as_str()?;
        Some((key, Value::new(self.json.get(member.value..member.end)?)))
    }
}

/// Skips what stands between two items; `None` at the closing bracket.
fn next_item(json: &[u8], at: usize) -> Option<usize> {
    let mut at = skip_space(json, at);
    if byte(json, at) == b',' {
        at = skip_space(json, at + 1);
    }
    (at < json.len() && !matches!(json[at], b']' | b'}')).then_some(at)
}

/// Resolves the escapes of a JSON string; a lone half of a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(text: &[u8]) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        plain.extend_from_slice(&rest[..at]);
        let escape = byte(rest, at + 1);
        let mut used = 2;
        match escape {
            b'n' => plain.push(b'\n'),
            b't' => plain.push(b'\t'),
            b'r' => plain.push(b'\r'),
            b'b' => plain.push(8),
            b'f' => plain.push(12),
            b'u' => {
                let (char, len) = unicode_escape(&rest[at..]);
                plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                used = len;
            }
            other => plain.push(other),
        }
        rest = rest.get(at + used..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    String::from_utf8(plain).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Returns the character of `\uXXXX`, or of two of them, and their length.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(high) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) = (high, unit(6)) {
        let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value<'_> {
        Value::new(json.as_bytes())
    }

    #[test]
    fn strings_are_unescaped() {
        let cases = [
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\n\t\r\b\f""#, "\n\t\r\u{8}\u{c}"),
            (r#""\u00e9 \ud83d\ude00""#, "é 😀"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\u12""#, "\u{fffd}12"),
        ];
        for (json, text) in cases {
            assert_eq!(value(json).as_str().unwrap(), text, "{json}");
            assert!(value(json).is_text(text), "{json}");
        }
        assert!(!value(r#""a\nb""#).is_text(r"a\nb"), "an escape is not the text that spells it");
        assert!(!value("5").is_text("5"));
    }

    #[test]
    fn kinds_are_told_by_the_first_byte() {
        let kinds = ["null", "true", "-1", "\"\"", "[]", "{}"].map(|json| value(json).kind());
        let all = [Kind::Null, Kind::Boolean, Kind::Number, Kind::String, Kind::Array, Kind::Object];
        assert_eq!(kinds, all);
    }

    #[test]
    fn elements_and_members_come_in_order() {
        let elements: Vec<_> = value(r#"[ 1, [2,3] ,"x"]"#).elements().map(Value::json).collect();
        assert_eq!(elements, [&b"1"[..], b"[2,3]", b"\"x\""]);
        let members: Vec<_> = value(r#"{"a" : 1,"b\n":{}}"#)
            .members()
            .map(|(key, value)| (key.into_owned(), value.json()))
            .collect();
        assert_eq!(members, [("a".to_owned(), &b"1"[..]), ("b\n".to_owned(), b"{}")]);
        assert_eq!(value("[]").elements().count() + value("5").elements().count(), 0);
        assert_eq!(value("{}").members().count() + value("[1]").members().count(), 0);
    }

    #[test]
    fn broken_text_ends_the_iteration() {
        for text in ["[1,", "[1 2", "[,", "[\"a", "[", "{\"a\"", "{\"a\":", "{a:1}", "{\"a\" 1}", "{1:2}"] {
            let _counted = (value(text).elements().count(), value(text).members().count());
        }
    }
}
