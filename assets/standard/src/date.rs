//! Dates in the many forms that records hold. What gives no zone is taken as UTC.

use teraslice_guest_sdk::{Kind, Value};

const DAY_MS: i64 = 86_400_000;

/// Reads a date: whole milliseconds since 1970, `[ms, minutes]`, or text.
pub(crate) fn read(value: Value<'_>) -> Option<i64> {
    match value.kind() {
        Kind::Number => whole(value),
        Kind::String => read_text(&value.as_str()?),
        Kind::Array => {
            let mut elements = value.elements();
            let (ms, _minutes) = (whole(elements.next()?)?, whole(elements.next()?)?);
            elements.next().is_none().then_some(ms)
        }
        Kind::Null | Kind::Boolean | Kind::Object => None,
    }
}

/// Reads a date as [`read`] does, or one relative to now: `now-1d/d`, `2020-01-01||+1M`, `5 days`, milliseconds as text.
pub(crate) fn read_or_math(value: Value<'_>, now_ms: i64) -> Option<i64> {
    let math = || {
        let text = value.as_str()?;
        let ms = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        math(&text, now_ms).or_else(ms).or_else(|| duration(&text).map(|ms| now_ms + ms))
    };
    read(value).or_else(math)
}

#[expect(clippy::cast_possible_truncation, reason = "it is checked to be in range")]
fn whole(value: Value<'_>) -> Option<i64> {
    value.as_f64().filter(|ms| ms.fract() == 0.0 && ms.abs() <= 8.64e15).map(|ms| ms as i64)
}

/// Reads ISO 8601, `month-day-year` with dashes or slashes, or RFC 2822.
pub(crate) fn read_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_bare_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || is_bare_number && text.len() != 4 {
        return None;
    }
    iso(text).or_else(|| american(text)).or_else(|| worded(text))
}

/// Reads a duration: `1week`, `2 days`, `-36h`, `500ms`, `100`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|char: char| !(char.is_ascii_digit() || "+-.".contains(char))).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 6e4,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3.6e6,
        "d" | "day" | "days" => 8.64e7,
        "w" | "week" | "weeks" => 6.048e8,
        "y" | "yr" | "yrs" | "year" | "years" => 3.155_76e10,
        _ => return None,
    };
    let ms = number * unit;
    #[expect(clippy::cast_possible_truncation, reason = "it is checked to be in range")]
    (ms.abs() <= 8.64e15).then_some(ms as i64)
}

/// Takes parts off the front of a text.
struct Parts<'a>(&'a str);

impl Parts<'_> {
    fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let len = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(len).filter(|_| len >= min)?;
        self.0 = rest;
        digits.parse().ok()
    }

    fn one_of(&mut self, chars: &str) -> Option<char> {
        let char = self.0.chars().next().filter(|char| chars.contains(*char))?;
        self.0 = &self.0[char.len_utf8()..];
        Some(char)
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start();
    }
}

fn iso(text: &str) -> Option<i64> {
    let mut parts = Parts(text);
    let year = parts.digits(4, 4)?;
    let (mut month, mut day) = (1, 1);
    if parts.one_of("-").is_some() {
        month = parts.digits(2, 2)?;
        if parts.one_of("-").is_some() {
            day = parts.digits(2, 2)?;
        }
    }
    let date = days(year, month, day)?;
    if parts.0.is_empty() {
        return Some(date * DAY_MS);
    }
    let _separator = parts.one_of("Tt ")?;
    time(parts, date)
}

fn american(text: &str) -> Option<i64> {
    let mut parts = Parts(text);
    let first = parts.digits(1, 4)?;
    let _separator = parts.one_of("-/")?;
    let second = parts.digits(1, 2)?;
    let _separator = parts.one_of("-/")?;
    let third = parts.digits(1, 4)?;
    let date = if first > 31 { days(first, second, third)? } else { days(third, first, second)? };
    parts.space();
    let _separator = parts.one_of(",");
    parts.space();
    if parts.0.is_empty() { Some(date * DAY_MS) } else { time(parts, date) }
}

