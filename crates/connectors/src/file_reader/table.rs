//! Turns lines of a table into JSON objects.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use crate::json::write_string;

/// What ends a row for the parser: a byte that is in no UTF-8. Rows come one by one, and may hold `\r` or `\n`.
const NOTHING: Terminator = Terminator::Any(0xff);

/// Cuts lines into values and writes them as objects.
pub(super) struct Table {
    pub(super) fields: Vec<String>,
    /// Whether every line must have as many values as there are columns.
    pub(super) is_strict: bool,
    pub(super) ignore_empty: bool,
    pub(super) infer_types: bool,
    delimiter: u8,
    reader: Reader,
    /// Values of the line at hand, unquoted, end to end, and where each ends.
    values: Vec<u8>,
    ends: Vec<usize>,
}

impl Table {
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            fields: Vec::new(),
            is_strict: false,
            ignore_empty: true,
            infer_types: false,
            delimiter,
            reader: ReaderBuilder::new().delimiter(delimiter).terminator(NOTHING).build(),
            values: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Takes the names of the columns from a line.
    pub(super) fn take_names(&mut self, line: &[u8]) -> Result<(), String> {
        self.cut(line)?;
        self.fields = (0..self.ends.len()).map(|at| self.value(at).to_owned()).collect();
        Ok(())
    }

    /// Tells whether a line holds the names of the columns, in whatever order.
    pub(super) fn is_header(&mut self, line: &[u8]) -> bool {
        if self.fields.is_empty() || self.cut(line).is_err() || self.ends.len() != self.fields.len() {
            return false;
        }
        (0..self.ends.len()).all(|at| self.fields.iter().any(|name| name == self.value(at)))
    }

    /// Writes a line as an object.
    pub(super) fn write(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.cut(line)?;
        let (found, columns) = (self.ends.len(), self.fields.len());
        if self.is_strict && found != columns {
            return Err(format!("{found} values, but there are {columns} columns"));
        }
        out.push(b'{');
        let mut is_first = true;
        for at in 0..found {
            let value = self.value(at);
            if value.is_empty() && self.ignore_empty {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            match self.fields.get(at) {
                Some(name) => write_string(out, name),
                None => write_string(out, &format!("field{}", at + 1)),
            }
            out.push(b':');
            if self.infer_types && is_bare(value) {
                out.extend_from_slice(value.as_bytes());
            } else {
                write_string(out, value);
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn value(&self, at: usize) -> &str {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        let value = std::str::from_utf8(&self.values[begin..self.ends[at]]);
        value.expect("lines are checked as UTF-8 before they are cut at ASCII").trim()
    }

    fn cut(&mut self, line: &[u8]) -> Result<(), String> {
        if let Err(error) = std::str::from_utf8(line) {
            return Err(format!("invalid UTF-8 at byte {} of the line", error.valid_up_to()));
        }
        self.values.clear();
        self.ends.clear();
        if memchr::memchr(b'"', line).is_none() {
            let mut begin = 0;
            for found in memchr::memchr_iter(self.delimiter, line).chain([line.len()]) {
                self.values.extend_from_slice(&line[begin..found]);
                self.ends.push(self.values.len());
                begin = found + 1;
            }
            return Ok(());
        }
        self.cut_quoted(line)
    }

    fn cut_quoted(&mut self, line: &[u8]) -> Result<(), String> {
        let quotes = memchr::memchr_iter(b'"', line).count();
        if quotes % 2 == 1 {
            return Err("a quoted value does not end on its line".to_owned());
        }
        self.values.resize(line.len() + 1, 0);
        self.ends.resize(line.len() + 2, 0);
        self.reader.reset();
        let (result, read, wrote, mut found) =
            self.reader.read_record(line, &mut self.values, &mut self.ends);
        debug_assert!(read == line.len(), "a record is one line");
        let mut written = wrote;
        if result == ReadRecordResult::InputEmpty {
            let (_, _, more, more_ends) =
                self.reader.read_record(&[], &mut self.values[wrote..], &mut self.ends[found..]);
            written += more;
            found += more_ends;
        }
        self.values.truncate(written);
        self.ends.truncate(found);
        Ok(())
    }
}

/// Tells whether a value is written without quotes in JSON: a number, `true` or `false`.
fn is_bare(value: &str) -> bool {
    match value.as_bytes() {
        b"true" | b"false" => true,
        [b'-' | b'0'..=b'9', ..] => is_number(value.as_bytes()),
        _ => false,
    }
}

/// Follows the grammar of JSON numbers: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &[&str]) -> Table {
        let mut table = Table::new(b',');
        table.fields = fields.iter().map(|name| (*name).to_owned()).collect();
        table
    }

    fn written(table: &mut Table, line: &str) -> Result<String, String> {
        let mut out = Vec::new();
        table.write(line.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn writes_lines_as_objects() {
        let mut abc = table(&["a", "b", "c"]);
        let cases = [
            ("1,2,3", r#"{"a":"1","b":"2","c":"3"}"#),
            ("4,,6", r#"{"a":"4","c":"6"}"#),
            (" 4 , 5", r#"{"a":"4","b":"5"}"#),
            (r#""x,y","he said ""no""",z"#, r#"{"a":"x,y","b":"he said \"no\"","c":"z"}"#),
            ("1,2,3,4", r#"{"a":"1","b":"2","c":"3","field4":"4"}"#),
        ];
        for (line, object) in cases {
            assert_eq!(written(&mut abc, line).unwrap(), object, "{line}");
        }
        assert_eq!(written(&mut table(&[]), "a,b").unwrap(), r#"{"field1":"a","field2":"b"}"#);
    }

    #[test]
    fn keeps_what_is_behind_a_carriage_return() {
        let cut = written(&mut table(&[]), "\"a\"\rb,\"c\"\r").unwrap();
        assert_eq!(cut, r#"{"field1":"a\rb","field2":"c"}"#);
    }

    #[test]
    fn keeps_empty_values_on_request() {
        let mut ab = table(&["a", "b"]);
        ab.ignore_empty = false;
        assert_eq!(written(&mut ab, "1,").unwrap(), r#"{"a":"1","b":""}"#);
    }

    #[test]
    fn infers_types_on_request() {
        let mut row = table(&["a", "b", "c", "d", "e"]);
        row.infer_types = true;
        let written = written(&mut row, "-1.5e3,007,true,NA,1.").unwrap();
        assert_eq!(written, r#"{"a":-1.5e3,"b":"007","c":true,"d":"NA","e":"1."}"#);
    }

    #[test]
    fn refuses_lines_that_are_no_rows() {
        let mut ab = table(&["a", "b"]);
        ab.is_strict = true;
        assert_eq!(written(&mut ab, "1,2,3").unwrap_err(), "3 values, but there are 2 columns");
        assert_eq!(written(&mut ab, "\"1,2").unwrap_err(), "a quoted value does not end on its line");
        let invalid = ab.write(b"a,\xff", &mut Vec::new()).unwrap_err();
        assert_eq!(invalid, "invalid UTF-8 at byte 2 of the line");
    }

    #[test]
    fn knows_the_header_in_any_order() {
        let mut ab = table(&["a", "b"]);
        assert!(ab.is_header(b"b,a"));
        assert!(!ab.is_header(b"a,c"));
        assert!(!ab.is_header(b"a"));
    }
}
