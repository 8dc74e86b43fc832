//! Reads the documents of an answer, without reading what is in them.

use std::io::Write;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use teraslice_core::operation::OperationError;
use teraslice_model::batch::{Batch, Frame, FrameError};

/// An answer to a search.
#[derive(Debug, Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    hits: Hits<'a>,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_scroll_id")]
    scroll_id: Option<String>,
    pit_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

/// A document. Its parts are the text of the answer.
#[derive(Debug, Deserialize)]
struct Hit<'a> {
    #[serde(rename = "_id", borrow)]
    id: &'a RawValue,
    #[serde(rename = "_index", borrow)]
    index: &'a RawValue,
    #[serde(rename = "_version", borrow)]
    version: Option<&'a RawValue>,
    #[serde(rename = "_seq_no", borrow)]
    seq_no: Option<&'a RawValue>,
    #[serde(rename = "_primary_term", borrow)]
    primary_term: Option<&'a RawValue>,
    #[serde(rename = "_source", borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sort: Option<&'a RawValue>,
}

/// The documents of an answer, and how to go on.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) batches: Vec<Batch>,
    /// How many documents there are.
    pub(super) len: usize,
    /// Bytes of the answer.
    pub(super) bytes: usize,
    /// Where the last document stands, as JSON.
    pub(super) last: Option<String>,
    pub(super) scroll_id: Option<String>,
    pub(super) pit_id: Option<String>,
}

impl Page {
    /// Reads an answer; `now` goes into the records' metadata.
    pub(super) fn read(body: &Bytes, now: i64) -> Result<Self, OperationError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| OperationError::retry(format!("the answer is no text: {error}")))?;
        let answer: Answer<'_> = serde_json::from_str(text)
            .map_err(|error| OperationError::retry(format!("the answer is not understood: {error}")))?;
        if answer.timed_out {
            return Err(OperationError::retry("the server has run out of time and answers in part only"));
        }
        let hits = answer.hits.hits;
        let last = hits.last().and_then(|hit| hit.sort).map(|sort| sort.get().to_owned());
        let len = hits.len();
        let batches = batches(&hits, now)?;
        let Answer { scroll_id, pit_id, .. } = answer;
        Ok(Self { batches, len, bytes: body.len(), last, scroll_id, pit_id })
    }
}

/// Records in the making, and their metadata.
#[derive(Debug)]
struct Building {
    records: Part,
    metadata: Part,
}

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

impl Part {
    fn with_room(items: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(items + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), offsets }
    }

    fn end(&mut self) -> Result<(), FrameError> {
        let bytes = self.bytes.len();
        self.offsets.push(u32::try_from(bytes).map_err(|_| FrameError::Large { bytes })?);
        Ok(())
    }

    fn frame(self) -> Result<Frame, FrameError> {
        Frame::new(self.offsets, self.bytes.into())
    }
}

impl Building {
    fn new(items: usize) -> Self {
        let records = Part::with_room(items, Batch::BYTES_TARGET + (64 << 10));
        Self { records, metadata: Part::with_room(items, items * 192) }
    }

    fn is_full(&self) -> bool {
        self.records.offsets.len() > Batch::RECORDS_MAX || self.records.bytes.len() >= Batch::BYTES_TARGET
    }

    fn is_empty(&self) -> bool {
        self.records.offsets.len() == 1
    }

    fn push(&mut self, hit: &Hit<'_>, times: &[u8]) -> Result<(), OperationError> {
        let source = hit.source.ok_or_else(|| {
            OperationError::slice(format!("document {} has no _source: its index does not keep it", hit.id))
        })?;
        self.records.bytes.extend_from_slice(source.get().as_bytes());
        let out = &mut self.metadata.bytes;
        out.extend_from_slice(b"{\"_key\":");
        out.extend_from_slice(hit.id.get().as_bytes());
        out.extend_from_slice(times);
        let parts = [
            (&b",\"_index\":"[..], Some(hit.index)),
            (b",\"_version\":", hit.version),
            (b",\"_seq_no\":", hit.seq_no),
            (b",\"_primary_term\":", hit.primary_term),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                out.extend_from_slice(name);
                out.extend_from_slice(value.get().as_bytes());
            }
        }
        out.push(b'}');
        self.records.end().and_then(|()| self.metadata.end()).map_err(large)
    }

    fn batch(self) -> Result<Batch, FrameError> {
        Batch::with_metadata(self.records.frame()?, self.metadata.frame()?)
    }
}

