use std::{fs, path::Path, sync::Arc};

use teraslice_core::{
    conformance::{self, fake, reader::Source},
    context::Context,
    operation::SliceContext,
};
use teraslice_model::{
    checkpoint::Checkpoint,
    id::{ExId, JobId, WorkerId},
    slice::{Request, Slice},
    timestamp::Timestamp,
};

use super::*;

fn config(path: &Path, more: &str) -> FileReaderConfig {
    let path = path.to_string_lossy();
    serde_json::from_str(&format!("{{\"path\":{path:?}{more}}}")).unwrap()
}

fn slicer(config: &FileReaderConfig, position: Option<Request>) -> slicer::FileSlicer {
    let checkpoint = Checkpoint { slicer_id: 0, order: 1, position, is_exhausted: false };
    let context = SlicerContext {
        context: Context::system(),
        ex_id: ExId::from_random([1; 16]),
        lifecycle: teraslice_model::job::Lifecycle::Once,
        slicers: 1,
        workers: 1,
        job: Arc::new(fake::job(Vec::new(), Vec::new())),
        checkpoints: vec![checkpoint],
        store: None,
    };
    slicer::FileSlicer::new(config.clone(), &context).unwrap()
}

/// Returns all slices from a position on, `step` at a time, and the position after each step.
async fn slices(config: &FileReaderConfig, from: Option<Request>, step: usize) -> Vec<(Request, Request)> {
    let mut slicer = slicer(config, from);
    let mut all = Vec::new();
    loop {
        let sliced = slicer.next(step).await.unwrap();
        assert!(sliced.requests.len() <= step);
        all.extend(sliced.requests.into_iter().map(|request| (request, sliced.position.clone())));
        if sliced.is_exhausted {
            return all;
        }
    }
}

/// Reads a slice: its records, and why others were refused.
async fn read(
    config: &FileReaderConfig,
    request: Request,
) -> Result<(Vec<String>, Vec<String>), OperationError> {
    let ex_id = ExId::from_random([1; 16]);
    let slice = SliceContext {
        ex_id,
        job_id: JobId::from_random([2; 16]),
        worker: WorkerId::new("w"),
        slice: Slice::new(ex_id, 0, 1, request, Timestamp::default()),
        attempt: 0,
    };
    let mut stream = fetcher::FileFetcher::new(config.clone(), Context::system()).open(&slice).await?;
    let (mut records, mut reasons) = (Vec::new(), Vec::new());
    while let Some(fetched) = stream.next().await? {
        let text = |at| String::from_utf8_lossy(fetched.batch.record(at)).into_owned();
        records.extend((0..fetched.batch.len()).map(text));
        reasons.extend(fetched.rejected.into_iter().map(|rejected| rejected.reason));
    }
    Ok((records, reasons))
}

async fn read_all(config: &FileReaderConfig) -> (Vec<String>, Vec<String>) {
    let (mut records, mut reasons) = (Vec::new(), Vec::new());
    for (request, _) in slices(config, None, 100).await {
        let (more, refused) = read(config, request).await.unwrap();
        records.extend(more);
        reasons.extend(refused);
    }
    (records, reasons)
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn cuts_a_file_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, cuts) in [(25, "[0,10] [9,11] [19,6]"), (30, "[0,10] [9,11] [19,11]"), (9, "[0,9]")] {
        write(folder.path(), "a", vec![b'x'; bytes]);
        let config = config(folder.path(), ",\"format\":\"raw\",\"size\":10");
        let found = slices(&config, None, 100).await;
        let cut = |(request, _): &(Request, Request)| {
            let slice: FileSlice = request.parse().unwrap();
            format!("[{},{}]", slice.offset, slice.length)
        };
        assert_eq!(found.iter().map(cut).collect::<Vec<_>>().join(" "), cuts);
    }
}

/// A folder, how it is read, and what is in it.
struct Folder {
    config: FileReaderConfig,
    records: Vec<String>,
}

#[async_trait]
impl Source for Folder {
    async fn slicer(&self, position: Option<Request>) -> Box<dyn Slicer> {
        Box::new(slicer(&self.config, position))
    }

