//! What the original's own end-to-end cases check of indices, on a real search server that keeps the state as well.

use serde_json::{Value, json};
use teraslice_tests::{
    Stage,
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    elastic::{ElasticServer, connectors},
    tell,
};

/// Documents of the input.
const DOCUMENTS: u64 = 1_000;
/// The first of them, in milliseconds since 1970; there is one each second.
const FIRST: u64 = 1_600_000_000_000;
/// The characters that ids may begin with in the cases of key ranges.
const HEX: &str = "0123456789abcdef";

struct Scene {
    server: ElasticServer,
    cluster: Cluster,
}

impl Scene {
    fn new() -> Option<Self> {
        let server = ElasticServer::start()?;
        let options =
            ClusterOptions { connectors: Some(connectors(server.url())), ..ClusterOptions::default() };
        let scene = Self { cluster: Cluster::start(options), server };
        scene.fill();
        Some(scene)
    }

    /// Makes an index of documents, one per second.
    fn fill(&self) {
        self.create("input");
        let mut body = String::new();
        for n in 0..DOCUMENTS {
            let time = FIRST + n * 1_000;
            let key = format!("{:x}{n:04}", n % 16);
            let action = json!({"index": {"_index": "input", "_id": key}});
            let document = json!({"n": n, "created": time, "key": key});
            body.push_str(&format!("{action}\n{document}\n"));
        }
        self.server.bulk(&body);
        assert_eq!(self.server.count("input"), DOCUMENTS);
    }

    fn create(&self, index: &str) {
        let (_, _) = self.server.request("DELETE", &format!("/{index}"), None);
        let mapping = json!({
            "settings": {"number_of_shards": 1, "number_of_replicas": 0},
            "mappings": {"properties": {
                "n": {"type": "long"}, "created": {"type": "date"}, "key": {"type": "keyword"},
            }},
        });
        self.server.ask("PUT", &format!("/{index}"), Some(&mapping));
    }

    fn begin(&self, path: &str) -> String {
        self.cluster.post(path, None)["ex_id"].as_str().expect("an execution has an id").to_owned()
    }

    fn completes(&self, ex_id: &str) -> Value {
        self.cluster.await_status(ex_id, &["completed"])
    }

    fn await_processed(&self, ex_id: &str, count: u64) {
        self.cluster.wait(&format!("{count} slices"), WAIT_MAX, |cluster| {
            let answer = cluster.request("GET", &format!("/v1/ex/{ex_id}/controller"), None);
            (answer.body[0]["processed"].as_u64().unwrap_or_default() >= count).then_some(())
        });
    }

    fn stop(&self, job_id: &str) {
        assert_eq!(self.cluster.post(&format!("/v1/jobs/{job_id}/_stop"), None)["status"], "stopped");
    }

    /// Checks that an index holds exactly the input, or so many of its documents.
    fn check(&self, index: &str, count: u64) {
        let mut seen = std::collections::BTreeSet::new();
        self.server.scan(index, |id, document| {
            let n = document["n"].as_u64().expect("every document has its number");
            assert_eq!(id, format!("{:x}{n:04}", n % 16));
            assert_eq!(document["created"], FIRST + n * 1_000);
            seen.insert(n);
        });
        assert_eq!(seen.len() as u64, count, "documents of {index}");
    }
}

/// Copies the input to `index` by dates.
fn copy(index: &str, slice: u64, delay: u64) -> Value {
    json!({
        "name": "reindex",
        "lifecycle": "once",
        "workers": 2,
        "apis": [
            {"_name": "elasticsearch_reader_api", "index": "input", "date_field_name": "created", "size": slice},
            {"_name": "elasticsearch_sender_api", "index": index},
        ],
        "operations": [
            {"_op": "elasticsearch_reader", "_api_name": "elasticsearch_reader_api"},
            {"_op": "delay", "ms": delay},
            {"_op": "elasticsearch_bulk", "_api_name": "elasticsearch_sender_api"},
        ],
    })
}

fn with_reader(mut job: Value, settings: &Value) -> Value {
    for (key, value) in settings.as_object().expect("settings are an object") {
        job["apis"][0][key] = value.clone();
    }
    job
}

#[test]
fn indices_are_copied_once_however_the_run_went() {
    let Some(scene) = Scene::new() else { return };
    copies_on_every_run(&scene);
    completes_without_hits(&scene);
    loses_nothing_in_pause_stop_and_recovery(&scene);
    reads_by_keys(&scene);
    recovers_what_an_original_left(&scene);
    goes_on_by_itself_with_autorecover(&scene);
    goes_on_from_a_recovery(&scene);
    keeps_jobs_in_an_index_as_the_original_does(&scene);
    moves_jobs_into_another_store_and_back(&scene);
}

