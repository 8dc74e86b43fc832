use serde_json::{Value, json};
use teraslice_model::job::RawJob;

use super::*;
use crate::config::Config;

fn slices(count: u64) -> Vec<Slice> {
    let ex_id = ExId::from_random([1; 16]);
    let slice = |order| Slice::new(ex_id, 0, order, Request::from_json("{}"), Default::default());
    (1..=count).map(slice).collect()
}

fn chosen(of: u64, count: usize) -> Vec<u64> {
    spread(slices(of), count).iter().map(|slice| slice.slicer_order).collect()
}

#[test]
fn spreads_samples_from_the_first_to_the_last() {
    assert_eq!(chosen(100, 4), [1, 34, 67, 100]);
    assert_eq!(chosen(3, 10), [1, 2, 3]);
    assert_eq!(chosen(5, 1), [1]);
    assert_eq!(chosen(0, 10), Vec::<u64>::new());
    assert_eq!(chosen(5, 0), Vec::<u64>::new());
}

async fn dry(operations: Value, samples: usize) -> DryRun {
    let Value::Object(job) = json!({"operations": operations}) else { unreachable!() };
    let parts = Parts::new(Config::default());
    let plan = parts.prepare(&RawJob(job)).unwrap().plan;
    dry_run(&Context::system(), &parts, &plan, samples).await.unwrap()
}

#[tokio::test]
async fn runs_some_slices_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let lines: String = (0..100).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    std::fs::write(folder.path().join("in.ldjson"), lines).unwrap();
    let operations = json!([
        {"_op": "file_reader", "path": folder.path().join("in.ldjson"), "format": "ldjson", "size": 100},
        {"_op": "file_exporter", "path": path, "format": "ldjson"},
    ]);
    let found = dry(operations, 4).await;
    assert_eq!(found.failures, Vec::<String>::new());
    assert_eq!(found.sampled, 4);
    assert!(found.slices >= 4, "{found:?}");
    assert_eq!(found.operations.len(), 2);
    assert!(found.operations[1].counts.received > 0, "{found:?}");
    assert_eq!(found.records.len(), RECORDS_MAX);
    assert!(!path.exists());
}
