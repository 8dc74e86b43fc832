//! Turns records into the items of a bulk request.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io::Write,
};

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::Body;
use crate::json::{write_line, write_string};

/// The server takes no longer ids; one that is longer would have it refuse the whole request.
const ID_BYTES_MAX: usize = 512;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is the document, whatever was there.
    Index,
    /// It is the document, unless there is one.
    Create,
    /// Its fields change the document.
    Update,
    /// Its fields change the document, or it is the document.
    Upsert,
    /// The document goes away.
    Delete,
}

/// A script that changes documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Its text.
    Source(String),
    /// The server's name for it.
    Stored(String),
}

/// How records are turned into items.
#[derive(Clone, Debug)]
pub(super) struct Items {
    pub(super) mode: Mode,
    pub(super) index: String,
    pub(super) update_fields: Vec<String>,
    pub(super) retry_on_conflict: u32,
    pub(super) script: Option<Script>,
    pub(super) script_params: BTreeMap<String, String>,
    pub(super) derives_ids: bool,
}

/// A record, and who it is within its slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub(super) record: &'a [u8],
    pub(super) metadata: Option<&'a [u8]>,
    /// Names the slice in derived ids; needs no escapes in JSON.
    pub(super) slice: &'a str,
    /// Its place in the slice.
    pub(super) place: u64,
    /// What refusals name it by.
    pub(super) number: u32,
}

/// What of a record's metadata decides where it goes.
#[derive(Debug, Default, Deserialize)]
struct Keys<'a> {
    #[serde(rename = "_key", borrow)]
    key: Option<&'a RawValue>,
    #[serde(rename = "_delete_id", borrow)]
    delete_id: Option<&'a RawValue>,
    #[serde(rename = "standard:route", borrow)]
    route: Option<Cow<'a, str>>,
}

impl Mode {
    const fn verb(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update | Self::Upsert => "update",
            Self::Delete => "delete",
        }
    }

    /// Tells whether a conflict passes by itself: the document has changed in between.
    pub(super) const fn is_update(self) -> bool {
        matches!(self, Self::Update | Self::Upsert)
    }
}

impl Items {
    /// Writes the items of a record; says why if there can be none, and has written nothing then.
    pub(super) fn write(&self, body: &mut Body, input: Input<'_>) -> Result<(), String> {
        let begin = body.lines.len();
        let written = self.write_items(body, input);
        if written.is_err() {
            body.lines.truncate(begin);
        }
        written
    }

    fn write_items(&self, body: &mut Body, input: Input<'_>) -> Result<(), String> {
        let begin = body.lines.len();
        let keys = keys(input.metadata.unwrap_or_default())?;
        let key = keys.key.map(|key| id("_key", key)).transpose()?.flatten();
        let delete_id = keys.delete_id.map(|key| id("_delete_id", key)).transpose()?.flatten();
        let route = keys.route.as_deref().filter(|route| !route.is_empty());
        if key.is_none() && matches!(self.mode, Mode::Update | Mode::Delete) {
            return Err(format!(
                "the record has no _key, so nothing says which document to {}",
                self.mode.verb()
            ));
        }
        self.write_action(&mut body.lines, self.mode.verb(), route, |out| match &key {
            Some(key) => {
                out.extend_from_slice(b",\"_id\":");
                out.extend_from_slice(key.as_bytes());
            }
            None if self.derives_ids => {
                let written = write!(out, ",\"_id\":\"{}.{}\"", input.slice, input.place);
                written.expect("writing to memory cannot fail");
            }
            None => {}
        });
        self.write_document(&mut body.lines, input.record)?;
        body.end_item(begin, input.number);
        if let Some(other) = delete_id {
            let begin = body.lines.len();
            self.write_action(&mut body.lines, "delete", route, |out| {
                out.extend_from_slice(b",\"_id\":");
                out.extend_from_slice(other.as_bytes());
            });
            body.end_item(begin, input.number);
        }
        Ok(())
    }

