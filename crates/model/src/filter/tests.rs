//! What filters let pass, what they refuse, and that nothing makes them fail otherwise.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document() -> Map<String, Value> {
    let document = json!({
        "name": "Daily Load-Test, v1.2",
        "ex_id": "863678b3-daf0-4ea9-8cb0-88b846cd7e57",
        "_status": "running",
        "_created": "2024-03-15T10:20:30.456Z",
        "workers": 5,
        "big": 9_007_199_254_740_993_u64,
        "cpu": 0.5,
        "active": true,
        "path": "/data/a b:c.log",
        "nothing": null,
        "empty": [],
        "assets": ["standard", "kafka"],
        "operations": [{"_op": "test-reader", "size": 10}, {"_op": "noop"}],
        "metadata": {"owner": {"team": "blue"}, "dotted.key": 7, "hollow": {"x": null}},
        "_failureReason": "Slicer failed: no such index"
    });
    document.as_object().unwrap().clone()
}

fn passes(text: &str) -> bool {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&document())
}

fn check(passing: &[&str], stopped: &[&str]) {
    for text in passing {
        assert!(passes(text), "{text} lets it not pass");
    }
    for text in stopped {
        assert!(!passes(text), "{text} lets it pass");
    }
}

#[test]
fn compares_keywords_as_they_are() {
    check(
        &["_status:running", "_status:\"running\"", "_status: running", "path:\"/data/a b:c.log\""],
        &["_status:Running", "_status:run", "_status:\"running \"", "status:running", "_status:failed"],
    );
}

#[test]
fn takes_an_escaped_character_as_itself() {
    check(
        &[
            r"path:\/data\/a\ b\:c.log",
            r"_status:r\u0075nning",
            r"path:\/data*",
            r#"path:"\/data/a b:c.log""#,
        ],
        &[r"_status:run\*", r"_status:runnin\?"],
    );
    assert!(Filter::parse(r"name:\AND").unwrap().matches(json!({"name": "and"}).as_object().unwrap()));
}

#[test]
fn searches_names_and_reasons_by_word() {
    check(
        &[
            "name:daily",
            "name:LOAD",
            "name:\"load test\"",
            "name:\"Load-Test\"",
            "name:lo?d",
            "name:V1*",
            "name:v1.2",
            "name:load-missing",
            "name:[daily TO daily]",
            "_failureReason:index",
        ],
        &["name:dail", "name:\"test load\"", "name:\"daily test\"", "name:\"...\"", "name:v1", "name:x?d"],
    );
}

#[test]
fn matches_wildcards() {
    check(
        &[
            "_status:r*g",
            "_status:*",
            "_status:runn???",
            "_status:*n*n*",
            "ex_id:863678b3*",
            "workers:?",
            "*:*",
            "*",
        ],
        &["_status:r*x", "_status:????????", "_status:?", "ex_id:*863678b4*", "nothing:*", "_status:R*"],
    );
}

#[test]
fn compares_numbers() {
    check(
        &[
            "workers:5",
            "workers:5.0",
            "workers:[5 TO 5]",
            "workers:{4 TO 6}",
            "workers:{4 TO 5]",
            "workers:>4",
            "workers:>=5",
            "workers:<=5",
            "workers:< 6",
            "workers:>-1",
            "workers:[* TO 5]",
            "workers:[5 TO *}",
            "workers:(>4 AND <6)",
            "cpu:[0.4 TO 0.6]",
            "cpu:5e-1",
            "big:9007199254740993",
            "workers:[10 TO 2] OR workers:5",
            "operations.size:10",
        ],
        &[
            "workers:50",
            "workers:{5 TO 6}",
            "workers:[4 TO 5}",
            "workers:>5",
            "workers:<5",
            "workers:five",
            "workers:[a TO z]",
            "big:9007199254740992",
            "cpu:inf",
            "cpu:<inf",
        ],
    );
}

#[test]
fn compares_dates_as_precisely_as_they_are_written() {
    check(
        &[
            "_created:2024",
            "_created:2024-03",
            "_created:2024-03-15",
            "_created:2024-03-15T10",
            "_created:2024-03-15T10:20:30",
            "_created:\"2024-03-15T10:20:30.456Z\"",
            "_created:2024-03-15T12:20:30.456+02:00",
            "_created:[2024-03-15 TO 2024-03-15]",
            "_created:[2024-03-15T10:20:30.456Z TO *]",
            "_created:{2024-03-14 TO 2024-03-16}",
            "_created:>2024-03-14",
            "_created:>=2024-03-15T11:20:30+01:00",
            "_created:<=2024-03",
            "_created:<2025",
            "_created:[\"2024-03-15\" TO 2025]",
        ],
        &[
            "_created:2023",
            "_created:2024-02",
            "_created:2024-03-15T11",
            "_created:{2024-03-15 TO *]",
            "_created:[* TO 2024-03-15}",
            "_created:>2024",
            "_created:<2024",
            "_created:2024-13",
            "_created:20",
            "_created:2024-03-15T10:20:30.",
        ],
    );
}

