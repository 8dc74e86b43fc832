//! Slices: the units of work that slicers make and workers run.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    id::{ExId, SliceId, WorkerId},
    timestamp::Timestamp,
};

/// One unit of work, handed to one worker at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Names the slice; see [`SliceId::derive`].
    #[serde(rename = "slice_id")]
    pub id: SliceId,
    /// The slicer that made it, from 0.
    pub slicer_id: u32,
    /// Its place among the slices of that slicer, from 1.
    pub slicer_order: u64,
    /// What to read, in the reader's own terms.
    pub request: Request,
    /// When it was made.
    #[serde(rename = "_created")]
    pub created: Timestamp,
}

impl Slice {
    /// Makes the slice that slicer `slicer_id` makes as its `order`-th.
    #[must_use]
    pub fn new(ex_id: ExId, slicer_id: u32, order: u64, request: Request, created: Timestamp) -> Self {
        let id = SliceId::derive(ex_id, slicer_id, order);
        Self { id, slicer_id, slicer_order: order, request, created }
    }

    /// Tells whether a slicer of that execution made it; a recovered slice keeps the id of its first execution.
    #[must_use]
    pub fn is_of(&self, ex_id: ExId) -> bool {
        self.id == SliceId::derive(ex_id, self.slicer_id, self.slicer_order)
    }
}

/// A slice's request: JSON text that only the reader looks into. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Request(Arc<str>);

impl Request {
    /// Writes a request as JSON.
    ///
    /// # Errors
    ///
    /// When the value cannot be JSON, such as a map with keys that are no text.
    pub fn new(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|json| Self(json.into()))
    }

    /// Reads the request as `T`.
    ///
    /// # Errors
    ///
    /// When the JSON does not have the shape of `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Wraps text that is known to be JSON, as a store keeps it.
    pub fn from_json(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Returns the worker that alone may run the slice (`request_worker`), if the request names one.
    #[must_use]
    pub fn worker(&self) -> Option<WorkerId> {
        #[derive(Deserialize)]
        struct Wanted {
            request_worker: Option<WorkerId>,
        }
        if !self.0.contains("\"request_worker\"") {
            return None;
        }
        self.parse::<Wanted>().ok().and_then(|wanted| wanted.request_worker)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().into()))
    }
}

/// Where a slice stands in the ledger, in the words of the original's state records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SliceState {
    /// Made, not finished.
    Pending,
    /// Finished well; its output is committed.
    Completed,
    /// Given up; `error` says why.
    Error,
}

impl SliceState {
    /// Returns the word used in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_slice_in_the_shape_that_clients_know() {
        let request = Request::new(&serde_json::json!({"count": 5})).unwrap();
        let ex_id = ExId::from_random([7; 16]);
        let slice = Slice::new(ex_id, 0, 1, request, Timestamp::from_millis(0));
        let json = serde_json::to_value(&slice).unwrap();
        assert_eq!(json["request"]["count"], 5);
        assert_eq!(json["_created"], "1970-01-01T00:00:00.000Z");
        assert_eq!(serde_json::from_value::<Slice>(json).unwrap(), slice);
    }

    #[test]
    fn finds_the_worker_that_a_request_asks_for() {
        assert_eq!(Request::from_json("{\"a\":1}").worker(), None);
        let named = Request::from_json("{\"request_worker\":\"w-1\"}");
        assert_eq!(named.worker(), Some(WorkerId::new("w-1")));
    }
}
