//! The recorded answers of the running original: those of a whole cluster of ours have the same statuses, types and shapes.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use teraslice_tests::{
    cluster::{Cluster, ClusterOptions, WAIT_MAX},
    root, tell,
};

/// Recordings of the original's store, and of uploads that the server's own test makes.
const NOT_HERE: [&str; 3] = ["store-", "mapping-", "error-asset-"];

/// The cluster, and what it has answered.
struct Recorder {
    cluster: Cluster,
    agent: ureq::Agent,
    answers: BTreeMap<&'static str, Reply>,
}

/// An answer to the letter.
struct Reply {
    status: u16,
    kind: String,
    text: String,
}

#[test]
fn a_cluster_answers_as_the_original_does() {
    let Some(folder) = folder() else {
        tell(
            "NOT RUN: the recorded answers of the original are not here: set TERASLICE_GOLDEN to their folder",
        );
        return;
    };
    let mut recorder = Recorder::start();
    recorder.plain();
    recorder.stored();
    recorder.running();
    recorder.ended();
    recorder.recovered();
    recorder.failed();
    recorder.deleted();
    let mut wrong = Vec::new();
    for (name, recorded) in recorded(&folder) {
        match recorder.answers.get(name.as_str()) {
            Some(reply) => {
                wrong.extend(compare(&recorded, reply).into_iter().map(|it| format!("{name}: {it}")))
            }
            None => wrong.push(format!("{name}: nothing here asks for it")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn folder() -> Option<PathBuf> {
    let beside = || root().join("../shared/golden");
    let folder = env::var_os("TERASLICE_GOLDEN").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn recorded(folder: &Path) -> BTreeMap<String, Value> {
    let paths = fs::read_dir(folder)
        .expect("what the case itself has made is there")
        .map(|entry| entry.expect("what the case itself has made is there").path());
    let json = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let named = json.map(|path| {
        (
            path.file_stem().expect("what the case itself has made is there").to_string_lossy().into_owned(),
            path,
        )
    });
    let asked = named.filter(|(name, _)| !NOT_HERE.iter().any(|prefix| name.starts_with(prefix)));
    asked
        .map(|(name, path)| {
            (
                name,
                serde_json::from_slice(&fs::read(path).expect("what the case itself has made is there"))
                    .expect("what the case itself has made is there"),
            )
        })
        .collect()
}

fn job(operations: Value) -> Value {
    json!({
        "name": "a job", "lifecycle": "once", "workers": 1, "analytics": true, "max_retries": 0,
        "operations": operations,
    })
}

fn short() -> Value {
    job(json!([{"_op": "test-reader"}, {"_op": "noop"}]))
}

/// A job of so many slices, each of which takes a moment.
fn long(slices: u64) -> Value {
    job(json!([
        {"_op": "data_generator", "size": slices * 10},
        {"_op": "delay", "ms": 20},
        {"_op": "noop", "size": 10},
    ]))
}

impl Recorder {
    fn start() -> Self {
        let options = ClusterOptions { nodes: 0, has_master_node: true, ..ClusterOptions::default() };
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { cluster: Cluster::start(options), agent, answers: BTreeMap::new() }
    }

    /// Sends a request and keeps the answer under the name of a recording; returns its body.
    fn ask(&mut self, name: &'static str, request: &str, body: &[u8]) -> Value {
        let (method, path) = request.split_once(' ').expect("what the case itself has made is there");
        let kind = if path.starts_with("/assets") { "application/octet-stream" } else { "application/json" };
        let request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.cluster.url()));
        let request =
            request.header("content-type", kind).body(body).expect("what the case itself has made is there");
        let mut response = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let (status, kind) = (response.status().as_u16(), kind.unwrap_or_default().to_owned());
        let text = response.body_mut().read_to_string().expect("what the case itself has made is there");
        let body = serde_json::from_str(&text).unwrap_or_default();
        self.answers.insert(name, Reply { status, kind, text });
        body
    }

    fn send(&mut self, name: &'static str, request: &str) -> Value {
        self.ask(name, request, b"")
    }

    fn send_json(&mut self, name: &'static str, request: &str, body: &Value) -> Value {
        self.ask(name, request, body.to_string().as_bytes())
    }

    fn plain(&mut self) {
        let nobody = "00000000-0000-4000-8000-000000000000";
        let mut invalid = short();
        invalid["workers"] = 0.into();
        let mut with_id = short();
        with_id["job_id"] = nobody.into();
        self.send("error-bad-deleted", "GET /jobs?deleted=x");
        self.send("error-bad-size", "GET /jobs?size=x");
        self.send_json("error-empty-job", "POST /jobs", &json!({}));
        self.send_json("error-invalid-job", "POST /jobs", &invalid);
        self.send_json("error-job-id-in-body", "POST /jobs", &with_id);
        self.ask("error-malformed", "POST /jobs", b"{\"a\"");
        self.send("error-unknown-ex", &format!("GET /ex/{nobody}"));
        self.send("error-unknown-job", &format!("GET /jobs/{nobody}"));
        self.send("error-unknown-route", "GET /nothing");
        self.send("info", "GET /");
        self.send("cluster-state", "GET /cluster/state");
        self.send("cluster-stats", "GET /cluster/stats");
        self.send("txt-nodes", "GET /txt/nodes");
        self.send("txt-workers", "GET /txt/workers");
        self.assets();
    }

    fn assets(&mut self) {
        let zip = fs::read_dir(root().join("assets/dist")).expect("assets are built").flatten();
        let zip = zip.map(|file| file.path()).find(|path| path.to_string_lossy().contains("testing"));
        let zip = fs::read(zip.expect("the testing asset is built"))
            .expect("what the case itself has made is there");
        let created = self.ask("asset-created", "POST /assets?blocking=true", &zip);
        self.ask("asset-there", "POST /assets?blocking=true", &zip);
        self.send("asset-list", "GET /assets/testing");
        self.send("asset-version", "GET /assets/testing/1.0.0");
        self.send("asset-none", "GET /assets/other");
        self.send("txt-assets", "GET /txt/assets");
        let id = created["asset_id"].as_str().expect("an asset has an id");
        self.send("asset-delete", &format!("DELETE /assets/{id}"));
        self.ask("asset-created", "POST /assets?blocking=true", &zip);
    }

    fn stored(&mut self) {
        let created = self.send_json("job-create", "POST /jobs?start=false", &short());
        let path =
            format!("/jobs/{}", created["job_id"].as_str().expect("what the case itself has made is there"));
        self.send("job-record", &format!("GET {path}"));
        self.send("job-list", "GET /jobs");
        self.send("txt-jobs", "GET /txt/jobs");
        self.send_json("job-update", &format!("PUT {path}"), &short());
        self.send("error-no-ex", &format!("GET {path}/ex"));
        self.send("error-recover-never-run", &format!("POST {path}/_recover"));
        self.send("job-inactive", &format!("POST {path}/_inactive"));
        self.send("job-active", &format!("POST {path}/_active"));
        self.send("job-without-ex", &format!("GET {path}?ex=_status"));
        self.send("job-start", &format!("POST {path}/_start"));
        self.send("job-with-ex", &format!("GET {path}?ex=_status,ex_id"));
    }

    fn running(&mut self) {
        let submitted = self.send_json("job-submit", "POST /jobs", &long(10_000));
        let [job_id, ex_id] = ["job_id", "ex_id"]
            .map(|key| submitted[key].as_str().expect("what the case itself has made is there").to_owned());
        let (path, ex) = (format!("/jobs/{job_id}"), format!("/ex/{ex_id}"));
        self.cluster.await_status(&ex_id, &["running"]);
        self.send("error-start-running", &format!("POST {path}/_start"));
        self.send("error-delete-running", &format!("DELETE {path}"));
        self.send("error-workers", &format!("POST {path}/_workers?add=-1"));
        self.send("error-settings", &format!("POST {path}/_settings?log_level=loud"));
        self.cluster.wait("the first statistics", WAIT_MAX, |cluster| {
            let answer = cluster.request("GET", &format!("{ex}/controller"), None);
            answer.body[0]["processed"].as_u64().filter(|processed| *processed > 0)
        });
        self.send("ex-running", &format!("GET {ex}"));
        self.send("ex-controller", &format!("GET {ex}/controller"));
        self.send("job-controller", &format!("GET {path}/controller"));
        self.send("cluster-controllers", "GET /cluster/controllers");
        self.send("cluster-state", "GET /cluster/state");
        self.send("txt-controllers", "GET /txt/controllers");
        self.send("txt-slicers", "GET /txt/slicers");
        self.send("pause", &format!("POST {path}/_pause"));
        self.send("resume", &format!("POST {path}/_resume"));
        self.send("workers-add", &format!("POST {path}/_workers?add=1"));
        self.send("workers-total-same", &format!("POST {path}/_workers?total=2"));
        self.send("job-settings", &format!("POST {path}/_settings?log_level=debug"));
        self.send("stop-not-waiting", &format!("POST {path}/_stop?blocking=false"));
        self.send("stop", &format!("POST {path}/_stop"));
        self.send("stop-ended", &format!("POST {ex}/_stop"));
        self.send("ex-stopped", &format!("GET {ex}"));
        self.send("error-pause-ended", &format!("POST {ex}/_pause"));
        self.send("error-bad-cleanup", &format!("POST {ex}/_recover?cleanup_type=x"));
    }

    fn ended(&mut self) {
        let (job_id, ex_id) = self.cluster.submit(&short());
        self.cluster.await_status(&ex_id, &["completed"]);
        self.send("ex-completed", &format!("GET /ex/{ex_id}"));
        self.send("job-latest-ex", &format!("GET /jobs/{job_id}/ex"));
        let controller = format!("/ex/{ex_id}/controller");
        self.cluster.wait("the controller to be gone", WAIT_MAX, |cluster| {
            (cluster.request("GET", &controller, None).status == 404).then_some(())
        });
        self.send("ex-no-errors", &format!("GET /ex/{ex_id}/errors"));
        self.send("error-controller-ended", &format!("GET {controller}"));
        self.send("ex-list", "GET /ex?status=completed");
        self.send("txt-ex", "GET /txt/ex");
    }

    fn recovered(&mut self) {
        let mut job = long(200);
        job["assets"] = json!(["standard"]);
        let (job_id, ex_id) = self.cluster.submit(&job);
        self.cluster.await_status(&ex_id, &["running"]);
        self.cluster.post(&format!("/jobs/{job_id}/_stop"), None);
        let path = format!("POST /jobs/{job_id}/_recover?cleanup_type=pending");
        let answer = self.send("job-recover", &path);
        let ex_id = answer["ex_id"].as_str().expect("a recovery has an execution");
        self.cluster.await_status(ex_id, &["completed"]);
        self.send("ex-recovered", &format!("GET /ex/{ex_id}"));
    }

    fn failed(&mut self) {
        let stage = &self.cluster.stage;
        stage.write("input.ldjson", "not JSON\n");
        let job = job(json!([
            {"_op": "file_reader", "path": stage.path("input.ldjson"), "format": "ldjson"},
            {"_op": "noop"},
        ]));
        let (job_id, ex_id) = self.cluster.submit(&job);
        self.cluster.await_status(&ex_id, &["failed"]);
        let with_assets = self.send("ex-failed", &format!("GET /ex/{ex_id}"));
        assert!(with_assets["_failureReason"].as_str().is_some_and(|reason| !reason.is_empty()));
        self.send("ex-errors", &format!("GET /ex/{ex_id}/errors"));
        self.send("job-errors", &format!("GET /jobs/{job_id}/errors"));
    }

    fn deleted(&mut self) {
        let mut job = short();
        job["active"] = true.into();
        let created = self.cluster.post("/jobs?start=false", Some(&job));
        let path =
            format!("/jobs/{}", created["job_id"].as_str().expect("what the case itself has made is there"));
        self.send("job-delete", &format!("DELETE {path}"));
        self.send("error-delete-deleted", &format!("DELETE {path}"));
        self.send("error-start-deleted", &format!("POST {path}/_start"));
        self.send_json("error-update-deleted", &format!("PUT {path}"), &short());
        self.send("job-list-deleted", "GET /jobs?deleted=true");
        self.send("txt-jobs-deleted", "GET /txt/jobs?deleted=true");
    }
}

/// Returns what is not as it was recorded.
fn compare(recorded: &Value, reply: &Reply) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, expected: &Value, found: Value| {
        if *expected != found {
            wrong.push(format!("{what} is {found}, recorded {expected}: {}", reply.text));
        }
    };
    expect("the status", &recorded["status"], reply.status.into());
    expect("the content type", &recorded["type"], reply.kind.as_str().into());
    if let Some(columns) = recorded.get("columns") {
        let header = reply.text.lines().next().unwrap_or_default();
        expect("the header", columns, header.split_whitespace().collect());
        return wrong;
    }
    let second = reply.text.lines().nth(1).unwrap_or_default();
    expect("the indent", &recorded["indent"], (second.len() - second.trim_start().len()).into());
    let found = serde_json::from_str(&reply.text).unwrap_or_default();
    match_shape(&recorded["shape"], &found, "", &mut wrong);
    wrong
}

fn match_shape(shape: &Value, found: &Value, path: &str, wrong: &mut Vec<String>) {
    let kind =
        shape.as_str().or_else(|| shape.as_object()?.keys().next().map(String::as_str)).unwrap_or_default();
    match (kind, &shape[kind], found) {
        ("object", Value::Object(keys), Value::Object(found)) => {
            for (key, shape) in keys {
                let name = key.strip_suffix('?').unwrap_or(key);
                match found.get(name) {
                    Some(value) => match_shape(shape, value, &format!("{path}/{name}"), wrong),
                    None if name != key => {}
                    None => wrong.push(format!("{path}/{name} is missing")),
                }
            }
        }
        ("array", of, Value::Array(found)) if found.is_empty() == (of == "nothing") => {
            for (at, value) in found.iter().enumerate() {
                match_shape(of, value, &format!("{path}/{at}"), wrong);
            }
        }
        ("map", of, Value::Object(found)) if !found.is_empty() => {
            for (key, value) in found {
                match_shape(of, value, &format!("{path}/{key}"), wrong);
            }
        }
        (kind, Value::Null, found) if is_of(kind, found) => {}
        _ => wrong.push(format!("{path} is {found}, recorded {shape}")),
    }
}

fn is_of(kind: &str, found: &Value) -> bool {
    let text = found.as_str().unwrap_or_default();
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match kind {
        "string" => found.is_string(),
        "uuid" => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex),
        "time" => text.len() == 24 && text.as_bytes()[10] == b'T' && text.ends_with('Z'),
        "sha1" => text.len() == 40 && is_hex(text),
        "number" => found.is_number(),
        "boolean" => found.is_boolean(),
        "null" => found.is_null(),
        _ => false,
    }
}
