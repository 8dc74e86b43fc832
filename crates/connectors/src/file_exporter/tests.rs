use std::{collections::BTreeMap, fs, path::Path};

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
        return Box::new(single::FilePerSlice::new(config, ex_id()));
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
    append(format!(".{prefix}-w.journal"), "00000000-0000");
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
    commit(other.as_mut(), &slice(2, 1)).await;
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
async fn keeps_a_slice_once_that_a_worker_given_up_commits_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut late = sink(folder.path(), "a", "").await;
    let mut other = sink(folder.path(), "b", "").await;
    write(late.as_mut(), &slice(1, 0)).await;
    commit(other.as_mut(), &slice(1, 1)).await;
    late.commit().await.unwrap();
    commit(late.as_mut(), &slice(2, 0)).await;
    assert_eq!(lines(folder.path()), twice(&[1, 2]));
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
    let mut sink = single::FilePerSlice::new(serde_json::from_str(&config).unwrap(), ex_id());
    commit(&mut sink, &slice(1, 0)).await;
    let content =
        fs::read_to_string(folder.path().join(format!("{}-0-00000001.json", prefix(ex_id())))).unwrap();
    assert_eq!(content, "[{\"n\":1},{\"n\":1}]\n");
}
