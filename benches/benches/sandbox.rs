//! What does the sandbox cost: against the same code native, against a bare core module, to make an instance, to load an asset?

use std::{fs, hint::black_box, io::Write as _, path::Path, sync::Arc};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use serde_json::{Value, json};
use teraslice_benches::{bundle, chain, checked, load, record, slice_context};
use teraslice_core::{operation::ProcessorFactory, registry::Asset};
use teraslice_guest_sdk::testing::Native;
use teraslice_model::{
    batch::{Batch, Frame},
    job::OperationConfig,
};
use teraslice_runtime_wasm::{Bundle, RuntimeOptions, Tier, WasmAsset};
use wasmtime::{Engine, Instance, Module, Store};

const RECORDS: usize = 20_000;
/// Functions of the large module, and instructions of each.
const LARGE: (u64, u64) = (1_200, 1_000);

fn steps(operations: &Value) -> Vec<OperationConfig> {
    let noop = vec![json!({"_op": "noop"})];
    let all = [noop, operations.as_array().cloned().unwrap_or_default()].concat();
    checked(&json!({"operations": all})).expect("the job is right").operations[1..].to_vec()
}

fn tier(tier: Tier) -> RuntimeOptions {
    RuntimeOptions { tier, ..RuntimeOptions::default() }
}

fn batches() -> (Vec<Batch>, Vec<String>, usize) {
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    let bytes = records.iter().map(String::len).sum();
    (Batch::new(Frame::of(&records).expect("less than 4 GiB")).split(), records, bytes)
}

fn run(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, chains: &[Arc<dyn ProcessorFactory>]) {
    let (batches, ..) = batches();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let slice = slice_context();
            let mut open: Vec<_> =
                chains.iter().map(|chain| chain.open(&slice).expect("an instance is free")).collect();
            for batch in &batches {
                let mut through = vec![batch.clone()];
                for processor in &mut open {
                    let process =
                        |batch: &Batch| processor.process(batch).expect("it keeps its contract").batches;
                    through = through.iter().flat_map(process).collect();
                }
                black_box(through);
            }
        });
    });
}

/// The standard chain in each tier, against its own code outside of the sandbox; and as a chain, against step by step.
fn against_native(criterion: &mut Criterion) {
    let (_, records, bytes) = batches();
    let steps = steps(&chain());
    let mut group = criterion.benchmark_group("native");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    let default =
        load(bundle("standard").expect("it is built"), tier(Tier::Default)).expect("the asset loads");
    let trusted =
        load(bundle("standard").expect("it is built"), tier(Tier::Trusted)).expect("the asset loads");
    run(&mut group, "default", &[default.chain(&steps).expect("the chain opens")]);
    run(&mut group, "trusted", &[trusted.chain(&steps).expect("the chain opens")]);
    let texts: Vec<_> = records.iter().map(String::as_str).collect();
    let frames = Native::batches(&texts);
    let settings: Vec<_> = steps
        .iter()
        .map(|step| (step.op.clone(), Value::Object(step.settings.clone()).to_string()))
        .collect();
    let named: Vec<_> = settings.iter().map(|(op, settings)| (op.as_str(), settings.as_str())).collect();
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| {
            let mut native = Native::open(standard_asset::OPERATIONS, &named);
            for frame in &frames {
                black_box(native.process(frame));
            }
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("single");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    run(&mut group, "chain", &[default.chain(&steps).expect("the chain opens")]);
    let single = |step: &OperationConfig| default.chain(std::slice::from_ref(step)).expect("the chain opens");
    run(&mut group, "baseline", &steps.iter().map(single).collect::<Vec<_>>());
    group.finish();
}

/// A core module in C, if there is a compiler for it.
fn c_module() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let project = folder.path().join("bench");
    teraslice_author::init(&project, teraslice_author::Language::C).expect("a project can be made");
    let module = teraslice_author::c::module(&project, &folder.path().join("bench.wasm"));
    if let Err(error) = &module {
        let _told = writeln!(std::io::stderr(), "NOT MEASURED: the module in C: {error:#}");
    }
    module.ok()
}

fn c_asset(module: &[u8]) -> Bundle {
    let zip = teraslice_author::c::pack_module("bench", module.to_vec()).expect("it has the exports");
    Bundle::read(&zip).expect("it is an asset")
}

fn c_steps() -> Vec<OperationConfig> {
    steps(&json!([{"_op": "bench", "min": 10}]))
}

/// A core module called by hand, with the same batches.
struct Core {
    store: Store<()>,
    instance: Instance,
}

