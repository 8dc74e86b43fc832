//! Tests of objects: what the table says is what a parser says, and nothing breaks it.

use serde_json::Value as Json;

use super::*;

/// Reads `json` out of the middle of other bytes, as it lies in a batch.
fn read(json: &[u8], rest: &[u8]) -> Option<(Object, Vec<u8>)> {
    let mut object = Object::default();
    let source = [b"{\"before\":1}\n", json, rest].concat();
    object.read(&source, 13, 13 + json.len()).ok()?;
    Some((object, source))
}

fn listed(object: &Object, source: &[u8]) -> Vec<(String, Json)> {
    let field = |at| {
        let name = String::from_utf8(object.name(source, at).to_vec()).unwrap();
        (name, serde_json::from_slice(object.value(source, at).unwrap().json()).unwrap())
    };
    (0..object.len()).map(field).collect()
}

#[test]
fn the_fields_are_those_of_a_parser() {
    let many: String = (0..300).map(|n| format!("\"key{}\":{n},", n % 200)).collect();
    let cases = [
        "{}",
        " { } ",
        r#"{"a":1}"#,
        r#"{ "a" : 1 , "b" : [ 1 , { "c" : "}" } ] , "c" : "x\"y" }"#,
        r#"{"":0,"a much longer name than eight bytes":true,"a much longer name than eight byteS":null}"#,
        r#"{"a":1,"b":2,"a":3,"c":4,"b":5}"#,
        r#"{"a":1,"\u0061":2,"\u0062":3,"b":4,"\n":5,"\n":6}"#,
        r#"{"é":"ü","日本":{"語":[]}}"#,
        &format!("{{{}\"last\":-1e5}}", many),
    ];
    for json in cases {
        for rest in [&b""[..], b"\n", b"\n{\"next\":\"}\"}\n                                        "] {
            let (object, source) = read(json.as_bytes(), rest).unwrap_or_else(|| panic!("{json}"));
            let expected: serde_json::Map<String, Json> = serde_json::from_str(json).unwrap();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(listed(&object, &source), expected, "{json}");
            let mut out = Buffer::default();
            object.write(&source, &mut out);
            let written: serde_json::Map<String, Json> = serde_json::from_slice(out.as_slice()).unwrap();
            assert_eq!(written.into_iter().collect::<Vec<_>>(), expected, "{json}");
        }
    }
}

#[test]
fn what_is_no_object_is_refused() {
    let cases = [
        "",
        " ",
        "5",
        "[]",
        "null",
        "\"{}\"",
        "{",
        "{\"",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "{\"a\":[1}",
        "{\"a\":\"x}",
        "{,}",
        "}",
    ];
    for json in cases {
        for rest in [&b""[..], b"\n{\"next\":\"}\",\"x\":1}\n"] {
            assert!(read(json.as_bytes(), rest).is_none(), "{json}");
        }
    }
}

/// Marsaglia's xorshift: the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn broken_bytes_never_break_the_reader() {
    let json = br#"{"name":"x\u0041y","list":[1,{"k":"v"}],"\u0062":true,"n":-1.5e3,"name":null}"#;
    let mut random = Random(88_172_645_463_325_252);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = json.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = b"{}[]\",:\\ \n0\xff"[random.below(12)];
        }
        bytes.truncate(bytes.len() - random.below(2) * random.below(bytes.len()));
        let Some((mut object, source)) = read(&bytes, b"\n{}\n") else {
            refused += 1;
            continue;
        };
        object.set(object.find(&source, &Name::new("n")), &Name::new("n"), b"2");
        object.copy(&source, 0, None, &Name::new("copy"));
        object.remove(object.len() / 2);
        let mut out = Buffer::default();
        object.write(&source, &mut out);
        assert!(out.as_slice().starts_with(b"{") && out.as_slice().ends_with(b"}"));
    }
    assert!(refused > 5_000, "{refused}");
}

#[test]
fn repeated_names_are_found_among_many() {
    let mut random = Random(42);
    for count in [5, 60, 127, 128, 129, 500] {
        let names: Vec<_> = (0..count).map(|_| format!("field-{}", random.below(count))).collect();
        let fields: Vec<_> = names.iter().enumerate().map(|(at, name)| format!("\"{name}\":{at}")).collect();
        let json = format!("{{{}}}", fields.join(","));
        let (object, source) = read(json.as_bytes(), b"").unwrap();
        let expected: serde_json::Map<String, Json> = serde_json::from_str(&json).unwrap();
        assert_eq!(listed(&object, &source), expected.into_iter().collect::<Vec<_>>(), "{count}");
    }
}