#[test]
fn compares_flags() {
    check(
        &["active:true", "active:\"true\"", "active:t*", "active:[false TO true]"],
        &["active:false", "active:1"],
    );
}

#[test]
fn takes_any_element_of_a_list() {
    check(
        &["assets:kafka", "assets:(kafka AND standard)", "operations._op:noop", "operations._op:test-*"],
        &["assets:none", "operations._op:set_key", "operations:noop", "empty:*"],
    );
}

#[test]
fn follows_paths() {
    check(
        &[
            "metadata.owner.team:blue",
            "metadata.dotted.key:7",
            "_exists_:metadata.owner",
            "_exists_:metadata",
        ],
        &[
            "metadata.owner:blue",
            "metadata.team:blue",
            "owner.team:blue",
            "_exists_:metadata.hollow",
            "a..b:c",
        ],
    );
}

#[test]
fn tells_whether_a_field_exists() {
    check(
        &["_exists_:workers", "_exists_:\"assets\"", "NOT _exists_:nothing", "workers:[* TO *]"],
        &["_exists_:nothing", "_exists_:empty", "_exists_:unheard_of", "-_exists_:workers"],
    );
}

#[test]
fn searches_all_fields_for_a_bare_word() {
    check(
        &["running", "daily", "blue", "\"load test\"", "kafk?", "[9007199254740990 TO *]", "*:running"],
        &["red", "*nowhere*", "*:red"],
    );
}

#[test]
fn joins_as_lucene_does() {
    let (yes, no) = ("workers:5", "workers:6");
    let cases = [
        ("y AND y", true),
        ("y AND n", false),
        ("y && y", true),
        ("n OR y", true),
        ("n || n", false),
        ("n y", true),
        ("+y n", true),
        ("+n y", false),
        ("y -n", true),
        ("y -y", false),
        ("NOT n", true),
        ("NOT y", false),
        ("!n AND y", true),
        ("y AND NOT y", false),
        ("y OR NOT y", false),
        ("y OR (NOT y)", true),
        ("(y OR n) AND y", true),
        ("(n OR n) AND y", false),
        ("n AND (y OR y)", false),
        ("y OR n AND n", false),
        ("y OR (n AND n)", true),
        ("((y))", true),
        ("NOT (n OR n)", true),
        ("y AND y AND n", false),
        ("(y)(n)", true),
        ("y^2 OR n^0.5", true),
    ];
    for (pattern, wanted) in cases {
        let text = pattern.replace('y', yes).replace('n', no);
        assert_eq!(passes(&text), wanted, "{text}");
    }
    check(
        &["_status:(failed OR running)", "_status:(running -failed)", "_status:(failed OR workers:5)"],
        &["_status:(failed OR stopped)", "_status:(+failed running)"],
    );
}

