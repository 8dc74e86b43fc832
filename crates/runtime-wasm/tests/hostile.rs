//! Guests that mean harm: each ends as it should, and the host's memory, its threads and other guests are unharmed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{Cursor, Write as _},
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use teraslice_core::{
    operation::{OperationError, Processed, ProcessorFactory, SliceContext},
    registry::Asset,
};
use teraslice_model::{
    batch::{Batch, Frame},
    id::{ExId, JobId, WorkerId},
    job::{Encoding, OperationConfig},
    slice::{Request, Slice},
    timestamp::Timestamp,
};
use teraslice_runtime_wasm::{Bundle, Limits, Runtime, RuntimeOptions, Tier, WasmAsset};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// What a test may leave behind in memory that can be had again.
const LEFT_KIB_MAX: u64 = 48 << 10;

/// One runtime for all, so that harm done to it shows.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let limits = Limits {
        memory: 32 << 20,
        process_base: Duration::from_millis(200),
        other_calls: Duration::from_millis(200),
        slot_wait: Duration::from_secs(5),
        ..Limits::default()
    };
    // Few places: one that is not given back is missed.
    Runtime::new(RuntimeOptions { limits, slots: 3, ..RuntimeOptions::default() }).unwrap()
});

/// One test at a time: they look at the memory and the threads of the process.
static TURN: Mutex<()> = Mutex::new(());

/// Does harm, and checks that nothing is left of it but what `harm` returns.
fn survive<T>(harm: impl FnOnce() -> T) -> T {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let other = RUNTIME.load(bundle(&module(&[]))).unwrap();
    let mut neighbour = chain(&other).open(&slice(1)).unwrap();
    neighbour.process(&batch(3)).unwrap();
    let (memory, threads) = (resident_kib(), threads());
    let done = harm();
    // The harness begins a test's thread under its own name.
    for _ in (0..200).take_while(|_| self::threads() > threads) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(self::threads() <= threads, "{} threads, {threads} before", self::threads());
    let now = resident_kib();
    assert!(now < memory + LEFT_KIB_MAX, "{now} KiB resident, {memory} KiB before");
    assert_eq!(neighbour.process(&batch(3)).unwrap().counts[0].dropped, 3);
    neighbour.finish().unwrap();
    for order in 0..4 {
        assert_eq!(run(&other, order, 5).unwrap().counts[0].dropped, 5);
    }
    done
}

