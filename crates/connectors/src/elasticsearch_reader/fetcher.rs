//! Reads the records of slices of an index.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde::Deserialize;
use teraslice_core::{
    context::Context,
    operation::{Fetched, Fetcher, OperationError, RecordStream, SliceContext},
};
use teraslice_elastic::{Client, Connections, Request, index_path};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem, timestamp::Timestamp};
use tokio::sync::OnceCell;

use super::{
    IndexReaderConfig,
    hits::Page,
    query::{Part, Query},
    search::{Search, Ways},
};
use crate::{elastic::PATIENCE, task::Task};

/// Bytes that an answer should have.
const PAGE_BYTES: usize = 8 << 20;
/// An answer that is larger is not taken: it is asked for again in parts.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Documents of a page while it is not known how large they are.
const FIRST_PAGE: usize = 1_000;
/// Documents of a page, however large they are.
const PAGE_MIN: usize = 20;
/// The server's default of `index.max_result_window`.
const WINDOW: usize = 10_000;

/// Reads slices of an index: by one search where a slice fits into an answer, else page by page, the next page while the
/// one before is at work.
pub(crate) struct IndexFetcher {
    source: Arc<Source>,
    window: OnceCell<usize>,
}

/// What all slices have in common.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) index: String,
    pub(super) query: Query,
    pub(super) context: Context,
    /// An answer that is larger is not taken.
    pub(super) answer_bytes_max: usize,
    /// Bytes per document of the last answers; 0: not known yet.
    bytes: AtomicUsize,
}

/// What a slice asks for, of this reader or of the original.
#[derive(Debug, Deserialize)]
struct SliceRequest {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    count: Option<usize>,
}

impl IndexFetcher {
    /// Makes the fetcher of an operation.
    pub(crate) fn connect(
        connections: &Connections,
        config: &IndexReaderConfig,
        operation: &OperationConfig,
        context: Context,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        let client = connections.get(operation.connection.as_deref()).map_err(OperationError::job)?;
        let source = Source::new(client, config.index.clone(), Query::new(config), context);
        Ok(Box::new(Self { source: Arc::new(source), window: OnceCell::new() }))
    }
}

#[async_trait]
impl Fetcher for IndexFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let source = &self.source;
        let request: SliceRequest = slice.slice.request.parse().map_err(|error| {
            OperationError::slice(format!("the slice's request is not of a reader of an index: {error}"))
        })?;
        let dates = request.start.zip(request.end).map(|(start, end)| (start.as_millis(), end.as_millis()));
        if dates.is_none() && request.keys.is_empty() && request.except.is_empty() {
            return Err(OperationError::slice("the slice's request has neither dates nor keys"));
        }
        let window = *self.window.get_or_init(|| source.window()).await;
        let part = Part { dates, keys: &request.keys, except: &request.except };
        let query = source.query.of(&part);
        let page = source.page(window);
        let search = match request.count {
            // One more than there should be: then it is certain that there are no others.
            Some(count) if count < page => Search::once(Arc::clone(source), query, count + 1, page),
            _ => Search::paged(Arc::clone(source), query, page, source.ways().await?),
        };
        Ok(Box::new(IndexStream::start(search, source.context.clone())))
    }
}

impl Source {
    pub(super) const fn new(client: Client, index: String, query: Query, context: Context) -> Self {
        Self { client, index, query, context, answer_bytes_max: ANSWER_BYTES_MAX, bytes: AtomicUsize::new(0) }
    }

    /// Asks for the most documents that a search may return.
    async fn window(&self) -> usize {
        let path =
            format!("{}/_settings/index.max_result_window?flat_settings=true", index_path(&self.index));
        let Ok(answer) = self.client.send(&Request::get(path).patience(PATIENCE)).await else {
            return WINDOW;
        };
        let all: serde_json::Map<String, serde_json::Value> = answer.json().unwrap_or_default();
        let set = all.values().filter_map(|index| {
            index.get("settings")?.get("index.max_result_window")?.as_str()?.parse::<usize>().ok()
        });
        let all_set = set.clone().count() == all.len();
        set.chain((!all_set || all.is_empty()).then_some(WINDOW)).min().unwrap_or(WINDOW).max(1)
    }

    /// Asks how the server reads more than one page.
    pub(super) async fn ways(&self) -> Result<Ways, OperationError> {
        let server = self.client.server().await.map_err(|error| crate::elastic::failed(&error))?;
        Ok(Ways::of(server))
    }

    /// Returns how many documents make a page.
    fn page(&self, window: usize) -> usize {
        let wanted = match self.bytes.load(Ordering::Relaxed) {
            0 => FIRST_PAGE,
            bytes => (PAGE_BYTES / bytes).max(PAGE_MIN),
        };
        wanted.min(window)
    }

    /// Notes that documents have at least so many bytes.
    pub(super) fn learn_large(&self, bytes: usize) {
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes how large documents are.
    pub(super) fn learn(&self, page: &Page) {
        if page.len > 0 {
            let now = page.bytes.div_ceil(page.len);
            let before = self.bytes.load(Ordering::Relaxed);
            // Up at once, down step by step: what is large is what counts.
            let learned = if now >= before { now } else { before - (before - now) / 4 };
            self.bytes.store(learned, Ordering::Relaxed);
        }
    }
}

/// Says what is wrong with the job when the server refuses a search on account of what the job asks for.
pub(super) fn refused(error: &teraslice_elastic::Error) -> OperationError {
    let is_query = match error {
        teraslice_elastic::Error::Refused { status: 400, kind, .. } => {
            ["query_shard_exception", "parsing_exception", "x_content_parse_exception", "parse_exception"]
                .contains(&kind.as_str())
        }
        _ => false,
    };
    if is_query {
        return OperationError::job(Problem::new("/query", error.to_string()));
    }
    crate::elastic::failed(error)
}

/// A page, and how to go on behind it.
type NextPage = Result<(Page, Option<Search>), OperationError>;

/// The records of a slice. While a page is at work the next one is read.
struct IndexStream {
    context: Context,
    /// Of the page at hand.
    batches: VecDeque<Batch>,
    /// The next page under way, and what goes on behind it; none at the end.
    ahead: Option<Task<NextPage>>,
}

impl IndexStream {
    fn start(search: Search, context: Context) -> Self {
        let ahead = Some(Task::start(&context, search.next()));
        Self { context, batches: VecDeque::new(), ahead }
    }
}

#[async_trait]
impl RecordStream for IndexStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Ok(Some(Fetched { batch, rejected: Vec::new() }));
            }
            let Some(ahead) = &mut self.ahead else { return Ok(None) };
            let (page, search) = ahead.done().await??;
            self.ahead = search.map(|search| Task::start(&self.context, search.next()));
            self.batches = page.batches.into();
        }
    }
}
