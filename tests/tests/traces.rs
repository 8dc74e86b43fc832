//! Traces of a cluster of real processes, as a collector receives them; and work that goes on without one.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message as _;
use teraslice_tests::{
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    ledger::LedgerJob,
};

/// A span, with what is said of its process.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    attributes: Vec<KeyValue>,
    process: Vec<KeyValue>,
    key: String,
}

impl Seen {
    fn text(&self, name: &str) -> String {
        text(&self.attributes, name)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == name);
    match value.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Takes spans by HTTP.
#[derive(Clone)]
struct Collector {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let collector = Self { port, seen: Arc::default() };
        let serving = collector.clone();
        drop(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let collector = serving.clone();
                drop(std::thread::spawn(move || collector.serve(stream)));
            }
        }));
        collector
    }

    /// Answers the requests of one connection.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let (mut len, mut key, mut line) = (0, String::new(), String::new());
            reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
            assert_eq!(line.trim_end(), "POST /v1/traces HTTP/1.1");
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).ok()?;
                match header.trim_end().split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        len = value.parse().ok()?
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("x-key") => value.clone_into(&mut key),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; len];
            reader.read_exact(&mut body).ok()?;
            self.take(ExportTraceServiceRequest::decode(&body[..]).expect("spans are sent"), &key);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
        }
    }

    fn take(&self, request: ExportTraceServiceRequest, key: &str) {
        for of_process in request.resource_spans {
            let process = of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
            for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let (process, key) = (process.clone(), key.to_owned());
                self.seen().push(Seen { name: span.name, attributes: span.attributes, process, key });
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Vec<Seen> {
        self.seen().iter().filter(|span| span.name == name).cloned().collect()
    }
}

#[test]
fn sends_spans_of_requests_executions_and_slices() {
    let collector = Collector::start();
    let environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", collector.port)),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=tests".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    let cluster = Cluster::start(ClusterOptions { environment, ..ClusterOptions::default() });
    let job = LedgerJob::default();
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
    // Processes of the execution send what is left before they end; the master goes on.
    let submitted = cluster
        .wait("the span of the request", WAIT_MAX, |_| collector.named("POST /v1/jobs").into_iter().next());
    assert_eq!(submitted.text("http.route"), "/v1/jobs");
    assert_eq!(submitted.text("http.response.status_code"), "200");
    assert_eq!(text(&submitted.process, "teraslice.role"), "cluster_master");
    assert_eq!(text(&submitted.process, "service.name"), "teraslice");
    assert_eq!(text(&submitted.process, "deployment.environment"), "tests");
    assert_eq!(submitted.key, "secret");
    let [execution] = &collector.named("execution")[..] else {
        panic!("one controller, one span: {:?}", collector.named("execution"))
    };
    assert_eq!(execution.text("teraslice.ex_id"), ex_id);
    assert_eq!(execution.text("teraslice.status"), "completed");
    assert_eq!(text(&execution.process, "teraslice.role"), "execution_controller");
    let stats = cluster.execution(&ex_id)["_slicer_stats"].clone();
    assert_eq!(execution.text("teraslice.slices.processed"), stats["processed"].to_string());
    let slices = collector.named("slice");
    let ids: BTreeSet<_> = slices.iter().map(|slice| slice.text("teraslice.slice_id")).collect();
    assert_eq!(ids.len(), slices.len(), "each slice is run once");
    assert_eq!(stats["processed"], ids.len(), "each slice has a span");
    let mut created = 0;
    for slice in &slices {
        assert_eq!(slice.text("teraslice.ex_id"), ex_id);
        assert_eq!(slice.text("teraslice.outcome"), "completed");
        assert_eq!(text(&slice.process, "teraslice.role"), "worker");
        let operations: serde_json::Value =
            serde_json::from_str(&slice.text("teraslice.operations")).expect("operations are JSON");
        assert_eq!(operations[0]["op"], "file_reader");
        assert_eq!(operations[4]["op"], "file_exporter");
        created += operations[0]["counts"]["created"].as_u64().expect("a count");
    }
    assert_eq!(created, job.records);
}

#[test]
fn works_on_while_nobody_takes_its_traces() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    drop(listener);
    let environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16".to_owned()),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8".to_owned()),
    ];
    let mut cluster = Cluster::start(ClusterOptions { environment, ..ClusterOptions::default() });
    let job = LedgerJob::default();
    let (_, ex_id) = cluster.submit(&job.prepare(&cluster.stage));
    cluster.await_status(&ex_id, &["completed"]);
    job.check(&cluster, &ex_id);
    cluster.await_quiet();
    let warnings = |member: &str| {
        let log = std::fs::read_to_string(cluster.stage.path(&format!("{member}.log"))).expect("a log");
        log.lines().filter(|line| line.contains("traces are not taken")).count()
    };
    assert_eq!(warnings("master"), 1, "however often it is tried");
    assert_eq!(warnings("node-0"), 3, "a controller and two workers, one warning each");
    assert_eq!(cluster.stop_master(), Some(0), "it ends in time");
}

#[test]
fn does_not_start_with_a_variable_that_is_wrong() {
    let stage = teraslice_tests::Stage::default();
    let mut command = stage.command(&["master"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector");
    let ended = teraslice_tests::finish(command.spawn().expect("the binary starts"), WAIT_MAX);
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    let expected =
        "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://localhost:4318, found \"collector\"";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}
