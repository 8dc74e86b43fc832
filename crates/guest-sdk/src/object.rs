//! A JSON object as a table of its top-level fields over the bytes it came in.
//!
//! ```text
//!   source  {"id":7,"name":"x","old":[1,2]}          never changed
//!            ^start  ^name   ^value ^end              one entry per field; untouched neighbours are copied as one piece
//!   own     "flag":true                               new and changed fields, written like those of the source
//! ```
//!
//! A place with its top bit set is one in `own`.

use crate::{
    buffer::Buffer,
    name::{Name, prefix},
    scan::{byte, skip_space, string_end, value_end},
    value::{Value, unescape},
};

/// Marks a place in the object's own bytes.
const OWN: u32 = 1 << 31;
/// Above this many fields, repeated keys are found by sorting.
const FIELDS_MANY: usize = 128;

/// The text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoObject;

#[derive(Clone, Copy, Debug, Default)]
struct Field {
    /// The first bytes of the name, see [`Name::prefix`].
    prefix: u64,
    name: u32,
    name_len: u32,
    /// The key's opening quote; from here to `end` is the field as it is written.
    start: u32,
    value: u32,
    end: u32,
}

/// The fields of one object after the other; what it allocates is used again.
#[derive(Debug, Default)]
pub(crate) struct Object {
    fields: Vec<Field>,
    own: Buffer,
}

