//! Processes that write files are killed at random moments; then others commit every slice again.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use teraslice_core::{context::Context, operation::SliceContext};
use teraslice_model::{
    batch::{Batch, Frame},
    id::{JobId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};

use super::*;

const FOLDER: &str = "TERASLICE_TEST_FOLDER";
const MORE: &str = "TERASLICE_TEST_MORE";
const SLICES: u64 = 60;
const ROUNDS: usize = 10;

fn config(folder: &Path, more: &str) -> FileExporterConfig {
    serde_json::from_str(&format!("{{\"path\":{folder:?},\"format\":\"ldjson\"{more}}}")).unwrap()
}

/// Commits every slice, beginning anywhere.
async fn commit_all(folder: &Path, more: &str, name: &str, from: u64) {
    let ex_id = ExId::from_random([5; 16]);
    let context = WorkerContext { context: Context::system(), ex_id, worker: WorkerId::new(name) };
    let mut sink: Box<dyn Sink> = match more {
        "" => Box::new(shared::FilePerWorker::holding(&config(folder, more), &context, 100).unwrap()),
        more => Box::new(single::FilePerSlice::new(config(folder, more), &context)),
    };
    for order in (0..SLICES).map(|n| (n + from) % SLICES) {
        let slice = SliceContext {
            ex_id,
            job_id: JobId::from_random([6; 16]),
            worker: WorkerId::new(name),
            slice: Slice::new(ex_id, 0, order, Request::from_json("{}"), Timestamp::default()),
            attempt: 0,
        };
        sink.begin(&slice).await.unwrap();
        for part in 0..3 {
            let frame = Frame::of((0..20).map(|n| format!("{{\"n\":\"{order}.{part}.{n}\"}}\n"))).unwrap();
            sink.write(&Batch::new(frame)).await.unwrap();
        }
        sink.commit().await.unwrap();
    }
    sink.close().await.unwrap();
}

/// Writes until it is killed, as the process that the test below starts.
#[tokio::test]
#[ignore = "a part of the test below, which starts it as a process"]
async fn a_process_that_is_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let more = std::env::var(MORE).unwrap();
    loop {
        commit_all(Path::new(&folder), &more, "w", u64::from(std::process::id()) % SLICES).await;
    }
}

fn start(folder: &Path, more: &str) -> Child {
    let name = "file_exporter::tests::kill::a_process_that_is_killed";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env(FOLDER, folder)
        .env(MORE, more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().flatten();
    // A file may be renamed or removed meanwhile.
    files.map(|file| file.metadata().map_or(0, |file| file.len())).sum()
}

fn lines(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().flatten();
    let visible = files.filter(|file| !file.file_name().to_string_lossy().starts_with('.'));
    let mut lines: Vec<_> = visible
        .flat_map(|file| {
            fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn expected() -> Vec<String> {
    let part = |order: u64| (0..3).flat_map(move |part| (0..20).map(move |n| (order, part, n)));
    let all = (0..SLICES).flat_map(part).map(|(order, part, n)| format!("{{\"n\":\"{order}.{part}.{n}\"}}"));
    let mut expected: Vec<_> = all.collect();
    expected.sort_unstable();
    expected
}

#[tokio::test]
async fn keeps_each_slice_once_although_processes_are_killed() {
    let expected = expected();
    let whole: usize = expected.iter().map(|line| line.len() + 1).sum();
    for more in ["", ",\"file_per_slice\":true"].repeat(ROUNDS) {
        let folder = tempfile::tempdir().unwrap();
        while bytes(folder.path()) < whole as u64 {
            let aim = bytes(folder.path()) + fastrand::u64(1..whole as u64 / 2);
            let mut pair = [start(folder.path(), more), start(folder.path(), more)];
            for child in &mut pair {
                while bytes(folder.path()) < aim.min(whole as u64) {
                    assert_eq!(child.try_wait().unwrap(), None, "it writes until it is killed");
                    std::thread::yield_now();
                }
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        commit_all(folder.path(), more, "w", 0).await;
        assert_eq!(lines(folder.path()), expected, "{more}");
    }
}
