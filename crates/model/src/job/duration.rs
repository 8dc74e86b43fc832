//! Durations as people write them: milliseconds, or "5 minutes".

use std::time::Duration;

/// Units and their length in milliseconds.
const UNITS: &[(&[&str], f64)] = &[
    (&["ms", "millisecond", "milliseconds"], 1.0),
    (&["s", "sec", "secs", "second", "seconds"], 1_000.0),
    (&["m", "min", "mins", "minute", "minutes"], 60_000.0),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000.0),
    (&["d", "day", "days"], 86_400_000.0),
    (&["w", "week", "weeks"], 604_800_000.0),
];

/// The longest duration understood: ten thousand years, so that no sum of durations overflows.
const MILLIS_MAX: f64 = 3.2e14;

/// Reads milliseconds ("300000") or a number with a unit ("5 minutes", "1.5h"); none when it is neither.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => 1.0,
        unit => UNITS.iter().find(|(names, _)| names.contains(&unit))?.1,
    };
    from_millis(number * factor)
}

/// Makes a duration of a number of milliseconds; none when it is negative, too large or no number.
#[must_use]
pub(super) fn from_millis(millis: f64) -> Option<Duration> {
    (0.0..=MILLIS_MAX).contains(&millis).then(|| Duration::from_secs_f64(millis.round() / 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_and_without_units() {
        let cases = [
            ("300000", 300_000),
            ("5 minutes", 300_000),
            ("5minutes", 300_000),
            ("1.5 h", 5_400_000),
            ("1 Week", 604_800_000),
            (" 20 ms ", 20),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "soon", "minutes", "-5", "5 parsecs", "1.2.3", "1e99 weeks", "999999999 weeks"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
