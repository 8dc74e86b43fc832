//! What the original has written is read right, and goes on here.

use std::{fs, path::PathBuf};

use teraslice_model::timestamp::Timestamp;

use super::*;

const JOB: u128 = 1;
const RUN: u128 = 2;

fn uuid(number: u128) -> String {
    uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid().to_string()
}

/// Writes what the original would: a job, an ended execution and eight slices in two months.
async fn written(stage: &Stage) -> (JobId, ExId) {
    let (job_id, ex_id) = (uuid(JOB), uuid(RUN));
    let operations = json!([{"_op": "elasticsearch_reader", "index": "a"}, {"_op": "noop"}]);
    let job = json!({
        "name": "old", "lifecycle": "once", "workers": 3, "operations": operations, "job_id": job_id, "_context": "job",
        "_created": "2018-01-31T23:00:00.000Z", "_updated": "2018-01-31T23:00:00.500Z",
    });
    let run = json!({
        "name": "old", "lifecycle": "once", "workers": 3, "operations": operations, "analytics": true, "assets": null,
        "apis": [], "labels": null, "log_level": null, "job_id": job_id, "ex_id": ex_id, "_context": "ex", "metadata": {},
        "_status": "failed", "_has_errors": true, "_failureReason": "two slices failed", "relocatable": false,
        "_slicer_stats": {
            "workers_available": 0, "workers_active": 0, "workers_joined": 3, "workers_reconnected": 0,
            "workers_disconnected": 0, "failed": 2, "subslices": 0, "queued": 0, "slice_range_expansion": 0,
            "processed": 4, "slicers": 1, "subslice_by_key": 0, "started": "2018-01-31T23:00:01.000Z",
        },
        "slicer_hostname": "10.0.0.1", "slicer_port": 45680, "teraslice_version": "v0.38.0",
        "_created": "2018-01-31T23:00:00.700Z", "_updated": "2018-02-01T01:00:00.000Z",
    });
    let mut documents = vec![
        (format!("{}__jobs", stage.name), job_id.clone(), job),
        (format!("{}__ex", stage.name), ex_id.clone(), run),
    ];
    let states = ["completed", "start", "error", "pending"].into_iter().cycle();
    for (order, state) in (1..=8).zip(states) {
        let slice_id = uuid(100 + order);
        let (month, created) = if order <= 4 {
            ("2018.01", "2018-01-31T23:59:59.999Z")
        } else {
            ("2018.02", "2018-02-01T00:00:00.000Z")
        };
        let mut slice = json!({
            "slice_id": slice_id, "slicer_id": 0, "slicer_order": order, "ex_id": ex_id, "state": state,
            "request": format!("{{\"start\":{order}}}"), "_created": created, "_updated": "2018-02-01T00:30:00.000Z",
        });
        if state == "error" {
            slice["error"] = json!("Error: broken\n    at line 1");
            slice["retry_count"] = json!(3);
        }
        documents.push((format!("{}__state-{month}", stage.name), slice_id, slice));
    }
    for (index, id, document) in documents {
        stage.ask(Request::put(format!("/{index}/_doc/{id}?refresh=true")).json(&document)).await;
    }
    (job_id.parse().unwrap(), ex_id.parse().unwrap())
}

/// Makes the indices as the original does: without the fields that are only ours.
async fn made_by_the_original(stage: &Stage) {
    for (index, word) in [(index::Index::Jobs, "jobs"), (index::Index::Executions, "ex")] {
        let mut mapping: Value = serde_json::from_str(index.mapping()).unwrap();
        mapping["properties"].as_object_mut().unwrap().retain(|field, _| field != record::NUMBER);
        stage.ask(Request::put(format!("/{}__{word}", stage.name)).json(&json!({"mappings": mapping}))).await;
    }
    let mut mapping: Value = serde_json::from_str(index::Index::State.mapping()).unwrap();
    for field in mapping["properties"].as_object_mut().unwrap().values_mut() {
        field.as_object_mut().unwrap().retain(|setting, _| setting == "type");
    }
    for month in ["2018.01", "2018.02"] {
        let path = format!("/{}__state-{month}", stage.name);
        stage.ask(Request::put(path).json(&json!({"mappings": mapping}))).await;
    }
}

