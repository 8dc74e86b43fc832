//! Documents in indices: read by id, written on conditions, found by queries.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use teraslice_core::store::{Page, StoreError};
use teraslice_elastic::{Bulk, BulkOutcome, Client, Error, Request, index_path};
use tokio::sync::Mutex;

use super::{
    error::{explain, is_missing_index, unreadable},
    index::{Index, Layout},
};

/// What a search returns at most, skipped documents included.
pub(super) const WINDOW: u64 = 10_000;
/// Documents that are read at once where all of a list are looked at.
pub(super) const SCAN_LEN: u64 = 1_000;
/// How long a bulk request goes on trying.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is asked back of a search.
const SEARCHED: &str = "_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false\
    &filter_path=hits.hits._index,hits.hits._id,hits.hits._source,hits.hits.sort,aggregations";

/// Reaches the indices of one cluster name.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) client: Client,
    pub(super) layout: Layout,
    /// For each kind of index: what was written since the last refresh.
    unseen: [Unseen; Index::COUNT],
}

/// Whether something was written that searches may not see yet.
#[derive(Debug)]
struct Unseen {
    is_some: AtomicBool,
    /// Held while searches are made to see it.
    refresh: Mutex<()>,
}

impl Default for Unseen {
    /// Supposes that there is something: an earlier process may have written it just before its end.
    fn default() -> Self {
        Self { is_some: AtomicBool::new(true), refresh: Mutex::default() }
    }
}

/// A document.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "_index", default)]
    pub(super) index: String,
    #[serde(rename = "_id", default)]
    pub(super) id: String,
    /// Its content, as far as asked for.
    #[serde(rename = "_source", default)]
    source: Option<Box<RawValue>>,
    /// What it was sorted by.
    #[serde(default)]
    pub(super) sort: Vec<Value>,
    #[serde(rename = "_seq_no", default)]
    seq_no: u64,
    #[serde(rename = "_primary_term", default)]
    primary_term: u64,
    /// Absent in search results.
    #[serde(default)]
    found: Option<bool>,
}

impl Document {
    /// Reads the content.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        let text = self.source.as_deref().map_or("{}", RawValue::get);
        serde_json::from_str(text).map_err(|error| unreadable(&self.index, &self.id, error))
    }

    /// Returns what the document's next change can name as its condition.
    pub(super) const fn at(&self) -> (u64, u64) {
        (self.seq_no, self.primary_term)
    }
}

/// Which documents are wanted, in which order: one that never changes and has no equals.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) index: Index,
    pub(super) query: Value,
    pub(super) sort: Value,
    /// `_source`: which fields.
    pub(super) source: Value,
}

/// How far a list was read.
pub(super) struct Scan<'q> {
    query: &'q Query,
    after: Option<Vec<Value>>,
    is_done: bool,
}

impl<'q> Scan<'q> {
    pub(super) const fn new(query: &'q Query) -> Self {
        Self { query, after: None, is_done: false }
    }
}

impl Documents {
    pub(super) fn new(client: Client, layout: Layout) -> Self {
        Self { client, layout, unseen: std::array::from_fn(|_| Unseen::default()) }
    }

    /// Returns a document as it is, seen by searches or not. `fields` are those of its content that are wanted; empty: all.
    pub(super) async fn get(
        &self,
        index: Index,
        id: &str,
        fields: &str,
    ) -> Result<Option<Document>, StoreError> {
        let mut path = format!("{}/_doc{}", index_path(&self.layout.name(index)), index_path(id));
        if !fields.is_empty() {
            path = format!("{path}?_source_includes={fields}");
        }
        let found = self.client.find(&Request::get(path)).await.map_err(|error| explain(&error))?;
        let Some(found) = found else { return Ok(None) };
        Ok(Some(found.json().map_err(|error| explain(&error))?))
    }

