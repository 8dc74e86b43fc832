//! What a filter asks of one value, and how values of different kinds answer.

use std::{cmp::Ordering, ops::RangeInclusive};

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde_json::Value;

use super::any_inside;
use crate::timestamp::Timestamp;

/// Longer values are not looked at for wildcards: the original does not keep them either.
const VALUE_LEN_MAX: usize = 32_766;

/// What a date that leaves out its end is completed from.
const WHOLE_TIME: &str = "0000-01-01T00:00:00.000";

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// That there is one.
    Exists,
    /// That it is this one; of text, that it has any of the words.
    Is(Literal),
    /// That it is this one; of text, that it has the words in a row.
    Phrase(Literal),
    /// That it looks like this.
    Like(Pattern),
    /// That it lies between these.
    Between { low: Option<Bound>, high: Option<Bound> },
}

/// An end of a range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) literal: Literal,
    pub(super) is_inclusive: bool,
}

/// A value as written in a filter, and all that it can mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    text: String,
    words: Vec<String>,
    number: Option<Number>,
    /// The first and the last millisecond of a date, which is a year, a day, a second, as precise as it was written.
    time: Option<(i64, i64)>,
}

/// Text with wildcards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    /// The same for words, which have no capitals.
    lower: Vec<Piece>,
}

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Character(char),
    /// `?`
    One,
    /// `*`
    Many,
}

/// A number; whole ones are compared exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Number {
    whole: Option<i128>,
    about: f64,
}

impl Condition {
    /// Tells whether a value is what is asked for.
    pub(super) fn holds(&self, value: &Value, is_text: bool) -> bool {
        match (self, value) {
            (_, Value::Null) => false,
            (Self::Exists, value) => any_inside(value, &mut |value| !value.is_null()),
            (_, Value::Array(_) | Value::Object(_)) => false,
            (_, Value::String(text)) if is_text => self.holds_for_words(&words(text)),
            (Self::Is(literal) | Self::Phrase(literal), value) => literal.is(value),
            (Self::Like(pattern), Value::String(text)) => matches(&pattern.pieces, text),
            (Self::Like(pattern), value) => matches(&pattern.pieces, &value.to_string()),
            (Self::Between { low, high }, value) => {
                low.as_ref().is_none_or(|bound| bound.admits(value, RangeEnd::Low))
                    && high.as_ref().is_none_or(|bound| bound.admits(value, RangeEnd::High))
            }
        }
    }

    fn holds_for_words(&self, found: &[String]) -> bool {
        match self {
            Self::Exists => true,
            Self::Is(literal) => literal.words.iter().any(|word| found.contains(word)),
            Self::Phrase(literal) => {
                let len = literal.words.len();
                len > 0 && found.windows(len).any(|window| window == literal.words)
            }
            Self::Like(pattern) => found.iter().any(|word| matches(&pattern.lower, word)),
            Self::Between { .. } => found.iter().any(|word| self.holds(&Value::from(word.as_str()), false)),
        }
    }
}

/// Which end of a range a bound is.
#[derive(Clone, Copy)]
enum RangeEnd {
    Low,
    High,
}

impl Bound {
    fn admits(&self, value: &Value, end: RangeEnd) -> bool {
        let Some(ordering) = self.compare(value, end) else { return false };
        match end {
            _ if ordering.is_eq() => self.is_inclusive,
            RangeEnd::Low => ordering.is_gt(),
            RangeEnd::High => ordering.is_lt(),
        }
    }

