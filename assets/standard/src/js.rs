//! Values as the text that JavaScript makes of them.

use std::{cmp::Ordering, fmt::Write as _};

use serde_json::Value as Json;
use teraslice_guest_sdk::{Kind, Value};

/// Returns `String(value)`.
pub(crate) fn text(value: Value<'_>) -> String {
    match value.kind() {
        Kind::String => value.as_str().unwrap_or_default().into_owned(),
        Kind::Number => value.as_f64().map_or_else(String::new, number),
        Kind::Object => "[object Object]".to_owned(),
        Kind::Array => {
            let parts: Vec<_> = value
                .elements()
                .map(|element| if element.is_null() { String::new() } else { text(element) })
                .collect();
            parts.join(",")
        }
        Kind::Null | Kind::Boolean => String::from_utf8_lossy(value.json()).into_owned(),
    }
}

/// Returns a number as JavaScript spells it: the fewest digits that read back as the same number.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if (len..=21).contains(&point) {
        out += &digits;
        out += &zeros(point - len);
    } else if (1..=21).contains(&point) {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        let _infallible = write!(out, "{whole}.{fraction}");
    } else if (-5..=0).contains(&point) {
        let _infallible = write!(out, "0.{}{digits}", zeros(-point));
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let sign = if point > 0 { '+' } else { '-' };
        let _infallible = write!(out, "{first}{dot}{rest}e{sign}{}", (point - 1).abs());
    }
    out
}

/// Returns `JSON.stringify(value)`, but for the order of keys.
pub(crate) fn stringify(value: &Json, out: &mut String) {
    match value {
        Json::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                stringify(element, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                *out += &Json::from(key.as_str()).to_string();
                out.push(':');
                stringify(member, out);
            }
            out.push('}');
        }
        Json::Number(value) => *out += &value.as_f64().map_or_else(String::new, number),
        other => *out += &other.to_string(),
    }
}

/// Compares as JavaScript does: by UTF-16 units.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    // Bytes order alike, but for characters beyond the first 65,536, which come in two units from below U+E000.
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_by_javascript() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (100.0, "100"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e21, "1.25e+21"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (0.1 + 0.2, "0.30000000000000004"),
            (5e-324, "5e-324"),
        ];
        for (value, spelled) in cases {
            assert_eq!(number(value), spelled);
        }
    }

    #[test]
    fn values_become_text_as_by_javascript() {
        let cases = [
            ("1.0", "1"),
            ("1e2", "100"),
            ("true", "true"),
            ("null", "null"),
            (r#""é""#, "é"),
            (r#"[1,[2,null,[3]],"x"]"#, "1,2,,3,x"),
            (r#"[{"a":1}]"#, "[object Object]"),
        ];
        for (json, expected) in cases {
            assert_eq!(text(Value::new(json.as_bytes())), expected, "{json}");
        }
    }

    #[test]
    fn text_is_ordered_by_utf16_units() {
        assert_eq!(compare("a", "b"), Ordering::Less);
        assert_eq!(compare("\u{1F600}", "\u{FB01}"), Ordering::Less);
        assert_eq!(compare("a", "\u{1F600}"), Ordering::Less);
    }

    #[test]
    fn objects_are_written_compactly() {
        let mut out = String::new();
        stringify(&serde_json::from_str(r#"{"a": [1.0, null], "b": {"c": "\n"}}"#).unwrap(), &mut out);
        assert_eq!(out, r#"{"a":[1,null],"b":{"c":"\n"}}"#);
    }
}