    fn write_action(
        &self,
        out: &mut Vec<u8>,
        verb: &str,
        route: Option<&str>,
        id: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(verb.as_bytes());
        out.extend_from_slice(b"\":{\"_index\":");
        match route {
            Some(route) => write_string(out, &format!("{}-{route}", self.index)),
            None => write_string(out, &self.index),
        }
        id(out);
        if verb == "update" && self.retry_on_conflict > 0 {
            write!(out, ",\"retry_on_conflict\":{}", self.retry_on_conflict)
                .expect("writing to memory cannot fail");
        }
        out.extend_from_slice(b"}}\n");
    }

    fn write_document(&self, out: &mut Vec<u8>, record: &[u8]) -> Result<(), String> {
        match self.mode {
            Mode::Index | Mode::Create => write_line(out, record),
            Mode::Update | Mode::Upsert => {
                self.write_change(out, record)?;
                if self.mode == Mode::Upsert {
                    out.extend_from_slice(b",\"upsert\":");
                    write_line(out, record);
                }
                out.push(b'}');
            }
            Mode::Delete => return Ok(()),
        }
        out.push(b'\n');
        Ok(())
    }

    /// Writes how a document changes, up to the closing brace.
    fn write_change(&self, out: &mut Vec<u8>, record: &[u8]) -> Result<(), String> {
        let Some(script) = &self.script else {
            out.extend_from_slice(b"{\"doc\":");
            if self.update_fields.is_empty() {
                write_line(out, record);
            } else {
                let fields = self.update_fields.iter().map(|field| (field, field));
                write_fields(out, &fields_of(record)?, fields);
            }
            return Ok(());
        };
        let (kind, text) = match script {
            Script::Source(text) => ("source", text),
            Script::Stored(id) => ("id", id),
        };
        out.extend_from_slice(b"{\"script\":{\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\":");
        write_string(out, text);
        if !self.script_params.is_empty() {
            out.extend_from_slice(b",\"params\":");
            write_fields(out, &fields_of(record)?, self.script_params.iter());
        }
        out.push(b'}');
        Ok(())
    }
}

/// Reads what decides where a record goes. Metadata are large beside that, and mostly the key comes first.
fn keys(metadata: &[u8]) -> Result<Keys<'_>, String> {
    if metadata.is_empty() {
        return Ok(Keys::default());
    }
    if let Some(rest) = metadata.strip_prefix(b"{\"_key\":\"")
        && let Some(end) = memchr::memchr2(b'"', b'\\', rest)
        && rest[end] == b'"'
        && !has_other_keys(&rest[end..])
        && let Ok(key) = serde_json::from_slice(&metadata[8..8 + end + 2])
    {
        return Ok(Keys { key: Some(key), delete_id: None, route: None });
    }
    serde_json::from_slice(metadata).map_err(|error| format!("the record's metadata cannot be read: {error}"))
}

fn has_other_keys(metadata: &[u8]) -> bool {
    // Written with escapes, a key would not be found as it is.
    memchr::memchr(b'\\', metadata).is_some()
        || memmem::find(metadata, b"_delete_id").is_some()
        || memmem::find(metadata, b"standard:route").is_some()
}

/// Returns an id as JSON text; none where the original sees none.
fn id<'a>(name: &str, value: &'a RawValue) -> Result<Option<Cow<'a, str>>, String> {
    let text = value.get();
    match text.as_bytes() {
        [b'"', b'"'] | b"false" => Ok(None),
        [b'"', ..] if text.len() - 2 <= ID_BYTES_MAX => Ok(Some(Cow::Borrowed(text))),
        [b'"', ..] => {
            let bytes = serde_json::from_str(text).map_or(text.len(), |id: Cow<'_, str>| id.len());
            if bytes > ID_BYTES_MAX {
                return Err(format!("{name} has {bytes} bytes, an id may have {ID_BYTES_MAX}"));
            }
            Ok(Some(Cow::Borrowed(text)))
        }
        [b'-' | b'0'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            Ok(Some(Cow::Owned(format!("\"{text}\""))))
        }
        [b'-' | b'0'..=b'9', ..] => {
            let number: f64 = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(Some(Cow::Owned(format!("\"{number}\""))))
        }
        _ => Err(format!("{name} is {text}, an id is text or a number")),
    }
}

