//! The records of `data_generator`.

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;
use teraslice_model::{problem::Problem, timestamp::Timestamp};

use crate::json::write_string;

/// How the date is written and drawn (`format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DateFormat {
    /// Now.
    DateNow,
    /// Between start and end, with an offset.
    IsoBetween,
    /// Now, with a Z.
    UtcDate,
    /// Between start and end, with a Z.
    UtcBetween,
}

/// What the `id` is made of (`set_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum IdKind {
    /// Nine characters of `A-Z a-z 0-9 - _`.
    #[serde(rename = "base64url")]
    Base64Url,
    /// Eight hexadecimal digits.
    #[serde(rename = "hexadecimal")]
    LowerHex,
    /// The same in upper case.
    #[serde(rename = "HEXADECIMAL")]
    UpperHex,
}

/// Makes records one after the other.
pub(super) struct Generator {
    pub(super) random: fastrand::Rng,
    /// The time of all records: that of the slice, so that a repeat makes the same ones.
    pub(super) now: i64,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) format: Option<DateFormat>,
    pub(super) date_key: String,
    pub(super) id: Option<IdKind>,
    pub(super) id_start: String,
}

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_2) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
];
const HOSTS: [&str; 6] = ["amber", "birch", "cedar", "delta", "ember", "fjord"];
const ENDINGS: [&str; 4] = ["com", "org", "net", "info"];

impl Generator {
    /// Writes the next record in place of what `out` holds, with a closing line feed.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let drawn = self.draw();
        write!(out, "{{{drawn}").expect("writing to memory cannot fail");
        if self.date_key == "created" {
            self.date(out, "created");
        }
        self.rest(out);
        if self.date_key != "created" {
            let key = std::mem::take(&mut self.date_key);
            self.date(out, &key);
            self.date_key = key;
        }
        if let Some(kind) = self.id {
            let id = self.identifier(kind);
            out.extend_from_slice(b",\"id\":");
            write_string(out, &id);
        }
        out.extend_from_slice(b"}\n");
    }

    fn draw(&mut self) -> String {
        let random = &mut self.random;
        let ip = if random.bool() { v4(random) } else { v6(random) };
        let agent = AGENTS[random.usize(..AGENTS.len())];
        let (host, ending) = (HOSTS[random.usize(..HOSTS.len())], ENDINGS[random.usize(..ENDINGS.len())]);
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        format!(
            "\"ip\":\"{ip}\",\"userAgent\":\"{agent}\",\"url\":\"http://{host}{}.{ending}\",\"uuid\":\"{uuid}\"",
            random.u16(1..1_000)
        )
    }

    fn rest(&mut self, out: &mut Vec<u8>) {
        let random = &mut self.random;
        let (lat, lon) = (random.f64() * 180.0 - 90.0, random.f64() * 360.0 - 180.0);
        let (ipv6, bytes) = (v6(random), random.u64(7_850..=5_642_867));
        write!(out, ",\"ipv6\":\"{ipv6}\",\"location\":\"{lat:.5}, {lon:.5}\",\"bytes\":{bytes}")
            .expect("writing to memory cannot fail");
    }

    fn date(&mut self, out: &mut Vec<u8>, key: &str) {
        let is_between = matches!(self.format, Some(DateFormat::IsoBetween | DateFormat::UtcBetween));
        let time = if is_between && self.end > self.start {
            self.random.i64(self.start..self.end)
        } else {
            self.now
        };
        let text = Timestamp::from_millis(time).to_string();
        let is_utc = matches!(self.format, Some(DateFormat::UtcDate | DateFormat::UtcBetween));
        out.push(b',');
        write_string(out, key);
        out.push(b':');
        match text.strip_suffix('Z').filter(|_| !is_utc) {
            Some(bare) => write_string(out, &format!("{bare}+00:00")),
            None => write_string(out, &text),
        }
    }

    fn identifier(&mut self, kind: IdKind) -> String {
        let (alphabet, len): (&[u8], usize) = match kind {
            IdKind::Base64Url => (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 9),
            IdKind::LowerHex => (b"0123456789abcdef", 8),
            IdKind::UpperHex => (b"0123456789ABCDEF", 8),
        };
        let mut id = self.id_start.clone();
        id.extend((0..len).map(|_| char::from(alphabet[self.random.usize(..alphabet.len())])));
        id
    }
}

fn v4(random: &mut fastrand::Rng) -> String {
    std::net::Ipv4Addr::from(random.u32(..)).to_string()
}

fn v6(random: &mut fastrand::Rng) -> String {
    std::net::Ipv6Addr::from(random.u128(..)).to_string()
}

/// Reads a date setting: ISO 8601 text (a day alone counts from midnight UTC) or milliseconds.
pub(super) fn date(value: Option<&Value>, pointer: &str) -> Result<Option<i64>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let parsed = match value {
        Value::Null => return Ok(None),
        Value::Number(millis) => millis.as_i64(),
        Value::String(text) => {
            let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.clone() };
            full.parse::<Timestamp>().ok().map(Timestamp::as_millis)
        }
        _ => None,
    };
    let name = pointer.trim_start_matches('/');
    let wrong = || {
        Problem::new(pointer, format!("{name} is {value}, which is no date"))
            .with_hint("use ISO 8601, as in 2024-01-31T12:00:00Z, or milliseconds since 1970")
    };
    parsed.map(Some).ok_or_else(wrong)
}
