use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use teraslice_core::{
    conformance::{self, sink::Target},
    context::Context,
    operation::{SliceContext, Written},
};
use teraslice_model::{
    batch::{Batch, Frame},
    id::{ExId, WorkerId},
    job::Lifecycle,
    slice::Request,
};

use super::*;
use crate::elastic::testing::{Fake, Index, indices, job, operation, servers, settings, slice};

async fn sink(connections: &Connections, settings: Value, action: Option<DeadLetterAction>) -> Box<dyn Sink> {
    let kind = ElasticsearchBulk::new(connections);
    let mut operation = operation("elasticsearch_bulk", &settings);
    operation.dead_letter_action = action;
    let context = WorkerContext {
        context: Context::system(),
        ex_id: ExId::from_random([1; 16]),
        worker: WorkerId::new("w"),
    };
    kind.sink(serde_json::from_value(settings).unwrap(), &operation, context).await.unwrap()
}

fn context(order: u64) -> SliceContext {
    slice(order, Request::from_json("{}"))
}

/// Makes a batch of records, each with its metadata.
fn batch(records: &[(&str, &str)]) -> Batch {
    let bodies = Frame::of(records.iter().map(|(record, _)| record)).unwrap();
    let metadata = Frame::of(records.iter().map(|(_, metadata)| metadata)).unwrap();
    Batch::with_metadata(bodies, metadata).unwrap()
}

async fn write(sink: &mut dyn Sink, order: u64, records: &[(&str, &str)]) -> Result<Written, OperationError> {
    sink.begin(&context(order)).await?;
    let written = sink.write(&batch(records)).await?;
    sink.commit().await?;
    Ok(written)
}

#[test]
fn says_what_is_wrong_with_its_settings() {
    let kind = ElasticsearchBulk::new(&Connections::default());
    let cases = [
        (
            json!({"index": "Logs"}),
            "/index: index is \"Logs\", names of indices have no upper case (write it in lower case)",
        ),
        (json!({"index": "a", "size": 0}), "/size: size is 0, at least 1 item is needed"),
        (
            json!({"index": "a", "create": true, "upsert": true}),
            "/upsert: create and upsert are all true, they exclude each other (set one of them)",
        ),
    ];
    for (settings, message) in cases {
        let config = serde_json::from_value(settings.clone()).unwrap();
        let operation = operation("elasticsearch_bulk", &settings);
        let problems = kind.check(&config, &operation, &job(Lifecycle::Once, 1));
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
    }
    let mut operation = operation("elasticsearch_bulk", &json!({}));
    operation.connection = Some("far".to_owned());
    let config = serde_json::from_value(json!({"index": "a"})).unwrap();
    let problems = kind.check(&config, &operation, &job(Lifecycle::Once, 1));
    assert_eq!(problems[0].pointer, "/_connection");
}

