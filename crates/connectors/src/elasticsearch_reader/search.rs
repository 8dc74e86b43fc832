//! Reads the documents of a query, in one answer or in many.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use teraslice_core::operation::OperationError;
use teraslice_elastic::{ANSWER_TOO_LARGE, Error, Product, Request, Response, Server, index_path};
use tokio::runtime::Handle;

use super::{
    fetcher::{Source, refused},
    hits::Page,
};
use crate::elastic::PATIENCE;

/// How long the server keeps the state of a reading between two pages.
const KEEP_ALIVE: &str = "10m";

/// Searching a point in time names no index.
const PIT_SEARCH: &str = "/_search?allow_partial_search_results=false";

/// How a server reads more than one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// From a point in time, each page behind the last document of the one before.
    PointInTime(Product),
    /// By a cursor that the server keeps.
    Scroll,
}

/// A reading that goes on with its next page.
#[derive(Debug)]
pub(super) struct Search {
    source: Arc<Source>,
    query: Value,
    /// Documents per page.
    size: usize,
    state: State,
    /// What the server keeps for it; ends with the reading.
    kept: Option<Kept>,
}

#[derive(Debug)]
enum State {
    /// All should come in one answer; else in pages of this size.
    Once {
        page: usize,
    },
    Begin(Ways),
    /// From the beginning, or behind a document.
    PointInTime {
        id: String,
        last: Option<Value>,
    },
    Scroll {
        id: String,
    },
}

/// What the server keeps for a reading.
#[derive(Debug)]
struct Kept {
    source: Arc<Source>,
    path: &'static str,
    body: Value,
}

impl Ways {
    /// Returns the way of a server: a point in time needs an order that leaves no document out.
    pub(super) const fn of(server: Server) -> Self {
        let (major, minor) = server.version;
        let has_order = match server.product {
            Product::Elasticsearch => major > 7 || (major == 7 && minor >= 12),
            Product::OpenSearch => major > 3 || (major == 3 && minor >= 3),
        };
        if has_order { Self::PointInTime(server.product) } else { Self::Scroll }
    }
}

impl Search {
    /// Reads `size` documents at once; if there are as many, starts over with pages of `page`.
    pub(super) const fn once(source: Arc<Source>, query: Value, size: usize, page: usize) -> Self {
        Self { source, query, size, state: State::Once { page }, kept: None }
    }

    /// Reads page by page.
    pub(super) const fn paged(source: Arc<Source>, query: Value, page: usize, ways: Ways) -> Self {
        Self { source, query, size: page, state: State::Begin(ways), kept: None }
    }

    /// Reads a page; returns how to go on unless it was the last one.
    pub(super) async fn next(mut self) -> Result<(Page, Option<Self>), OperationError> {
        loop {
            match &self.state {
                State::Once { page } => {
                    let page = *page;
                    match self.search(self.path(""), self.body()).await? {
                        Some(read) if read.len < self.size => return Ok((read, None)),
                        // More have come since they were counted.
                        Some(_) => self.size = page,
                        None => self.size = self.fewer()?,
                    }
                    self.state = State::Begin(self.source.ways().await?);
                }
                State::Begin(Ways::PointInTime(product)) => self.open_point_in_time(*product).await?,
                State::Begin(Ways::Scroll) => {
                    let path = self.path(&format!("&scroll={KEEP_ALIVE}"));
                    let mut body = self.body();
                    // A scroll is refused that does not count.
                    body["track_total_hits"] = json!(true);
                    match self.search(path, body).await? {
                        Some(page) => return Ok(self.scrolled(page)),
                        None => self.size = self.fewer()?,
                    }
                }
                State::PointInTime { id, last } => {
                    let body = self.body_of_point_in_time(id, last.as_ref());
                    match self.search(PIT_SEARCH.to_owned(), body).await? {
                        Some(page) => return Ok(self.behind(page)),
                        None => self.size = self.fewer()?,
                    }
                }
                State::Scroll { id } => {
                    let body = json!({"scroll": KEEP_ALIVE, "scroll_id": id});
                    let page = self.scroll(&body).await?;
                    return Ok(self.scrolled(page));
                }
            }
        }
    }

    async fn open_point_in_time(&mut self, product: Product) -> Result<(), OperationError> {
        let (path, key) = match product {
            Product::Elasticsearch => ("_pit", "id"),
            Product::OpenSearch => ("_search/point_in_time", "pit_id"),
        };
        let path = format!("{}/{path}?keep_alive={KEEP_ALIVE}", index_path(&self.source.index));
        let answer = self.send(Request::post(path)).await.map_err(|error| self.failed(&error))?;
        let answer: Value = answer.json().map_err(|error| refused(&error))?;
        let id = answer[key].as_str().unwrap_or_default().to_owned();
        let (path, body) = match product {
            Product::Elasticsearch => ("/_pit", json!({"id": id})),
            Product::OpenSearch => ("/_search/point_in_time", json!({"pit_id": [id]})),
        };
        self.kept = Some(Kept { source: Arc::clone(&self.source), path, body });
        self.state = State::PointInTime { id, last: None };
        Ok(())
    }