    /// Compares a value with the bound; absent: they cannot be compared.
    fn compare(&self, value: &Value, end: RangeEnd) -> Option<Ordering> {
        match value {
            Value::Number(number) => Number::of(number).compare(self.literal.number?),
            Value::String(text) => {
                let Some((first, last)) = self.literal.time else {
                    return Some(text.as_str().cmp(&self.literal.text));
                };
                let Some(time) = time(text) else { return Some(text.as_str().cmp(&self.literal.text)) };
                // All of a day lies in a range that includes it, and none in one that does not.
                let bound = match (end, self.is_inclusive) {
                    (RangeEnd::Low, true) | (RangeEnd::High, false) => first,
                    (RangeEnd::Low, false) | (RangeEnd::High, true) => last,
                };
                Some(time.cmp(&bound))
            }
            Value::Bool(flag) => Some(flag.to_string().as_str().cmp(&self.literal.text)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Literal {
    pub(super) fn new(text: String) -> Self {
        Self { words: words(&text), number: Number::parse(&text), time: span(&text), text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn is(&self, value: &Value) -> bool {
        match value {
            Value::Bool(flag) => self.text == if *flag { "true" } else { "false" },
            Value::Number(number) => {
                self.number.and_then(|wanted| Number::of(number).compare(wanted)) == Some(Ordering::Equal)
            }
            Value::String(text) => *text == self.text || self.is_time(text),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }

    fn is_time(&self, text: &str) -> bool {
        let Some((first, last)) = self.time else { return false };
        time(text).is_some_and(|time| RangeInclusive::new(first, last).contains(&time))
    }
}

impl Pattern {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let lower = pieces.iter().flat_map(|piece| match piece {
            Piece::Character(character) => character.to_lowercase().map(Piece::Character).collect(),
            piece => vec![*piece],
        });
        Self { lower: lower.collect(), pieces }
    }
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        // Words such as `infinity` are none.
        let is_numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        if !text.bytes().all(is_numeric) {
            return None;
        }
        let about = text.parse::<f64>().ok().filter(|about| about.is_finite())?;
        Some(Self { whole: text.parse().ok(), about })
    }

    fn of(number: &serde_json::Number) -> Self {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        Self { whole, about: number.as_f64().unwrap_or(f64::NAN) }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self.whole, other.whole) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => self.about.partial_cmp(&other.about),
        }
    }
}

/// Returns the words of a text in lower case: runs of letters, digits and `_`, with single dots and apostrophes inside.
fn words(text: &str) -> Vec<String> {
    let is_inner = |character: char| character.is_alphanumeric() || character == '_';
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_joint = matches!(character, '.' | '\'' | '\u{2019}')
            && word.chars().next_back().is_some_and(is_inner)
            && characters.peek().is_some_and(|next| is_inner(*next));
        if is_inner(character) || is_joint {
            word.extend(character.to_lowercase());
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Returns the time that a stored value is, if it is one.
fn time(text: &str) -> Option<i64> {
    // The shortest is `2024-01-01T00:00Z`.
    let is_possible = text.len() >= 17 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T';
    if !is_possible {
        return None;
    }
    text.parse().ok().map(Timestamp::as_millis)
}

/// Returns the first and the last millisecond of a date or time, which may leave out its end: `2024`, `2024-03`,
/// `2024-03-01T12`; without a zone it is in UTC.
fn span(text: &str) -> Option<(i64, i64)> {
    if text.len() < 4 || !text.is_ascii() || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (bare, zone) =
        match text.find('T').and_then(|at| text[at..].find(['Z', '+', '-']).map(|zone| at + zone)) {
            Some(at) => text.split_at(at),
            None => (text, "Z"),
        };
    if bare.len() > WHOLE_TIME.len() {
        return None;
    }
    let first = format!("{bare}{}{zone}", &WHOLE_TIME[bare.len()..]).parse::<Timestamp>().ok()?.as_millis();
    let last = match bare.len() {
        4 | 7 => month_or_year_end(bare)?,
        10 => first + 24 * 3_600_000 - 1,
        13 => first + 3_600_000 - 1,
        16 => first + 60_000 - 1,
        19 => first + 999,
        21..=23 => first,
        _ => return None,
    };
    Some((first, last))
}

fn month_or_year_end(bare: &str) -> Option<i64> {
    let year = bare[..4].parse().ok()?;
    let month = bare.get(5..7).map_or(Ok(12), str::parse).ok()?;
    let last = Date::new(year, month, 1).ok()?.last_of_month();
    let end: DateTime = last.at(23, 59, 59, 999_000_000);
    Some(end.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Matches all of a text, going back to the last `*` only: the time is bounded by the product of both lengths.
fn matches(pieces: &[Piece], text: &str) -> bool {
    if text.len() > VALUE_LEN_MAX {
        return false;
    }
    let (mut at, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let mut next = rest.clone();
        match (pieces.get(at), next.next()) {
            (Some(Piece::Many), _) => {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(Piece::One), Some(_)) => {
                (at, rest) = (at + 1, next);
                continue;
            }
            (Some(Piece::Character(wanted)), Some(found)) if *wanted == found => {
                (at, rest) = (at + 1, next);
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (at, rest) = (*after, from.clone());
    }
}
