//! A record: its fields, its metadata, and what operations may do with them.

use std::borrow::Cow;

use crate::{
    buffer::Buffer,
    name::{Name, Path},
    nested,
    object::{NoObject, Object},
    value::Value,
};

/// A record on its way through a chain of operations.
///
/// Its top-level fields are listed once for the whole chain; a value is parsed when it is touched. Bytes that nobody touches
/// are copied through as they came. Fields keep their order; a field that is set anew keeps its place, a new one comes last.
#[derive(Debug, Default)]
pub struct Record<'a> {
    pub(crate) data: Part<'a>,
    pub(crate) metadata: Part<'a>,
    /// Whether a line feed followed the record, and is to follow it again.
    pub(crate) has_line_feed: bool,
}

/// One of the two objects of a record.
#[derive(Debug, Default)]
pub(crate) struct Part<'a> {
    source: &'a [u8],
    start: usize,
    end: usize,
    object: Object,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The text is in the source; nobody has looked at it.
    #[default]
    Unread,
    /// The fields are listed; the text in the source still holds.
    Read,
    /// The fields hold; the text in the source does not.
    Changed,
    /// The text is in the object's own bytes; nobody has looked at it.
    Replaced,
}

impl<'a> Part<'a> {
    /// Takes the next text out of the source.
    pub(crate) fn load(&mut self, source: &'a [u8], start: usize, end: usize) {
        self.object.clear();
        (self.source, self.start, self.end, self.state) = (source, start, end, State::Unread);
    }

    /// Lists the fields, unless they are.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<(), NoObject> {
        match self.state {
            State::Read | State::Changed => Ok(()),
            State::Unread => {
                self.object.read(self.source, self.start, self.end)?;
                self.state = State::Read;
                Ok(())
            }
            State::Replaced => {
                self.object.read_own()?;
                self.state = State::Changed;
                Ok(())
            }
        }
    }

    /// Lists the fields; there are none if the text is no object.
    fn read_or_empty(&mut self) {
        if self.read().is_err() {
            self.object.clear();
            self.state = State::Changed;
        }
    }

    /// Tells whether the text in the source still holds.
    pub(crate) const fn is_original(&self) -> bool {
        matches!(self.state, State::Unread | State::Read)
    }

    pub(crate) fn write(&self, out: &mut Buffer) {
        match self.state {
            State::Unread | State::Read => out.push_range(self.source, self.start, self.end),
            State::Changed => self.object.write(self.source, out),
            State::Replaced => out.push_slice(self.object.own()),
        }
    }

    fn text(&self) -> Cow<'_, [u8]> {
        match self.state {
            State::Unread | State::Read => {
                Cow::Borrowed(self.source.get(self.start..self.end).unwrap_or_default())
            }
            State::Replaced => Cow::Borrowed(self.object.own()),
            State::Changed => {
                let mut out = Buffer::default();
                self.object.write(self.source, &mut out);
                Cow::Owned(out.as_slice().to_vec())
            }
        }
    }

    fn replace(&mut self, text: &[u8]) {
        self.object.replace_own(text);
        self.state = State::Replaced;
    }

    #[inline]
    fn get(&self, name: &Name) -> Option<Value<'_>> {
        self.object.value(self.source, self.object.find(self.source, name)?)
    }

    #[inline]
    fn set(&mut self, name: &Name, json: &[u8]) {
        let at = self.object.find(self.source, name);
        self.object.set(at, name, json);
        self.state = State::Changed;
    }

    #[inline]
    fn remove(&mut self, name: &Name) -> bool {
        let Some(at) = self.object.find(self.source, name) else { return false };
        self.object.remove(at);
        self.state = State::Changed;
        true
    }
}

