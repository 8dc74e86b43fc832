//! Encodes records as the lines of a file.

use serde_json::{Map, Value};
use teraslice_core::operation::Rejected;
use teraslice_model::batch::Batch;

use crate::{file_format::Format, json::write_line};

/// Encodes the records of one slice.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    format: Format,
    line_delimiter: String,
    field_delimiter: String,
    fields: Vec<String>,
    /// The columns of a table: `fields`, else those of the file, else the names in the slice's first batch.
    columns: Vec<String>,
    /// Records of the slice so far.
    count: u64,
}

impl Encoder {
    pub(super) fn new(
        format: Format,
        line_delimiter: &str,
        field_delimiter: &str,
        fields: &[String],
    ) -> Self {
        Self {
            format,
            line_delimiter: line_delimiter.to_owned(),
            field_delimiter: field_delimiter.to_owned(),
            fields: fields.to_vec(),
            columns: fields.to_vec(),
            count: 0,
        }
    }

    /// Begins a slice in a file that may have columns already.
    pub(super) fn begin(&mut self, columns: &[String]) {
        self.count = 0;
        let columns = if self.fields.is_empty() { columns } else { &self.fields };
        self.columns = columns.to_vec();
    }

    /// Returns the columns of the table that the job does not name.
    pub(super) fn found_columns(&self) -> &[String] {
        if self.fields.is_empty() { &self.columns } else { &[] }
    }

    /// Encodes a batch; returns what does not fit the format.
    pub(super) fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Vec<Rejected> {
        if self.is_copy(batch) {
            out.extend_from_slice(batch.records().payload());
            self.count += batch.len() as u64;
            return Vec::new();
        }
        if self.format.is_table() && self.columns.is_empty() {
            self.columns = columns(batch);
        }
        let mut rejected = Vec::new();
        for index in 0..batch.len() {
            let record = batch.record(index);
            let before = out.len();
            if self.format == Format::Json && self.count > 0 {
                out.push(b',');
            }
            match self.record(record, out) {
                Ok(()) => {
                    if self.format != Format::Json {
                        out.extend_from_slice(self.line_delimiter.as_bytes());
                    }
                    self.count += 1;
                }
                Err(reason) => {
                    out.truncate(before);
                    let metadata = batch.metadata_of(index).map(<[u8]>::to_vec);
                    let record = record.to_vec();
                    rejected.push(Rejected { step: 0, reason, record, metadata, is_fault: false });
                }
            }
        }
        rejected
    }

    /// Returns the line with the names of the columns.
    pub(super) fn header(&self) -> Option<String> {
        if !self.format.is_table() || self.columns.is_empty() {
            return None;
        }
        let names: Vec<_> = self.columns.iter().map(|name| quoted(name)).collect();
        Some(names.join(&self.field_delimiter) + &self.line_delimiter)
    }

    /// Tells whether the batch's bytes are what the file is to hold.
    pub(super) fn is_copy(&self, batch: &Batch) -> bool {
        self.format == Format::Ldjson
            && self.fields.is_empty()
            && self.line_delimiter == "\n"
            && batch.records().iter().all(|record| record.ends_with(b"\n"))
            && memchr::memchr_iter(b'\n', batch.records().payload()).count() == batch.len()
    }

    fn record(&self, record: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self.format {
            Format::Json if self.fields.is_empty() => out.extend_from_slice(record),
            Format::Ldjson if self.fields.is_empty() => write_line(out, record),
            Format::Json | Format::Ldjson => {
                let picked = self.picked(parsed(record)?);
                serde_json::to_writer(out, &picked).map_err(|error| error.to_string())?;
            }
            Format::Raw => match parsed(record)?.get("data") {
                Some(Value::String(text)) => out.extend_from_slice(text.as_bytes()),
                None | Some(Value::Null) => {}
                Some(other) => out.extend_from_slice(other.to_string().as_bytes()),
            },
            Format::Csv | Format::Tsv => self.row(&parsed(record)?, out)?,
        }
        Ok(())
    }

    /// Keeps and orders the wanted names, at every depth.
    fn picked(&self, mut object: Map<String, Value>) -> Map<String, Value> {
        let take =
            |name: &String| object.shift_remove(name).map(|value| (name.clone(), self.picked_in(value)));
        self.fields.iter().filter_map(take).collect()
    }

