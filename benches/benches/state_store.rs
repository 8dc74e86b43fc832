//! How many slices a second does the SQLite ledger take, against keeping them in memory?

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use teraslice_core::{
    context::Context,
    store::{Flush, SliceRecord, StateStore, Totals, Writer},
};
use teraslice_model::{
    execution::Execution,
    id::{ExId, Generation},
    slice::{Request, Slice, SliceState},
    status::Status,
};
use teraslice_store::{MemoryStore, SqliteOptions, SqliteStore};
use tokio::runtime::Runtime;

/// As many as a flush holds at speed.
const SLICES: u64 = 1_000;

fn execution(context: &Context) -> Execution {
    Execution {
        status: Status::Initializing,
        generation: Generation(1),
        ..Execution::new(context.ex_id(), context.job_id(), serde_json::Map::new(), context.wall())
    }
}

fn flush(context: &Context, ex_id: ExId, from: u64) -> Flush {
    let record = |order| SliceRecord {
        slice: Slice::new(ex_id, 0, order, Request::from_json("{\"count\":1}"), context.wall()),
        state: SliceState::Completed,
        error: None,
        retry_count: 0,
        deaths: 0,
    };
    let slices: Vec<_> = (from..from + SLICES).map(record).collect();
    let totals = Totals { completed: from + SLICES - 1, ..Totals::default() };
    Flush { slices, totals, ..Flush::default() }
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let context = runtime.block_on(async { Context::system() });
    let options = SqliteOptions::new(context.clone());
    let sqlite: Arc<dyn StateStore> =
        Arc::new(SqliteStore::open(folder.path(), options).expect("the store can be made"));
    let memory: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
    let mut group = criterion.benchmark_group("state_store");
    group.throughput(Throughput::Elements(SLICES)).sample_size(50);
    for (name, store) in [("sqlite", sqlite), ("baseline", memory)] {
        let execution = execution(&context);
        let ex_id = execution.ex_id;
        runtime.block_on(store.create_execution(execution)).expect("the id is new");
        let epoch = runtime.block_on(store.begin_epoch(ex_id, Generation(1))).expect("it is the first");
        let writer = Writer { generation: Generation(1), epoch };
        let mut from = 1;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let flush = flush(&context, ex_id, from);
                from += SLICES;
                runtime.block_on(store.append(ex_id, writer, flush)).expect("the store takes it");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
