//! What happens to an execution, as a stream of server-sent events.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read},
};

use serde_json::Value;

/// The longest event.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of event it is, such as `status` or `progress`; `message` when the server names none.
    pub name: String,
    /// What it says: the JSON document it carries, else its text.
    pub data: Value,
}

/// A stream of events; it ends when the server ends it.
///
/// An error is the last item.
pub struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
    is_over: bool,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(bytes: impl Read + Send + 'static) -> Self {
        Self { lines: BufReader::new(Box::new(bytes)), is_over: false }
    }

    /// Reads up to the end of an event; none at the end of the stream.
    fn read(&mut self) -> io::Result<Option<Event>> {
        let (mut name, mut data) = (String::new(), None::<String>);
        while let Some(line) = self.line()? {
            if line.is_empty() {
                // Comments keep the connection open; they are no events.
                let Some(data) = data.take() else {
                    name.clear();
                    continue;
                };
                let name = if name.is_empty() { "message".to_owned() } else { name };
                let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
                return Ok(Some(Event { name, data }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (field, &mut data) {
                ("event", _) => value.clone_into(&mut name),
                ("data", Some(data)) if data.len() + value.len() >= EVENT_BYTES_MAX => return Err(too_long()),
                ("data", Some(data)) => {
                    data.push('\n');
                    data.push_str(value);
                }
                ("data", none) => *none = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let count = (&mut self.lines).take(EVENT_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        if count == EVENT_BYTES_MAX {
            return Err(too_long());
        }
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off within a line"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an event is longer than {EVENT_BYTES_MAX} bytes"))
}

impl Iterator for Events {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(text: &'static str) -> Vec<Result<Event, io::ErrorKind>> {
        Events::new(text.as_bytes()).map(|event| event.map_err(|error| error.kind())).collect()
    }

    fn event(name: &str, data: Value) -> Result<Event, io::ErrorKind> {
        Ok(Event { name: name.to_owned(), data })
    }

    #[test]
    fn reads_events_comments_and_lines() {
        let found = events(
            ": hello\n\nevent: status\ndata: {\"status\":\"running\"}\n\nid: 7\r\ndata:a\r\ndata: b\r\n\r\n",
        );
        assert_eq!(found, [event("status", json!({"status": "running"})), event("message", json!("a\nb"))]);
    }

    #[test]
    fn refuses_an_event_without_end() {
        let endless = io::repeat(b'a').take(u64::MAX);
        let kinds: Vec<_> = Events::new(endless).map(|event| event.map_err(|error| error.kind())).collect();
        assert_eq!(kinds, [Err(io::ErrorKind::InvalidData)]);
    }

    #[test]
    fn drops_an_event_that_broke_off() {
        assert_eq!(events("data: 1\n\ndata: 2\n"), [event("message", json!(1))]);
        assert_eq!(
            events("data: 1\n\ndata"),
            [event("message", json!(1)), Err(io::ErrorKind::UnexpectedEof)]
        );
    }
}