type Fields<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

fn fields_of(record: &[u8]) -> Result<Fields<'_>, String> {
    serde_json::from_slice(record).map_err(|error| format!("the record is no JSON object: {error}"))
}

/// Writes an object of names and the fields they stand for; what the record does not have is left out.
fn write_fields<'a>(
    out: &mut Vec<u8>,
    fields: &Fields<'_>,
    wanted: impl Iterator<Item = (&'a String, &'a String)>,
) {
    out.push(b'{');
    let mut is_first = true;
    for (name, field) in wanted {
        let Some(value) = fields.get(field.as_str()) else { continue };
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_line(out, value.get().as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(mode: Mode) -> Items {
        Items {
            mode,
            index: "idx".to_owned(),
            update_fields: Vec::new(),
            retry_on_conflict: 0,
            script: None,
            script_params: BTreeMap::new(),
            derives_ids: true,
        }
    }

    fn written(items: &Items, record: &str, metadata: &str) -> Result<String, String> {
        let mut body = Body::default();
        let input = Input {
            record: record.as_bytes(),
            metadata: (!metadata.is_empty()).then_some(metadata.as_bytes()),
            slice: "S",
            place: 7,
            number: 0,
        };
        let done = items.write(&mut body, input);
        let text = String::from_utf8(body.lines).unwrap();
        if done.is_err() {
            assert_eq!(text, "", "nothing is left of what was refused");
        }
        done.map(|()| text)
    }

    #[test]
    fn takes_the_id_from_the_key_or_derives_it() {
        let index = items(Mode::Index);
        let cases = [
            (r#"{"_key":"k"}"#, r#"{"index":{"_index":"idx","_id":"k"}}"#),
            (r#"{"_key":"k\"é"}"#, r#"{"index":{"_index":"idx","_id":"k\"é"}}"#),
            (r#"{"_key":"k","_index":"other","_version":1}"#, r#"{"index":{"_index":"idx","_id":"k"}}"#),
            (r#"{"a":{"_key":"x"},"_key":"k"}"#, r#"{"index":{"_index":"idx","_id":"k"}}"#),
            (r#"{"_key":0}"#, r#"{"index":{"_index":"idx","_id":"0"}}"#),
            (r#"{"_key":-12}"#, r#"{"index":{"_index":"idx","_id":"-12"}}"#),
            (r#"{"_key":1.50}"#, r#"{"index":{"_index":"idx","_id":"1.5"}}"#),
            (r#"{"_key":null}"#, r#"{"index":{"_index":"idx","_id":"S.7"}}"#),
            (r#"{"_key":""}"#, r#"{"index":{"_index":"idx","_id":"S.7"}}"#),
            ("", r#"{"index":{"_index":"idx","_id":"S.7"}}"#),
        ];
        for (metadata, action) in cases {
            assert_eq!(written(&index, "{\"a\":1}", metadata).unwrap(), format!("{action}\n{{\"a\":1}}\n"));
        }
        let own = Items { derives_ids: false, ..index };
        assert_eq!(written(&own, "{}", "").unwrap(), "{\"index\":{\"_index\":\"idx\"}}\n{}\n");
    }

    #[test]
    fn refuses_what_cannot_be_an_id() {
        let index = items(Mode::Index);
        let long = format!("{{\"_key\":\"{}\"}}", "x".repeat(513));
        let cases = [
            (r#"{"_key":["a"]}"#, "_key is [\"a\"], an id is text or a number"),
            (r#"{"_delete_id":true}"#, "_delete_id is true, an id is text or a number"),
            (long.as_str(), "_key has 513 bytes, an id may have 512"),
        ];
        for (metadata, message) in cases {
            assert_eq!(written(&index, "{}", metadata).unwrap_err(), message);
        }
        let escaped = format!("{{\"_key\":\"{}\"}}", "\\u0078".repeat(500));
        assert!(written(&index, "{}", &escaped).is_ok());
        assert!(written(&index, "{}", "{").unwrap_err().starts_with("the record's metadata cannot be read"));
    }

    #[test]
    fn writes_every_mode() {
        let (record, key) = (r#"{"a":1,"b":null,"c":{"d":[2]}}"#, r#"{"_key":"k"}"#);
        let cases = [
            (items(Mode::Create), format!("{{\"create\":{{\"_index\":\"idx\",\"_id\":\"k\"}}}}\n{record}\n")),
            (
                items(Mode::Update),
                format!("{{\"update\":{{\"_index\":\"idx\",\"_id\":\"k\"}}}}\n{{\"doc\":{record}}}\n"),
            ),
            (
                items(Mode::Upsert),
                format!(
                    "{{\"update\":{{\"_index\":\"idx\",\"_id\":\"k\"}}}}\n{{\"doc\":{record},\"upsert\":{record}}}\n"
                ),
            ),
            (items(Mode::Delete), "{\"delete\":{\"_index\":\"idx\",\"_id\":\"k\"}}\n".to_owned()),
        ];
        for (items, lines) in cases {
            assert_eq!(written(&items, record, key).unwrap(), lines);
        }
        assert_eq!(
            written(&items(Mode::Delete), record, "").unwrap_err(),
            "the record has no _key, so nothing says which document to delete"
        );
    }

    #[test]
    fn updates_some_fields_or_runs_a_script() {
        let (record, key) = (r#"{"a":1,"b":0,"c":"x"}"#, r#"{"_key":"k"}"#);
        let some = Items {
            update_fields: vec!["c".to_owned(), "none".to_owned(), "b".to_owned()],
            retry_on_conflict: 3,
            ..items(Mode::Update)
        };
        assert_eq!(
            written(&some, record, key).unwrap(),
            "{\"update\":{\"_index\":\"idx\",\"_id\":\"k\",\"retry_on_conflict\":3}}\n{\"doc\":{\"c\":\"x\",\"b\":0}}\n"
        );
        let scripted = Items {
            script: Some(Script::Source("x += p".to_owned())),
            script_params: BTreeMap::from([
                ("p".to_owned(), "b".to_owned()),
                ("q".to_owned(), "no".to_owned()),
            ]),
            ..items(Mode::Upsert)
        };
        assert_eq!(
            written(&scripted, record, key).unwrap().lines().nth(1).unwrap(),
            format!("{{\"script\":{{\"source\":\"x += p\",\"params\":{{\"p\":0}}}},\"upsert\":{record}}}")
        );
        let stored = Items { script: Some(Script::Stored("s".to_owned())), ..items(Mode::Update) };
        assert_eq!(
            written(&stored, record, key).unwrap().lines().nth(1).unwrap(),
            "{\"script\":{\"id\":\"s\"}}"
        );
    }

    #[test]
    fn follows_routes_and_deletes_beside() {
        let metadata = r#"{"_key":"k","_delete_id":"old","standard:route":"a"}"#;
        assert_eq!(
            written(&items(Mode::Index), "{}", metadata).unwrap(),
            "{\"index\":{\"_index\":\"idx-a\",\"_id\":\"k\"}}\n{}\n{\"delete\":{\"_index\":\"idx-a\",\"_id\":\"old\"}}\n"
        );
    }

    #[test]
    fn keeps_a_record_on_one_line() {
        let lines = written(&items(Mode::Upsert), "{\n\"a\":\r\n1}", r#"{"_key":"k"}"#).unwrap();
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(lines.ends_with("{\"doc\":{ \"a\":\r 1},\"upsert\":{ \"a\":\r 1}}\n"), "{lines}");
    }
}
