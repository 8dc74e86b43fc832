//! How long does a call to a cluster backend of a third party take, there and back, 99 times of 100?

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use teraslice_backend_plugin::{PluginBackend, PluginOptions, ProcessTemplate, Transport};
use teraslice_core::{
    backend::{ClusterBackend as _, Scope},
    context::Context,
};
use tokio::runtime::Runtime;

/// Calls of which the time of the slowest hundredth is taken.
const CALLS: usize = 2_000;

/// Returns a backend of the tests that keeps its cluster in memory: what is measured is the way to it.
fn example(name: &str) -> PathBuf {
    let bench = std::env::current_exe().expect("a bench knows its own path");
    let path = bench.ancestors().nth(2).expect("benches lie in <profile>/deps").join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --release -p teraslice-backend-plugin --examples` first",
        path.display()
    );
    path
}

fn open(runtime: &Runtime, transport: Transport, folder: PathBuf) -> PluginBackend {
    let dress = Arc::new(|_: &_, _| ProcessTemplate::default());
    let mut options = PluginOptions::new("measured", transport, "bench", folder, dress);
    options.config = json!({"fault": "none"});
    let backend = PluginBackend::new(options, Context::system());
    runtime.block_on(backend.open()).expect("the backend opens");
    backend
}

/// Returns the time of a call that 99 of 100 do not exceed.
async fn calls(backend: &PluginBackend) -> Duration {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = now();
        backend.observe(Scope::Cluster).await.expect("the backend answers");
        times.push(start.elapsed());
    }
    slow(times)
}

/// Returns the same for a word to another thread and back: no backend with a thread of its own can be quicker.
fn handovers() -> Duration {
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let other = thread::spawn(move || asked.into_iter().try_for_each(|word: usize| answer.send(word)));
    let mut times = Vec::with_capacity(CALLS);
    for word in 0..CALLS {
        let start = now();
        ask.send(word).expect("the other thread is there");
        answered.recv().expect("the other thread answers");
        times.push(start.elapsed());
    }
    drop(ask);
    other.join().expect("the other thread does not panic").expect("this one listens");
    slow(times)
}

fn slow(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[CALLS * 99 / 100]
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the clock of the machine")]
fn now() -> Instant {
    Instant::now()
}

fn plugin_calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let library = Transport::Library { path: example("libwrong.so"), sha256: None };
    let command = vec![example("wrong-process").display().to_string()];
    let process = Transport::Process { command, sha256: None };
    let mut group = criterion.benchmark_group("plugin");
    group.sample_size(10).bench_function("baseline", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| handovers()).sum());
    });
    for (name, transport) in [("library", library), ("process", process)] {
        let _entered = runtime.enter();
        let backend = Arc::new(open(&runtime, transport, folder.path().join(name)));
        group.sample_size(100).bench_function(format!("{name}_round_trip"), |bencher| {
            bencher.iter(|| runtime.block_on(backend.observe(Scope::Cluster)).expect("the backend answers"));
        });
        group.sample_size(10).bench_function(format!("{name}_p99"), |bencher| {
            bencher.iter_custom(|count| {
                let mut sum = Duration::ZERO;
                for _ in 0..count {
                    let backend = Arc::clone(&backend);
                    // On a thread of the runtime, as the engine is.
                    let measured = Context::system().spawn(async move { calls(&backend).await });
                    sum += runtime.block_on(measured).expect("calls do not panic");
                }
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, plugin_calls);
criterion_main!(benches);