#[test]
fn takes_a_script_from_a_file_or_by_its_name() {
    let config = |script_file: &str, script: &str| -> ElasticsearchBulkConfig {
        serde_json::from_value(json!({"index": "a", "script_file": script_file, "script": script})).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.painless");
    std::fs::write(&path, "ctx.x = 1").unwrap();
    let path = path.to_str().unwrap();
    let source = |text: &str| Some(Script::Source(text.to_owned()));
    assert_eq!(config(path, "").script().unwrap(), source("ctx.x = 1"));
    assert_eq!(config(path, "own").script().unwrap(), source("own"));
    assert_eq!(config("kept", "").script().unwrap(), Some(Script::Stored("kept".to_owned())));
    assert_eq!(config("", "").script().unwrap(), None);
    assert!(config("/no/such/file", "").script().unwrap_err().message.contains("does not exist"));
}

/// Answers a bulk request: the status of each item by its lines.
fn answer(body: &str, status: impl Fn(&str) -> (u16, &'static str)) -> Value {
    let lines: Vec<_> = body.lines().collect();
    let items: Vec<_> = lines
        .chunks(2)
        .map(|item| match status(item[1]) {
            (status, "") => json!({"index": {"status": status}}),
            (status, kind) => json!({"index": {"status": status, "error": {"type": kind, "reason": "no"}}}),
        })
        .collect();
    let errors = items.iter().any(|item| item["index"]["status"].as_u64() >= Some(400));
    json!({"took": 1, "errors": errors, "items": items})
}

#[tokio::test]
async fn sends_again_what_found_no_room_and_only_that() {
    let full = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |_, body| {
        let said = answer(body, |document| {
            let is_full =
                document.contains("\"b\"") && full.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
            if is_full { (429, "es_rejected_execution_exception") } else { (201, "") }
        });
        (200, said)
    })
    .await;
    let mut sink = sink(&fake.connections, json!({"index": "busy"}), None).await;
    write(sink.as_mut(), 1, &[("{\"a\":1}", ""), ("{\"b\":1}", ""), ("{\"c\":1}", "")]).await.unwrap();
    let requests = fake.requests.lock().unwrap();
    let lines: Vec<_> = requests.iter().map(|(_, body)| body.lines().count()).collect();
    assert_eq!(lines, [6, 2, 2]);
    assert!(requests[2].1.ends_with("{\"b\":1}\n"));
}

#[tokio::test]
async fn cuts_a_request_that_is_too_large() {
    let fake = Fake::start(|_, body| {
        if body.lines().count() > 2 {
            return (413, json!({"error": "too large"}));
        }
        (200, answer(body, |_| (201, "")))
    })
    .await;
    let mut sink = sink(&fake.connections, json!({"index": "large"}), None).await;
    write(sink.as_mut(), 1, &[("{\"a\":1}", ""), ("{\"b\":1}", ""), ("{\"c\":1}", "")]).await.unwrap();
    let lines: Vec<_> = fake.requests.lock().unwrap().iter().map(|(_, body)| body.lines().count()).collect();
    assert_eq!(lines, [6, 4, 2, 2, 2]);
}

#[tokio::test]
async fn tells_which_records_are_refused() {
    let refuse = |document: &str| match document {
        "{\"b\":1}" => (400, "mapper_parsing_exception"),
        "{\"c\":1}" => (409, "version_conflict_engine_exception"),
        "{\"d\":1}" => (404, "document_missing_exception"),
        "{\"e\":1}" => (404, "index_not_found_exception"),
        _ => (201, ""),
    };
    let fake = Fake::start(move |_, body| (200, answer(body, refuse))).await;
    let records = [
        ("{\"a\":1}", ""),
        ("{\"b\":1}", "{\"_key\":\"k\"}"),
        ("{\"c\":1}", ""),
        ("{\"d\":1}", ""),
        ("{\"e\":1}", ""),
        ("{\"f\":1}", "{\"_key\":[]}"),
    ];
    let mut told = sink(&fake.connections, json!({"index": "told"}), Some(DeadLetterAction::Log)).await;
    let written = write(told.as_mut(), 1, &records).await.unwrap();
    let refused: Vec<_> = written
        .rejected
        .iter()
        .map(|one| (String::from_utf8_lossy(&one.record), one.reason.as_str()))
        .collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert_eq!(
        (&*refused[0].0, refused[0].1),
        ("{\"b\":1}", "connection \"default\": mapper_parsing_exception: no")
    );
    assert_eq!(written.rejected[0].metadata.as_deref(), Some(&b"{\"_key\":\"k\"}"[..]));
    assert_eq!(&*refused[1].0, "{\"e\":1}");
    assert_eq!((&*refused[2].0, refused[2].1), ("{\"f\":1}", "_key is [], an id is text or a number"));

    let mut thrown = sink(&fake.connections, json!({"index": "thrown"}), None).await;
    let error = write(thrown.as_mut(), 1, &records[..5]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "refused a record: connection \"default\": mapper_parsing_exception: no (and 1 more)"
    );
    assert!(matches!(error, OperationError::Retry { .. }));
}

#[tokio::test]
async fn repeats_an_update_that_met_another() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |_, body| {
        let is_first = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let status = if is_first { (409, "version_conflict_engine_exception") } else { (200, "") };
        (200, answer(body, |_| status))
    })
    .await;
    let mut sink = sink(&fake.connections, json!({"index": "changed", "update": true}), None).await;
    write(sink.as_mut(), 1, &[("{\"a\":1}", "{\"_key\":1}")]).await.unwrap();
    assert_eq!(fake.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn fails_the_slice_when_the_request_is_refused() {
    let fake =
        Fake::start(|_, _| (403, json!({"error": {"type": "security_exception", "reason": "no"}}))).await;
    let mut sink = sink(&fake.connections, json!({"index": "secret"}), None).await;
    let error = write(sink.as_mut(), 1, &[("{}", "")]).await.unwrap_err();
    assert!(matches!(error, OperationError::Slice { .. }), "{error}");
    assert!(error.to_string().contains("security_exception: no"), "{error}");
}

#[tokio::test]
async fn has_several_requests_under_way_and_waits_for_all() {
    let fake = Fake::start(|_, body| (200, answer(body, |_| (201, "")))).await;
    let mut sink = sink(&fake.connections, json!({"index": "many", "size": 10}), None).await;
    sink.begin(&context(1)).await.unwrap();
    for _ in 0..5 {
        let records = batch(&[("{\"a\":1}", ""); 25]);
        sink.write(&records).await.unwrap();
    }
    sink.commit().await.unwrap();
    let requests = fake.requests.lock().unwrap();
    let items: usize = requests.iter().map(|(_, body)| body.lines().count() / 2).sum();
    assert_eq!((requests.len(), items), (13, 125));
    let ids: std::collections::HashSet<_> =
        requests.iter().flat_map(|(_, body)| body.lines().step_by(2).map(str::to_owned)).collect();
    assert_eq!(ids.len(), 125, "each record has an id of its own");
}

#[tokio::test]
async fn an_outage_pauses_the_slice() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connections = crate::elastic::testing::connections(&format!("http://{place}"));
    let mut sink = sink(&connections, json!({"index": "away"}), None).await;
    sink.begin(&context(1)).await.unwrap();
    sink.write(&batch(&[("{}", "")])).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(500), sink.commit()).await;
    assert!(waits.is_err(), "it waits for the server");
    sink.abort().await;
}

