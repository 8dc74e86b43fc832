//! Tests of `filter`.

use teraslice_guest_sdk::testing::{Run, config_error};

use super::*;

fn kept<'a>(config: &str, records: &[&'a str]) -> Vec<&'a str> {
    let run = Run::of::<Filter>(config, records);
    assert!(run.is_balanced() && run.failures.is_empty(), "{run:?}");
    run.origin.iter().map(|index| records[*index as usize]).collect()
}

#[test]
fn matches_are_dropped() {
    let records = [r#"{"a":"x"}"#, r#"{"a":["y","x"]}"#, r#"{"a":"y"}"#, "{}", r#"{"a":null}"#];
    assert_eq!(kept(r#"{"field":"a","value":"x"}"#, &records), [r#"{"a":"y"}"#, "{}", r#"{"a":null}"#]);
    assert_eq!(kept(r#"{"field":"a","value":"x","invert":true}"#, &records), records[..2]);
    assert_eq!(kept(r#"{"field":"a","value":["x","y"],"invert":"true"}"#, &records), records[..3]);
    assert_eq!(kept(r#"{"field":"a","value":null,"invert":1}"#, &records), [r#"{"a":null}"#]);
    assert_eq!(kept(r#"{"field":"a","value":[]}"#, &records), records);
}

#[test]
fn values_match_by_type() {
    let records = [r#"{"a":{"b":1}}"#, r#"{"a":{"b":"1"}}"#, r#"{"a":{"b":1.0}}"#, r#"{"a":{"b":{}}}"#];
    let config = r#"{"field":"a.b","value":1,"invert":true}"#;
    assert_eq!(kept(config, &records), [records[0], records[2]]);
    assert_eq!(kept(r#"{"field":["x","a.b"],"value":"1","invert":true}"#, &records), [records[1]]);
}

#[test]
fn one_element_of_a_list_can_be_asked_for() {
    let records = [r#"{"a":["q","x"]}"#, r#"{"a":"x"}"#, r#"{"a":["x"]}"#];
    assert_eq!(kept(r#"{"field":"a","array_index":1,"value":"x"}"#, &records), records[1..]);
}

#[test]
fn addresses_match_by_range() {
    let records = [r#"{"ip":"10.1.1.1"}"#, r#"{"ip":"11.1.1.1"}"#, r#"{"ip":"x"}"#, r#"{"ip":5}"#, "{}"];
    let config = r#"{"field":"ip","value":"10.0.0.0/8","filter_by":"ip_range","invert":true}"#;
    assert_eq!(kept(config, &records), records[..1]);
}

#[test]
fn text_matches_by_pattern() {
    let records =
        [r#"{"a":"fox"}"#, r#"{"a":"Fox"}"#, r#"{"a":12}"#, r#"{"a":null}"#, "{}", r#"{"a":["ox","f"]}"#];
    let by = |value: &str| format!(r#"{{"field":"a","filter_by":"regex","invert":true,"value":"{value}"}}"#);
    assert_eq!(kept(&by("/^f/"), &records), [records[0], records[5]]);
    assert_eq!(kept(&by("/^f/gi"), &records), [records[0], records[1], records[5]]);
    assert_eq!(kept(&by("/^1/"), &records), [records[2]]);
    assert!(kept(&by("/undefined|null/"), &records).is_empty());
}

#[test]
fn records_match_by_size() {
    let records = [r#"{"a":"x"}"#, r#"{"a":"xxxxxxxxxxxxxxx"}"#];
    assert_eq!(kept(r#"{"field":"doc","value":20,"filter_by":"size"}"#, &records), records[..1]);
    let records = [r#"{"a":[1,true,null]}"#, r#"{"a":{"k":"é"}}"#, "{}"];
    assert_eq!(kept(r#"{"field":"a","value":11,"filter_by":"size"}"#, &records), records[1..]);
    assert_eq!(kept(r#"{"field":"a","value":3.5,"filter_by":"size"}"#, &records), records[2..]);
}

#[test]
fn values_match_by_validator() {
    let records = [r#"{"a":"x"}"#, r#"{"a":5}"#, "{}"];
    let config = r#"{"field":"a","filter_by":"validator","validation_function":"isNumber","invert":true}"#;
    assert_eq!(kept(config, &records), [records[1]]);
}

#[test]
fn exceptions_are_kept() {
    let records = [r#"{"a":"x","k":1}"#, r#"{"a":"x","k":"yes"}"#, r#"{"a":"x","k":null}"#, r#"{"a":"x"}"#];
    let config = r#"{"field":"a","value":"x","exception_rules":[
        {"field":"k","value":1},{"field":"k","value":"/^Y/i","regex":true},{"field":"k","value":null}]}"#;
    assert_eq!(kept(config, &records), records[..2]);
}

#[test]
fn what_is_dropped_may_be_refused() {
    let config = r#"{"field":"a","value":"x","filtered_to_dead_letter_queue":true}"#;
    let run = Run::of::<Filter>(config, &[r#"{"a":"x"}"#, "{}"]);
    assert_eq!((run.failures.len(), run.dropped, run.records.len()), (1, 0, 1));
    assert_eq!(run.failures[0].message, "the record was filtered out");
}

#[test]
fn wrong_settings_are_named() {
    let cases = [
        ("{}", "field is missing"),
        (r#"{"field":[]}"#, "field is [], expected a field or a list of fields"),
        (r#"{"field":"a","filter_by":"is"}"#, "filter_by is \"is\", expected one of"),
        (r#"{"field":"a","filter_by":"regex","value":"x"}"#, "value is \"x\", expected a regular expression"),
        (r#"{"field":"a","filter_by":"regex"}"#, "value is null, expected a regular expression"),
        (
            r#"{"field":"a","filter_by":"ip_range","value":"x"}"#,
            "value is \"x\", expected a range of addresses",
        ),
        (r#"{"field":"a","filter_by":"size","value":"x"}"#, "value is \"x\", expected a number of bytes"),
        (r#"{"field":"a","filter_by":"validator"}"#, "validation_function is null, expected one of isString"),
        (r#"{"field":"a","exception_rules":[{"field":"k"}]}"#, "exception_rules is"),
        (r#"{"field":"a","invert":"no"}"#, "invert is \"no\", expected true or false"),
    ];
    for (config, expected) in cases {
        let (_, message) = config_error::<Filter>(config).unwrap();
        assert!(message.starts_with(expected), "{message}");
    }
}