    async fn fetcher(&self) -> Box<dyn Fetcher> {
        Box::new(fetcher::FileFetcher::new(self.config.clone(), Context::system()))
    }

    fn records(&self) -> Vec<String> {
        self.records.clone()
    }
}

#[tokio::test]
async fn keeps_the_laws_of_readers() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for name in ["a/1", "a/2", "b", "c/d/e"] {
        let lines: Vec<_> = (0..40).map(|n| format!("{{\"file\":{name:?},\"n\":{n}}}")).collect();
        write(folder.path(), name, lines.join("\n") + "\n");
        records.extend(lines);
    }
    write(folder.path(), ".hidden", "{}\n");
    write(folder.path(), "zero", "");
    fs::create_dir(folder.path().join("empty")).unwrap();
    for size in [10, 100, 1_000, 1_000_000] {
        let config = config(folder.path(), &format!(",\"format\":\"ldjson\",\"size\":{size}"));
        conformance::reader::run(&Folder { config, records: records.clone() }).await;
    }
}

#[tokio::test]
async fn reads_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let cases = [
        ("ldjson", "", "{\"a\":1}\n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"][..]),
        ("json", "", "[{\"a\":1}, {\"b\":2}]", &["{\"a\":1}", "{\"b\":2}"]),
        ("json", "", "{\"a\":1}", &["{\"a\":1}"]),
        ("raw", "", "x\n\ny\n", &["{\"data\":\"x\"}", "{\"data\":\"\"}", "{\"data\":\"y\"}"]),
        ("csv", ",\"fields\":[\"a\",\"b\"]", "b,a\r\n1,2\r\n", &["{\"a\":\"1\",\"b\":\"2\"}"]),
        (
            "csv",
            "",
            "a,b\n1,2\n",
            &["{\"field1\":\"a\",\"field2\":\"b\"}", "{\"field1\":\"1\",\"field2\":\"2\"}"],
        ),
        ("csv", ",\"header\":\"first_line\"", "a,b\n1,2\n", &["{\"a\":\"1\",\"b\":\"2\"}"]),
        (
            "tsv",
            ",\"header\":\"first_line\",\"infer_types\":true",
            "a\tb\n1\tx\n",
            &["{\"a\":1,\"b\":\"x\"}"],
        ),
    ];
    for (format, more, content, records) in cases {
        fs::write(&path, content).unwrap();
        let config = config(&path, &format!(",\"format\":{format:?}{more}"));
        assert_eq!(read_all(&config).await.0, records, "{format}{more}");
    }
}

#[tokio::test]
async fn takes_column_names_for_every_slice_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..50).map(|n| format!("{n},x\n")).collect();
    write(folder.path(), "f", format!("n,t\n{rows}"));
    let config = config(folder.path(), ",\"format\":\"csv\",\"header\":\"first_line\",\"size\":20");
    let (records, reasons) = read_all(&config).await;
    let expected: Vec<_> = (0..50).map(|n| format!("{{\"n\":\"{n}\",\"t\":\"x\"}}")).collect();
    assert_eq!((records, reasons.len()), (expected, 0));
}

#[tokio::test]
async fn reads_every_compression() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let content = b"{\"a\":1}\n{\"a\":2}\n";
    let path = folder.path().join("f");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(content).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(content).unwrap();
    let files = [
        ("gzip", gzip.finish().unwrap()),
        ("lz4", lz4.finish().unwrap()),
        ("zstd", zstd::encode_all(&content[..], 0).unwrap()),
    ];
    for (compression, bytes) in files {
        let config = config(&path, &format!(",\"format\":\"ldjson\",\"compression\":{compression:?}"));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read_all(&config).await.0, ["{\"a\":1}", "{\"a\":2}"], "{compression}");
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let (request, _) = slices(&config, None, 1).await.remove(0);
        let error = read(&config, request).await.unwrap_err();
        let is_clear = error.to_string().contains("cut off") || error.to_string().contains("damaged");
        assert!(is_clear && matches!(error, OperationError::Slice { .. }), "{compression}: {error}");
    }
}

