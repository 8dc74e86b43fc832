//! How many slices a second go from slicer to worker and into a durable SQLite ledger, in one process?

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use teraslice_benches::{plan, run};
use teraslice_core::{context::Context, store::StateStore};
use teraslice_store::{MemoryStore, SqliteOptions, SqliteStore};
use tokio::runtime::Runtime;

const SLICES: u64 = 200_000;

fn dispatch(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let job = json!({
        "name": "dispatch",
        "workers": 2,
        "operations": [{"_op": "tiny_reader", "slices": SLICES}, {"_op": "noop"}],
    });
    let plan = plan(&job).expect("the job is right");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let context = runtime.block_on(async { Context::system() });
    let options = SqliteOptions::new(context.clone());
    let sqlite: Arc<dyn StateStore> =
        Arc::new(SqliteStore::open(folder.path(), options).expect("the store can be made"));
    let memory: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(SLICES)).sample_size(10);
    for (name, store) in [("sqlite", sqlite), ("baseline", memory)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let run = run(&plan, Arc::clone(&store), context.clone());
                let end = runtime.block_on(run).expect("the run completes");
                assert_eq!(end.stats.processed, SLICES);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
