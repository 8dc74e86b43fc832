//! The settings of the readers of an index, and what has to hold between them.

use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_model::{
    job::{CheckedJob, Lifecycle},
    problem::Problem,
};

use super::geo::Geo;
use crate::{date_math, elastic::check_index, id_reader::alphabet::KeyType};

/// The settings of `elasticsearch_reader` and `id_reader`.
#[derive(Clone, Debug, Deserialize)]
pub struct IndexReaderConfig {
    pub(crate) index: String,
    pub(crate) date_field_name: Option<String>,
    #[serde(alias = "field")]
    pub(crate) id_field_name: Option<String>,
    /// Wanted records per slice.
    #[serde(default = "default_size")]
    pub(crate) size: u64,
    pub(crate) start: Option<Value>,
    /// Exclusive.
    pub(crate) end: Option<Value>,
    #[serde(default = "default_interval")]
    pub(crate) interval: String,
    #[serde(default = "default_delay")]
    pub(crate) delay: String,
    #[serde(default)]
    pub(crate) time_resolution: Resolution,
    /// In Lucene's words, for the server.
    pub(crate) query: Option<String>,
    pub(crate) fields: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) subslice_by_key: bool,
    #[serde(default = "default_threshold")]
    pub(crate) subslice_key_threshold: u64,
    #[serde(default)]
    pub(crate) key_type: KeyType,
    pub(crate) key_range: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) starting_key_depth: Option<u32>,
    /// Whether slices that are too large are cut by their counts instead of in halves.
    #[serde(default)]
    pub(crate) recurse_optimization: bool,
    #[serde(flatten)]
    pub(crate) geo: Geo,
}

/// How finely time is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Resolution {
    /// In whole seconds.
    #[default]
    #[serde(rename = "s", alias = "second", alias = "seconds")]
    Second,
    /// In milliseconds.
    #[serde(rename = "ms", alias = "millisecond", alias = "milliseconds")]
    Millisecond,
}

impl Resolution {
    /// Returns its milliseconds.
    pub(crate) const fn millis(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::Millisecond => 1,
        }
    }
}

const fn default_size() -> u64 {
    5_000
}

fn default_interval() -> String {
    "auto".to_owned()
}

fn default_delay() -> String {
    "30s".to_owned()
}

const fn default_threshold() -> u64 {
    50_000
}

impl IndexReaderConfig {
    /// Returns the interval in milliseconds; none for `auto`.
    pub(crate) fn interval_ms(&self) -> Result<Option<i64>, Problem> {
        if self.interval == "auto" {
            return Ok(None);
        }
        let unit = self.time_resolution.millis();
        let wrong = || {
            Problem::new("/interval", format!("interval is {:?}, which is no time span", self.interval))
                .with_hint("use auto, or a whole number and a unit, as in 5m or 1d")
        };
        date_math::interval(&self.interval)
            .map(|millis| Some((millis / unit).max(1) * unit))
            .ok_or_else(wrong)
    }

    /// Returns how long after its end a window is read, in milliseconds.
    pub(crate) fn delay_ms(&self) -> Result<i64, Problem> {
        let wrong = || {
            Problem::new("/delay", format!("delay is {:?}, which is no time span", self.delay))
                .with_hint("use a whole number and a unit, as in 30s or 5m")
        };
        // No delay at all is one that can be meant.
        let is_zero =
            self.delay.starts_with('0') && self.delay.bytes().filter(u8::is_ascii_digit).all(|b| b == b'0');
        if is_zero { Ok(0) } else { date_math::interval(&self.delay).ok_or_else(wrong) }
    }

    /// Returns start and end in milliseconds, as far as they are set.
    pub(crate) fn dates(&self, now: i64) -> Result<(Option<i64>, Option<i64>), Problem> {
        let start = date_math::date(self.start.as_ref(), "/start", now)?;
        let end = date_math::date(self.end.as_ref(), "/end", now)?;
        match (start, end) {
            (Some(from), Some(to)) if from >= to => {
                let said = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
                let message =
                    format!("start is {}, which is not before end {}", said(&self.start), said(&self.end));
                Err(Problem::new("/start", message).with_hint("end is exclusive: set it behind start"))
            }
            dates => Ok(dates),
        }
    }

    /// Checks what both readers need.
    pub(crate) fn check_common(&self, job: &CheckedJob) -> Vec<Problem> {
        let mut problems: Vec<_> = check_index(&self.index, false).into_iter().collect();
        if self.size == 0 {
            problems.push(Problem::new("/size", "size is 0, at least 1 record is needed"));
        }
        if self.subslice_key_threshold == 0 {
            let message = "subslice_key_threshold is 0, at least 1 record is needed";
            problems.push(Problem::new("/subslice_key_threshold", message));
        }
        if self.starting_key_depth.is_some_and(|depth| depth > 8) {
            let message = format!(
                "starting_key_depth is {}, which makes too many prefixes",
                self.starting_key_depth.unwrap_or_default()
            );
            problems.push(Problem::new("/starting_key_depth", message).with_hint("use at most 8"));
        }
        problems.extend(self.check_keys(job));
        problems.extend(self.geo.check());
        problems
    }