/// Reads `Sun, 22 Nov 2026 10:00:00 GMT` and `Nov 22, 2026 10:00`.
fn worded(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let month_of = |word: &str| {
        let start = word.get(..3)?.to_ascii_lowercase();
        MONTHS.iter().position(|month| *month == start).and_then(|month| i64::try_from(month + 1).ok())
    };
    let at = words.iter().position(|word| month_of(word).is_some())?;
    let month = month_of(words[at])?;
    let is_day = |word: &&&str| word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit());
    let day_before = at.checked_sub(1).and_then(|before| words.get(before)).filter(is_day);
    let (day, next) = match day_before {
        Some(day) => (day, at + 1),
        None => (words.get(at + 1).filter(is_day)?, at + 2),
    };
    let year = words.get(next).filter(|word| word.len() == 4)?.parse().ok()?;
    let date = days(year, month, day.parse().ok()?)?;
    let rest = words[next + 1..].join(" ");
    if rest.is_empty() { Some(date * DAY_MS) } else { time(Parts(&rest), date) }
}

/// Reads a time of day and a zone to the end of the text.
fn time(mut parts: Parts<'_>, date: i64) -> Option<i64> {
    let hour = parts.digits(1, 2)?;
    let _colon = parts.one_of(":")?;
    let minute = parts.digits(2, 2)?;
    let (mut second, mut ms) = (0, 0);
    if parts.one_of(":").is_some() {
        second = parts.digits(2, 2)?;
        if parts.one_of(".,").is_some() {
            let digits = parts.0.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, rest) = parts.0.split_at(digits);
            ms = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
            parts.0 = rest;
        }
    }
    let is_in_range =
        hour <= 23 && minute <= 59 && second <= 59 || (hour, minute, second, ms) == (24, 0, 0, 0);
    let offset = zone(parts.0.trim())?;
    is_in_range.then_some(date * DAY_MS + ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms)
}

/// Returns the minutes that a zone is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    if ["", "Z", "z", "GMT", "UTC", "UT"].contains(&text) {
        return Some(0);
    }
    let mut parts = Parts(text.strip_prefix("GMT").or_else(|| text.strip_prefix("UTC")).unwrap_or(text));
    let sign = if parts.one_of("+-")? == '-' { -1 } else { 1 };
    let hours = parts.digits(2, 2)?;
    let _colon = parts.one_of(":");
    let minutes = parts.digits(2, 2)?;
    (parts.0.is_empty() && hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Reads `now` or `DATE||`, then steps such as `+1d`, `-2M`, `/y`.
fn math(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    let (mut ms, rest) = match text.split_once("||") {
        Some((date, rest)) => (read_text(date)?, rest),
        None if text.get(..3)?.eq_ignore_ascii_case("now") => (now_ms, &text[3..]),
        None => return None,
    };
    let mut parts = Parts(rest);
    parts.space();
    while let Some(step) = parts.one_of("+-/") {
        let count = parts.digits(1, 9).unwrap_or(1) * if step == '-' { -1 } else { 1 };
        let unit = parts.one_of("yMwdhHms").or_else(|| parts.one_of("YWDS"))?;
        ms = if step == '/' { round_down(ms, unit)? } else { add(ms, count, unit)? };
        parts.space();
    }
    parts.0.is_empty().then_some(ms)
}

const fn unit_ms(unit: char) -> i64 {
    match unit {
        'w' | 'W' => 7 * DAY_MS,
        'd' | 'D' => DAY_MS,
        'h' | 'H' => 3_600_000,
        'm' => 60_000,
        _ => 1000,
    }
}

fn add(ms: i64, count: i64, unit: char) -> Option<i64> {
    let months = match unit {
        'y' | 'Y' => 12 * count,
        'M' => count,
        _ => return ms.checked_add(count.checked_mul(unit_ms(unit))?),
    };
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let total = year * 12 + (month - 1) + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    let date = days(year, month, day.min(month_len(year, month)))?;
    Some(date * DAY_MS + ms.rem_euclid(DAY_MS))
}

fn round_down(ms: i64, unit: char) -> Option<i64> {
    let date = ms.div_euclid(DAY_MS);
    let (year, month, _) = civil(date);
    Some(match unit {
        'y' | 'Y' => days(year, 1, 1)? * DAY_MS,
        'M' => days(year, month, 1)? * DAY_MS,
        // 1970-01-01 was a Thursday; weeks begin on Mondays.
        'w' | 'W' => (date - (date + 3).rem_euclid(7)) * DAY_MS,
        _ => ms - ms.rem_euclid(unit_ms(unit)),
    })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn month_len(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days since 1970-01-01, if there is such a day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=month_len(year, month)).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let year_of_era = shifted.rem_euclid(400);
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Returns year, month and day of the days since 1970-01-01.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests;