fn copies_on_every_run(scene: &Scene) {
    scene.create("copy-1");
    let (job_id, mut ex_id) = scene.cluster.submit(&copy("copy-1", 100, 0));
    for run in 0..3 {
        if run > 0 {
            ex_id = scene.begin(&format!("/jobs/{job_id}/_start"));
        }
        let record = scene.completes(&ex_id);
        assert!(record["_slicer_stats"]["processed"].as_u64().is_some_and(|slices| slices >= 10), "{record}");
        scene.check("copy-1", DOCUMENTS);
    }
}

fn completes_without_hits(scene: &Scene) {
    scene.create("copy-2");
    let job = with_reader(copy("copy-2", 100, 0), &json!({"query": "n:>5000"}));
    let (_, ex_id) = scene.cluster.submit(&job);
    scene.completes(&ex_id);
    scene.check("copy-2", 0);
}

fn loses_nothing_in_pause_stop_and_recovery(scene: &Scene) {
    scene.create("copy-3");
    let (job_id, first) = scene.cluster.submit(&copy("copy-3", 10, 50));
    scene.await_processed(&first, 5);
    assert_eq!(scene.cluster.post(&format!("/jobs/{job_id}/_pause"), None), json!({"status": "paused"}));
    scene.cluster.await_status(&first, &["paused"]);
    assert_eq!(scene.cluster.post(&format!("/jobs/{job_id}/_resume"), None), json!({"status": "running"}));
    scene.await_processed(&first, 15);
    scene.stop(&job_id);
    let second = scene.begin(&format!("/jobs/{job_id}/_recover"));
    let record = scene.completes(&second);
    assert_eq!(record["recovered_execution"], first.as_str());
    scene.check("copy-3", DOCUMENTS);
}

fn reads_by_keys(scene: &Scene) {
    let by_keys = |index: &str, more: Value| {
        let mut job = with_reader(copy(index, 50, 0), &json!({"id_field_name": "key"}));
        job["operations"][0]["_op"] = "id_reader".into();
        with_reader(job, &more)
    };
    let half: Vec<_> = HEX[..8].chars().map(String::from).collect();
    for (at, (more, count)) in [
        (json!({"key_type": "base64url"}), DOCUMENTS),
        (json!({"key_type": "hexadecimal"}), DOCUMENTS),
        (json!({"key_type": "hexadecimal", "key_range": half}), 504),
    ]
    .into_iter()
    .enumerate()
    {
        let index = format!("keys-{at}");
        scene.create(&index);
        let (_, ex_id) = scene.cluster.submit(&by_keys(&index, more));
        scene.completes(&ex_id);
        scene.check(&index, count);
    }
    scene.create("keys-recovered");
    let mut job = by_keys("keys-recovered", json!({"key_type": "hexadecimal", "size": 5}));
    job["operations"][1]["ms"] = 30.into();
    let (job_id, first) = scene.cluster.submit(&job);
    scene.await_processed(&first, 5);
    scene.stop(&job_id);
    let second = scene.begin(&format!("/jobs/{job_id}/_recover"));
    scene.completes(&second);
    scene.check("keys-recovered", DOCUMENTS);
}

/// Puts an execution into the indices as the original leaves one: eight slices of a hundred documents, two in each state.
fn seed(scene: &Scene, index: &str) -> String {
    let (job_id, made) = scene.cluster.submit(&copy(index, 100, 0));
    let made = scene.completes(&made);
    scene.create(index);
    let ex_id = "6b0d4e26-7a55-4e4e-9f0b-5d0f0e6f1a11";
    let name = scene.cluster.name();
    let mut record =
        scene.server.ask("GET", &format!("/{name}__ex/_doc/{}", text(&made["ex_id"])), None)["_source"]
            .clone();
    // What only we write is not there.
    let golden = scene.cluster.execution(text(&made["ex_id"]));
    let fields = record.as_object_mut().expect("a record is an object");
    fields.retain(|key, _| golden.get(key).is_some());
    fields.insert("ex_id".to_owned(), ex_id.into());
    fields.insert("_status".to_owned(), "failed".into());
    scene.server.ask("PUT", &format!("/{name}__ex/_doc/{ex_id}?refresh=true"), Some(&record));
    for (at, state) in ["completed", "start", "error", "pending"].iter().cycle().take(8).enumerate() {
        let start = FIRST + at as u64 * 100_000;
        let slice_id = format!("00000000-0000-4000-8000-00000000000{at}");
        let (start, end) = (iso(start), iso(start + 100_000));
        let request = json!({"start": start, "end": end, "limit": end, "holes": [], "count": 100});
        let mut document = json!({
            "slice_id": slice_id, "slicer_id": 0, "slicer_order": at, "request": request.to_string(), "state": state,
            "ex_id": ex_id, "_created": "2026-11-01T00:00:00.000Z", "_updated": "2026-11-01T00:00:01.000Z",
        });
        if *state == "error" {
            document["error"] = "Error: it broke".into();
        }
        let path = format!("/{name}__state-2026.11/_doc/{slice_id}?refresh=true");
        scene.server.ask("PUT", &path, Some(&document));
    }
    assert!(!job_id.is_empty());
    ex_id.to_owned()
}

