//! Tests of dates.

use super::*;

const NOW: i64 = 1_795_305_600_000;

#[test]
fn dates_are_read_in_many_forms() {
    let cases = [
        (r#""1970-01-01""#, 0),
        (r#""1970""#, 0),
        (r#""1970-02""#, 31 * DAY_MS),
        (r#""2026-11-22T00:00:00Z""#, NOW),
        (r#""2026-11-22T00:00:00.000""#, NOW),
        (r#""2026-11-22 01:30:00.1239+01:30""#, NOW + 123),
        (r#""2026-11-21T24:00Z""#, NOW),
        (r#""2000-02-29""#, 951_782_400_000),
        (r#""11-22-2026""#, NOW),
        (r#""11/22/2026, 00:00""#, NOW),
        (r#""2026/11/22""#, NOW),
        (r#""Sun, 22 Nov 2026 00:00:00 GMT""#, NOW),
        (r#""Nov 22, 2026 02:00 +0200""#, NOW),
        ("1795305600000", NOW),
        ("-1", -1),
        ("[1795305600000,60]", NOW),
    ];
    for (json, ms) in cases {
        assert_eq!(read(Value::new(json.as_bytes())), Some(ms), "{json}");
    }
}

#[test]
fn what_is_no_date_is_refused() {
    let cases = [
        "true",
        "null",
        "1.5",
        "\"\"",
        "\"1600000000000\"",
        "\"20200101\"",
        "\"2020-13-01\"",
        "\"2021-02-29\"",
        "\"now-1d\"",
        "\"2020-01-01T25:00Z\"",
        "\"2020-01-01T10:00 somewhere\"",
        "\"5 days\"",
        "{}",
        "[1]",
        "\"\u{e9}\"",
        "\"2020-01-01T10:00:00.\u{e9}\"",
        "9e15",
    ];
    for json in cases {
        assert_eq!(read(Value::new(json.as_bytes())), None, "{json}");
    }
}

#[test]
fn dates_may_be_relative() {
    let cases = [
        ("now", NOW),
        ("NOW-1d", NOW - DAY_MS),
        ("now+d", NOW + DAY_MS),
        ("now+1h-30m", NOW + 1_800_000),
        ("now/y", days(2026, 1, 1).unwrap() * DAY_MS),
        ("now/M", days(2026, 11, 1).unwrap() * DAY_MS),
        ("now/w", days(2026, 11, 16).unwrap() * DAY_MS),
        ("2020-01-31||+1M", days(2020, 2, 29).unwrap() * DAY_MS),
        ("2020-02-29||-1y", days(2019, 2, 28).unwrap() * DAY_MS),
        ("5 days", NOW + 5 * DAY_MS),
        ("-1w", NOW - 7 * DAY_MS),
        ("1600000000000", 1_600_000_000_000),
        ("2020-01-01", days(2020, 1, 1).unwrap() * DAY_MS),
    ];
    for (text, ms) in cases {
        let json = format!("\"{text}\"");
        assert_eq!(read_or_math(Value::new(json.as_bytes()), NOW), Some(ms), "{text}");
    }
    for text in ["nowish", "now+", "now+1x", "x||+1d", "n", "\u{e9}\u{e9}"] {
        let json = format!("\"{text}\"");
        assert_eq!(read_or_math(Value::new(json.as_bytes()), NOW), None, "{text}");
    }
}

#[test]
fn days_and_dates_are_the_same() {
    for day in (-800_000..800_000).step_by(37) {
        let (year, month, date) = civil(day);
        assert_eq!(days(year, month, date), Some(day));
    }
}