impl Record<'_> {
    /// Makes a record that uses what others have allocated.
    pub(crate) fn with_objects((data, metadata): (Object, Object)) -> Self {
        let part = |object| Part { object, ..Part::default() };
        Self { data: part(data), metadata: part(metadata), has_line_feed: false }
    }

    pub(crate) fn into_objects(self) -> (Object, Object) {
        (self.data.object, self.metadata.object)
    }

    /// Returns the value of a top-level field.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &Name) -> Option<Value<'_>> {
        self.data.get(name)
    }

    /// Returns the value that a path leads to.
    #[must_use]
    #[inline]
    pub fn get_path(&self, path: &Path) -> Option<Value<'_>> {
        let whole = self.data.get(&path.whole);
        match &path.head {
            Some(head) if whole.is_none() => nested::get(self.data.get(head)?, &path.rest),
            _ => whole,
        }
    }

    /// Sets a top-level field to a value given as JSON text.
    #[inline]
    pub fn set(&mut self, name: &Name, json: &[u8]) {
        self.data.set(name, json);
    }

    /// Sets a field to a text.
    pub fn set_text(&mut self, name: &Name, text: &str) {
        self.set(name, serde_json::Value::from(text).to_string().as_bytes());
    }

    /// Sets what a path leads to; makes missing parents (arrays for whole numbers) and replaces scalar ones.
    pub fn set_path(&mut self, path: &Path, json: &[u8]) {
        let Some(head) = path.head.as_ref().filter(|_| self.data.get(&path.whole).is_none()) else {
            return self.data.set(&path.whole, json);
        };
        let mut text = Vec::new();
        nested::set(self.data.get(head).unwrap_or(Value::new(b"null")), &path.rest, json, &mut text);
        self.data.set(head, &text);
    }

    /// Removes a top-level field; tells whether there was one.
    #[inline]
    pub fn remove(&mut self, name: &Name) -> bool {
        self.data.remove(name)
    }

    /// Removes what a path leads to; tells whether there was anything.
    pub fn remove_path(&mut self, path: &Path) -> bool {
        if self.data.remove(&path.whole) {
            return true;
        }
        let Some(head) = &path.head else { return false };
        let Some(value) = self.data.get(head) else { return false };
        let mut text = Vec::new();
        let is_removed = nested::remove(value, &path.rest, &mut text);
        if is_removed {
            self.data.set(head, &text);
        }
        is_removed
    }

    /// Copies the value of a path to another, if there is one that is not null; tells whether it did.
    pub fn copy_path(&mut self, from: &Path, to: &Path) -> bool {
        let (source, object) = (self.data.source, &mut self.data.object);
        if to.head.is_none()
            && let Some(at) = object.find(source, &from.whole)
        {
            if object.value(source, at).is_none_or(Value::is_null) {
                return false;
            }
            let target = object.find(source, &to.whole);
            object.copy(source, at, target, &to.whole);
            self.data.state = State::Changed;
            return true;
        }
        let Some(value) = self.get_path(from).filter(|value| !value.is_null()) else { return false };
        let json = value.json().to_vec();
        self.set_path(to, &json);
        true
    }

    /// Returns the number of top-level fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.object.len()
    }

    /// Tells whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the top-level fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'_, str>, Value<'_>)> {
        let (source, object) = (self.data.source, &self.data.object);
        (0..object.len()).filter_map(move |at| {
            Some((String::from_utf8_lossy(object.name(source, at)), object.value(source, at)?))
        })
    }

    /// Keeps the top-level fields that `test` accepts.
    pub fn retain(&mut self, mut test: impl FnMut(Cow<'_, str>, Value<'_>) -> bool) {
        let test = |name: &[u8], value: Value<'_>| test(String::from_utf8_lossy(name), value);
        if self.data.object.retain(self.data.source, test) {
            self.data.state = State::Changed;
        }
    }

    /// Returns the record's bytes without the line feed behind them.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        self.data.text()
    }

    /// Gives the record other bytes. Their fields are listed when an operation asks for some.
    pub fn set_bytes(&mut self, bytes: &[u8]) {
        self.data.replace(bytes);
    }

    /// Returns a value of the metadata.
    pub fn metadata(&mut self, name: &Name) -> Option<Value<'_>> {
        self.metadata.read_or_empty();
        self.metadata.get(name)
    }

    /// Sets a value of the metadata, given as JSON text.
    pub fn set_metadata(&mut self, name: &Name, json: &[u8]) {
        self.metadata.read_or_empty();
        self.metadata.set(name, json);
    }

    /// Removes a value of the metadata; tells whether there was one.
    pub fn remove_metadata(&mut self, name: &Name) -> bool {
        self.metadata.read_or_empty();
        self.metadata.remove(name)
    }

    /// Writes the metadata; nothing if there is none.
    pub(crate) fn write_metadata(&self, out: &mut Buffer) {
        if self.metadata.is_original() || self.metadata.object.len() > 0 {
            self.metadata.write(out);
        }
    }

    pub(crate) fn hold(&self) -> Held {
        let mut metadata = Buffer::default();
        self.write_metadata(&mut metadata);
        Held {
            data: self.bytes().into(),
            metadata: metadata.as_slice().into(),
            has_line_feed: self.has_line_feed,
        }
    }
}

/// A record that an operation keeps until the end of the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub(crate) data: Box<[u8]>,
    pub(crate) metadata: Box<[u8]>,
    pub(crate) has_line_feed: bool,
}

impl Held {
    /// Makes a record of JSON text.
    #[must_use]
    pub fn new(json: &[u8]) -> Self {
        Self { data: json.into(), metadata: Box::default(), has_line_feed: true }
    }

