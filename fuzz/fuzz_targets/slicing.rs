//! Files of lines: whatever is in them, small slices give what one large slice gives.
#![no_main]

use std::{fs, sync::Arc};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use teraslice_connectors::FileReader;
use teraslice_core::{
    context::Context,
    operation::{SliceContext, SlicerContext},
    registry::{Reader, WorkerContext},
};
use teraslice_model::{
    id::{ExId, JobId, WorkerId},
    job::{CheckEnvironment, CheckedJob, RawJob},
    slice::Slice,
    timestamp::Timestamp,
};

fuzz_target!(|data: &[u8]| {
    let [choice, size, content @ ..] = data else { return };
    let format = ["ldjson", "csv", "tsv", "raw"][usize::from(choice % 4)];
    let folder = tempfile::tempdir_in("/dev/shm").expect("there is shared memory");
    let path = folder.path().join("input");
    fs::write(&path, content).expect("the file can be written");
    let settings = |size: usize| {
        let mut settings = json!({"path": path, "format": format, "size": size, "line_bytes_max": 64});
        if choice & 4 != 0 && matches!(format, "csv" | "tsv") {
            settings["header"] = "first_line".into();
        }
        settings
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are threads");
    let whole = runtime.block_on(read(settings(1 << 20)));
    let parts = runtime.block_on(read(settings(usize::from(*size).max(2))));
    assert_eq!(parts, whole);
});

/// Reads a file slice by slice; returns the records and the refused lines, each sorted.
async fn read(settings: Value) -> Option<(Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    let mut operation = settings.clone();
    operation["_op"] = "file_reader".into();
    let job = json!({"operations": [operation, {"_op": "noop"}]});
    let Value::Object(job) = job else { return None };
    let (job, _) = RawJob(job).check(&CheckEnvironment::default()).ok()?;
    let job: Arc<CheckedJob> = Arc::new(job);
    let config = || serde_json::from_value::<<FileReader as Reader>::Config>(settings.clone()).ok();
    let (context, ex_id) = (Context::system(), ExId::from_random([1; 16]));
    let slicers = SlicerContext {
        context: context.clone(),
        ex_id,
        lifecycle: job.lifecycle,
        slicers: 1,
        workers: 1,
        job: Arc::clone(&job),
        checkpoints: Vec::new(),
        store: None,
    };
    let mut slicers = FileReader.slicers(config()?, &job.operations[0], slicers).await.ok()?;
    let worker = WorkerContext { context, ex_id, worker: WorkerId::new("w") };
    let mut fetcher = FileReader.fetcher(config()?, &job.operations[0], worker).await.ok()?;
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    loop {
        let sliced = slicers[0].next(100).await.ok()?;
        for request in sliced.requests {
            let slice = SliceContext {
                ex_id,
                job_id: JobId::from_random([2; 16]),
                worker: WorkerId::new("w"),
                slice: Slice::new(ex_id, 0, 1, request, Timestamp::default()),
                attempt: 0,
            };
            let mut stream = fetcher.open(&slice).await.ok()?;
            while let Some(fetched) = stream.next().await.ok()? {
                records.extend((0..fetched.batch.len()).map(|at| fetched.batch.record(at).to_vec()));
                refused.extend(fetched.rejected.into_iter().map(|rejected| rejected.record));
            }
        }
        if sliced.is_exhausted {
            break;
        }
    }
    records.sort_unstable();
    refused.sort_unstable();
    Some((records, refused))
}