impl Core {
    fn new(module: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        config.compiler_inlining(wasmtime::Inlining::Yes).cranelift_nan_canonicalization(true);
        config.epoch_interruption(true).concurrency_support(false);
        let engine = Engine::new(&config).expect("this machine is supported");
        let module = Module::new(&engine, module).expect("it compiles");
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1_000_000);
        let instance = Instance::new(&mut store, &module, &[]).expect("it imports nothing");
        let mut core = Self { store, instance };
        core.open("{\"min\":10}");
        core
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        let store = &mut self.store;
        let alloc = self.instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, "cabi_realloc");
        let len = u32::try_from(bytes.len()).expect("a batch is small");
        let at = alloc.expect("it is exported").call(&mut *store, (0, 0, 4, len)).expect("there is room");
        let memory = self.instance.get_memory(&mut *store, "memory").expect("it is exported");
        memory.write(&mut *store, at as usize, bytes).expect("it was allocated");
        at
    }

    fn open(&mut self, config: &str) {
        let config_at = self.put(config.as_bytes());
        let len = u32::try_from(config.len()).expect("it is short");
        let step: Vec<u8> = [0, 0, config_at, len].iter().flat_map(|word| word.to_le_bytes()).collect();
        let steps = self.put(&step);
        let open = self.instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "open");
        open.expect("it is exported").call(&mut self.store, (steps, 1)).expect("it opens");
    }

    /// Runs a batch; copies out what the host needs.
    fn process(&mut self, frame: &[u8]) -> Vec<u8> {
        let at = self.put(frame);
        let store = &mut self.store;
        let len = u32::try_from(frame.len()).expect("a batch is small");
        let process = self.instance.get_typed_func::<(u32, u32, u32, u32, u32), u32>(&mut *store, "process");
        let result = process.expect("it is exported").call(&mut *store, (at, len, 0, 0, 0)).expect("it runs");
        let memory = self.instance.get_memory(&mut *store, "memory").expect("it is exported");
        let data = memory.data(&*store);
        let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes")) as usize;
        let part = |at: usize, width: usize| data[word(at)..word(at) + word(at + 4) * width].to_vec();
        let result_at = result as usize;
        let (records, origin, counts) =
            (part(result_at + 4, 1), part(result_at + 24, 4), part(result_at + 40, 40));
        black_box((origin, counts));
        let post = self.instance.get_typed_func::<u32, ()>(&mut *store, "cabi_post_process");
        post.expect("it is exported").call(&mut *store, result).expect("it runs");
        records
    }
}

/// A component's calls against those of the bare core module, 1,000 records each; and instances of it.
fn against_core(criterion: &mut Criterion) {
    let Some(module) = c_module() else { return };
    let records: Vec<_> = (0..1_000).map(|n| record(n)[..200].to_owned()).collect();
    let batch = Batch::new(Frame::of(&records).expect("less than 4 GiB"));
    let mut frame = Vec::new();
    batch.records().encode(&mut frame);
    let asset = load(c_asset(&module), tier(Tier::Default)).expect("the asset loads");
    let chain = asset.chain(&c_steps()).expect("the chain opens");
    let slice = slice_context();
    let mut processor = chain.open(&slice).expect("an instance is free");
    let mut core = Core::new(&module);
    let out = processor.process(&batch).expect("it keeps its contract");
    let mut expected = Vec::new();
    out.batches[0].records().encode(&mut expected);
    assert_eq!(core.process(&frame), expected, "both do the same");
    let mut group = criterion.benchmark_group("abi");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("component", |bencher| bencher.iter(|| black_box(processor.process(&batch))));
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| {
            // As the host does with what it has.
            let mut input = Vec::with_capacity(frame.len());
            batch.records().encode(&mut input);
            let out = core.process(&input);
            black_box(Frame::decode(&out.into()).expect("it is a frame"))
        });
    });
    group.finish();
    drop(processor);
    let testing =
        load(bundle("testing").expect("it is built"), tier(Tier::Default)).expect("the asset loads");
    let rust = testing.chain(&steps(&json!([{"_op": "test_trap"}]))).expect("the chain opens");
    let mut group = criterion.benchmark_group("instance");
    group.throughput(Throughput::Elements(1));
    for (name, chain) in [("c", chain), ("rust", rust)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| chain.open(&slice).map(drop).expect("an instance is free"));
        });
    }
    group.finish();
}

/// A module that compiles to some 33 MB.
fn large() -> Bundle {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/runtime-wasm/tests/hostile/module.wat");
    let guest = fs::read_to_string(guest).expect("the smallest guest is there");
    let mut functions = String::new();
    for function in 0..LARGE.0 {
        functions.push_str("(func (param i64) (result i64)\n");
        for step in 0..LARGE.1 {
            let constant = (function * 7_919 + step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
            functions.push_str(&format!(
                "(local.set 0 (i64.rotl (i64.xor (local.get 0) (i64.const {constant})) (i64.const {})))\n",
                step % 61 + 1
            ));
        }
        functions.push_str("(local.get 0))\n");
    }
    let module = wat::parse_str(guest.replace(";;<fields>", &functions)).expect("it is text of a module");
    let zip = teraslice_author::c::pack_module("large", module).expect("it has the exports");
    Bundle::read(&zip).expect("it is an asset")
}

/// Assets that were compiled before.
fn from_the_cache(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let mut all = vec![("standard", bundle("standard").expect("it is built")), ("large", large())];
    all.extend(c_module().map(|module| ("c", c_asset(&module))));
    let options = RuntimeOptions { cache: Some(folder.path().to_owned()), ..RuntimeOptions::default() };
    let runtime = teraslice_runtime_wasm::Runtime::new(options).expect("this machine is supported");
    for (name, bundle) in all {
        let _compiled: WasmAsset = runtime.load(bundle.clone()).expect("the asset loads");
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || bundle.clone(),
                |bundle| runtime.load(bundle).expect("the asset loads"),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    for file in fs::read_dir(folder.path()).expect("it is there").flatten() {
        let size = file.metadata().map_or(0, |data| data.len());
        let _told = writeln!(std::io::stderr(), "{} bytes: {}", size, file.path().display());
    }
}

criterion_group!(benches, against_native, against_core, from_the_cache);
criterion_main!(benches);