fn recovers_what_an_original_left(scene: &Scene) {
    let seeded = seed(scene, "copy-4");
    // Slices that a worker had begun (`start`) are not among the pending ones, as in the original.
    for (kind, count) in [("errors", 200), ("pending", 200), ("all", 600)] {
        scene.create("copy-4");
        let ex_id = scene.begin(&format!("/ex/{seeded}/_recover?cleanup_type={kind}"));
        let record = scene.completes(&ex_id);
        assert_eq!(record["recovered_execution"], seeded.as_str());
        assert_eq!(record["recovered_slice_type"], kind);
        scene.check("copy-4", count);
    }
    // Nothing says where the original would have gone on.
    let refused = scene.cluster.request("POST", &format!("/ex/{seeded}/_recover"), None);
    assert_eq!(refused.status, 422, "{}", refused.body);
}

fn goes_on_by_itself_with_autorecover(scene: &Scene) {
    scene.create("copy-5");
    let mut job = copy("copy-5", 10, 150);
    let (job_id, first) = scene.cluster.submit(&job);
    scene.await_processed(&first, 5);
    scene.stop(&job_id);
    job["autorecover"] = true.into();
    assert_eq!(scene.cluster.request("PUT", &format!("/jobs/{job_id}"), Some(&job)).status, 200);
    let second = scene.begin(&format!("/jobs/{job_id}/_start"));
    let record = scene.cluster.await_status(&second, &["recovering"]);
    assert_eq!(record["recovered_execution"], first.as_str());
    assert_eq!(record["recovered_slice_type"], "pending");
    scene.await_processed(&second, 10);
    scene.stop(&job_id);
    let some = scene.server.count("copy-5");
    assert!((100..DOCUMENTS).contains(&some), "{some}");
    let third = scene.begin(&format!("/jobs/{job_id}/_start"));
    scene.completes(&third);
    scene.check("copy-5", DOCUMENTS);
}

fn goes_on_from_a_recovery(scene: &Scene) {
    scene.create("copy-6");
    let (job_id, first) = scene.cluster.submit(&copy("copy-6", 10, 100));
    let mut last = first;
    for _ in 0..2 {
        scene.await_processed(&last, 4);
        scene.stop(&job_id);
        let next = scene.begin(&format!("/jobs/{job_id}/_recover"));
        let record = scene.cluster.execution(&next);
        assert_eq!(record["recovered_execution"], last.as_str());
        assert!(record.get("recovered_slice_type").is_none(), "{record}");
        last = next;
    }
    scene.completes(&last);
    scene.check("copy-6", DOCUMENTS);
}

fn keeps_jobs_in_an_index_as_the_original_does(scene: &Scene) {
    let name = scene.cluster.name();
    for index in ["jobs", "ex", "assets"] {
        let mapping = scene.server.ask("GET", &format!("/{name}__{index}/_mapping"), None);
        assert_eq!(mapping[format!("{name}__{index}")]["mappings"]["dynamic"], "false", "{mapping}");
    }
    let (job_id, ex_id) = scene.cluster.submit(&copy("copy-1", 100, 0));
    scene.completes(&ex_id);
    let stored = scene.server.ask("GET", &format!("/{name}__jobs/_doc/{job_id}"), None);
    assert_eq!(stored["_source"]["name"], "reindex");
    assert_eq!(stored["_source"]["_context"], "job");
    let slices = json!({"query": {"bool": {"filter": [{"term": {"ex_id": ex_id}}, {"term": {"state": "completed"}}]}}});
    let count = scene.cluster.wait("the records of slices", WAIT_MAX, |_| {
        scene.server.ask("POST", &format!("/{name}__state-*/_refresh"), None);
        let count =
            scene.server.ask("POST", &format!("/{name}__state-*/_count"), Some(&slices))["count"].as_u64()?;
        (count >= 10).then_some(count)
    });
    let record = scene.cluster.execution(&ex_id);
    assert_eq!(record["_slicer_stats"]["processed"], count);
}