    fn picked_in(&self, value: Value) -> Value {
        match value {
            Value::Object(object) => Value::Object(self.picked(object)),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.picked_in(value)).collect())
            }
            other => other,
        }
    }

    fn row(&self, object: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), String> {
        if self.fields.is_empty()
            && let Some(name) = object.keys().find(|name| !self.columns.contains(name))
        {
            return Err(format!("field {name:?} is no column of this file; name all columns in fields"));
        }
        for (at, name) in self.columns.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(self.field_delimiter.as_bytes());
            }
            match at_path(object, name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => out.extend_from_slice(quoted(text).as_bytes()),
                Some(Value::Number(number)) => out.extend_from_slice(number.to_string().as_bytes()),
                Some(Value::Bool(truth)) => out.extend_from_slice(truth.to_string().as_bytes()),
                Some(other) => out.extend_from_slice(quoted(&other.to_string()).as_bytes()),
            }
        }
        Ok(())
    }
}

fn parsed(record: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(record).map_err(|error| format!("not a JSON object: {error}"))
}

/// Returns a column's value: a literal name first, then a path of names.
fn at_path<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    object.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(object.get(first)?, |value, step| match value {
            Value::Array(values) => values.get(step.parse::<usize>().ok()?),
            other => other.get(step),
        })
    })
}

fn columns(batch: &Batch) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for index in 0..batch.len() {
        let names = parsed(batch.record(index)).unwrap_or_default();
        for (name, _) in names {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
    }
    columns
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use teraslice_model::batch::Frame;

    use super::*;

    fn encoded(format: Format, fields: &[&str], records: &[&str]) -> (String, Vec<Rejected>) {
        let fields: Vec<_> = fields.iter().map(|name| (*name).to_owned()).collect();
        let mut encoder = Encoder::new(format, "\n", format.field_delimiter(), &fields);
        let mut out = Vec::new();
        let rejected = encoder.encode(&Batch::new(Frame::of(records).unwrap()), &mut out);
        let header = encoder.header().unwrap_or_default();
        (header + &String::from_utf8(out).unwrap(), rejected)
    }

    #[test]
    fn encodes_each_format() {
        let nested = "{\"a\":1,\"b\":{\"a\":2,\"c\":3}}";
        let cases = [
            (Format::Ldjson, &[][..], &["{\"a\":1}\n", "{\"a\":3}"][..], "{\"a\":1}\n{\"a\":3}\n"),
            (Format::Ldjson, &[], &["{\"a\":\n1}\n", "{}\n"], "{\"a\": 1}\n{}\n"),
            (Format::Ldjson, &["a", "b"], &[nested], "{\"a\":1,\"b\":{\"a\":2}}\n"),
            (Format::Json, &[], &["{}", "{}"], "{},{}"),
            (Format::Raw, &[], &["{\"data\":\"x\"}", "{\"n\":1}", "{\"data\":\"y\"}"], "x\n\ny\n"),
            (
                Format::Csv,
                &[],
                &["{\"a\":1,\"b\":\"x\\\"y\"}", "{\"b\":null}"],
                "\"a\",\"b\"\n1,\"x\"\"y\"\n,\n",
            ),
            (Format::Csv, &["b.a", "b"], &[nested], "\"b.a\",\"b\"\n2,\"{\"\"a\"\":2,\"\"c\"\":3}\"\n"),
            (Format::Tsv, &["a"], &["{\"a\":true}"], "\"a\"\ntrue\n"),
        ];
        for (format, fields, records, file) in cases {
            let (written, rejected) = encoded(format, fields, records);
            assert_eq!((written.as_str(), rejected.len()), (file, 0), "{records:?}");
        }
    }

    #[test]
    fn refuses_a_record_with_a_column_of_its_own() {
        let mut encoder = Encoder::new(Format::Csv, "\n", ",", &[]);
        let mut out = Vec::new();
        assert_eq!(encoder.encode(&Batch::new(Frame::of(["{\"a\":1}"]).unwrap()), &mut out), []);
        let rejected = encoder.encode(&Batch::new(Frame::of(["{\"z\":1}"]).unwrap()), &mut out);
        let reason = "field \"z\" is no column of this file; name all columns in fields";
        assert_eq!(rejected[0].reason, reason);
        assert_eq!(out, b"1\n");
    }

    #[test]
    fn refuses_a_record_that_is_no_object() {
        let (written, rejected) = encoded(Format::Raw, &[], &["{\"data\":\"x\"}", "no"]);
        assert_eq!(written, "x\n");
        assert!(rejected[0].reason.starts_with("not a JSON object: "));
    }
}
