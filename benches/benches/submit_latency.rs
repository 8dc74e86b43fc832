//! How long does a job take from its POST to its first slice processed on a warm node, against `teraslice run`?

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What takes longer hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// While something is waited for, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A master and a node in one process; both end with this.
struct Cluster {
    folder: TempDir,
    process: Child,
    url: String,
    submitted: u32,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        drop(listener);
        let teraslice = json!({
            "name": format!("bench-{port}"),
            "port": port,
            "bind": "127.0.0.1",
            "workers": 8,
            "state_directory": folder.path().join("state"),
            "assets_directory": folder.path().join("assets"),
        });
        let config = folder.path().join("config.json");
        fs::write(&config, json!({"teraslice": teraslice}).to_string()).expect("the folder can be written");
        let mut command = teraslice_command(folder.path());
        command.args(["master", "--node", "-c"]).arg(config).env("TERASLICE_NO_CGROUPS", "1");
        let process = command.spawn().expect("the binary starts");
        let cluster = Self { folder, process, url: format!("http://127.0.0.1:{port}"), submitted: 0 };
        wait("the node", || {
            let state = cluster.get("/cluster/state")?;
            state.as_object()?.values().any(|node| node["state"] == "connected").then_some(())
        });
        cluster
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut response = ureq::get(format!("{}{path}", self.url)).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    /// Submits a job; returns how long its first slice takes, and waits for its end.
    fn submit(&mut self) -> Duration {
        self.submitted += 1;
        let output = self.folder.path().join(format!("out-{}", self.submitted));
        let body = job(&output).to_string();
        let start = now();
        let request = ureq::post(format!("{}/v1/jobs", self.url)).content_type("application/json");
        let mut response = request.send(&body).expect("the job is taken");
        let is_processed = || has_file(&output).then_some(());
        wait("the first slice", is_processed);
        let took = start.elapsed();
        let answer = response.body_mut().read_to_string().expect("the answer is text");
        let answer: Value = serde_json::from_str(&answer).expect("the answer is JSON");
        let path = format!("/v1/ex/{}", answer["ex_id"].as_str().expect("an execution was made"));
        wait("the end", || (self.get(&path)?["_status"] == "completed").then_some(()));
        took
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// One slice, whose output shows when it has been processed.
fn job(output: &Path) -> Value {
    json!({
        "name": "first",
        "lifecycle": "once",
        "workers": 1,
        "operations": [
            {"_op": "data_generator", "size": 10},
            {"_op": "file_exporter", "path": output, "format": "ldjson", "file_per_slice": true},
        ],
    })
}

/// Runs the same job from the start of a process; returns how long its first slice takes.
fn run_alone() -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (file, output) = (folder.path().join("job.json"), folder.path().join("out"));
    fs::write(&file, job(&output).to_string()).expect("the folder can be written");
    let mut command = teraslice_command(folder.path());
    command.arg("run").arg(file);
    let start = now();
    let mut process = command.spawn().expect("the binary starts");
    let is_processed = || has_file(&output).then_some(());
    wait("the first slice", is_processed);
    let took = start.elapsed();
    assert!(process.wait().is_ok_and(|status| status.success()), "the run completes");
    took
}

fn teraslice_command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .env_remove("TERAFOUNDATION_CONFIG")
        .env("TERASLICE_STATE_DIRECTORY", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Returns the built binary: beside the bench's own, in the same target folder.
fn binary() -> PathBuf {
    let bench = std::env::current_exe().expect("a bench knows its own path");
    let release = bench.ancestors().nth(2).expect("benches lie in <profile>/deps");
    let binary = release.join("teraslice");
    assert!(binary.is_file(), "{} is missing: run `make build` first", binary.display());
    binary
}

/// Tells whether a folder has a file that is not being written any more.
fn has_file(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.into_iter().any(|file| !file.file_name().to_string_lossy().starts_with('.'))
}

#[expect(clippy::disallowed_methods, reason = "real processes are timed")]
fn now() -> Instant {
    Instant::now()
}

fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        sleep(LOOK_EVERY);
    }
}

fn latency(criterion: &mut Criterion) {
    let mut cluster = Cluster::start();
    let mut group = criterion.benchmark_group("submit_latency");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function("cluster", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| cluster.submit()).sum());
    });
    group.bench_function("baseline", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| run_alone()).sum());
    });
    group.finish();
}

criterion_group!(benches, latency);
criterion_main!(benches);
