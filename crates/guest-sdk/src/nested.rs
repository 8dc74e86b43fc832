//! Reads, writes and removes below the top level, by cutting the text where the path leads.

use crate::{
    name::Segment,
    value::{Kind, Member, Value},
};

/// Returns the value that `path` leads to.
pub(crate) fn get<'a>(value: Value<'a>, path: &[Segment]) -> Option<Value<'a>> {
    path.iter().try_fold(value, |value, segment| {
        let (start, end) = place(value, segment)?.0;
        value.json().get(start..end).map(Value::new)
    })
}

/// The place of a value in the text of the one around it, and of what goes when it is removed.
type Place = ((usize, usize), Option<Member>);

fn place(value: Value<'_>, segment: &Segment) -> Option<Place> {
    match value.kind() {
        Kind::Object => {
            let mut members = value.members();
            let mut found = None;
            while let Some(member) = members.place() {
                let key = Value::new(value.json().get(member.start..member.key_end)?);
                if key.is_text(segment.name.as_str()) {
                    // The last of several counts, as in JSON.parse.
                    found = Some(((member.value, member.end), Some(member)));
                }
            }
            found
        }
        Kind::Array => {
            let mut elements = value.elements();
            for _ in 0..segment.index? {
                elements.place()?;
            }
            elements.place().map(|place| (place, None))
        }
        _ => None,
    }
}

/// Writes to `out` the text of `value` with `new` where `path` leads; makes what is missing on the way there.
pub(crate) fn set(value: Value<'_>, path: &[Segment], new: &[u8], out: &mut Vec<u8>) {
    let Some((first, rest)) = path.split_first() else { return out.extend_from_slice(new) };
    let json = value.json();
    match (value.kind(), first.index) {
        (Kind::Object | Kind::Array, _) if place(value, first).is_some() => {
            let ((start, end), _) = place(value, first).expect("it has just been found");
            out.extend_from_slice(&json[..start]);
            set(Value::new(&json[start..end]), rest, new, out);
            out.extend_from_slice(&json[end..]);
        }
        (Kind::Array, Some(index)) if index <= ELEMENTS_MAX => {
            out.extend_from_slice(json[..json.len() - 1].trim_ascii_end());
            for at in value.elements().count()..=index {
                if at > 0 {
                    out.push(b',');
                }
                if at < index {
                    out.extend_from_slice(b"null");
                }
            }
            make(rest, new, out);
            out.push(b']');
        }
        // JavaScript would hang a property on the array, which is lost when the record is written.
        (Kind::Array, _) => out.extend_from_slice(json),
        (Kind::Object, _) => {
            out.extend_from_slice(json[..json.len() - 1].trim_ascii_end());
            if value.members().next().is_some() {
                out.push(b',');
            }
            out.extend_from_slice(&first.name.json);
            make(rest, new, out);
            out.push(b'}');
        }
        _ => make(path, new, out),
    }
}

/// An array is never made longer than this for the sake of one element.
const ELEMENTS_MAX: usize = 100_000;

/// Writes the containers that `path` names, with `new` inside.
fn make(path: &[Segment], new: &[u8], out: &mut Vec<u8>) {
    let Some((first, rest)) = path.split_first() else { return out.extend_from_slice(new) };
    let empty: &[u8] = if first.index.is_some() { b"[]" } else { b"{}" };
    set(Value::new(empty), &path[..1], &inner(rest, new), out);
}

fn inner(path: &[Segment], new: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(new.len() + 32);
    make(path, new, &mut text);
    text
}

/// Writes to `out` the text of `value` without what `path` leads to; false, and nothing written, if there is nothing.
///
/// An element of an array becomes null, so that the others stay in their places.
pub(crate) fn remove(value: Value<'_>, path: &[Segment], out: &mut Vec<u8>) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let Some(((start, end), member)) = place(value, first) else { return false };
    let json = value.json();
    if !rest.is_empty() {
        let mut inner = Vec::with_capacity(end - start);
        if !remove(Value::new(&json[start..end]), rest, &mut inner) {
            return false;
        }
        out.extend_from_slice(&json[..start]);
        out.extend_from_slice(&inner);
        out.extend_from_slice(&json[end..]);
        return true;
    }
    match member {
        None => {
            out.extend_from_slice(&json[..start]);
            out.extend_from_slice(b"null");
            out.extend_from_slice(&json[end..]);
        }
        Some(_) => without_member(value, first, out),
    }
    true
}

fn without_member(object: Value<'_>, segment: &Segment, out: &mut Vec<u8>) {
    let json = object.json();
    let mut members = object.members();
    let mut is_first = true;
    out.push(b'{');
    while let Some(member) = members.place() {
        let key = Value::new(&json[member.start..member.key_end]);
        if !key.is_text(segment.name.as_str()) {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(&json[member.start..member.end]);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Path;

    fn path(text: &str) -> Vec<Segment> {
        Path::new(&format!("top.{text}")).rest
    }

    #[test]
    fn reads_where_a_path_leads() {
        let json = br#"{"b":{"c":[10,{"d":true}]},"x.y":1,"b2":null}"#;
        let cases = [
            ("b.c.0", Some("10")),
            ("b.c[1].d", Some("true")),
            ("b.c.2", None),
            ("b.c.d", None),
            ("b2", Some("null")),
            ("b2.c", None),
            ("b.c.0.e", None),
        ];
        for (text, expected) in cases {
            let found =
                get(Value::new(json), &path(text)).map(|value| std::str::from_utf8(value.json()).unwrap());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn writes_where_a_path_leads() {
        let cases = [
            ("{}", "b", r#"{"b":1}"#),
            (r#"{"a":5}"#, "b.c", r#"{"a":5,"b":{"c":1}}"#),
            (r#"{"b":5,"z":0}"#, "b.c", r#"{"b":{"c":1},"z":0}"#),
            (r#"{"b":{"c":{}} }"#, "b.c.d", r#"{"b":{"c":{"d":1}} }"#),
            ("{}", "b.1.c", r#"{"b":[null,{"c":1}]}"#),
            ("[7]", "0", "[1]"),
            ("[7 ]", "2", "[7,null,1]"),
            ("[]", "0", "[1]"),
            ("[7]", "x", "[7]"),
            ("[7]", "100001", "[7]"),
            ("null", "a.b", r#"{"a":{"b":1}}"#),
            (r#"{"k":1,"k":2}"#, "k", r#"{"k":1,"k":1}"#),
        ];
        for (json, text, expected) in cases {
            let mut out = Vec::new();
            set(Value::new(json.as_bytes()), &path(text), b"1", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{json} {text}");
        }
    }

    #[test]
    fn removes_where_a_path_leads() {
        let cases = [
            (r#"{"b":1,"c":2}"#, "b", Some(r#"{"c":2}"#)),
            (r#"{"b":1,"c":2}"#, "c", Some(r#"{"b":1}"#)),
            (r#"{"b":{"c":2}}"#, "b.c", Some(r#"{"b":{}}"#)),
            ("[1,2]", "0", Some("[null,2]")),
            ("{}", "b", None),
            (r#"{"b":1}"#, "b.c", None),
        ];
        for (json, text, expected) in cases {
            let mut out = Vec::new();
            let is_removed = remove(Value::new(json.as_bytes()), &path(text), &mut out);
            assert_eq!(
                is_removed.then(|| String::from_utf8(out).unwrap()).as_deref(),
                expected,
                "{json} {text}"
            );
        }
    }
}
