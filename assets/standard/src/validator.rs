//! Functions that tell whether a value is of some form, by the names that jobs know.

use serde_json::Value as Json;
use teraslice_guest_sdk::{ConfigError, Kind, Value};

use crate::{date, ip};

/// A function with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Validator {
    function: Function,
    has_lists: bool,
}

#[derive(Clone, Debug)]
enum Function {
    Kind(Kind),
    Text(fn(&str) -> bool),
    Integer,
    BooleanLike,
    Exists,
    Empty { ignores_space: bool },
    Equals(Json),
    Contains(Json),
    Range { min: f64, max: f64, is_inclusive: bool },
    Length { min: usize, max: usize },
    IpRange(ip::Range),
    Date,
}

const NAMES: &[&str] = &[
    "isString",
    "isNumber",
    "isInteger",
    "isBoolean",
    "isBooleanLike",
    "isArray",
    "exists",
    "isEmpty",
    "equals",
    "contains",
    "inNumberRange",
    "isLength",
    "isEmail",
    "isURL",
    "isUUID",
    "isFQDN",
    "isIP",
    "isCIDR",
    "inIPRange",
    "isMACAddress",
    "isAlpha",
    "isAlphanumeric",
    "isASCII",
    "isBase64",
    "isJSON",
    "isValidDate",
];

/// Finds a validator by its name and reads its arguments.
pub(crate) fn read(name: Option<&str>, args: &Json) -> Result<Validator, ConfigError> {
    let unknown = || ConfigError::new("validation_function", name, &format!("one of {}", NAMES.join(", ")));
    let name = name.ok_or_else(unknown)?;
    let wrong = |expected: &str| ConfigError::new("validation_function_args", args.clone(), expected);
    let number = |key: &str, default: f64| args.get(key).and_then(Json::as_f64).unwrap_or(default);
    let function = match name {
        "isString" => Function::Kind(Kind::String),
        "isNumber" => Function::Kind(Kind::Number),
        "isBoolean" => Function::Kind(Kind::Boolean),
        "isArray" => Function::Kind(Kind::Array),
        "isInteger" => Function::Integer,
        "isBooleanLike" => Function::BooleanLike,
        "exists" => Function::Exists,
        "isEmpty" => Function::Empty { ignores_space: args["ignoreWhitespace"] == true },
        "equals" => {
            Function::Equals(args.get("value").cloned().ok_or_else(|| wrong("an object with value"))?)
        }
        "contains" => {
            Function::Contains(args.get("value").cloned().ok_or_else(|| wrong("an object with value"))?)
        }
        "inNumberRange" if args.is_object() => Function::Range {
            min: number("min", f64::NEG_INFINITY),
            max: number("max", f64::INFINITY),
            is_inclusive: args["inclusive"] == true,
        },
        "isLength" if args.is_object() => length(args),
        "inIPRange" => {
            let part = |key: &str| args[key].as_str();
            let between = part("min").zip(part("max")).and_then(|(min, max)| ip::Range::between(min, max));
            let range = part("cidr").and_then(ip::Range::read).or(between);
            Function::IpRange(range.ok_or_else(|| wrong("an object with cidr, or min and max"))?)
        }
        "inNumberRange" | "isLength" => return Err(wrong("an object with min or max")),
        "isValidDate" => Function::Date,
        other => Function::Text(text_function(other).ok_or_else(unknown)?),
    };
    let has_lists = matches!(name, "isArray" | "exists" | "isEmpty" | "equals" | "contains");
    Ok(Validator { function, has_lists })
}

fn length(args: &Json) -> Function {
    let number = |key: &str| args[key].as_u64().map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    match number("size") {
        Some(size) => Function::Length { min: size, max: size },
        None => {
            Function::Length { min: number("min").unwrap_or(0), max: number("max").unwrap_or(usize::MAX) }
        }
    }
}