fn orders(slices: &[SliceRecord]) -> Vec<u64> {
    slices.iter().map(|record| record.slice.slicer_order).collect()
}

#[tokio::test]
async fn reads_what_the_original_has_written() {
    for stage in Stage::all() {
        made_by_the_original(&stage).await;
        let (job_id, ex_id) = written(&stage).await;
        let store = stage.open().await;
        let job = store.job(job_id).await.unwrap().unwrap();
        assert_eq!((job.job["name"].as_str(), job.job["workers"].as_u64()), (Some("old"), Some(3)));
        assert_eq!(job.job.keys().collect::<Vec<_>>(), ["name", "lifecycle", "workers", "operations"]);
        assert_eq!(job.created, "2018-01-31T23:00:00.000Z".parse().unwrap());
        let run = store.execution(ex_id).await.unwrap().unwrap();
        assert_eq!((run.job_id, run.status, run.workers_wanted), (job_id, Status::Failed, None));
        assert_eq!((run.generation, run.epoch), (Generation(0), Epoch(0)));
        assert_eq!((run.stats.processed, run.stats.failed, run.stats.job_duration), (4, 2, 0));
        assert_eq!((run.failure.as_deref(), run.slicer_port), (Some("two slices failed"), Some(45_680)));
        assert!(run.job.contains_key("apis") && !run.job.contains_key("_status"));
        assert_eq!(store.sums().await.unwrap().workers_joined, 3);
        let ledger = store.ledger(ex_id).await.unwrap();
        assert!(ledger.checkpoints.is_empty());
        assert_eq!(orders(&ledger.unfinished), [2, 4, 6, 8]);
        assert_eq!(ledger.unfinished[0].slice.request.json(), "{\"start\":2}");
        let deaths: Vec<_> = ledger.unfinished.iter().map(|record| record.deaths).collect();
        assert_eq!(deaths, [1, 0, 1, 0], "a worker had begun every other one");
        let counts = SliceCounts { pending: 4, completed: 2, error: 2 };
        assert_eq!(store.slice_counts(ex_id).await.unwrap(), counts);
        for (state, wanted) in [
            (SliceState::Pending, [2, 4, 6, 8].as_slice()),
            (SliceState::Completed, &[1, 5]),
            (SliceState::Error, &[3, 7]),
        ] {
            assert_eq!(orders(&store.slices(ex_id, state, ALL).await.unwrap()), wanted);
        }
        let errors = store.errors(ErrorQuery { ex_id: Some(ex_id), ..ErrorQuery::default() }).await.unwrap();
        assert_eq!(errors.len(), 2);
        assert_eq!(
            (errors[0].slice.error.as_deref(), errors[0].slice.retry_count),
            (Some("Error: broken\n    at line 1"), 3)
        );
        assert_eq!(store.errors(ErrorQuery::default()).await.unwrap(), errors);
        // What is made here comes first, whatever its time.
        store.put_job(JobRecord { job_id: JobId::from_random([9; 16]), ..job.clone() }).await.unwrap();
        let jobs = store.jobs(JobQuery::default()).await.unwrap();
        assert_eq!(
            jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(),
            [JobId::from_random([9; 16]), job_id]
        );
        stage.clear().await;
    }
}

