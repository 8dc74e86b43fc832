//! Dates as jobs write them: ISO 8601, milliseconds, date math, and times relative to now. Always in UTC.

use jiff::{
    Span, Timestamp, Unit, Zoned,
    civil::{Date, DateTime},
    fmt::rfc2822,
    tz::TimeZone,
};
use serde_json::Value;
use teraslice_model::problem::Problem;

/// Reads a date that a job gives in `pointer`, in milliseconds since 1970; null is absent.
///
/// # Errors
///
/// When it is no date.
pub(crate) fn date(value: Option<&Value>, pointer: &str, now: i64) -> Result<Option<i64>, Problem> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let parsed = match value {
        Value::Number(millis) => millis.as_i64(),
        Value::String(text) => parse(text, now),
        _ => None,
    };
    let name = pointer.trim_start_matches('/');
    parsed.map(Some).ok_or_else(|| {
        Problem::new(pointer, format!("{name} is {value}, which is no date"))
            .with_hint("use ISO 8601, as in 2024-01-31T12:00:00Z, milliseconds since 1970, or now-1d/d")
    })
}

/// Reads a date, date math (`now-1d/d`, `2024-01-01||+1M`) or a time relative to now (`-2h`).
pub(crate) fn parse(text: &str, now: i64) -> Option<i64> {
    let text = text.trim();
    if let Some((date, math)) = text.split_once("||") {
        return apply(absolute(date.trim())?, math);
    }
    let is_now = text.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("now"));
    if is_now {
        return apply(now, &text[3..]);
    }
    absolute(text).or_else(|| now.checked_add(relative(text)?))
}

/// Reads `<whole number><unit>`, such as `5m`, in milliseconds. A month is 30 days, a year 365.
pub(crate) fn interval(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..digits].parse().ok()?;
    number.checked_mul(millis_of(text[digits..].trim())?).filter(|millis| *millis > 0)
}

fn millis_of(unit: &str) -> Option<i64> {
    const SECOND: i64 = 1_000;
    const DAY: i64 = 86_400 * SECOND;
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => DAY,
        "w" | "wk" | "wks" | "week" | "weeks" => 7 * DAY,
        "M" | "mo" | "mos" | "month" | "months" => 30 * DAY,
        "y" | "year" | "years" => 365 * DAY,
        _ => return None,
    })
}

/// Reads a time span relative to now, such as `5 days` or `-1w`.
fn relative(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Some(sign * interval(rest)?)
}

fn absolute(text: &str) -> Option<i64> {
    let is_number = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if is_number && text.len() != 4 {
        return text.parse().ok();
    }
    let text = text.replace('/', "-");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil = match text.len() {
        4 => format!("{text}-01-01").parse().ok().map(Date::into),
        7 => format!("{text}-01").parse().ok().map(Date::into),
        _ => text.parse().ok().or_else(|| month_first(&text)),
    };
    if let Some(civil) = civil {
        return zoned(civil).map(|zoned| zoned.timestamp().as_millisecond());
    }
    rfc2822::parse(&text).ok().map(|zoned| zoned.timestamp().as_millisecond())
}

/// Reads `01-31-2024`.
fn month_first(text: &str) -> Option<DateTime> {
    let mut parts = text.split('-');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    let is_right = parts.next().is_none() && month.len() == 2 && day.len() == 2 && year.len() == 4;
    is_right.then(|| format!("{year}-{month}-{day}").parse().ok().map(Date::into))?
}

fn zoned(civil: DateTime) -> Option<Zoned> {
    civil.to_zoned(TimeZone::UTC).ok()
}

/// Applies steps such as `+1d`, `-2h` and `/d` in turn.
fn apply(from: i64, math: &str) -> Option<i64> {
    let mut at = Timestamp::from_millisecond(from).ok()?.to_zoned(TimeZone::UTC);
    let mut rest = math.trim();
    while let Some(operator) = rest.chars().next() {
        rest = rest[operator.len_utf8()..].trim_start();
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = if digits == 0 { 1 } else { rest[..digits].parse().ok()? };
        let unit = rest[digits..].chars().next()?;
        rest = rest[digits + unit.len_utf8()..].trim_start();
        at = match operator {
            '+' => at.checked_add(span(unit, number)?).ok()?,
            '-' => at.checked_sub(span(unit, number)?).ok()?,
            '/' if digits == 0 => floor(&at, unit)?,
            _ => return None,
        };
    }
    Some(at.timestamp().as_millisecond())
}