impl Object {
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.own.clear();
    }

    /// Lists the fields of the object that is `source[start..end]`. Its own bytes stay.
    pub(crate) fn read(&mut self, source: &[u8], start: usize, end: usize) -> Result<(), NoObject> {
        self.fields.clear();
        if source.len() >= OWN as usize {
            return Err(NoObject);
        }
        let close = self.read_fields(source, start).ok_or(NoObject)?;
        if close >= end || skip_space(source, close + 1) < end {
            return Err(NoObject);
        }
        Ok(())
    }

    /// Lists the fields of the object that its own bytes hold, see [`Object::replace_own`].
    pub(crate) fn read_own(&mut self) -> Result<(), NoObject> {
        let own = std::mem::take(&mut self.own);
        let read = self.read(own.as_slice(), 0, own.len());
        // What was written for the names of escaped keys comes behind.
        let decoded = std::mem::replace(&mut self.own, own);
        for field in &mut self.fields {
            if field.name & OWN != 0 {
                let text = (field.name & !OWN) as usize;
                field.name = place(self.own.len()) | OWN;
                self.own.push_range(decoded.as_padded(), text, text + field.name_len as usize);
            }
            for place in [&mut field.name, &mut field.start, &mut field.value, &mut field.end] {
                *place |= OWN;
            }
        }
        read
    }

    /// Returns the place of the closing bracket.
    #[inline]
    fn read_fields(&mut self, source: &[u8], start: usize) -> Option<usize> {
        let mut seen = Seen::default();
        let mut at = skip_space(source, start);
        if byte(source, at) != b'{' {
            return None;
        }
        at = skip_space(source, at + 1);
        if byte(source, at) == b'}' {
            return Some(at);
        }
        loop {
            let start = at;
            if byte(source, start) != b'"' {
                return None;
            }
            let (quote, is_escaped) = string_end(source, start + 1)?;
            at = after(source, quote + 1, b':')?;
            let value = at;
            at = value_end(source, value)?;
            let mut field = Field {
                prefix: 0,
                name: place(start + 1),
                name_len: place(quote - start - 1),
                start: place(start),
                value: place(value),
                end: place(at),
            };
            field.prefix = short_prefix(source, start + 1, quote - start - 1);
            if is_escaped {
                self.decode_name(source, &mut field);
            }
            self.add(source, field, &mut seen);
            if byte(source, at) == b',' {
                at += 1;
                if byte(source, at) != b'"' {
                    at = skip_space(source, at);
                }
            } else {
                at = skip_space(source, at);
                match byte(source, at) {
                    b',' => at = skip_space(source, at + 1),
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        if self.fields.len() > FIELDS_MANY {
            self.join_repeated(source);
        }
        Some(at)
    }

    /// Adds a field, or gives the one of the same name a new value: the last one counts, in the place of the first.
    #[inline]
    fn add(&mut self, source: &[u8], field: Field, seen: &mut Seen) {
        let last = (field.name & !OWN).wrapping_add(field.name_len).wrapping_sub(1) as usize;
        let last = byte(if field.name & OWN == 0 { source } else { self.own.as_padded() }, last);
        if self.fields.len() >= FIELDS_MANY || seen.is_new(&field, last) {
            return self.fields.push(field);
        }
        self.add_suspect(source, field);
    }

    #[cold]
    fn add_suspect(&mut self, source: &[u8], field: Field) {
        let name = self.slice(source, field.name, field.name + field.name_len);
        let found = self.fields.iter().position(|other| {
            other.prefix == field.prefix
                && self.slice(source, other.name, other.name + other.name_len) == name
        });
        match found {
            Some(first) => self.fields[first] = field,
            None => self.fields.push(field),
        }
    }

    #[cold]
    fn join_repeated(&mut self, source: &[u8]) {
        let name = |at: &usize| {
            let field = &self.fields[*at];
            self.slice(source, field.name, field.name + field.name_len)
        };
        let mut order: Vec<usize> = (0..self.fields.len()).collect();
        order.sort_by(|a, b| name(a).cmp(name(b)).then(a.cmp(b)));
        let mut moves = Vec::new();
        for group in order.chunk_by(|a, b| name(a) == name(b)).filter(|group| group.len() > 1) {
            moves.push((group[0], group[group.len() - 1]));
        }
        if moves.is_empty() {
            return;
        }
        let mut is_gone = vec![false; self.fields.len()];
        for group in order.chunk_by(|a, b| name(a) == name(b)) {
            group[1..].iter().for_each(|at| is_gone[*at] = true);
        }
        for (first, last) in moves {
            self.fields[first] = self.fields[last];
        }
        let mut gone = is_gone.into_iter();
        self.fields.retain(|_| !gone.next().unwrap_or(false));
    }

    #[cold]
    fn decode_name(&mut self, source: &[u8], field: &mut Field) {
        let start = field.name as usize;
        let text = source.get(start..start + field.name_len as usize).unwrap_or_default();
        self.name_in_own(field, unescape(text).as_bytes());
    }

    fn name_in_own(&mut self, field: &mut Field, name: &[u8]) {
        field.name = place(self.own.len()) | OWN;
        field.name_len = place(name.len());
        field.prefix = prefix(name);
        self.own.push_slice(name);
    }

    #[inline]
    fn slice<'a>(&'a self, source: &'a [u8], start: u32, end: u32) -> &'a [u8] {
        let bytes = if start & OWN == 0 { source } else { self.own.as_padded() };
        bytes.get((start & !OWN) as usize..(end & !OWN) as usize).unwrap_or_default()
    }

    /// Returns the place of the field in the list.
    #[inline]
    pub(crate) fn find(&self, source: &[u8], name: &Name) -> Option<usize> {
        let len = name.as_bytes().len();
        self.fields.iter().position(|field| {
            field.prefix == name.prefix
                && field.name_len as usize == len
                && (len <= 8
                    || self.slice(source, field.name, field.name + field.name_len) == name.as_bytes())
        })
    }

    #[inline]
    pub(crate) fn value<'a>(&'a self, source: &'a [u8], at: usize) -> Option<Value<'a>> {
        self.fields.get(at).map(|field| Value::new(self.slice(source, field.value, field.end)))
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn name<'a>(&'a self, source: &'a [u8], at: usize) -> &'a [u8] {
        self.fields.get(at).map_or(&[], |field| self.slice(source, field.name, field.name + field.name_len))
    }

    pub(crate) fn remove(&mut self, at: usize) {
        if at < self.fields.len() {
            let _removed = self.fields.remove(at);
        }
    }

    /// Keeps the fields whose value `test` accepts; tells whether one went.
    pub(crate) fn retain(&mut self, source: &[u8], mut test: impl FnMut(&[u8], Value<'_>) -> bool) -> bool {
        let mut fields = std::mem::take(&mut self.fields);
        let before = fields.len();
        fields.retain(|field| {
            let name = self.slice(source, field.name, field.name + field.name_len);
            test(name, Value::new(self.slice(source, field.value, field.end)))
        });
        self.fields = fields;
        self.fields.len() != before
    }

    /// Sets the field `at`, or a new one at the end, to JSON text.
    pub(crate) fn set(&mut self, at: Option<usize>, name: &Name, json: &[u8]) {
        let start = self.own.len();
        self.own.push_slice(&name.json);
        self.own.push_slice(json);
        self.put(at, name, start);
    }

    /// Sets the field `at`, or a new one at the end, to the value of the field `from`.
    pub(crate) fn copy(&mut self, source: &[u8], from: usize, at: Option<usize>, name: &Name) {
        let Some(field) = self.fields.get(from).copied() else { return };
        let start = self.own.len();
        self.own.push_slice(&name.json);
        if field.value & OWN == 0 {
            self.own.push_range(source, field.value as usize, field.end as usize);
        } else {
            let value = self.slice(source, field.value, field.end).to_vec();
            self.own.push_slice(&value);
        }
        self.put(at, name, start);
    }

    /// Enters the field that was written to the own bytes from `start` on.
    fn put(&mut self, at: Option<usize>, name: &Name, start: usize) {
        let mut field = Field {
            prefix: name.prefix,
            name: place(start + 1) | OWN,
            name_len: place(name.as_bytes().len()),
            start: place(start) | OWN,
            value: place(start + name.json.len()) | OWN,
            end: place(self.own.len()) | OWN,
        };
        if !name.is_plain() {
            self.name_in_own(&mut field, name.as_bytes());
        }
        match at.and_then(|at| self.fields.get_mut(at)) {
            Some(old) => *old = field,
            None => self.fields.push(field),
        }
    }

    /// Forgets the fields, and makes the object's own bytes hold `text`.
    pub(crate) fn replace_own(&mut self, text: &[u8]) {
        self.clear();
        self.own.push_slice(text);
    }

    pub(crate) fn own(&self) -> &[u8] {
        self.own.as_slice()
    }

    /// Writes the object as JSON.
    #[inline]
    pub(crate) fn write(&self, source: &[u8], out: &mut Buffer) {
        out.push(b'{');
        let mut fields = self.fields.iter().peekable();
        while let Some(first) = fields.next() {
            let mut end = first.end;
            if first.start & OWN == 0 {
                while let Some(next) = fields.next_if(|next| is_next(end, next.start)) {
                    end = next.end;
                }
                out.push_range(source, first.start as usize, end as usize);
            } else {
                let (start, end) = ((first.start & !OWN) as usize, (end & !OWN) as usize);
                out.push_range(self.own.as_padded(), start, end);
            }
            if fields.peek().is_some() {
                out.push(b',');
            }
        }
        out.push(b'}');
    }
}

/// Tells whether only a comma and perhaps white space lies between two places of the source.
///
/// The shortest field, `"":1`, and the commas around it are longer than that.
#[inline]
const fn is_next(end: u32, start: u32) -> bool {
    start.wrapping_sub(end).wrapping_sub(1) < 4
}

/// Returns the place behind `wanted` and white space around it.
#[inline]
fn after(source: &[u8], mut at: usize, wanted: u8) -> Option<usize> {
    if byte(source, at) != wanted {
        at = skip_space(source, at);
        if byte(source, at) != wanted {
            return None;
        }
    }
    at += 1;
    Some(if byte(source, at) <= b' ' { skip_space(source, at) } else { at })
}

/// Returns what [`prefix`] does for `source[start..start + len]`.
#[inline]
fn short_prefix(source: &[u8], start: usize, len: usize) -> u64 {
    match source.get(start..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) if len >= 8 => u64::from_le_bytes(*chunk),
        Some(chunk) => u64::from_le_bytes(*chunk) & ((1 << (8 * len)) - 1),
        None => prefix(source.get(start..start + len).unwrap_or_default()),
    }
}

/// A place is at most 2 GiB from its start: [`Object::read`] refuses larger sources.
#[expect(clippy::cast_possible_truncation, reason = "places are below 2 GiB")]
const fn place(at: usize) -> u32 {
    at as u32
}

/// Remembers which names have come, roughly: it may take a new one for known, never a known one for new.
#[derive(Default)]
struct Seen([u64; 8]);

impl Seen {
    #[inline]
    fn is_new(&mut self, field: &Field, last: u8) -> bool {
        let mixed = (field.prefix ^ (u64::from(field.name_len) << 56) ^ (u64::from(last) << 40))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (word, bit) = ((mixed >> 61) as usize & 7, 1_u64 << ((mixed >> 55) & 63));
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests;