#[tokio::test]
async fn goes_on_with_an_execution_of_the_original() {
    for stage in Stage::all() {
        made_by_the_original(&stage).await;
        let (_, ex_id) = written(&stage).await;
        let store = stage.open().await;
        let epoch = store.begin_epoch(ex_id, Generation(0)).await.unwrap();
        let writer = Writer { generation: Generation(0), epoch };
        let mut second = store.ledger(ex_id).await.unwrap().unfinished.remove(0);
        second.state = SliceState::Completed;
        store.append(ex_id, writer, Flush { slices: vec![second], ..Flush::default() }).await.unwrap();
        let counts = SliceCounts { pending: 3, completed: 3, error: 2 };
        assert_eq!(store.slice_counts(ex_id).await.unwrap(), counts);
        // Its record has been replaced where it was, not written again elsewhere.
        let path = format!("/{}__state-2018.01/_doc/{}", stage.name, uuid(102));
        assert_eq!(stage.ask(Request::get(path)).await["_source"]["state"], "completed");
        let again = stage.open().await;
        assert_eq!(orders(&again.ledger(ex_id).await.unwrap().unfinished), [4, 6, 8]);
        assert_eq!(again.slice_counts(ex_id).await.unwrap(), counts);
        stage.clear().await;
    }
}

#[tokio::test]
async fn writes_what_the_original_can_read() {
    for stage in Stage::all() {
        let store = stage.open().await;
        let id = execution(1).ex_id;
        let mut made = execution(1);
        made.workers_wanted = Some(7);
        store.create_execution(made).await.unwrap();
        let mut failed = slice(id, 3, 2, SliceState::Error);
        failed.error = Some("broken".into());
        failed.retry_count = 1;
        let flush = Flush { slices: vec![failed.clone()], ..Flush::default() };
        store.append(id, FIRST, flush).await.unwrap();
        store.close().await.unwrap();
        let path = format!("/{}__state-2020.09/_doc/{}", stage.name, failed.slice.id);
        let mut slice = stage.ask(Request::get(path)).await["_source"].take();
        let updated: Timestamp = slice["_updated"].take().as_str().unwrap().parse().unwrap();
        assert!(updated > failed.slice.created);
        let wanted = json!({
            "slice_id": failed.slice.id, "slicer_id": 3, "slicer_order": 2, "request": failed.slice.request.json(),
            "state": "error", "ex_id": id, "_created": "2020-09-13T12:26:40.001Z", "_updated": null, "error": "broken",
            "retry_count": 1,
        });
        assert_eq!(slice, wanted);
        let run = stage.ask(Request::get(format!("/{}__ex/_doc/{id}", stage.name))).await["_source"].take();
        assert_eq!(
            (&run["_context"], &run["_status"], &run["workers"]),
            (&json!("ex"), &json!("pending"), &json!(7))
        );
        stage.clear().await;
    }
}

#[tokio::test]
async fn has_the_fields_of_the_original() {
    let Some(folder) = env::var_os("TERASLICE_GOLDEN").map(PathBuf::from) else {
        return tell(
            "NOT RUN: the recorded mappings of the original are not here: set TERASLICE_GOLDEN to their folder",
        );
    };
    for stage in Stage::all() {
        let store = stage.open().await;
        store.create_execution(execution(1)).await.unwrap();
        let flush =
            Flush { slices: vec![slice(execution(1).ex_id, 0, 1, SliceState::Error)], ..Flush::default() };
        store.append(execution(1).ex_id, FIRST, flush).await.unwrap();
        store.close().await.unwrap();
        let made = stage.ask(Request::get(format!("/{}__*/_mapping", stage.name))).await;
        for (recorded, index) in
            [("jobs", "jobs"), ("ex", "ex"), ("assets", "assets"), ("state", "state-2020.09")]
        {
            let text = fs::read_to_string(folder.join(format!("mapping-{recorded}.json"))).unwrap();
            let recorded: Value = serde_json::from_str(&text).unwrap();
            let mapping = &made[format!("{}__{index}", stage.name)]["mappings"];
            assert_eq!(mapping["dynamic"], recorded["dynamic"]);
            let fields = mapping["properties"].as_object().unwrap().iter();
            let fields: serde_json::Map<_, _> = fields
                .filter(|(field, _)| *field != record::NUMBER)
                .map(|(field, settings)| {
                    (field.clone(), settings.get("type").cloned().unwrap_or(json!("object")))
                })
                .collect();
            assert_eq!(Value::Object(fields), recorded["fields"], "{index}");
        }
        stage.clear().await;
    }
}
