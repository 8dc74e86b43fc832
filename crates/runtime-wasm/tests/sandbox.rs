//! Guests that misbehave: each fails its own attempt with a reason, and harms nobody else.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use teraslice_core::{
    operation::{OperationError, Processed, ProcessorFactory, SliceContext, StepCounts},
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
        later_max: Duration::from_millis(200),
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

fn numbers(all: std::ops::Range<u32>) -> Vec<Value> {
    all.map(|n| json!({"n": n})).collect()
}

fn records(processed: &Processed) -> Vec<Value> {
    let batches = processed.batches.iter();
    batches
        .flat_map(|batch| (0..batch.len()).map(|at| serde_json::from_slice(batch.record(at)).unwrap()))
        .collect()
}

#[test]
fn records_that_break_a_guest_are_taken_out_and_the_others_kept() {
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
        let mut all = numbers(0..40);
        all.insert(25, bad.clone());
        for _ in 0..3 {
            let processed = process(&chain, &all).unwrap();
            assert_eq!(records(&processed), numbers(0..40), "{op}");
            let [only] = processed.rejected.as_slice() else { panic!("{op}: {:?}", processed.rejected) };
            assert!(only.is_fault && only.reason.contains(reason), "{op}: {}", only.reason);
            assert_eq!(serde_json::from_slice::<Value>(&only.record).unwrap(), bad, "{op}");
            let expected = StepCounts { received: 41, emitted: 40, failed: 1, ..StepCounts::default() };
            assert_eq!(processed.counts, [expected], "{op}");
        }
    }
}

#[test]
fn the_step_that_breaks_is_named_with_the_record_as_it_saw_it() {
    let asset = testing();
    let settings = json!({"mebibytes": 1});
    let steps = [
        step("test_fail", &json!({})),
        step("test_clock", &json!({})),
        step("test_trap", &json!({})),
        step("test_grow", &settings),
    ];
    let chain = asset.chain(&steps).unwrap();
    let all = [json!({"n": 1}), json!({"n": 2, "trap": true}), json!({"n": 3, "fail": true})];
    let processed = process(&chain, &all).unwrap();
    assert_eq!(records(&processed).len(), 1);
    let broken = processed.rejected.iter().find(|rejected| rejected.is_fault).unwrap();
    assert_eq!(broken.step, 2);
    let seen: Value = serde_json::from_slice(&broken.record).unwrap();
    assert_eq!((&seen["n"], seen.as_object().unwrap().len() > 2), (&json!(2), true), "{seen}");
    let received: Vec<_> = processed.counts.iter().map(|count| (count.received, count.failed)).collect();
    assert_eq!(received, [(3, 1), (2, 0), (2, 1), (1, 0)]);
}

#[test]
fn a_batch_that_needs_too_much_memory_is_run_in_parts() {
    // 32 MiB for the guest: three records fit, six do not.
    let chain = testing().chain(&[step("test_grow", &json!({"mebibytes": 7}))]).unwrap();
    let all: Vec<_> = (0..6).map(|n| json!({"n": n, "grow": true})).collect();
    let processed = process(&chain, &all).unwrap();
    assert_eq!((records(&processed), processed.rejected.len()), (all, 0));
}

#[test]
fn an_asset_that_breaks_on_too_much_is_itself_at_fault() {
    let limits = Limits { faults_max: 3, ..Limits::default() };
    let options = RuntimeOptions { limits, ..RuntimeOptions::default() };
    let asset = Runtime::new(options).unwrap().load(bundle("testing")).unwrap();
    let chain = asset.chain(&[step("test_trap", &json!({}))]).unwrap();
    let error = process(&chain, &vec![json!({"trap": true}); 8]).unwrap_err();
    let expected =
        "asset fault in test_trap: it broke on more than 3 records of the slice, on the last: trap: ";
    assert!(matches!(error, OperationError::Slice { .. }));
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_chain_with_state_is_run_again_without_the_records_at_fault() {
    let asset = testing();
    let chain = asset.chain(&[step("test_clock", &json!({})), step("test_gather", &json!({}))]).unwrap();
    for (field, at) in [("early", 0_usize), ("early", 59), ("late", 20), ("late", 59)] {
        let mut all = numbers(0..60);
        for at in [at, at.abs_diff(30)] {
            all[at][field] = true.into();
        }
        let mut processor = chain.open(&slice()).unwrap();
        for part in all.chunks(20) {
            assert_eq!(records(&processor.process(&batch(part)).unwrap()), [Value::Null; 0]);
        }
        let processed = processor.finish().unwrap();
        let good: Vec<_> =
            all.iter().filter(|record| record.get(field).is_none()).map(|record| &record["n"]).collect();
        let seen = records(&processed);
        assert_eq!(seen.iter().map(|record| &record["n"]).collect::<Vec<_>>(), good, "{field} {at}");
        let bad: Vec<Value> =
            processed.rejected.iter().map(|bad| serde_json::from_slice(&bad.record).unwrap()).collect();
        let expected: Vec<_> = all.iter().filter(|record| record.get(field).is_some()).cloned().collect();
        assert_eq!(bad, expected, "{field} {at}");
        assert_eq!((processed.counts[0].received, processed.counts[0].failed), (60, 2));
    }
}

#[test]
fn a_slice_that_is_too_large_to_hold_fails_its_attempt() {
    let limits = Limits { replay_bytes: 100, ..Limits::default() };
    let options = RuntimeOptions { limits, ..RuntimeOptions::default() };
    let asset = Runtime::new(options).unwrap().load(bundle("testing")).unwrap();
    let chain = asset.chain(&[step("test_gather", &json!({}))]).unwrap();
    let mut processor = chain.open(&slice()).unwrap();
    processor.process(&batch(&numbers(0..40))).unwrap();
    let error = processor.process(&batch(&[json!({"early": true})])).unwrap_err();
    assert!(matches!(error, OperationError::Retry { .. }));
    assert!(error.to_string().contains("too large to look for the record at fault"), "{error}");
}

#[test]
fn a_guest_that_asks_for_time_is_called_again() {
    let chain = testing().chain(&[step("test_retry_later", &json!({"times": 2}))]).unwrap();
    let all = [json!({"retry": true})];
    assert_eq!(records(&process(&chain, &all).unwrap()), all);
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
    let released = processor.finish().unwrap();
    assert_eq!(records(&released), [json!({"n": 3, "seen": true}), json!({"n": 1, "seen": true})]);
    assert_eq!((released.counts[0].received, released.counts[0].dropped), (3, 1));
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
