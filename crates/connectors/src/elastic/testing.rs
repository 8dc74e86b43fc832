//! Servers for tests: real ones, and one that answers as it is told.

pub(crate) mod counter;

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{Router, body::Bytes, http::StatusCode, http::Uri, response::IntoResponse, routing::any};
use serde_json::{Value, json};
use teraslice_core::conformance::fake;
use teraslice_elastic::{Client, Connections, Request, index_path};
use teraslice_model::{
    job::{CheckedJob, Lifecycle, OperationConfig},
    timestamp::Timestamp,
};
use tokio::net::TcpListener;

/// The addresses of real servers, separated by commas.
const SERVERS: &str = "TERASLICE_TEST_ELASTIC";

/// An index on a real server, removed at the end.
pub(crate) struct Index {
    pub(crate) connections: Connections,
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// Returns the addresses of the real servers; says so if there is none.
pub(crate) fn servers() -> Vec<String> {
    let Ok(addresses) = std::env::var(SERVERS) else {
        let line = format!("NOT RUN: this case needs a server: set {SERVERS} to its address\n");
        let _told = std::io::stderr().write_all(line.as_bytes());
        return Vec::new();
    };
    addresses.split(',').map(|address| address.trim().to_owned()).collect()
}

/// Makes an index of its own on every real server there is.
pub(crate) async fn indices(settings: &Value) -> Vec<Index> {
    let mut made = Vec::new();
    for address in servers() {
        made.push(Index::make(&address, settings).await);
    }
    made
}

/// Returns settings of an index with a date `when` and a keyword `id`, on so many shards.
pub(crate) fn settings(shards: u32) -> Value {
    json!({
        "settings": {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {"properties": {"when": {"type": "date"}, "id": {"type": "keyword"}}},
    })
}

impl Index {
    /// Makes an index on a server.
    pub(crate) async fn make(address: &str, settings: &Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let connections = connections(address);
        let client = connections.get(None).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conn-{}-{number}", std::process::id());
        client.send(&Request::put(index_path(&name)).json(settings)).await.unwrap();
        Self { connections, client, name }
    }

    /// Writes documents, each under its id.
    pub(crate) async fn write(&self, documents: impl IntoIterator<Item = (String, String)>) {
        let mut lines = String::new();
        for (id, document) in documents {
            lines.push_str(&format!("{{\"index\":{{\"_id\":\"{id}\"}}}}\n{document}\n"));
        }
        if !lines.is_empty() {
            let request = Request::post(format!("{}/_bulk", index_path(&self.name))).lines(lines.into());
            let answer: Value = self.client.send(&request).await.unwrap().json().unwrap();
            assert_eq!(answer["errors"], json!(false), "{answer}");
        }
        self.refresh().await;
    }

    pub(crate) async fn refresh(&self) {
        let request = Request::post(format!("{}*/_refresh", index_path(&self.name)));
        self.client.send(&request).await.unwrap();
    }

    /// Returns the hits of the index and of those whose names go on, by id.
    pub(crate) async fn hits(&self) -> Vec<Value> {
        self.refresh().await;
        let request = Request::post(format!("{}*/_search", index_path(&self.name)))
            .json(&json!({"size": 10_000, "version": true}));
        let answer: Value = self.client.send(&request).await.unwrap().json().unwrap();
        let mut hits = answer["hits"]["hits"].as_array().unwrap().clone();
        hits.sort_by_key(|hit| hit["_id"].as_str().map(str::to_owned));
        hits
    }

    /// Returns the text of every document.
    pub(crate) async fn all(&self) -> Vec<String> {
        self.refresh().await;
        let path = format!("{}*/_search?scroll=1m", index_path(&self.name));
        let mut request = Request::post(path).json(&json!({"size": 10_000, "sort": ["_doc"]}));
        let mut all = Vec::new();
        loop {
            let answer: Value = self.client.send(&request).await.unwrap().json().unwrap();
            let hits = answer["hits"]["hits"].as_array().unwrap();
            all.extend(hits.iter().map(|hit| hit["_source"].to_string()));
            let scroll = json!({"scroll": "1m", "scroll_id": answer["_scroll_id"]});
            if hits.is_empty() {
                let end =
                    Request::delete("/_search/scroll").json(&json!({"scroll_id": answer["_scroll_id"]}));
                self.client.send(&end).await.unwrap();
                return all;
            }
            request = Request::post("/_search/scroll").json(&scroll);
        }
    }

    /// Removes the index and those whose names go on.
    pub(crate) async fn remove(&self) {
        let list = Request::get(format!("/_cat/indices{}*?h=index", index_path(&self.name)));
        let names = self.client.send(&list).await.unwrap();
        for name in String::from_utf8_lossy(names.body()).split_whitespace() {
            self.client.send(&Request::delete(index_path(name))).await.unwrap();
        }
    }
}

/// A server that answers as it is told.
pub(crate) struct Fake {
    pub(crate) connections: Connections,
    /// Path and body of each request so far.
    pub(crate) requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Fake {
    /// Serves what `answer` says to a path and a body.
    pub(crate) async fn start(answer: impl Fn(&str, &str) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let serve = move |uri: Uri, body: Bytes| {
            let (path, body) = (uri.to_string(), String::from_utf8_lossy(&body).into_owned());
            let (status, said) = answer(&path, &body);
            seen.lock().unwrap().push((path, body));
            async move { (StatusCode::from_u16(status).unwrap(), said.to_string()).into_response() }
        };
        let app = Router::new().fallback(any(serve)).layer(axum::extract::DefaultBodyLimit::disable());
        drop(
            teraslice_core::context::Context::system().spawn(async move { axum::serve(listener, app).await }),
        );
        Self { connections: connections(&address), requests }
    }
}

pub(crate) fn connections(address: &str) -> Connections {
    let connectors = json!({"elasticsearch": {"default": {"host": address}}});
    Connections::of(connectors.as_object().unwrap()).unwrap()
}

pub(crate) fn operation(op: &str, settings: &Value) -> OperationConfig {
    fake::operation(op, settings.clone())
}

pub(crate) fn job(lifecycle: Lifecycle, slicers: u32) -> CheckedJob {
    CheckedJob { lifecycle, slicers, ..fake::job(Vec::new(), Vec::new()) }
}

/// Returns a slice of an execution that is always the same.
pub(crate) fn slice(
    order: u64,
    request: teraslice_model::slice::Request,
) -> teraslice_core::operation::SliceContext {
    use teraslice_model::{
        id::{ExId, JobId, WorkerId},
        slice::Slice,
    };
    let ex_id = ExId::from_random([1; 16]);
    teraslice_core::operation::SliceContext {
        ex_id,
        job_id: JobId::from_random([2; 16]),
        worker: WorkerId::new("w"),
        slice: Slice::new(ex_id, 0, order, request, Timestamp::default()),
        attempt: 0,
    }
}

/// Returns what slicers of a job start from.
pub(crate) fn slicer_context(
    lifecycle: Lifecycle,
    slicers: u32,
    checkpoints: Vec<teraslice_model::checkpoint::Checkpoint>,
) -> teraslice_core::operation::SlicerContext {
    teraslice_core::operation::SlicerContext {
        context: teraslice_core::context::Context::system(),
        ex_id: teraslice_model::id::ExId::from_random([1; 16]),
        lifecycle,
        slicers,
        workers: 1,
        job: Arc::new(job(lifecycle, slicers)),
        checkpoints,
        store: None,
    }
}

/// Returns the checkpoint of a slicer that stands at a position.
pub(crate) fn checkpoint(
    slicer_id: u32,
    position: Option<teraslice_model::slice::Request>,
) -> teraslice_model::checkpoint::Checkpoint {
    teraslice_model::checkpoint::Checkpoint { slicer_id, order: 1, position, is_exhausted: false }
}

/// Makes all slices of a slicer, at most `step` at once; each with the position behind the answer that it came with.
pub(crate) async fn slices(
    slicer: &mut dyn teraslice_core::operation::Slicer,
    step: usize,
) -> Vec<(teraslice_model::slice::Request, teraslice_model::slice::Request)> {
    let mut all = Vec::new();
    loop {
        let sliced = slicer.next(step).await.unwrap();
        assert!(sliced.requests.len() <= step);
        all.extend(sliced.requests.into_iter().map(|request| (request, sliced.position.clone())));
        if sliced.is_exhausted {
            return all;
        }
    }
}