#[tokio::test]
async fn keeps_the_good_lines_beside_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let place = path.display().to_string();
    fs::write(&path, b"{\"a\":1}\n{bad\n\n{\"a\":\"\xff\"}\n[1]\n{\"a\":2}\n").unwrap();
    let (records, reasons) = read_all(&config(&path, ",\"format\":\"ldjson\"")).await;
    assert_eq!(records, ["{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(reasons.len(), 4);
    assert!(reasons[0].starts_with(&format!("{place} at byte 8: invalid JSON")), "{}", reasons[0]);
    assert_eq!(reasons[1], format!("{place} at byte 13: an empty line is no JSON object"));
    assert_eq!(reasons[3], format!("{place} at byte 24: a JSON object is needed, not an array"));
    fs::write(&path, b"a,b\n1,2\n1,2,3\n1\n3,\xff\n4,5\n").unwrap();
    let (records, reasons) = read_all(&config(&path, ",\"format\":\"csv\",\"header\":\"first_line\"")).await;
    assert_eq!(records, ["{\"a\":\"1\",\"b\":\"2\"}", "{\"a\":\"4\",\"b\":\"5\"}"]);
    let expected = [
        format!("{place} at byte 8: 3 values, but there are 2 columns"),
        format!("{place} at byte 14: 1 values, but there are 2 columns"),
        format!("{place} at byte 16: invalid UTF-8 at byte 2 of the line"),
    ];
    assert_eq!(reasons, expected);
}

#[tokio::test]
async fn refuses_a_huge_line_without_holding_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let long = vec![b'x'; 3 << 20];
    fs::write(&path, [b"{\"a\":1}\n", &long[..], b"\n{\"a\":2}\n"].concat()).unwrap();
    let config = config(&path, ",\"format\":\"ldjson\",\"line_bytes_max\":100000");
    let (records, reasons) = read_all(&config).await;
    assert_eq!(records, ["{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(reasons, [format!("{} at byte 8: a line of 3145729 bytes is too long", path.display())]);
}

#[tokio::test]
async fn says_that_a_file_has_vanished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    fs::write(&path, "{}\n").unwrap();
    let config = config(&path, ",\"format\":\"ldjson\"");
    let (request, _) = slices(&config, None, 1).await.remove(0);
    fs::remove_file(&path).unwrap();
    let error = read(&config, request).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} has vanished", path.display()));
}

#[tokio::test]
async fn says_that_the_path_does_not_exist() {
    let config = config(Path::new("/no/such/folder"), ",\"format\":\"ldjson\"");
    let error = slicer(&config, None).next(1).await.unwrap_err();
    assert!(error.to_string().contains("/path: path /no/such/folder cannot be read"), "{error}");
}

#[tokio::test]
async fn ends_at_once_on_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(slices(&config(folder.path(), ",\"format\":\"raw\""), None, 10).await, []);
}

#[test]
fn says_what_is_wrong_with_its_settings() {
    let path = Path::new("/data");
    let cases = [
        (
            ",\"format\":\"raw\",\"size\":0",
            "/size: size is 0, it must be more than the length of line_delimiter",
        ),
        (
            ",\"format\":\"raw\",\"line_delimiter\":\"aa\"",
            "/line_delimiter: line_delimiter is \"aa\", which overlaps itself (its end must not be its beginning)",
        ),
        (
            ",\"format\":\"csv\",\"field_delimiter\":\"::\"",
            "/field_delimiter: field_delimiter is \"::\", one ASCII character is needed",
        ),
        (
            ",\"format\":\"csv\",\"header\":\"first_line\",\"fields\":[\"a\"]",
            "/header: header first_line and fields both name the columns (remove one of them)",
        ),
    ];
    for (more, message) in cases {
        let job = fake::job(Vec::new(), Vec::new());
        let operation = fake::operation("file_reader", json!({}));
        let problems = FileReader.check(&config(path, more), &operation, &job);
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
    }
}