    /// Returns those documents that are there, as they are. `fields` are those that are wanted; empty: all.
    pub(super) async fn get_many(
        &self,
        index: Index,
        ids: &[String],
        fields: &[&str],
    ) -> Result<Vec<Document>, StoreError> {
        #[derive(Deserialize)]
        struct Answer {
            docs: Vec<Document>,
        }
        let source = if fields.is_empty() { json!(true) } else { json!(fields) };
        let wanted: Vec<_> = ids.iter().map(|id| json!({"_id": id, "_source": source})).collect();
        let path = format!("{}/_mget", index_path(&self.layout.name(index)));
        match self.client.send(&Request::post(path).json(&json!({"docs": wanted}))).await {
            Ok(answer) => {
                let answer: Answer = answer.json().map_err(|error| explain(&error))?;
                Ok(answer.docs.into_iter().filter(|document| document.found == Some(true)).collect())
            }
            Err(error) if is_missing_index(&error) => Ok(Vec::new()),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Writes a document if there is none of that id. Returns whether it did.
    pub(super) async fn create(&self, index: Index, id: &str, body: Bytes) -> Result<bool, StoreError> {
        Ok(self.create_at(index, id, body).await?.is_some())
    }

    /// Writes a document if there is none of that id. Returns how many writes its shard had seen before, if it did.
    pub(super) async fn create_at(
        &self,
        index: Index,
        id: &str,
        body: Bytes,
    ) -> Result<Option<u64>, StoreError> {
        let path = format!("{}/_create{}", index_path(&self.layout.name(index)), index_path(id));
        self.write(index, &Request::put(path).bytes(body)).await
    }

    /// Writes a document if it is still what was read. Returns whether it did.
    pub(super) async fn replace(
        &self,
        index: Index,
        id: &str,
        (seq_no, primary_term): (u64, u64),
        body: Bytes,
    ) -> Result<bool, StoreError> {
        let path = format!(
            "{}/_doc{}?if_seq_no={seq_no}&if_primary_term={primary_term}",
            index_path(&self.layout.name(index)),
            index_path(id)
        );
        Ok(self.write(index, &Request::put(path).bytes(body)).await?.is_some())
    }

    /// Removes a document, if it is there.
    pub(super) async fn delete(&self, index: Index, id: &str) -> Result<(), StoreError> {
        let path = format!("{}/_doc{}", index_path(&self.layout.name(index)), index_path(id));
        self.client.find(&Request::delete(path)).await.map_err(|error| explain(&error))?;
        self.wrote(index);
        Ok(())
    }

    /// Sends a write; an index that has gone is made again. Returns its place in the shard unless it was refused as too
    /// late.
    async fn write(&self, index: Index, request: &Request) -> Result<Option<u64>, StoreError> {
        #[derive(Deserialize)]
        struct Written {
            #[serde(rename = "_seq_no")]
            seq_no: u64,
        }
        let mut written = self.client.send(request).await;
        if written.as_ref().is_err_and(is_missing_index) {
            self.make(&self.layout.name(index), index).await?;
            written = self.client.send(request).await;
        }
        match written {
            Ok(answer) => {
                self.wrote(index);
                let Written { seq_no } = answer.json().map_err(|error| explain(&error))?;
                Ok(Some(seq_no))
            }
            Err(Error::Refused { status: 409, .. }) => Ok(None),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Sends a bulk request.
    pub(super) async fn bulk(&self, bulk: Bulk) -> Result<BulkOutcome, StoreError> {
        self.client.bulk(bulk.into_body(), "", PATIENCE).await.map_err(|error| explain(&error))
    }

    /// Makes an index unless there is one.
    pub(super) async fn make(&self, name: &str, index: Index) -> Result<(), StoreError> {
        let request = Request::put(index_path(name)).json(&self.layout.body(index));
        match self.client.send(&request).await {
            Ok(_) => tracing::info!(index = name, "index made"),
            Err(Error::Refused { kind, .. }) if kind == "resource_already_exists_exception" => {}
            Err(error) => return Err(explain(&error)),
        }
        Ok(())
    }

    /// Notes that something was written, so that the next search looks for it.
    pub(super) fn wrote(&self, index: Index) {
        self.unseen[index.at()].is_some.store(true, Ordering::Release);
    }

    /// Makes searches see everything that this store has written.
    pub(super) async fn refresh(&self, index: Index) -> Result<(), StoreError> {
        let unseen = &self.unseen[index.at()];
        let _alone = unseen.refresh.lock().await;
        if !unseen.is_some.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let refreshed = self.refresh_now(index).await;
        if refreshed.is_err() {
            unseen.is_some.store(true, Ordering::Release);
        }
        refreshed
    }

    /// Makes searches see everything that anybody has written.
    pub(super) async fn refresh_now(&self, index: Index) -> Result<(), StoreError> {
        let path = format!("{}/_refresh?ignore_unavailable=true", index_path(&self.layout.pattern(index)));
        self.client.send(&Request::post(path)).await.map(drop).map_err(|error| explain(&error))
    }

    /// Returns a part of a list; `from` and `size` within [`WINDOW`].
    pub(super) async fn page(
        &self,
        query: &Query,
        from: u64,
        size: u64,
    ) -> Result<Vec<Document>, StoreError> {
        let body = json!({
            "query": query.query, "sort": query.sort, "_source": query.source, "from": from, "size": size,
        });
        Ok(self.search(query.index, &body).await?.hits.hits)
    }

    /// Returns the part of a list that a page asks for.
    pub(super) async fn part(&self, query: &Query, page: Page) -> Result<Vec<Document>, StoreError> {
        if page.size == 0 {
            return Ok(Vec::new());
        }
        if page.from.saturating_add(page.size) <= WINDOW {
            return self.page(query, page.from, page.size).await;
        }
        let places = Query { source: json!(false), ..query.clone() };
        let mut skip = Scan::new(&places);
        let mut left = page.from;
        while left > 0 && !skip.is_done {
            left -= self.next_of(&mut skip, left.min(WINDOW)).await?.len() as u64;
        }
        let mut scan = Scan { query, after: skip.after, is_done: skip.is_done };
        let mut found = Vec::new();
        while !scan.is_done && (found.len() as u64) < page.size {
            let wanted = (page.size - found.len() as u64).min(SCAN_LEN);
            found.extend(self.next_of(&mut scan, wanted).await?);
        }
        Ok(found)
    }

    /// Takes every document of a list, `size` at once.
    pub(super) async fn each(
        &self,
        query: &Query,
        size: u64,
        mut take: impl FnMut(Document) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut scan = Scan::new(query);
        while !scan.is_done {
            self.next_of(&mut scan, size).await?.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    }

    /// Returns the next part of a list: none at its end.
    pub(super) async fn next(&self, scan: &mut Scan<'_>) -> Result<Vec<Document>, StoreError> {
        self.next_of(scan, SCAN_LEN).await
    }

    /// Returns up to `size` more of a list: none at its end.
    pub(super) async fn next_of(&self, scan: &mut Scan<'_>, size: u64) -> Result<Vec<Document>, StoreError> {
        if scan.is_done {
            return Ok(Vec::new());
        }
        let query = scan.query;
        let mut body =
            json!({"query": query.query, "sort": query.sort, "_source": query.source, "size": size});
        if let Some(after) = &scan.after {
            body["search_after"] = json!(after);
        }
        let hits = self.search(query.index, &body).await?.hits.hits;
        scan.is_done = (hits.len() as u64) < size;
        scan.after = hits.last().map(|last| last.sort.clone());
        Ok(hits)
    }

    /// Returns the different values of a field.
    pub(super) async fn values(
        &self,
        index: Index,
        query: Value,
        field: &str,
    ) -> Result<Vec<String>, StoreError> {
        let mut values = Vec::new();
        let mut body = json!({
            "query": query, "size": 0,
            "aggs": {"values": {"composite": {"size": SCAN_LEN, "sources": [{"value": {"terms": {"field": field}}}]}}},
        });
        loop {
            let answer = self.search(index, &body).await?;
            let found = &answer.aggregations["values"];
            let buckets = found["buckets"].as_array().into_iter().flatten();
            values.extend(buckets.filter_map(|it| it["key"]["value"].as_str().map(str::to_owned)));
            if found["after_key"].is_null() {
                return Ok(values);
            }
            body["aggs"]["values"]["composite"]["after"] = found["after_key"].clone();
        }
    }

    /// Counts documents by the values of a field that has few.
    pub(super) async fn counts(
        &self,
        index: Index,
        query: Value,
        field: &str,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        #[derive(Deserialize)]
        struct Bucket {
            key: String,
            doc_count: u64,
        }
        let body = json!({
            "query": query, "size": 0, "aggs": {"counts": {"terms": {"field": field, "size": WINDOW}}},
        });
        let mut answer = self.search(index, &body).await?;
        let buckets = answer.aggregations["counts"]["buckets"].take();
        if buckets.is_null() {
            return Ok(Vec::new());
        }
        let buckets: Vec<Bucket> = serde_json::from_value(buckets)
            .map_err(|error| unreadable(&self.layout.pattern(index), "(counts)", error))?;
        Ok(buckets.into_iter().map(|bucket| (bucket.key, bucket.doc_count)).collect())
    }

    /// Searches the documents of an index as they were at its last refresh.
    pub(super) async fn search(&self, index: Index, body: &Value) -> Result<Found, StoreError> {
        let path = format!("{}/{SEARCHED}", index_path(&self.layout.pattern(index)));
        let answer =
            self.client.send(&Request::post(path).json(body)).await.map_err(|error| explain(&error))?;
        answer.json().map_err(|error| explain(&error))
    }
}

/// What a search has found.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub(super) hits: Hits,
    #[serde(default)]
    pub(super) aggregations: Value,
}

/// The documents.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Hits {
    #[serde(default)]
    pub(super) hits: Vec<Document>,
}
