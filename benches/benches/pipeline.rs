//! How fast do records pass five sandboxed operations, against the same done natively with `serde_json::Value`?

use std::{
    fs::{self, File},
    hint::black_box,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use teraslice_benches::{by_value, chain, checked, plan, record, run, slice_context, standard};
use teraslice_core::{context::Context, registry::Asset};
use teraslice_model::batch::{Batch, Frame};
use teraslice_store::MemoryStore;
use tokio::runtime::Runtime;

const RECORDS: usize = 100_000;

fn operations(first: &Value, last: &Value) -> Value {
    let chain = chain().as_array().cloned().unwrap_or_default();
    let ends = |end: &Value| vec![end.clone()];
    Value::Array([ends(first), chain, ends(last)].concat())
}

/// The chain alone, on one core.
fn chained(criterion: &mut Criterion) {
    let noop = json!({"_op": "noop"});
    let job = checked(&json!({"operations": operations(&noop, &noop)})).expect("the job is right");
    let steps = &job.operations[1..job.operations.len() - 1];
    let factory = standard().expect("the asset loads").chain(steps).expect("the chain opens");
    let records: Vec<_> = (0..RECORDS).map(|n| record(n) + "\n").collect();
    let bytes: usize = records.iter().map(String::len).sum();
    let batches = Batch::new(Frame::of(&records).expect("less than 4 GiB")).split();
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    group.bench_function("sandboxed", |bencher| {
        bencher.iter(|| {
            let mut processor = factory.open(&slice_context()).expect("an instance is free");
            for batch in &batches {
                black_box(processor.process(batch).expect("the chain keeps its contract"));
            }
        });
    });
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::new();
            for batch in &batches {
                out.clear();
                for value in (0..batch.len()).filter_map(|at| by_value(batch.record(at))) {
                    serde_json::to_writer(&mut out, &value).expect("memory can be written");
                    out.push(b'\n');
                }
                black_box(&out);
            }
        });
    });
    group.finish();
}

/// From file to file, with one worker.
fn from_file_to_file(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let input = folder.path().join("input.ldjson");
    let content: String = (0..RECORDS).map(|n| record(n) + "\n").collect();
    fs::write(&input, &content).expect("the folder can be written");
    let reader = json!({"_op": "file_reader", "path": input, "format": "ldjson"});
    let sink = json!({"_op": "file_exporter", "path": folder.path().join("out"), "format": "ldjson"});
    let job = json!({"name": "pipeline", "workers": 1, "operations": operations(&reader, &sink)});
    let plan = plan(&job).expect("the job is right");
    let runtime = Runtime::new().expect("a runtime can be made");
    let context = runtime.block_on(async { Context::system() });
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Bytes(content.len() as u64)).sample_size(10);
    group.bench_function("teraslice", |bencher| {
        bencher.iter(|| {
            let store = Arc::new(MemoryStore::new(context.clone()));
            runtime.block_on(run(&plan, store, context.clone())).expect("the run completes");
        });
    });
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| by_hand(&input, &folder.path().join("baseline.ldjson")));
    });
    group.finish();
}

fn by_hand(input: &Path, output: &Path) {
    let mut out = BufWriter::new(File::create(output).expect("the folder can be written"));
    for line in BufReader::new(File::open(input).expect("the input is there")).split(b'\n') {
        if let Some(value) = by_value(&line.expect("the input can be read")) {
            serde_json::to_writer(&mut out, &value).expect("the output can be written");
            out.write_all(b"\n").expect("the output can be written");
        }
    }
}

criterion_group!(benches, chained, from_file_to_file);
criterion_main!(benches);
