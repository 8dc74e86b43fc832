//! Bulk requests: many documents in one body of JSON lines.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Client, Error, Request, error::Cause};

/// What is asked back: no more than what failed and why.
const PATH: &str = "/_bulk?filter_path=took,errors,items.*.status,items.*.error";

/// The body of a bulk request.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    body: Vec<u8>,
    len: usize,
}

/// The action line of one item.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BulkItem<'a> {
    /// The index.
    #[serde(rename = "_index")]
    pub index: &'a str,
    /// The document's id; absent: the server makes one.
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// How often an update is tried again when the document changed in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on_conflict: Option<u32>,
    /// Only if the document's sequence number is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_seq_no: Option<u64>,
    /// Only if the document's primary term is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_primary_term: Option<u64>,
    /// The document's version from now on, where the caller counts versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How `version` is compared with what is there, such as `external_gte`: only what is not lower is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_type: Option<&'a str>,
}

/// What came of a bulk request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// How long the server took.
    pub took: Duration,
    /// How often the request was sent; more than once: servers were too busy, or away.
    pub tries: u32,
    /// The items that failed, in order.
    pub failed: Vec<BulkFailure>,
}

/// An item that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkFailure {
    /// Its place among the items, from 0.
    pub at: usize,
    /// The HTTP status it would have had on its own.
    pub status: u16,
    /// The server's word for it.
    pub kind: String,
    /// The server's explanation.
    pub reason: String,
}

impl BulkFailure {
    /// Tells whether the same item may succeed later: the server had no room, or a shard is away.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }
}

impl Bulk {
    /// Makes an empty body with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { body: Vec::with_capacity(bytes), len: 0 }
    }

    /// Adds an item: `verb` is `index`, `create`, `update` or `delete`; the document is one JSON value without line breaks.
    ///
    /// # Panics
    ///
    /// Never: an action line can be written as JSON.
    pub fn push(&mut self, verb: &str, item: &BulkItem<'_>, document: Option<&[u8]>) {
        self.body.extend_from_slice(b"{\"");
        self.body.extend_from_slice(verb.as_bytes());
        self.body.extend_from_slice(b"\":");
        serde_json::to_writer(&mut self.body, item).expect("an action line can be written as JSON");
        self.body.extend_from_slice(b"}\n");
        if let Some(document) = document {
            self.body.extend_from_slice(document);
            self.body.push(b'\n');
        }
        self.len += 1;
    }

    /// Returns how many items there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes of the body so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Ends the body.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body.into()
    }
}

impl Client {
    /// Sends the body of a bulk request; nothing is sent again on account of single items. `parameters` such as
    /// `refresh=true` are added to the address.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn bulk(
        &self,
        body: Bytes,
        parameters: &str,
        patience: Duration,
    ) -> Result<BulkOutcome, Error> {
        let path = if parameters.is_empty() { PATH.to_owned() } else { format!("{PATH}&{parameters}") };
        let response = self.send(&Request::post(path).lines(body).patience(patience)).await?;
        let answer: Answer = response.json()?;
        let mut outcome = BulkOutcome {
            took: Duration::from_millis(answer.took),
            tries: response.tries(),
            failed: Vec::new(),
        };
        if answer.errors {
            let items = answer.items.into_iter().enumerate();
            outcome.failed = items.filter_map(|(at, item)| item.failure(at)).collect();
        }
        Ok(outcome)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    took: u64,
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

/// One of them is there.
#[derive(Deserialize)]
struct Item {
    index: Option<Done>,
    create: Option<Done>,
    update: Option<Done>,
    delete: Option<Done>,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    error: Option<Cause>,
}

impl Item {
    fn failure(self, at: usize) -> Option<BulkFailure> {
        let Done { status, error } = self.index.or(self.create).or(self.update).or(self.delete)?;
        if status < 400 {
            return None;
        }
        let (kind, reason) = error.unwrap_or_default().tell();
        Some(BulkFailure { at, status, kind, reason })
    }
}