    /// Returns with how many documents an answer should be small enough.
    fn fewer(&self) -> Result<usize, OperationError> {
        self.source.learn_large(self.source.answer_bytes_max / self.size);
        if self.size == 1 {
            let max = self.source.answer_bytes_max;
            return Err(OperationError::slice(format!("a document is larger than {max} bytes")));
        }
        Ok((self.size / 8).max(1))
    }

    /// Goes on behind the last document of a page.
    fn behind(mut self, mut page: Page) -> (Page, Option<Self>) {
        let last = page.last.take().and_then(|last| serde_json::from_str(&last).ok());
        match &mut self.state {
            State::PointInTime { id, last: at } if last.is_some() && page.len >= self.size => {
                *at = last;
                if let Some(renewed) = page.pit_id.take() {
                    *id = renewed;
                }
                (page, Some(self))
            }
            _ => (page, None),
        }
    }

    /// Goes on with the server's cursor.
    fn scrolled(mut self, mut page: Page) -> (Page, Option<Self>) {
        let Some(id) = page.scroll_id.take() else { return (page, None) };
        let source = Arc::clone(&self.source);
        let body = json!({"scroll_id": [id]});
        match &mut self.kept {
            Some(kept) => kept.body = body,
            none => *none = Some(Kept { source, path: "/_search/scroll", body }),
        }
        if page.len < self.size {
            return (page, None);
        }
        self.state = State::Scroll { id };
        (page, Some(self))
    }

    fn path(&self, more: &str) -> String {
        format!("{}/_search?allow_partial_search_results=false{more}", index_path(&self.source.index))
    }

    fn body(&self) -> Value {
        let order = self.source.query.sort().cloned().unwrap_or_else(|| json!("_doc"));
        self.body_sorted(json!([order]))
    }

    fn body_of_point_in_time(&self, pit: &str, last: Option<&Value>) -> Value {
        let order = self.source.query.sort().cloned();
        let order: Vec<_> = order.into_iter().chain([json!({"_shard_doc": "asc"})]).collect();
        let mut body = self.body_sorted(json!(order));
        body["pit"] = json!({"id": pit, "keep_alive": KEEP_ALIVE});
        if let Some(last) = last {
            body["search_after"] = last.clone();
        }
        body
    }

    fn body_sorted(&self, sort: Value) -> Value {
        let mut body = json!({
            "size": self.size,
            "track_total_hits": false,
            "version": true,
            "seq_no_primary_term": true,
            "query": self.query,
            "sort": sort,
        });
        if let Some(source) = self.source.query.source() {
            body["_source"] = source.clone();
        }
        body
    }

    /// Reads documents; none where the answer would be too large.
    async fn search(&self, path: String, body: Value) -> Result<Option<Page>, OperationError> {
        match self.send(Request::post(path).json(&body)).await {
            Ok(answer) => self.read(&answer).map(Some),
            Err(Error::Refused { kind, .. }) if kind == ANSWER_TOO_LARGE => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Moves the server's cursor on. Asked twice it would pass over a page: when the answer is lost, the slice starts anew.
    async fn scroll(&self, body: &Value) -> Result<Page, OperationError> {
        let request = Request::post("/_search/scroll").json(body).patience(Duration::ZERO);
        match self.source.client.send(&request.answer_bytes_max(self.source.answer_bytes_max)).await {
            Ok(answer) => self.read(&answer),
            Err(Error::Refused { kind, .. }) if kind == ANSWER_TOO_LARGE => {
                let _smaller = self.fewer()?;
                Err(OperationError::retry("a page of a scroll is too large"))
            }
            Err(error @ Error::Refused { .. }) => Err(self.failed(&error)),
            Err(error) => Err(OperationError::retry(format!("a page of a scroll was lost: {error}"))),
        }
    }

    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.source
            .client
            .send(&request.patience(PATIENCE).answer_bytes_max(self.source.answer_bytes_max))
            .await
    }

    fn read(&self, answer: &Response) -> Result<Page, OperationError> {
        let page = Page::read(answer.body(), self.source.context.wall().as_millis())?;
        self.source.learn(&page);
        Ok(page)
    }

    /// What the server kept for a reading may be gone, as after its restart: then the slice starts anew.
    fn failed(&self, error: &Error) -> OperationError {
        match error.status() {
            Some(404) if self.kept.is_some() => OperationError::retry(error.to_string()),
            _ => refused(error),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (client, body) = (self.source.client.clone(), self.body.clone());
        let request = Request::delete(self.path).json(&body).patience(Duration::ZERO);
        // The server forgets it by itself, but only so many may be open at a time. A process that ends leaves it.
        if Handle::try_current().is_err() {
            return;
        }
        drop(self.source.context.spawn(async move { client.send(&request).await.is_ok() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_way_of_each_server() {
        let way = |product, version| Ways::of(Server { product, version });
        for (product, version, has_order) in [
            (Product::Elasticsearch, (7, 11), false),
            (Product::Elasticsearch, (7, 12), true),
            (Product::Elasticsearch, (9, 0), true),
            (Product::OpenSearch, (1, 3), false),
            (Product::OpenSearch, (2, 19), false),
            (Product::OpenSearch, (3, 2), false),
            (Product::OpenSearch, (3, 3), true),
        ] {
            let expected = if has_order { Ways::PointInTime(product) } else { Ways::Scroll };
            assert_eq!(way(product, version), expected, "{product:?} {version:?}");
        }
    }
}