    fn check_keys(&self, job: &CheckedJob) -> Vec<Problem> {
        let alphabet = self.key_type.alphabet();
        let mut problems = Vec::new();
        let range = self.key_range.as_deref().unwrap_or_default();
        for (at, key) in range.iter().enumerate() {
            let is_one = key.chars().count() == 1 && alphabet.contains(key.as_str());
            if !is_one || range[..at].contains(key) {
                let what =
                    if is_one { "which is there already" } else { "which is no character of key_type" };
                let message = format!("key_range has {key:?}, {what}");
                problems.push(
                    Problem::new(format!("/key_range/{at}"), message)
                        .with_hint(format!("use some of {alphabet}")),
                );
            }
        }
        let uses_keys = self.id_field_name.is_some();
        let most = if range.is_empty() { alphabet.len() } else { range.len() };
        if uses_keys && job.slicers as usize > most {
            let message = format!("key_range has {most} keys, too few for {} slicers", job.slicers);
            problems
                .push(Problem::new("/key_range", message).with_hint("every slicer needs a key of its own"));
        }
        problems
    }

    /// Checks what reading by dates needs.
    pub(crate) fn check_dates(&self, job: &CheckedJob) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.date_field_name.as_deref().is_none_or(str::is_empty) {
            problems.push(
                Problem::new("/date_field_name", "date_field_name is missing")
                    .with_hint("name the field with the date by which the index is read"),
            );
        }
        let needs_id = self.subslice_by_key && self.id_field_name.as_deref().is_none_or(str::is_empty);
        if needs_id {
            let message = "id_field_name is missing, which subslice_by_key needs";
            problems
                .push(Problem::new("/id_field_name", message).with_hint("name a keyword field with the id"));
        }
        // Any moment will do: whether a text is a date does not depend on it.
        problems.extend(self.dates(0).err());
        problems.extend(self.delay_ms().err());
        match self.interval_ms() {
            Err(problem) => problems.push(problem),
            Ok(None) if job.lifecycle == Lifecycle::Persistent => {
                let message = "interval is \"auto\", a persistent job needs a fixed one";
                problems.push(
                    Problem::new("/interval", message).with_hint("set the length of a window, as in 5m"),
                );
            }
            Ok(_) => {}
        }
        problems
    }
}

/// Returns the settings of both readers.
pub(crate) fn schema() -> Value {
    json!({"properties": {
        "index": {"type": "string", "description": "an index, or several by a pattern"},
        "date_field_name": {"type": "string", "description": "the field with the date by which the index is read"},
        "id_field_name": {"type": "string", "description": "a keyword field with the record's id"},
        "size": {"type": "integer", "default": 5_000, "minimum": 1, "description": "wanted records per slice"},
        "start": {"description": "from this date on: ISO, milliseconds or date math; not set: all"},
        "end": {"description": "before this date; not set: all"},
        "interval": {"type": "string", "default": "auto", "description": "auto, or <number><unit>; a month is 30 days"},
        "delay": {"type": "string", "default": "30s", "description": "persistent jobs read a window so long after its end"},
        "time_resolution": {"enum": ["s", "ms"], "default": "s"},
        "query": {"type": "string", "default": "", "description": "a Lucene query"},
        "fields": {"type": "array", "description": "fields to read; not set: all"},
        "subslice_by_key": {"type": "boolean", "default": false},
        "subslice_key_threshold": {"type": "integer", "default": 50_000},
        "key_type": {"enum": ["base64url", "base64", "hexadecimal", "HEXADECIMAL"], "default": "base64url"},
        "key_range": {"type": "array", "description": "first characters of the ids to read"},
        "starting_key_depth": {"type": "integer", "default": 0},
        "recurse_optimization": {"type": "boolean", "default": false},
        "geo_field": {"type": "string"},
        "geo_box_top_left": {"type": "string", "description": "lat,lon"},
        "geo_box_bottom_right": {"type": "string", "description": "lat,lon"},
        "geo_point": {"type": "string", "description": "lat,lon"},
        "geo_distance": {"type": "string", "description": "<number><unit>"},
        "geo_sort_point": {"type": "string", "description": "lat,lon"},
        "geo_sort_order": {"enum": ["asc", "desc"]},
        "geo_sort_unit": {"enum": ["mi", "yd", "ft", "km", "m"]},
        "useSimpleFetch": {"type": "boolean", "description": "accepted; without effect"},
        "total_optimization": {"type": "boolean", "description": "accepted; without effect"},
        "type": {"type": "string", "description": "accepted for old jobs; without effect"},
        "preserve_id": {"type": "boolean", "description": "accepted for old jobs; ids are always kept"},
    }, "required": ["index"]})
}