#[test]
fn says_where_it_is_wrong() {
    let deep = format!("{}a{}", "(".repeat(33), ")".repeat(33));
    let long = "a".repeat(9_000);
    let many = "a ".repeat(1_025);
    let wild = format!("name:{}*", "a".repeat(257));
    let cases = [
        ("", 0, "something to look for is missing at the end"),
        ("  ", 2, "something to look for is missing at the end"),
        ("a AND", 5, "something to look for is missing at the end"),
        ("AND a", 0, "there is nothing before this operator"),
        ("a OR OR b", 5, "something to look for is missing here"),
        ("a:", 2, "a value is missing at the end"),
        (":a", 0, "something to look for is missing here"),
        ("größe:(a OR", 11, "something to look for is missing at the end"),
        ("größe:(a", 6, "this bracket is never closed"),
        ("a)", 1, "nothing was opened that `)` could close"),
        ("()", 1, "something to look for is missing here"),
        ("a:\"b", 2, "this quote is never closed"),
        ("a:[1 TO 2", 2, "this range is never closed"),
        ("a:[1 2]", 5, "a range is written [a TO b]"),
        ("a:[ TO 2]", 7, "a range is written [a TO b]"),
        ("a:[1 TO ]", 8, "an end of the range is missing"),
        ("a:[now-1d TO *]", 3, "times relative to now are not known here; give the time itself"),
        ("a:>now", 3, "times relative to now are not known here; give the time itself"),
        ("a:>b*", 3, "a value to compare with has no wildcards"),
        ("a:]", 2, "something to look for is missing here"),
        ("a:/b.*/", 2, "regular expressions are not known here; a plain / is written \\/"),
        ("a:b~1", 3, "fuzzy words are not known here; a plain ~ is written \\~"),
        ("a:\"b c\"~2", 7, "fuzzy words are not known here; a plain ~ is written \\~"),
        ("a^b", 2, "a weight is a number; a plain ^ is written \\^"),
        ("a\\", 2, "nothing follows the backslash"),
        ("a\\u12", 3, "a character's code has four hexadecimal digits"),
        ("a*:b", 0, "a field's name has no wildcards"),
        ("_exists_:a*", 9, "`_exists_` is followed by the name of a field"),
        (&deep, 32, "brackets are more than 32 deep"),
        (&long, 8_192, "it has more than 8192 bytes"),
        (&many, 2_048, "it has more than 1024 parts"),
        (&wild, 5, "a word with wildcards has more than 256 characters"),
    ];
    for (text, at, reason) in cases {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!((error.at, error.reason.as_str()), (at, reason), "{text}");
    }
    let error = Filter::parse("a)").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the filter is wrong at character 1: nothing was opened that `)` could close"
    );
}

#[test]
fn is_sent_as_its_text() {
    let filter = Filter::parse("a:\"b\" OR c:[1 TO 2]").unwrap();
    let sent = serde_json::to_string(&filter).unwrap();
    assert_eq!(sent, r#""a:\"b\" OR c:[1 TO 2]""#);
    assert_eq!(serde_json::from_str::<Filter>(&sent).unwrap(), filter);
    assert!(serde_json::from_str::<Filter>("\"a:(\"").unwrap_err().to_string().contains("at character 3"));
}

#[test]
fn takes_no_longer_for_hostile_wildcards() {
    let filter = Filter::parse(&format!("path:{}b", "*a".repeat(120))).unwrap();
    let document = json!({"path": "a".repeat(32_000)});
    assert!(!filter.matches(document.as_object().unwrap()));
}

/// Text in which everything that means something to a filter comes often.
fn likely_text() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "name",
        "_exists_",
        ":",
        ":",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        " TO ",
        " AND ",
        " OR ",
        "NOT ",
        "&&",
        "||",
        "+",
        "-",
        "!",
        "\"",
        "\\",
        "*",
        "?",
        ">",
        "<",
        "=",
        "^2",
        "~",
        "/",
        " ",
        "2024-03-15",
        "T10:20",
        "Z",
        "5",
        "1e9",
        "ü",
        "\u{1F980}",
        "now",
        "\\u00",
        ".",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn never_panics(text in prop_oneof![any::<String>(), likely_text()]) {
        if let Ok(filter) = Filter::parse(&text) {
            let _passes = filter.matches(&document());
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }
    }

    #[test]
    fn points_into_the_text(text in likely_text()) {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.at <= text.chars().count());
        }
    }

    #[test]
    fn finds_any_value_that_is_quoted(value in "\\PC{0,40}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let document = json!({"key": [1, value]});
        let document = document.as_object().unwrap();
        let text = format!("key:\"{quoted}\"");
        prop_assert!(Filter::parse(&text).unwrap().matches(document));
    }

    #[test]
    fn finds_any_value_that_is_escaped(value in "x[^\\x00]{0,20}") {
        let escaped: String = value.chars().flat_map(|character| {
            let needs = !character.is_alphanumeric();
            needs.then_some('\\').into_iter().chain([character])
        }).collect();
        let document = json!({"key": value});
        let document = document.as_object().unwrap();
        for text in [format!("key:{escaped}"), format!("key:({escaped})")] {
            prop_assert!(Filter::parse(&text).unwrap().matches(document), "{}", text);
        }
    }

    #[test]
    fn lets_everything_pass_either_the_filter_or_its_opposite(text in likely_text()) {
        if let (Ok(filter), Ok(opposite)) = (Filter::parse(&text), Filter::parse(&format!("NOT ({text})"))) {
            prop_assert_ne!(filter.matches(&document()), opposite.matches(&document()), "{}", text);
        }
    }
}