/// An index of a real server that a sink writes to.
struct Real {
    index: Arc<Index>,
    handle: tokio::runtime::Handle,
}

#[async_trait]
impl Target for Real {
    async fn sink(&self, _: &str) -> Box<dyn Sink> {
        // A slice fits into one request, so that nothing of it is sent before its commit.
        let settings = json!({"index": self.index.name, "size": 100_000});
        sink(&self.index.connections, settings, None).await
    }

    fn records(&self) -> Vec<String> {
        let (index, handle) = (Arc::clone(&self.index), self.handle.clone());
        let found = std::thread::spawn(move || handle.block_on(async move { index.all().await }));
        found.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_laws_of_sinks() {
    for address in servers() {
        let made = std::sync::Mutex::new(Vec::new());
        let handle = tokio::runtime::Handle::current();
        let make = || {
            let handle = handle.clone();
            let (begun, address) = (handle.clone(), address.clone());
            let new = std::thread::spawn(move || {
                begun.block_on(async move { Index::make(&address, &settings(1)).await })
            });
            let index = Arc::new(new.join().unwrap());
            made.lock().unwrap().push(Arc::clone(&index));
            Real { index, handle }
        };
        conformance::sink::run(make).await;
        let made = made.into_inner().unwrap();
        for index in made {
            index.remove().await;
        }
    }
}

#[tokio::test]
async fn a_repeat_replaces_what_was_written() {
    for index in indices(&settings(2)).await {
        for create in [false, true] {
            for _ in 0..2 {
                let settings = json!({"index": index.name, "create": create, "size": 2});
                let mut sink = sink(&index.connections, settings, None).await;
                let records = [
                    ("{\"a\":1}", ""),
                    ("{\"a\":2}", "{\"_key\":\"two\"}"),
                    ("{\"a\":3}", "{\"_key\":3,\"standard:route\":\"r\"}"),
                    ("{\n\"a\":4}", "{\"_delete_id\":\"none\"}"),
                ];
                write(sink.as_mut(), 1, &records).await.unwrap();
            }
            let hits = index.hits().await;
            let mut found: Vec<_> = hits.iter().map(|hit| hit["_source"]["a"].as_u64()).collect();
            found.sort_unstable();
            assert_eq!(found, [Some(1), Some(2), Some(3), Some(4)]);
            let routed = hits.iter().find(|hit| hit["_id"] == "3").expect("a key that is a number is an id");
            assert_eq!(routed["_index"], format!("{}-r", index.name));
        }
        index.remove().await;
    }
}

#[tokio::test]
async fn changes_and_removes_documents() {
    for index in indices(&settings(1)).await {
        let run = async |settings: Value, record: &str, key: &str| {
            let mut all = json!({"index": index.name});
            all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let mut sink = sink(&index.connections, all, Some(DeadLetterAction::Log)).await;
            let metadata = format!("{{\"_key\":\"{key}\"}}");
            write(sink.as_mut(), 1, &[(record, &metadata)]).await.unwrap().rejected.len()
        };
        assert_eq!(run(json!({"upsert": true}), "{\"a\":1,\"b\":1}", "x").await, 0);
        assert_eq!(run(json!({"update": true, "update_fields": ["a"]}), "{\"a\":2,\"b\":2}", "x").await, 0);
        assert_eq!(run(json!({"update": true}), "{\"a\":1}", "missing").await, 0, "nothing to update");
        assert_eq!(run(json!({"delete": true}), "{}", "missing").await, 0, "nothing to delete");
        let source = |hits: &[Value]| hits.iter().map(|hit| hit["_source"].clone()).collect::<Vec<_>>();
        assert_eq!(source(&index.hits().await), [json!({"a": 2, "b": 1})]);
        assert_eq!(run(json!({}), "{\"when\":\"no date\"}", "bad").await, 1, "the mapping refuses it");
        assert_eq!(run(json!({"delete": true}), "{}", "x").await, 0);
        assert_eq!(source(&index.hits().await), Vec::<Value>::new());
        index.remove().await;
    }
}