fn batches(hits: &[Hit<'_>], now: i64) -> Result<Vec<Batch>, OperationError> {
    let mut times = Vec::new();
    write!(times, ",\"_processTime\":{now},\"_ingestTime\":{now},\"_eventTime\":{now}")
        .expect("writing to memory cannot fail");
    let mut batches = Vec::new();
    let mut left = hits.len();
    let mut building = Building::new(left.min(Batch::RECORDS_MAX));
    for hit in hits {
        building.push(hit, &times)?;
        left -= 1;
        if building.is_full() {
            let next = Building::new(left.min(Batch::RECORDS_MAX));
            batches.push(std::mem::replace(&mut building, next).batch().map_err(large)?);
        }
    }
    if !building.is_empty() {
        batches.push(building.batch().map_err(large)?);
    }
    Ok(batches)
}

fn large(error: FrameError) -> OperationError {
    OperationError::slice(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_documents_as_they_are() {
        let body = br#"{"took":1,"timed_out":false,"pit_id":"P","_shards":{"failed":0},"hits":{"max_score":null,"hits":[
            {"_index":"i","_id":"a\"b","_version":3,"_seq_no":7,"_primary_term":1,"_score":null,
             "_source":{ "x" : 1.50,
               "s":"\u00e9" },"sort":[4]},
            {"_index":"i","_type":"_doc","_id":"c","_source":{},"sort":[5,"x"]}]}}"#;
        let page = Page::read(&Bytes::from_static(body), 12).unwrap();
        assert_eq!((page.len, page.batches.len()), (2, 1));
        assert_eq!((page.last.as_deref(), page.pit_id.as_deref()), (Some("[5,\"x\"]"), Some("P")));
        let batch = &page.batches[0];
        assert_eq!(batch.record(0), b"{ \"x\" : 1.50,\n               \"s\":\"\\u00e9\" }");
        assert_eq!(
            std::str::from_utf8(batch.metadata_of(0).unwrap()).unwrap(),
            "{\"_key\":\"a\\\"b\",\"_processTime\":12,\"_ingestTime\":12,\"_eventTime\":12,\"_index\":\"i\",\"_version\":3,\
             \"_seq_no\":7,\"_primary_term\":1}"
        );
        assert_eq!(batch.record(1), b"{}");
    }

    #[test]
    fn cuts_batches_by_records_and_bytes() {
        let hits = |count: usize, pad: usize| {
            let hit =
                format!("{{\"_index\":\"i\",\"_id\":\"x\",\"_source\":{{\"p\":\"{}\"}}}}", "y".repeat(pad));
            let body = format!("{{\"hits\":{{\"hits\":[{}]}}}}", vec![hit; count].join(","));
            Page::read(&body.into(), 0).unwrap().batches.iter().map(Batch::len).collect::<Vec<_>>()
        };
        assert_eq!(hits(2_500, 1), [1_000, 1_000, 500]);
        assert_eq!(hits(3, Batch::BYTES_TARGET), [1, 1, 1]);
        assert_eq!(hits(0, 0), Vec::<usize>::new());
    }

    #[test]
    fn does_not_take_part_of_an_answer_for_all() {
        let refused = |body: &'static str| Page::read(&Bytes::from_static(body.as_bytes()), 0).unwrap_err();
        let late = refused("{\"timed_out\":true,\"hits\":{\"hits\":[]}}");
        assert!(matches!(late, OperationError::Retry { .. }), "{late}");
        assert!(refused("<html>").to_string().starts_with("the answer is not understood"));
        let bare = refused("{\"hits\":{\"hits\":[{\"_index\":\"i\",\"_id\":\"x\"}]}}");
        assert!(bare.to_string().contains("has no _source"), "{bare}");
    }
}