    /// Changes the record; one that is no object stays as it is.
    pub fn edit(&mut self, change: impl FnOnce(&mut Record<'_>)) {
        let mut record = Record::default();
        self.load(&mut record);
        if record.data.read().is_ok() {
            change(&mut record);
            *self = record.hold();
        }
    }

    pub(crate) fn load<'a>(&'a self, record: &mut Record<'a>) {
        record.data.load(&self.data, 0, self.data.len());
        record.metadata.load(&self.metadata, 0, self.metadata.len());
        record.has_line_feed = self.has_line_feed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record<'_> {
        let mut record = Record::default();
        record.data.load(json.as_bytes(), 0, json.len());
        assert!(record.data.read().is_ok(), "{json}");
        record
    }

    fn text(record: &Record<'_>) -> String {
        String::from_utf8(record.bytes().into_owned()).unwrap()
    }

    #[test]
    fn bytes_that_nobody_touches_are_copied() {
        let json = r#"{"a" : 1.00 ,"b":[ 1 ],  "c":"\u0041","a":12345678901234567890}"#;
        let mut record = record(json);
        assert!(record.get(&Name::new("x")).is_none() && !record.remove(&Name::new("x")));
        assert_eq!(text(&record), json);
        record.set(&Name::new("d"), b"0");
        assert_eq!(text(&record), r#"{"a":12345678901234567890,"b":[ 1 ],  "c":"\u0041","d":0}"#);
    }

    #[test]
    fn fields_change_in_their_places() {
        let mut record = record(r#"{"a":1,"b":2,"c":3,"d":4}"#);
        record.set(&Name::new("b"), b"\"new\"");
        record.set(&Name::new("q\"uote"), b"[]");
        assert!(record.remove(&Name::new("a")) && record.remove(&Name::new("d")));
        record.set(&Name::new("b"), b"20");
        assert_eq!(text(&record), r#"{"b":20,"c":3,"q\"uote":[]}"#);
        assert_eq!(record.get(&Name::new("q\"uote")).unwrap().json(), b"[]");
        let fields: Vec<_> =
            record.fields().map(|(name, value)| (name.into_owned(), value.json().len())).collect();
        assert_eq!(fields, [("b".to_owned(), 2), ("c".to_owned(), 1), ("q\"uote".to_owned(), 2)]);
    }

    #[test]
    fn copies_of_copies_keep_their_value() {
        let mut record = record(r#"{"a":{"deep":[1, 2]}}"#);
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a.deep[1]", "n"), ("n", "d.e"), ("x", "y")] {
            let is_copied = record.copy_path(&Path::new(from), &Path::new(to));
            assert_eq!(is_copied, from != "x");
        }
        let deep = r#"{"deep":[1, 2]}"#;
        assert_eq!(text(&record), format!(r#"{{"a":{deep},"b":{deep},"c":{deep},"n":2,"d":{{"e":2}}}}"#));
    }

    #[test]
    fn other_bytes_are_read_again() {
        let mut record = record("{}");
        record.set_bytes(br#"{"\u0062":{"c":1},"d":2}"#);
        assert_eq!(text(&record), r#"{"\u0062":{"c":1},"d":2}"#);
        assert!(record.data.read().is_ok());
        assert_eq!(record.get_path(&Path::new("b.c")).unwrap().json(), b"1");
        record.set(&Name::new("e"), b"3");
        assert_eq!(text(&record), r#"{"\u0062":{"c":1},"d":2,"e":3}"#);
        record.set_bytes(b"no object");
        assert!(record.data.read().is_err());
        assert_eq!(text(&record), "no object");
    }

    #[test]
    fn metadata_is_read_when_asked_for() {
        let mut record = record("{}");
        let json = br#"{"_key":"k","n":1}"#;
        record.metadata.load(json, 0, json.len());
        assert_eq!(record.metadata(&Name::new("_key")).unwrap().as_str().unwrap(), "k");
        record.set_metadata(&Name::new("n"), b"2");
        assert!(record.remove_metadata(&Name::new("_key")));
        assert_eq!(&*record.hold().metadata, br#"{"n":2}"#);
        record.metadata.load(b"broken", 0, 6);
        assert_eq!(record.metadata(&Name::new("n")), None);
    }

    #[test]
    fn a_held_record_can_be_edited() {
        let mut held = Held::new(br#"{"a":1}"#);
        held.edit(|record| record.set(&Name::new("a"), b"2"));
        assert_eq!(&*held.data, br#"{"a":2}"#);
        let mut raw = Held::new(b"raw");
        raw.edit(|record| record.set(&Name::new("a"), b"2"));
        assert_eq!(&*raw.data, b"raw");
    }
}
