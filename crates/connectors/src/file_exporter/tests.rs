mod kill;

use std::{collections::BTreeMap, fs, io::Write as _};

use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use teraslice_core::{
    conformance::{self, sink::Target},
    context::Context,
    operation::SliceContext,
};
use teraslice_model::{
    batch::{Batch, Frame},
    id::{JobId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};

use super::*;

fn ex_id() -> ExId {
    ExId::from_random([5; 16])
}

fn worker(name: &str) -> WorkerContext {
    WorkerContext { context: Context::system(), ex_id: ex_id(), worker: WorkerId::new(name) }
}

fn slice(order: u64, attempt: u32) -> SliceContext {
    SliceContext {
        ex_id: ex_id(),
        job_id: JobId::from_random([6; 16]),
        worker: WorkerId::new("w"),
        slice: Slice::new(ex_id(), 0, order, Request::from_json("{}"), Timestamp::default()),
        attempt,
    }
}

async fn sink(folder: &Path, name: &str, more: &str) -> Box<dyn Sink> {
    let path = folder.to_string_lossy();
    let config = format!("{{\"path\":{path:?},\"format\":\"ldjson\"{more}}}");
    let config: FileExporterConfig = serde_json::from_str(&config).unwrap();
    if config.file_per_slice {
        return Box::new(single::FilePerSlice::new(config, &worker(name)));
    }
    Box::new(shared::FilePerWorker::open(&config, &worker(name)).unwrap())
}

async fn write(sink: &mut dyn Sink, slice: &SliceContext) {
    sink.begin(slice).await.unwrap();
    let record = format!("{{\"n\":{}}}\n", slice.slice.slicer_order);
    sink.write(&Batch::new(Frame::of([&record, &record]).unwrap())).await.unwrap();
}

async fn commit(sink: &mut dyn Sink, slice: &SliceContext) {
    write(sink, slice).await;
    sink.commit().await.unwrap();
}

/// Counts the lines of every visible file.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with('.') {
            for line in fs::read_to_string(entry.path()).unwrap().lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
    }
    lines
}

fn twice(numbers: &[u64]) -> BTreeMap<String, usize> {
    numbers.iter().map(|n| (format!("{{\"n\":{n}}}"), 2)).collect()
}

/// A folder that is written to, and how.
struct Folder {
    folder: tempfile::TempDir,
    more: &'static str,
}

#[async_trait]
impl Target for Folder {
    async fn sink(&self, worker: &str) -> Box<dyn Sink> {
        sink(self.folder.path(), worker, self.more).await
    }

    fn records(&self) -> Vec<String> {
        let counted = lines(self.folder.path()).into_iter();
        counted.flat_map(|(line, count)| std::iter::repeat_n(line, count)).collect()
    }
}

#[tokio::test]
async fn keeps_the_laws_of_sinks() {
    for more in ["", ",\"file_per_slice\":true", ",\"fsync\":true"] {
        conformance::sink::run(|| Folder { folder: tempfile::tempdir().unwrap(), more }).await;
    }
}

#[tokio::test]
async fn cuts_off_what_no_whole_journal_line_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = sink(folder.path(), "w", "").await;
    commit(before.as_mut(), &slice(1, 0)).await;
    drop(before);
    let prefix = prefix(ex_id());
    let append = |name: String, text: &str| {
        let path = folder.path().join(name);
        let all = fs::read_to_string(&path).unwrap() + text;
        fs::write(path, all).unwrap();
    };
    append(format!("{prefix}-w.ldjson"), "{\"half\":");
    append(format!(".{prefix}.ldjson.journal"), "{\"own\":[0,");
    let mut after = sink(folder.path(), "w", "").await;
    commit(after.as_mut(), &slice(2, 0)).await;
    assert_eq!(lines(folder.path()), twice(&[1, 2]));
}

#[tokio::test]
async fn cuts_off_what_a_dead_worker_has_left_although_none_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = sink(folder.path(), "b", "").await;
    let mut dead = sink(folder.path(), "a", "").await;
    commit(dead.as_mut(), &slice(1, 0)).await;
    write(dead.as_mut(), &slice(2, 0)).await;
    drop(dead);
    commit(other.as_mut(), &slice(2, 0)).await;
    other.close().await.unwrap();
    assert_eq!(lines(folder.path()), twice(&[1, 2]));
}

#[tokio::test]
async fn cuts_off_what_an_earlier_run_with_more_workers_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut dead = sink(folder.path(), "b", "").await;
    write(dead.as_mut(), &slice(1, 0)).await;
    drop(dead);
    let mut after = sink(folder.path(), "a", "").await;
    commit(after.as_mut(), &slice(1, 0)).await;
    assert_eq!(lines(folder.path()), twice(&[1]));
}

