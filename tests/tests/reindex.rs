//! Copies of an index on a real search server, held against the original document by document.

use std::{
    collections::HashMap,
    env,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use teraslice_tests::{
    Stage,
    cluster::{Cluster, ClusterOptions},
    elastic::{ElasticServer, connectors, example},
    finish, kill, tell,
};

/// Documents that are copied, unless `TERASLICE_TEST_DOCUMENTS` says otherwise.
const DOCUMENTS: u64 = 100_000;
/// Documents of a slice of the copy in a cluster.
const SLICE: u64 = 500;
/// What all slices of that copy wait together, over two workers: it is still at work when it is hit, however fast the machine.
const DELAY: Duration = Duration::from_mins(1);
/// A copy takes no longer, whatever is killed.
const COPY_MAX: Duration = Duration::from_mins(10);

fn documents() -> u64 {
    env::var("TERASLICE_TEST_DOCUMENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(DOCUMENTS)
}

fn slices() -> u64 {
    documents() / SLICE
}

/// Reads an example's job, with our number of documents.
fn job(name: &str) -> String {
    let text = std::fs::read_to_string(example(name)).expect("the example is there");
    text.replace("1000000", &documents().to_string())
}

fn config(server: &ElasticServer) -> String {
    json!({"terafoundation": {"connectors": connectors(server.url())}, "teraslice": {"state": {"connection": "sqlite"}}})
        .to_string()
}

/// Makes the documents; returns how long that took.
fn fill(stage: &Stage, server: &ElasticServer) -> Duration {
    server.ask("PUT", "/visits", Some(&index_settings()));
    stage.write("config.json", config(server));
    stage.write("fill.yaml", job("reindex/fill.yaml"));
    let took = run(stage, "fill.yaml");
    assert_eq!(server.count("visits"), documents());
    took
}

fn index_settings() -> Value {
    json!({"settings": {"number_of_shards": 2, "number_of_replicas": 0}, "mappings": {"properties": {
        "created": {"type": "date"}, "uuid": {"type": "keyword"}, "location": {"type": "keyword"},
    }}})
}

#[expect(clippy::disallowed_methods, reason = "a measure for the reader of the test run")]
fn run(stage: &Stage, job: &str) -> Duration {
    let start = Instant::now();
    let child = stage.command(&["run", job, "-c", "config.json"]).spawn().expect("the binary starts");
    let ended = finish(child, COPY_MAX);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    start.elapsed()
}

/// Holds the copy against the original: the same ids, and the content that the job makes of each.
fn compare(server: &ElasticServer, copy: &str) {
    let hasher = RandomState::new();
    let hash = |document: &Value| {
        let fields: std::collections::BTreeMap<_, _> =
            document.as_object().expect("a document is an object").iter().collect();
        hasher.hash_one(serde_json::to_string(&fields).expect("JSON can be written"))
    };
    let mut expected = HashMap::new();
    server.scan("visits", |id, document| {
        let mut document = document.clone();
        let fields = document.as_object_mut().expect("a document is an object");
        let address = fields.remove("ip").expect("every document has one");
        fields.insert("address".to_owned(), address);
        fields.insert("copied".to_owned(), true.into());
        expected.insert(id.to_owned(), hash(&document));
    });
    assert_eq!(expected.len() as u64, documents());
    let mut seen = 0;
    server.scan(copy, |id, document| {
        assert_eq!(expected.remove(id), Some(hash(document)), "{id}: {document}");
        seen += 1;
    });
    assert_eq!((seen, expected.len()), (documents(), 0), "documents of the copy, and those that it lacks");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a measure for the reader of the test run")]
fn the_example_copies_an_index_whole() {
    let Some(server) = ElasticServer::start() else { return };
    let stage = Stage::default();
    let filled = fill(&stage, &server);
    stage.write("job.yaml", job("reindex/job.yaml"));
    server.ask("PUT", "/visits-copy", Some(&index_settings()));
    let copied = run(&stage, "job.yaml");
    compare(&server, "visits-copy");
    // Once more: what is there already is replaced by the same.
    run(&stage, "job.yaml");
    compare(&server, "visits-copy");

    server.ask("PUT", "/visits-own", Some(&index_settings()));
    let start = Instant::now();
    let of_server = json!({"source": {"index": "visits", "size": 5000}, "dest": {"index": "visits-own"}});
    server.ask("POST", "/_reindex?slices=auto&wait_for_completion=true", Some(&of_server));
    let own = start.elapsed();
    tell(&format!(
        "{} documents: made in {filled:.1?}, copied in {copied:.1?}, by the server itself in {own:.1?}: ratio {:.2}",
        documents(),
        own.as_secs_f64() / copied.as_secs_f64()
    ));
}

/// Submits the copy; returns its execution.
fn start_copy(cluster: &Cluster) -> String {
    let job = json!({
        "name": "reindex",
        "lifecycle": "once",
        "workers": 2,
        "assets": ["standard"],
        "apis": [
            {"_name": "elasticsearch_reader_api", "index": "visits", "date_field_name": "created", "size": SLICE},
            {"_name": "elasticsearch_sender_api", "index": "visits-copy"},
        ],
        "operations": [
            {"_op": "elasticsearch_reader", "_api_name": "elasticsearch_reader_api"},
            {"_op": "copy_field", "source": "ip", "destination": "address", "delete_source": true},
            {"_op": "set_field", "field": "copied", "value": true},
            {"_op": "delay", "ms": DELAY.as_secs() * 1_000 / slices()},
            {"_op": "elasticsearch_bulk", "_api_name": "elasticsearch_sender_api"},
        ],
    });
    cluster.submit(&job).1
}

fn processed(cluster: &Cluster, ex_id: &str) -> u64 {
    cluster.execution(ex_id)["_slicer_stats"]["processed"].as_u64().unwrap_or_default()
}

fn cluster(server: &ElasticServer) -> Cluster {
    Cluster::start(ClusterOptions { connectors: Some(connectors(server.url())), ..ClusterOptions::default() })
}

#[test]
fn a_cluster_with_its_state_on_the_server_copies_an_index_through_faults() {
    let Some(server) = ElasticServer::start() else { return };
    let stage = Stage::default();
    fill(&stage, &server);
    server.ask("PUT", "/visits-copy", Some(&index_settings()));
    let mut cluster = cluster(&server);
    let ex_id = start_copy(&cluster);
    cluster.wait("a tenth of the slices", COPY_MAX, |cluster| {
        (processed(cluster, &ex_id) > slices() / 10).then_some(())
    });

    let (_, worker) = cluster.await_processes(&ex_id, "worker", 2).remove(0);
    kill(worker);
    let (_, controller) = cluster.await_processes(&ex_id, "execution_controller", 1).remove(0);
    kill(controller);
    cluster
        .wait("more slices", COPY_MAX, |cluster| (processed(cluster, &ex_id) > slices() / 5).then_some(()));
    cluster.kill_master();
    cluster.start_master();
    cluster.await_nodes(1);

    server.kill();
    std::thread::sleep(Duration::from_secs(60));
    server.start_again();
    cluster.wait("the execution to complete", COPY_MAX, |cluster| {
        let answer = cluster.request("GET", &format!("/v1/ex/{ex_id}"), None);
        let status = answer.body["_status"].as_str().unwrap_or_default();
        assert!(!["failed", "terminated", "rejected", "stopped"].contains(&status), "{}", answer.body);
        (status == "completed").then_some(())
    });
    compare(&server, "visits-copy");
}