fn moves_jobs_into_another_store_and_back(scene: &Scene) {
    let stage = Stage::default();
    let config = json!({
        "terafoundation": {"connectors": connectors(scene.server.url())},
        "teraslice": {"name": "moved", "state": {"connection": "sqlite"}},
    });
    stage.write("config.json", config.to_string());
    let name = scene.cluster.name();
    let run = |arguments: &[&str]| stage.run(&[arguments, &["-c", "config.json", "-o", "json"]].concat());
    let count = |moved: &Value, key: &str| moved[key].as_u64().unwrap_or_else(|| panic!("no {key}: {moved}"));

    let first = run(&["import", "--from", name]).json();
    let (jobs, executions) = (count(&first, "jobs"), count(&first, "executions"));
    assert!(jobs >= 8 && executions > jobs && count(&first, "slices") >= 6, "{first}");
    assert_eq!((count(&first, "known"), &first["running"]), (0, &json!([])));
    let again = run(&["import", "--from", name]).json();
    assert_eq!((count(&again, "jobs"), count(&again, "executions"), count(&again, "slices")), (0, 0, 0));
    assert_eq!(count(&again, "known"), jobs + executions);
    let back = run(&["export", "--to", "moved"]).json();
    assert_eq!((count(&back, "jobs"), count(&back, "executions")), (jobs, executions));
    assert_eq!(count(&back, "slices"), count(&first, "slices"));
    assert_eq!((scene.server.count("moved__jobs"), scene.server.count("moved__ex")), (jobs, executions));

    let nowhere = run(&["import", "--from", name, "--connection", "nowhere"]);
    assert_eq!(nowhere.code, Some(78), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("nowhere") && nowhere.stderr.contains("default"), "{}", nowhere.stderr);
}

/// Documents that the server has written since it started, in all indices.
fn written(scene: &Scene) -> u64 {
    let stats = scene.server.ask("GET", "/_stats/indexing", None);
    stats["_all"]["total"]["indexing"]["index_total"].as_u64().expect("the server counts what it writes")
}

/// Requests that the server has answered since it started, of all kinds.
fn requests(scene: &Scene) -> u64 {
    let usage = scene.server.ask("GET", "/_nodes/usage/rest_actions", None);
    let nodes = usage["nodes"].as_object().expect("the server lists its nodes").values();
    let actions =
        nodes.flat_map(|node| node["rest_actions"].as_object().expect("a node counts its requests").values());
    actions.map(|count| count.as_u64().expect("a count")).sum()
}

#[test]
fn a_slice_costs_the_server_one_document_and_a_fiftieth_of_a_request() {
    const SLICES: u64 = 50_000;
    let Some(scene) = Scene::new() else { return };
    let job = json!({
        "name": "no-op",
        "lifecycle": "once",
        "workers": 2,
        "operations": [{"_op": "data_generator", "size": SLICES}, {"_op": "noop", "size": 1}],
    });
    let before = (written(&scene), requests(&scene));
    let (_, ex_id) = scene.cluster.submit(&job);
    let record = scene.completes(&ex_id);
    assert_eq!(record["_slicer_stats"]["processed"], SLICES);
    let counts = scene.cluster.get(&format!("/v1/ex/{ex_id}/slices?state=completed&size=1"));
    assert_eq!(counts.as_array().map(Vec::len), Some(1));
    let asked = (requests(&scene) - before.1) as f64 / SLICES as f64;
    let written = (written(&scene) - before.0) as f64 / SLICES as f64;
    tell(&format!(
        "{SLICES} slices in {} s, {written:.2} documents and {asked:.4} requests each",
        record["_slicer_stats"]["job_duration"]
    ));
    assert!((1.0..1.1).contains(&written), "{written} documents per slice");
    assert!((0.0001..0.02).contains(&asked), "{asked} requests per slice");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Writes milliseconds since 1970 as `2020-09-13T12:26:40.000Z`; the cases stay within that hour.
fn iso(millis: u64) -> String {
    let seconds = (millis - FIRST) / 1_000 + 26 * 60 + 40;
    format!("2020-09-13T12:{:02}:{:02}.000Z", seconds / 60, seconds % 60)
}