fn text_function(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "isEmail" => is_email,
        "isURL" => is_url,
        "isUUID" => is_uuid,
        "isFQDN" => is_host_name,
        "isIP" => |text| text.parse::<std::net::IpAddr>().is_ok(),
        "isCIDR" => |text| text.contains('/') && ip::Range::read(text).is_some(),
        "isMACAddress" => is_mac_address,
        "isAlpha" => |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic()),
        "isAlphanumeric" => |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "isASCII" => |text| !text.is_empty() && text.is_ascii(),
        "isBase64" => is_base64,
        "isJSON" => |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
        _ => return None,
    })
}

impl Validator {
    /// Tells whether a value, or each element of a list that has some, is as it should be. What is missing is as `null`.
    pub(crate) fn accepts(&self, value: Option<Value<'_>>) -> bool {
        let value = value.unwrap_or(Value::new(b"null"));
        if value.kind() != Kind::Array || self.has_lists {
            return self.accepts_one(value);
        }
        let mut elements = value.elements().filter(|element| !element.is_null()).peekable();
        elements.peek().is_some() && elements.all(|element| self.accepts_one(element))
    }

    fn accepts_one(&self, value: Value<'_>) -> bool {
        let text = || value.as_str().unwrap_or_default();
        match &self.function {
            Function::Kind(kind) => value.kind() == *kind,
            Function::Text(test) => value.kind() == Kind::String && test(&text()),
            Function::Integer => value
                .as_f64()
                .is_some_and(|number| number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0),
            Function::BooleanLike => match value.kind() {
                Kind::Boolean | Kind::Null => true,
                Kind::Number => value.as_f64().is_some_and(|number| number == 0.0 || number == 1.0),
                Kind::String => {
                    ["true", "false", "yes", "no", "1", "0"].contains(&text().to_ascii_lowercase().as_str())
                }
                Kind::Array | Kind::Object => false,
            },
            Function::Exists => !value.is_null(),
            Function::Empty { ignores_space } => match value.kind() {
                Kind::Null => true,
                Kind::Boolean | Kind::Number => false,
                Kind::String if *ignores_space => text().trim().is_empty(),
                Kind::String => text().is_empty(),
                Kind::Array => value.elements().next().is_none(),
                Kind::Object => value.members().next().is_none(),
            },
            Function::Equals(wanted) => is_equal(value, wanted),
            Function::Contains(wanted) => match (value.kind(), wanted.as_str()) {
                (Kind::String, Some(wanted)) => text().contains(wanted),
                (Kind::Array, _) => value.elements().any(|element| is_equal(element, wanted)),
                _ => false,
            },
            Function::Range { min, max, is_inclusive } => value.as_f64().is_some_and(|number| {
                if *is_inclusive { (*min..=*max).contains(&number) } else { *min < number && number < *max }
            }),
            Function::Length { min, max } => {
                value.kind() == Kind::String && (*min..=*max).contains(&text().encode_utf16().count())
            }
            Function::IpRange(range) => range.contains(&text()),
            Function::Date => date::read(value).is_some(),
        }
    }
}

fn is_equal(value: Value<'_>, wanted: &Json) -> bool {
    let Ok(json) = value.parse::<Json>() else { return false };
    match (json.as_f64(), wanted.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => json == *wanted,
    }
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&byte) || byte > 127;
    (1..=64).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && is_host_name(host)
}

fn is_url(text: &str) -> bool {
    let rest =
        ["http://", "https://", "ftp://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) => return false,
        None => authority,
    };
    !text.contains(char::is_whitespace) && (is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok())
}

fn is_uuid(text: &str) -> bool {
    let lens = text.split('-').map(str::len);
    lens.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Tells whether it is a name of at least two labels, the last one without digits.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
    };
    let last = text.rsplit_once('.').map(|(_, last)| last);
    last.is_some_and(|last| last.chars().count() >= 2 && !last.contains(|char: char| char.is_ascii_digit()))
        && text.split('.').all(is_label)
}