#[tokio::test]
async fn takes_another_file_while_a_predecessor_holds_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = sink(folder.path(), "w", "").await;
    let mut new = sink(folder.path(), "w", "").await;
    commit(old.as_mut(), &slice(1, 0)).await;
    commit(new.as_mut(), &slice(2, 0)).await;
    assert_eq!(lines(folder.path()), twice(&[1, 2]));
}

#[tokio::test]
async fn writes_a_header_once_per_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy();
    let config = format!("{{\"path\":{path:?},\"format\":\"csv\",\"include_header\":true}}");
    let config: FileExporterConfig = serde_json::from_str(&config).unwrap();
    let mut sink = shared::FilePerWorker::open(&config, &worker("w")).unwrap();
    commit(&mut sink, &slice(1, 0)).await;
    commit(&mut sink, &slice(2, 0)).await;
    let content = fs::read_to_string(folder.path().join(format!("{}-w.csv", prefix(ex_id())))).unwrap();
    assert_eq!(content, "\"n\"\n1\n1\n2\n2\n");
}

#[tokio::test]
async fn compresses_files_that_their_readers_understand() {
    use std::io::Read;
    for (compression, extension) in [("gzip", ".gz"), ("lz4", ".lz4"), ("zstd", ".zst")] {
        let folder = tempfile::tempdir().unwrap();
        let more = format!(",\"file_per_slice\":true,\"compression\":{compression:?}");
        let mut sink = sink(folder.path(), "w", &more).await;
        commit(sink.as_mut(), &slice(1, 0)).await;
        let path = folder.path().join(format!("{}-0-00000001.ldjson{extension}", prefix(ex_id())));
        let file = fs::File::open(path).unwrap();
        let mut text = String::new();
        match compression {
            "gzip" => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
            "lz4" => lz4_flex::frame::FrameDecoder::new(file).read_to_string(&mut text).unwrap(),
            _ => zstd::stream::read::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap(),
        };
        assert_eq!(text, "{\"n\":1}\n{\"n\":1}\n");
    }
}

#[tokio::test]
async fn writes_a_slice_as_one_array() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy();
    let config = format!("{{\"path\":{path:?},\"format\":\"json\",\"file_per_slice\":true}}");
    let mut sink = single::FilePerSlice::new(serde_json::from_str(&config).unwrap(), &worker("w"));
    commit(&mut sink, &slice(1, 0)).await;
    let content =
        fs::read_to_string(folder.path().join(format!("{}-0-00000001.json", prefix(ex_id())))).unwrap();
    assert_eq!(content, "[{\"n\":1},{\"n\":1}]\n");
}

#[tokio::test]
async fn keeps_the_columns_of_a_file_over_slices_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy();
    let config = format!("{{\"path\":{path:?},\"format\":\"csv\",\"include_header\":true}}");
    let config: FileExporterConfig = serde_json::from_str(&config).unwrap();
    for (order, record) in [(1, "{\"a\":1,\"b\":2}"), (2, "{\"b\":4,\"a\":3}"), (3, "{\"a\":5}")] {
        let mut sink = shared::FilePerWorker::open(&config, &worker("w")).unwrap();
        sink.begin(&slice(order, 0)).await.unwrap();
        sink.write(&Batch::new(Frame::of([record]).unwrap())).await.unwrap();
        sink.commit().await.unwrap();
        sink.begin(&slice(9, 0)).await.unwrap();
        let written = sink.write(&Batch::new(Frame::of(["{\"z\":1}"]).unwrap())).await.unwrap();
        assert_eq!(written.rejected.len(), 1);
        sink.abort().await;
    }
    let content = fs::read_to_string(folder.path().join(format!("{}-w.csv", prefix(ex_id())))).unwrap();
    assert_eq!(content, "\"a\",\"b\"\n1,2\n3,4\n5,\n");
}

#[tokio::test]
async fn leaves_no_file_when_there_was_nothing_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), "w", "").await;
    sink.begin(&slice(1, 0)).await.unwrap();
    sink.commit().await.unwrap();
    sink.close().await.unwrap();
    let visible = fs::read_dir(folder.path()).unwrap().flatten();
    assert_eq!(visible.filter(|file| !file.file_name().to_string_lossy().starts_with('.')).count(), 0);
}

#[tokio::test]
async fn keeps_recovered_slices_apart_from_its_own() {
    for more in ["", ",\"file_per_slice\":true"] {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(folder.path(), "w", more).await;
        let mut recovered = slice(1, 0);
        let earlier = ExId::from_random([9; 16]);
        recovered.slice = Slice::new(earlier, 0, 1, Request::from_json("{}"), Timestamp::default());
        for slice in [&slice(1, 0), &recovered, &slice(1, 0), &recovered] {
            commit(sink.as_mut(), slice).await;
        }
        assert_eq!(lines(folder.path()).values().collect::<Vec<_>>(), [&4], "{more}");
    }
}

