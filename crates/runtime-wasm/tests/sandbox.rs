//! Guests that misbehave: each fails its own attempt with a reason, and harms nobody else.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
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
use teraslice_runtime_wasm::{Bundle, Limits, Runtime, RuntimeOptions, WasmAsset};

fn bundle(name: &str) -> Bundle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../assets/dist/{name}-v1.0.0.zip"));
    let zip = fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask assets` first", path.display()));
    Bundle::read(&zip).unwrap()
}

/// Returns the testing asset under short limits.
fn testing() -> WasmAsset {
    let limits = Limits {
        process_base: Duration::from_millis(100),
        memory: 32 << 20,
        slot_wait: Duration::from_secs(5),
        ..Limits::default()
    };
    // Few places: one that is not given back is missed.
    let options = RuntimeOptions { limits, slots: 2, ..RuntimeOptions::default() };
    Runtime::new(options).unwrap().load(bundle("testing")).unwrap()
}

fn step(op: &str, settings: &Value) -> OperationConfig {
    OperationConfig {
        op: op.to_owned(),
        asset: None,
        encoding: Encoding::Json,
        dead_letter_action: None,
        api_name: None,
        connection: None,
        settings: settings.as_object().cloned().unwrap_or_default(),
    }
}

fn slice() -> SliceContext {
    let ex_id = ExId::from_random([1; 16]);
    let created = Timestamp::from_millis(1_700_000_000_000);
    SliceContext {
        ex_id,
        job_id: JobId::from_random([2; 16]),
        worker: WorkerId::new("w"),
        slice: Slice::new(ex_id, 0, 1, Request::from_json("{}"), created),
        attempt: 0,
    }
}

fn batch(records: &[Value]) -> Batch {
    Batch::new(Frame::of(records.iter().map(Value::to_string)).unwrap())
}

fn process(chain: &Arc<dyn ProcessorFactory>, records: &[Value]) -> Result<Processed, OperationError> {
    chain.open(&slice())?.process(&batch(records))
}

fn records(processed: &Processed) -> Vec<Value> {
    let batches = processed.batches.iter();
    batches
        .flat_map(|batch| (0..batch.len()).map(|at| serde_json::from_slice(batch.record(at)).unwrap()))
        .collect()
}

#[test]
fn misbehaving_guests_fail_their_attempt_and_nothing_else() {
    let asset = testing();
    let cases = [
        ("test_trap", json!({}), "trap", "unreachable"),
        ("test_spin", json!({}), "spin", "timeout: it ran longer than 100 ms"),
        ("test_recurse", json!({}), "recurse", "call stack exhausted"),
        ("test_grow", json!({"mebibytes": 64}), "grow", "out of memory"),
        ("test_output_bomb", json!({"mebibytes": 8}), "bomb", "output too large"),
    ];
    for (op, settings, field, reason) in cases {
        let chain = asset.chain(&[step(op, &settings)]).unwrap();
        let mut bad = json!({"n": 1});
        bad[field] = true.into();
        for _ in 0..3 {
            let error = process(&chain, &[bad.clone()]).unwrap_err();
            assert!(matches!(error, OperationError::Retry { .. }), "{op}: {error}");
            let text = error.to_string();
            assert!(text.starts_with(op) && text.contains(reason), "{op}: {text}");
        }
        let good = process(&chain, &[json!({"n": 1})]).unwrap();
        assert_eq!(records(&good), [json!({"n": 1})], "{op}");
    }
}

#[test]
fn refused_records_come_back_with_their_reason() {
    let chain = testing().chain(&[step("test_fail", &json!({}))]).unwrap();
    let processed = process(&chain, &[json!({"n": 1}), json!({"n": 2, "fail": true})]).unwrap();
    assert_eq!(records(&processed), [json!({"n": 1})]);
    assert_eq!((processed.rejected.len(), processed.counts[0].failed), (1, 1));
    let refused: Value = serde_json::from_slice(&processed.rejected[0].record).unwrap();
    assert_eq!(refused["n"], 2);
}

#[test]
fn whole_calls_fail_as_the_guest_says() {
    let asset = testing();
    let error_of = |op: &str, field: &str| {
        let chain = asset.chain(&[step(op, &json!({}))]).unwrap();
        let mut record = json!({});
        record[field] = true.into();
        process(&chain, &[record]).unwrap_err()
    };
    assert!(matches!(error_of("test_retry_later", "retry"), OperationError::Retry { .. }));
    assert!(matches!(error_of("test_fatal", "fatal"), OperationError::Slice { .. }));
}

#[test]
fn time_and_chance_are_the_same_on_every_attempt() {
    let chain = testing().chain(&[step("test_clock", &json!({}))]).unwrap();
    let first = records(&process(&chain, &[json!({})]).unwrap());
    let second = records(&process(&chain, &[json!({})]).unwrap());
    assert_eq!(first, second);
    let values = first[0].as_object().unwrap().values();
    assert!(values.into_iter().any(|value| value == 1_700_000_000_000_u64), "{first:?}");
}

#[test]
fn a_wrong_setting_is_named_with_its_step() {
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let standard = runtime.load(bundle("standard")).unwrap();
    let good = step("drop_field", &json!({"field": "a"}));
    let problems = standard.chain(&[good, step("set_field", &json!({"field": "a"}))]).unwrap_err();
    assert_eq!(problems[0].pointer, "/1/value", "{problems:?}");
}

#[test]
fn a_chain_counts_step_by_step_and_lets_go_at_the_end() {
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let standard = runtime.load(bundle("standard")).unwrap();
    let steps = [
        step("filter", &json!({"field": "n", "value": 2})),
        step("sort", &json!({"field": "n", "order": "desc"})),
        step("set_field", &json!({"field": "seen", "value": true})),
    ];
    let chain = standard.chain(&steps).unwrap();
    let mut processor = chain.open(&slice()).unwrap();
    let held = processor.process(&batch(&[json!({"n": 1}), json!({"n": 2}), json!({"n": 3})])).unwrap();
    assert_eq!(records(&held), [Value::Null; 0]);
    assert_eq!((held.counts[0].received, held.counts[0].dropped), (3, 1));
    let released = processor.finish().unwrap();
    assert_eq!(records(&released), [json!({"n": 3, "seen": true}), json!({"n": 1, "seen": true})]);
    assert_eq!((released.counts[1].emitted, released.counts[2].received), (2, 2));
}

#[test]
fn a_changed_file_in_the_compile_cache_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let load = || {
        let options = RuntimeOptions { cache: Some(folder.path().to_owned()), ..RuntimeOptions::default() };
        Runtime::new(options).unwrap().load(bundle("testing")).unwrap()
    };
    drop(load());
    let compiled = || {
        let entries = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .collect::<Vec<_>>()
    };
    let path = compiled().pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let asset = load();
    assert_eq!(fs::read(&path).unwrap().len(), whole.len(), "compiled again");
    assert_ne!(fs::read(&path).unwrap(), flipped);
    let chain = asset.chain(&[step("test_fail", &json!({}))]).unwrap();
    assert_eq!(records(&process(&chain, &[json!({"n": 1})]).unwrap()), [json!({"n": 1})]);
}