fn is_mac_address(text: &str) -> bool {
    let is_hex =
        |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex(text, 12)
        || text.split('.').count() == 3 && text.split('.').all(|part| is_hex(part, 4))
        || [':', '-', ' '].iter().any(|delimiter| {
            text.split(*delimiter).count() == 6 && text.split(*delimiter).all(|part| is_hex(part, 2))
        })
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let cases: [(&str, &str, &[&str], &[&str]); 22] = [
            ("isString", "null", &["\"\"", "[\"a\",null]"], &["1", "null", "[]", "[1]"]),
            ("isInteger", "null", &["1", "1.0"], &["1.5", "1e300", "\"1\""]),
            ("isBooleanLike", "null", &["true", "\"Yes\"", "0", "null"], &["2", "\"x\"", "{}"]),
            ("isArray", "null", &["[]"], &["{}", "null"]),
            ("exists", "null", &["0", "\"\"", "[]"], &["null"]),
            ("isEmpty", "null", &["\"\"", "[]", "{}", "null"], &["0", "\" \"", "[1]", "false"]),
            ("isEmpty", r#"{"ignoreWhitespace":true}"#, &["\" \""], &["\"x\""]),
            ("equals", r#"{"value":[1,{"a":0}]}"#, &[r#"[1,{"a":0}]"#], &["1"]),
            ("contains", r#"{"value":"b"}"#, &["\"abc\"", "[\"b\"]"], &["\"xyz\"", "[\"abc\"]", "1"]),
            ("inNumberRange", r#"{"min":1,"max":5}"#, &["2", "4.9"], &["1", "5", "\"2\""]),
            ("inNumberRange", r#"{"min":1,"inclusive":true}"#, &["1", "1e9"], &["0"]),
            ("isLength", r#"{"size":2}"#, &["\"ab\"", "\"😀\""], &["\"a\"", "12"]),
            ("isEmail", "null", &["\"a.b+c@x.org\""], &["\"a@x\"", "\"@x.org\"", "\"a..b@x.org\"", "5"]),
            ("isURL", "null", &["\"https://x.org:80/a?b#c\"", "\"x.org\""], &["\"http://x\"", "\"a b.org\""]),
            ("isUUID", "null", &["\"123e4567-e89b-12d3-a456-426614174000\""], &["\"123e4567\""]),
            ("isFQDN", "null", &["\"a.example.com\""], &["\"example\"", "\"-a.com\"", "\"a.c0m\""]),
            ("isIP", "null", &["\"::1\"", "\"1.2.3.4\""], &["\"1.2.3\""]),
            ("isCIDR", "null", &["\"10.0.0.0/8\""], &["\"10.0.0.0\""]),
            ("inIPRange", r#"{"cidr":"10.0.0.0/8"}"#, &["\"10.1.1.1\""], &["\"11.1.1.1\"", "1"]),
            ("isMACAddress", "null", &["\"00:1b:44:11:3A:B7\"", "\"001b.4411.3ab7\""], &["\"00:1b\""]),
            ("isBase64", "null", &["\"YWI=\""], &["\"YWI\"", "\"Y===\"", "\"\""]),
            ("isJSON", "null", &[r#""{\"a\":1}""#], &["\"{\""]),
        ];
        for (name, args, good, bad) in cases {
            let validator = read(Some(name), &serde_json::from_str(args).unwrap()).unwrap();
            for (values, expected) in [(good, true), (bad, false)] {
                for value in values {
                    assert_eq!(
                        validator.accepts(Some(Value::new(value.as_bytes()))),
                        expected,
                        "{name} {value}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_listed_name_is_known() {
        let args = serde_json::json!({"value": 1, "min": 1, "cidr": "::/0"});
        for name in NAMES {
            assert!(read(Some(name), &args).is_ok(), "{name}");
        }
        assert!(read(Some("isOdd"), &args).unwrap_err().message.contains("expected one of isString"));
        let error = read(Some("isLength"), &Json::Null).unwrap_err();
        assert_eq!(error.message, "validation_function_args is null, expected an object with min or max");
    }
}