/// Returns the harmless guest with some lines replaced.
fn wat(changes: &[(&str, &str)]) -> String {
    let mut text = include_str!("hostile/module.wat").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

/// Makes a core module that says which contract it keeps.
fn module(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut module = wat::parse_str(wat(changes)).unwrap();
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("processor")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

fn zip(module: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let description =
        json!({"name": "evil", "version": "1.0.0", "runtime": "wasm", "wit": "teraslice:asset@1.0.0"});
    for (name, content) in [("asset.json", description.to_string().as_bytes()), ("asset.wasm", module)] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn bundle(module: &[u8]) -> Bundle {
    Bundle::read(&zip(module)).unwrap()
}

fn load(changes: &[(&str, &str)]) -> WasmAsset {
    RUNTIME.load(bundle(&module(changes))).unwrap()
}

/// Returns why an asset is not loaded.
fn refused(module: &[u8]) -> String {
    let error = match Bundle::read(&zip(module)) {
        Ok(bundle) => Box::new(RUNTIME.load(bundle).unwrap_err()) as Box<dyn Error>,
        Err(error) => Box::new(error),
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").unwrap();
        cause = error.source();
    }
    text
}

fn chain(asset: &WasmAsset) -> Arc<dyn ProcessorFactory> {
    asset.chain(&[operation()]).unwrap()
}

fn operation() -> OperationConfig {
    OperationConfig {
        op: "evil".to_owned(),
        asset: None,
        encoding: Encoding::Json,
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: serde_json::Map::new(),
    }
}

fn slice(order: u64) -> SliceContext {
    let ex_id = ExId::from_random([1; 16]);
    SliceContext {
        ex_id,
        job_id: JobId::from_random([2; 16]),
        worker: WorkerId::new("w"),
        slice: Slice::new(ex_id, 0, order, Request::from_json("{}"), Timestamp::from_millis(1_000)),
        attempt: 0,
    }
}

fn batch(records: usize) -> Batch {
    Batch::new(Frame::of(vec!["{}"; records]).unwrap())
}

/// Runs a slice of one batch.
fn run(asset: &WasmAsset, order: u64, records: usize) -> Result<Processed, OperationError> {
    let mut processor = chain(asset).open(&slice(order))?;
    let processed = processor.process(&batch(records))?;
    processor.finish()?;
    Ok(processed)
}

/// Runs a slice whose every record breaks the guest; returns the reason of the first.
fn broken(asset: &WasmAsset) -> String {
    let processed = run(asset, 1, 2).unwrap();
    assert_eq!(processed.rejected.len(), 2);
    assert!(processed.rejected.iter().all(|rejected| rejected.is_fault));
    processed.rejected[0].reason.clone()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Counts the threads that run no test; those have the names of tests.
fn threads() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| !name.contains('_')).count()
}

#[test]
fn a_start_function_that_never_ends_is_interrupted() {
    let reason = survive(|| refused(&module(&[(";;<fields>", "(start $spin)")])));
    assert!(reason.contains("timeout: it ran longer than 200 ms"), "{reason}");
}

#[test]
fn describe_that_never_ends_is_interrupted() {
    let reason = survive(|| refused(&module(&[(";;<describe>", "(call $spin)")])));
    assert!(reason.contains("timeout: it ran longer than 200 ms"), "{reason}");
}

#[test]
fn open_that_never_ends_is_interrupted() {
    // Only with settings: describing itself and the check of the job go well.
    let spin = "(if (i32.load8_u (i32.const 0x700)) (then (call $spin))) (i32.store8 (i32.const 0x700) (i32.const 1))";
    let problems = survive(|| {
        let asset = load(&[(";;<open>", "(call $spin)")]);
        asset.chain(&[operation()]).unwrap_err()
    });
    assert!(problems[0].to_string().contains("timeout: it ran longer than 200 ms"), "{problems:?}");
    let processed = survive(|| run(&load(&[(";;<open>", spin)]), 1, 2).unwrap());
    assert_eq!(processed.counts[0].dropped, 2, "each instance is opened once");
}

#[test]
fn process_that_never_ends_is_interrupted() {
    let reason = survive(|| broken(&load(&[(";;<process>", "(call $spin)")])));
    assert!(reason.starts_with("timeout: it ran longer than 200 ms"), "{reason}");
}

#[test]
fn finish_that_never_ends_fails_the_slice() {
    let error = survive(|| run(&load(&[(";;<finish>", "(call $spin)")]), 1, 2).unwrap_err());
    assert!(matches!(error, OperationError::Slice { .. }));
    assert!(error.to_string().starts_with("asset fault in evil: it broke off as it was ended"), "{error}");
}

#[test]
fn memory_grows_to_the_cap_and_no_further() {
    let grow =
        "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) (unreachable)";
    let reason = survive(|| broken(&load(&[(";;<process>", grow)])));
    assert!(reason.starts_with("needs more memory than its 32 MiB (wasm_memory)"), "{reason}");
}

#[test]
fn endless_recursion_ends_at_the_stack() {
    let reason = survive(|| broken(&load(&[(";;<process>", "(drop (call $recurse (i32.const 0)))")])));
    assert!(reason.contains("call stack exhausted"), "{reason}");
}

#[test]
fn lies_about_pointers_and_lengths_are_found_out() {
    let store =
        |at: u32, value: u32| format!("(i32.store (i32.const {at}) (i32.const {}))", value.cast_signed());
    let lies = [
        (store(0x404, 0xffff_fff0), "out of bounds"),
        (store(0x408, 0xffff_ffff), "out of bounds"),
        (store(0x41c, 0x4000_0000), "out of bounds"),
        (store(0x424, 0x0fff_ffff), "out of bounds"),
        (store(0x42c, 0xffff_ffff), "out of bounds"),
        (store(0x418, 0x0000_0001) + &store(0x41c, 1), "aligned"),
        (store(0x400, 7), "discriminant"),
        ("(return (i32.const -4))".to_owned(), "out of bounds"),
        ("(return (i32.const 0x401))".to_owned(), "aligned"),
    ];
    for (lie, expected) in lies {
        let reason = survive(|| broken(&load(&[(";;<process>", &lie)])));
        assert!(reason.contains(expected), "{lie}: {reason}");
    }
    let realloc = [(
        "(local.get $at))\n  (func (export \"describe\")",
        "(i32.const -8))\n  (func (export \"describe\")",
    )];
    survive(|| match RUNTIME.load(bundle(&module(&realloc))) {
        Ok(asset) => {
            let problems = asset.chain(&[operation()]).unwrap_err();
            assert!(problems[0].to_string().contains("realloc"), "{problems:?}");
        }
        Err(error) => panic!("{error}"),
    });
}

#[test]
fn two_gibibytes_of_declared_memory_are_refused() {
    let reason = survive(|| {
        refused(&module(&[("(memory (export \"memory\") 2)", "(memory (export \"memory\") 32768)")]))
    });
    assert!(reason.contains("out of memory"), "{reason}");
}

#[test]
fn a_hundred_thousand_exports_do_no_harm() {
    let mut exports = String::new();
    for n in 0..100_000 {
        write!(exports, "(export \"x{n}\" (func $spin))").unwrap();
    }
    let reason = survive(|| {
        match Bundle::read(&zip(&module(&[(";;<fields>", &exports)]))).map(|bundle| RUNTIME.load(bundle)) {
            Ok(Ok(asset)) => run(&asset, 1, 2).map(|_| ()).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    assert!(reason.is_ok() || reason.as_ref().is_err_and(|reason| reason.contains("export")), "{reason:?}");
}

#[test]
fn huge_names_are_refused() {
    let export = format!("(export \"{}\" (func $spin))", "x".repeat(1 << 20));
    let reason = survive(|| refused(&module(&[(";;<fields>", &export)])));
    assert!(reason.contains("string") || reason.contains("length"), "{reason}");
    // The name of the operation: a mebibyte of zeros.
    let long = "(drop (memory.grow (i32.const 2))) (i32.store (i32.const 0x200) (i32.const 0x10000)) \
                (i32.store (i32.const 0x204) (i32.const 100000))";
    let reason = survive(|| refused(&module(&[(";;<describe>", long)])));
    assert!(
        reason.contains("the name of an operation has 100000 bytes, at most 128 are allowed"),
        "{reason}"
    );
    // A million operations, all of them the first.
    let many = "(drop (memory.grow (i32.const 2))) (i32.store (i32.const 0x1f0) (i32.const 0x10000)) \
                (i32.store (i32.const 0x1f4) (i32.const 3000))";
    let reason = survive(|| refused(&module(&[(";;<describe>", many)])));
    assert!(reason.contains("3000 operations, at most 1000"), "{reason}");
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    let reason = survive(|| refused(&module(&[("\"evil\"", "\"ev\\ff\\fe\"")])));
    assert!(reason.to_lowercase().contains("utf-8"), "{reason}");
}

#[test]
fn too_much_output_is_not_taken() {
    // 8 MiB where 1 MiB is allowed.
    let bomb = "(drop (memory.grow (i32.const 160))) (i32.store (i32.const 0x404) (i32.const 65536)) \
                (i32.store (i32.const 0x408) (i32.const 8388608))";
    let reason = survive(|| broken(&load(&[(";;<process>", bomb)])));
    assert_eq!(reason, "output too large");
}

#[test]
fn imports_beyond_the_contract_are_refused() {
    let component =
        wat::parse_str("(component (import \"wasi:filesystem/types@0.2.0\" (instance)))").unwrap();
    let reason = survive(|| refused(&component));
    let expected =
        "asset evil imports wasi:filesystem/types@0.2.0: an asset may import teraslice:asset/host only";
    assert_eq!(reason, expected);
    let import = "(module (import \"env\" \"system\" (func (param i32) (result i32)))";
    let reason = survive(|| refused(&module(&[("(module", import)])));
    assert!(reason.contains("env"), "{reason}");
}

#[test]
fn leftovers_of_a_c_library_are_answered_and_nothing_else_of_the_system() {
    let import = |name: &str| {
        let system = format!(
            "(module (import \"wasi_snapshot_preview1\" \"{name}\" \
             (func $system (param i32 i32 i32 i32) (result i32)))"
        );
        let call = "(if (i32.ne (i32.const 8) (call $system (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) \
                    (then (unreachable)))";
        module(&[("(module", &system), (";;<process>", call)])
    };
    let processed = survive(|| run(&RUNTIME.load(bundle(&import("fd_write"))).unwrap(), 1, 2).unwrap());
    assert_eq!(processed.counts[0].dropped, 2);
    let reason = survive(|| refused(&import("path_open")));
    assert!(reason.starts_with("asset evil imports wasi_snapshot_preview1.path_open"), "{reason}");
}

#[test]
fn machine_code_is_not_taken_for_a_module() {
    let reason = survive(|| {
        let folder = tempfile::tempdir().unwrap();
        let options = RuntimeOptions {
            cache: Some(folder.path().to_owned()),
            slots: 1,
            tier: Tier::Trusted,
            ..RuntimeOptions::default()
        };
        Runtime::new(options).unwrap().load(bundle(&module(&[]))).unwrap();
        let mut files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let compiled = files.find(|path| path.extension().is_some_and(|kind| kind == "cwasm")).unwrap();
        refused(&fs::read(compiled).unwrap())
    });
    assert!(reason.starts_with("asset.wasm is not a WebAssembly module"), "{reason}");
}

#[test]
fn an_instance_that_trapped_is_never_entered_again() {
    // It marks its memory, traps at a batch of one record, and traps at a mark.
    let mark = "(if (i32.load8_u (i32.const 0x700)) (then (unreachable))) \
                (if (i32.eq (i32.load (local.get $at)) (i32.const 1)) \
                  (then (i32.store8 (i32.const 0x700) (i32.const 1)) (unreachable)))";
    survive(|| {
        let asset = load(&[(";;<process>", mark)]);
        let mut processor = chain(&asset).open(&slice(1)).unwrap();
        for _ in 0..10 {
            assert_eq!(processor.process(&batch(1)).unwrap().rejected.len(), 1);
            assert_eq!(processor.process(&batch(4)).unwrap().counts[0].dropped, 4);
        }
    });
}

#[test]
fn origins_that_decrease_are_found_out() {
    // Two records out, from the second and from the first.
    let origins = "(i32.store (i32.const 0x404) (i32.const 0x800)) (i32.store (i32.const 0x408) (i32.const 20)) \
                   (i32.store (i32.const 0x418) (i32.const 0x820)) (i32.store (i32.const 0x41c) (i32.const 2))";
    let data = "(data (i32.const 0x800) \"\\02\\00\\00\\00\\00\\00\\00\\00\\02\\00\\00\\00\\04\\00\\00\\00{}{}\") \
                (data (i32.const 0x820) \"\\01\\00\\00\\00\\00\\00\\00\\00\")";
    let reason = survive(|| broken(&load(&[(";;<fields>", data), (";;<process>", origins)])));
    assert!(reason.starts_with("bad output: origin 0 is 1"), "{reason}");
}

#[test]
fn nothing_is_left_over_from_another_slice() {
    let mark = "(if (i32.load8_u (i32.const 0x1ff00)) (then (unreachable))) (i32.store8 (i32.const 0x1ff00) (i32.const 1))";
    survive(|| {
        let asset = load(&[(";;<process>", mark)]);
        for order in 0..200 {
            assert_eq!(run(&asset, order, 2).unwrap().counts[0].dropped, 2, "slice {order}");
        }
    });
}

#[test]
fn instructions_are_limited_the_same_everywhere() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { process_base: Duration::from_millis(20), ..Limits::default() };
    let options = RuntimeOptions { limits, tier: Tier::Deterministic, slots: 2, ..RuntimeOptions::default() };
    let runtime = Runtime::new(options).unwrap();
    let asset = runtime.load(bundle(&module(&[(";;<process>", "(call $spin)")]))).unwrap();
    assert_eq!(broken(&asset), "timeout: it used more fuel than 20 ms stand for");
}
