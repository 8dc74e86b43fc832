//! Whether bytes are a JSON object, checked once where records enter.

use simd_json::{Buffers, Node, StaticNode, Tape};

/// Checks records; keeps its memory between them.
pub(crate) struct Checker {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checker")
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self { scratch: Vec::new(), buffers: Buffers::new(1 << 12), tape: Tape(Vec::new()) }
    }
}

impl Checker {
    /// Checks that `record` is one JSON object in UTF-8; says what it is instead.
    pub(crate) fn object(&mut self, record: &[u8]) -> Result<(), String> {
        if record.trim_ascii().is_empty() {
            return Err("an empty line is no JSON object".to_owned());
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(record);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape);
        let found = match (&parsed, tape.0.first()) {
            (Err(error), _) => Err(format!("invalid JSON: {error}")),
            (Ok(()), Some(Node::Object { .. })) => Ok(()),
            (Ok(()), first) => Err(format!("a JSON object is needed, not {}", kind(first))),
        };
        self.tape = tape.reset();
        found
    }
}

const fn kind(node: Option<&Node<'_>>) -> &'static str {
    match node {
        Some(Node::Array { .. }) => "an array",
        Some(Node::String(_)) => "a string",
        Some(Node::Static(StaticNode::Null)) => "null",
        Some(Node::Static(StaticNode::Bool(_))) => "a boolean",
        _ => "a number",
    }
}

/// Writes valid JSON as one line: line feeds between its tokens become spaces.
pub(crate) fn write_line(out: &mut Vec<u8>, json: &[u8]) {
    let mut begin = 0;
    for at in memchr::memchr_iter(b'\n', json) {
        out.extend_from_slice(&json[begin..at]);
        out.push(b' ');
        begin = at + 1;
    }
    out.extend_from_slice(&json[begin..]);
}

/// Writes `text` as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_objects_from_everything_else() {
        let mut checker = Checker::default();
        for good in ["{}", "{\"a\":{\"b\":[1,2.5e3,null,\"\\u00e9\"]}}", " {\"a\":1} "] {
            assert_eq!(checker.object(good.as_bytes()), Ok(()), "{good}");
        }
        let cases = [
            ("[1]", "a JSON object is needed, not an array"),
            ("5", "a JSON object is needed, not a number"),
            ("\"s\"", "a JSON object is needed, not a string"),
            ("null", "a JSON object is needed, not null"),
            ("true", "a JSON object is needed, not a boolean"),
            (" ", "an empty line is no JSON object"),
        ];
        for (bad, message) in cases {
            assert_eq!(checker.object(bad.as_bytes()).unwrap_err(), message);
        }
        for broken in [&b"{\"a\":"[..], b"{\"a\":1}x", b"{\"a\":\"\xff\"}", b"{'a':1}", b"{\"a\":01}"] {
            let message = checker.object(broken).unwrap_err();
            assert!(message.starts_with("invalid JSON: "), "{broken:?}: {message}");
        }
    }
}