fn span(unit: char, number: i64) -> Option<Span> {
    let span = Span::new();
    match unit {
        'y' | 'Y' => span.try_years(number),
        'M' => span.try_months(number),
        'w' | 'W' => span.try_weeks(number),
        'd' | 'D' => span.try_days(number),
        'h' | 'H' => span.try_hours(number),
        'm' => span.try_minutes(number),
        's' | 'S' => span.try_seconds(number),
        _ => return None,
    }
    .ok()
}

fn floor(at: &Zoned, unit: char) -> Option<Zoned> {
    let date = at.date();
    let start = match unit {
        'y' | 'Y' => date.first_of_year(),
        'M' => date.first_of_month(),
        'w' | 'W' => {
            let since_monday = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(Span::new().try_days(since_monday).ok()?).ok()?
        }
        'd' | 'D' => date,
        'h' | 'H' => return truncated(at, Unit::Hour),
        'm' => return truncated(at, Unit::Minute),
        's' | 'S' => return truncated(at, Unit::Second),
        _ => return None,
    };
    zoned(start.into())
}

fn truncated(at: &Zoned, unit: Unit) -> Option<Zoned> {
    let round = jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Trunc);
    at.round(round).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let now = "2024-02-29T13:14:15.678Z".parse::<Timestamp>().unwrap().as_millisecond();
        parse(text, now).map(|millis| Timestamp::from_millisecond(millis).unwrap().to_string())
    }

    #[test]
    fn reads_dates() {
        let cases = [
            ("2024", "2024-01-01T00:00:00Z"),
            ("2024-03", "2024-03-01T00:00:00Z"),
            ("2024-03-04", "2024-03-04T00:00:00Z"),
            ("2024/03/04", "2024-03-04T00:00:00Z"),
            ("03-04-2024", "2024-03-04T00:00:00Z"),
            ("2024-03-04T05:06:07", "2024-03-04T05:06:07Z"),
            ("2024-03-04 05:06:07.8", "2024-03-04T05:06:07.8Z"),
            ("2024-03-04T05:06:07.089+01:00", "2024-03-04T04:06:07.089Z"),
            ("Mon, 04 Mar 2024 05:06:07 +0000", "2024-03-04T05:06:07Z"),
            ("1600000000000", "2020-09-13T12:26:40Z"),
        ];
        for (text, time) in cases {
            assert_eq!(read(text).as_deref(), Some(time), "{text}");
        }
        for text in ["", "soon", "2024-13-01", "now+", "now+1x", "now/2d", "1.5", "now+1d||"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn reads_date_math() {
        let cases = [
            ("now", "2024-02-29T13:14:15.678Z"),
            ("NOW-1d", "2024-02-28T13:14:15.678Z"),
            ("now-1y", "2023-02-28T13:14:15.678Z"),
            ("now/d", "2024-02-29T00:00:00Z"),
            ("now/w", "2024-02-26T00:00:00Z"),
            ("now/M+1M-1s", "2024-02-29T23:59:59Z"),
            ("now/h", "2024-02-29T13:00:00Z"),
            ("now +d /m", "2024-03-01T13:14:00Z"),
            ("2024-01-31||+1M/d", "2024-02-29T00:00:00Z"),
            ("5 days", "2024-03-05T13:14:15.678Z"),
            ("-2h", "2024-02-29T11:14:15.678Z"),
        ];
        for (text, time) in cases {
            assert_eq!(read(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn reads_intervals() {
        let cases =
            [("5s", 5_000), ("1m", 60_000), ("2 hrs", 7_200_000), ("250ms", 250), ("1M", 2_592_000_000)];
        for (text, millis) in cases {
            assert_eq!(interval(text), Some(millis), "{text}");
        }
        for text in ["1_day", "5", "s", "0s", "-1s", "auto", ""] {
            assert_eq!(interval(text), None, "{text}");
        }
    }

    #[test]
    fn says_what_is_no_date() {
        let problem = date(Some(&Value::from(true)), "/start", 0).unwrap_err();
        assert!(
            problem.to_string().starts_with("/start: start is true, which is no date (use ISO"),
            "{problem}"
        );
        assert_eq!(date(Some(&Value::Null), "/start", 0).unwrap(), None);
    }
}