#[tokio::test]
async fn says_that_records_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = sink(folder.path(), "w", "").await;
    commit(before.as_mut(), &slice(1, 0)).await;
    drop(before);
    let name = folder.path().join(format!("{}-w.ldjson", prefix(ex_id())));
    fs::write(name, "{\"n\":1}\n").unwrap();
    let config = format!("{{\"path\":{:?},\"format\":\"ldjson\"}}", folder.path());
    let config: FileExporterConfig = serde_json::from_str(&config).unwrap();
    let error = shared::FilePerWorker::open(&config, &worker("w")).err().unwrap();
    let expected = "does not fit its journal: it has 8 bytes, its journal names 16 (records were lost";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn refuses_two_that_write_to_one_folder() {
    let settings = |path: &str| json!({"path": path, "format": "ldjson"});
    let exporter = |path: &str| conformance::fake::operation("file_exporter", settings(path));
    let api = conformance::fake::api("file_sender_api", settings("./out/"));
    let reader = conformance::fake::refusing("reader", json!({}), "file_sender_api");
    let check = |operations: Vec<OperationConfig>, apis: Vec<ApiConfig>| {
        let job = conformance::fake::job(operations, apis);
        let config = serde_json::from_value(settings("out")).unwrap();
        FileExporter
            .check(&config, &exporter("out"), &job)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let refused =
        "/path: path is \"out\", and so it is elsewhere in the job (give each its own folder, or extension)";
    assert_eq!(check(vec![exporter("out"), exporter("out")], Vec::new()), [refused]);
    assert_eq!(check(vec![reader, exporter("out")], vec![api.clone()]), [refused]);
    assert_eq!(check(vec![exporter("out"), exporter("other")], vec![api]), [""; 0]);
}

/// What may happen to the sinks of three workers.
#[derive(Clone, Debug)]
enum Event {
    /// A sink writes so many batches of a slice, and commits or aborts.
    Run { worker: usize, order: u64, batches: usize, commits: bool },
    /// A sink is in the middle of a slice when its process dies; a half line may be left in the journal.
    Die { worker: usize, order: u64, half_line: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let (worker, order) = (0_usize..3, 1_u64..12);
    prop_oneof![
        5 => (worker.clone(), order.clone(), 0_usize..4, any::<bool>())
            .prop_map(|(worker, order, batches, commits)| Event::Run { worker, order, batches, commits }),
        1 => (worker, order, any::<bool>())
            .prop_map(|(worker, order, half_line)| Event::Die { worker, order, half_line }),
    ]
}

fn batch(order: u64, part: usize) -> Batch {
    Batch::new(Frame::of((0..3).map(|n| format!("{{\"n\":\"{order}.{part}.{n}\"}}\n"))).unwrap())
}

async fn run_events(events: Vec<Event>) {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{{\"path\":{:?},\"format\":\"ldjson\"}}", folder.path());
    let config: FileExporterConfig = serde_json::from_str(&config).unwrap();
    // Holds back less than a slice: half slices get into the files.
    let open = |number: usize| {
        shared::FilePerWorker::holding(&config, &worker(["a", "b", "c"][number]), 40).unwrap()
    };
    let mut sinks: Vec<_> = (0..3).map(open).collect();
    let mut committed = BTreeMap::new();
    for event in events {
        match event {
            Event::Run { worker, order, batches, commits } => {
                // The records of a slice are the same on every attempt.
                let batches = *committed.get(&order).unwrap_or(&batches);
                let sink = &mut sinks[worker];
                sink.begin(&slice(order, 0)).await.unwrap();
                for part in 0..batches {
                    sink.write(&batch(order, part)).await.unwrap();
                }
                if commits {
                    sink.commit().await.unwrap();
                    committed.insert(order, batches);
                } else {
                    sink.abort().await;
                }
            }
            Event::Die { worker, order, half_line } => {
                sinks[worker].begin(&slice(order, 0)).await.unwrap();
                sinks[worker].write(&batch(order, 7)).await.unwrap();
                sinks.remove(worker);
                if half_line {
                    let journal = folder.path().join(format!(".{}.ldjson.journal", prefix(ex_id())));
                    let half = b"{\"own\":[0,1],\"file\":\"a\",\"off";
                    fs::OpenOptions::new().append(true).open(journal).unwrap().write_all(half).unwrap();
                }
                sinks.insert(worker, open(worker));
            }
        }
    }
    for mut sink in sinks {
        sink.close().await.unwrap();
    }
    let parts = committed.iter().flat_map(|(order, batches)| (0..*batches).map(|part| batch(*order, part)));
    let text =
        |batch: &Batch| (0..3).map(|n| String::from_utf8_lossy(batch.record(n)).into_owned()).collect();
    let expected: BTreeMap<_, _> =
        parts.flat_map(|batch| -> Vec<_> { text(&batch) }).map(|line| (line, 1)).collect();
    assert_eq!(lines(folder.path()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn keeps_each_committed_slice_once_whatever_happens(events in proptest::collection::vec(event(), 0..30)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run_events(events));
    }
}
