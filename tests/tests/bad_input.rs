//! Bad inputs and outputs: the good records are kept, the rest is refused with a message that says what and where.

use std::{
    fs::{self, File},
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use teraslice_tests::{Ended, Stage, balanced, finish};

const RUN_MAX: Duration = Duration::from_mins(1);

/// Returns a stage with a job that copies `input` to the folder `out`.
fn stage(input: &str, format: &str, more: &str) -> Stage {
    let stage = Stage::default();
    let job = format!(
        "name: copy\nworkers: 2\nmax_retries: 0\noperations:\n\
         - {{_op: file_reader, path: {input}, format: {format}, size: 100000{more}}}\n\
         - {{_op: file_exporter, path: out, format: ldjson}}\n"
    );
    stage.write("job.yaml", job);
    stage
}

fn run(stage: &Stage, more: &[&str]) -> Ended {
    stage.run(&[&["run", "job.yaml", "-o", "json"], more].concat())
}

/// Runs the job so that it keeps what it refuses; returns the reasons, in the order of the input.
fn refused(stage: &Stage) -> Vec<String> {
    let ended = run(stage, &["--set", "operations.0._dead_letter_action=store"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = ended.json();
    let counts = balanced(&run);
    let ex_id = run["ex_id"].as_str().unwrap_or_default();
    let letters = stage.run(&["dead-letters", "list", ex_id, "-o", "json"]).json();
    let letters = letters.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(counts[0]["dead_lettered"], letters.len() as u64);
    letters.iter().map(|letter| letter["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Runs a job that fails: it says `message`, and exits with 1.
fn fails(stage: &Stage, message: &str) {
    let ended = run(stage, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = ended.stderr.clone() + &ended.stdout;
    assert!(said.contains(message), "{message:?} is not in {said}");
    let _adds_up = balanced(&ended.json());
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

#[test]
fn a_file_that_is_not_there() {
    let stage = stage("nothing.ldjson", "ldjson", "");
    fails(&stage, "path nothing.ldjson cannot be read: No such file or directory");
}

#[test]
fn an_empty_file() {
    let stage = stage("empty.ldjson", "ldjson", "");
    stage.write("empty.ldjson", "");
    let ended = run(&stage, &[]);
    assert_eq!((ended.code, &ended.json()["status"]), (Some(0), &"completed".into()), "{}", ended.stderr);
    assert_eq!(stage.lines("out"), Vec::<String>::new());
}

#[test]
fn a_truncated_archive_leaves_nothing_half_written() {
    let stage = stage("in.ldjson.gz", "ldjson", ", compression: gzip");
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    archive.write_all(numbers(0..20_000).as_bytes()).unwrap();
    let archive = archive.finish().unwrap();
    stage.write("in.ldjson.gz", &archive[..archive.len() / 2]);
    fails(&stage, "in.ldjson.gz is cut off");
    assert_eq!(stage.lines("out"), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_archive() {
    let stage = stage("in.ldjson.gz", "ldjson", ", compression: gzip");
    stage.write("in.ldjson.gz", numbers(0..100));
    fails(&stage, "in.ldjson.gz is damaged: invalid gzip header");
}

#[test]
fn a_line_of_a_gibibyte_is_passed_over() {
    let stage = stage("in.ldjson", "ldjson", "");
    stage.write("in.ldjson", "{\"n\":1}\n");
    let mut file = File::options().append(true).open(stage.path("in.ldjson")).unwrap();
    // A hole in the file: a gibibyte of zeros that takes no disk.
    file.set_len(8 + (1 << 30)).unwrap();
    file.write_all(b"\n{\"n\":2}\n").unwrap();
    drop(file);
    let reasons = refused(&stage);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].starts_with("in.ldjson at byte 8: a line of 107374182"), "{reasons:?}");
    assert!(reasons[0].ends_with(" bytes is too long"), "{reasons:?}");
    assert_eq!(stage.lines("out"), ["{\"n\":1}", "{\"n\":2}"]);
}

#[test]
fn lines_in_other_encodings() {
    let stage = stage("in.ldjson", "ldjson", "");
    let mut input = "{\"n\":\"ü\"}\n".as_bytes().to_vec();
    input.extend_from_slice(b"{\"n\":\"\xfc\"}\n");
    input.extend("{\"n\":3}".encode_utf16().flat_map(u16::to_be_bytes));
    input.extend_from_slice(b"\n{\"n\":4}\n");
    stage.write("in.ldjson", input);
    let reasons = refused(&stage);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("in.ldjson at byte 11: invalid JSON: InvalidUtf8"), "{reasons:?}");
    assert!(reasons[1].starts_with("in.ldjson at byte 21: invalid JSON"), "{reasons:?}");
    assert_eq!(stage.lines("out"), ["{\"n\":\"ü\"}", "{\"n\":4}"]);
}

#[test]
fn invalid_utf8_in_a_table() {
    let stage = stage("in.csv", "csv", ", header: first_line");
    stage.write("in.csv", b"a,b\n1,2\n3,\xff\n5,6\n");
    let reasons = refused(&stage);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].starts_with("in.csv at byte 8: "), "{reasons:?}");
    assert_eq!(stage.lines("out"), ["{\"a\":\"1\",\"b\":\"2\"}", "{\"a\":\"5\",\"b\":\"6\"}"]);
}

#[test]
fn rows_with_a_wrong_number_of_fields() {
    let stage = stage("in.csv", "csv", ", header: first_line");
    stage.write("in.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n");
    let reasons = refused(&stage);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("in.csv at byte 8: 1 value"), "{reasons:?}");
    assert!(reasons[1].starts_with("in.csv at byte 10: 3 values, but there are 2 columns"), "{reasons:?}");
    assert_eq!(stage.lines("out"), ["{\"a\":\"1\",\"b\":\"2\"}", "{\"a\":\"7\",\"b\":\"8\"}"]);
}

#[test]
fn one_bad_line_in_a_million() {
    let stage = stage("in.ldjson", "ldjson", "");
    let (before, after) = (numbers(0..777_777), numbers(777_778..1_000_000));
    stage.write("in.ldjson", format!("{before}{{\"n\":\n{after}"));
    let reasons = refused(&stage);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let place = format!("in.ldjson at byte {}: invalid JSON", before.len());
    assert!(reasons[0].starts_with(&place), "{reasons:?}");
    assert_eq!(stage.lines("out").len(), 999_999);
    // By default a refused record fails its slice, and only that.
    fails(&stage, &place);
    let logged = run(&stage, &["--set", "operations.0._dead_letter_action=log"]);
    assert_eq!(logged.code, Some(0), "{}", logged.stderr);
    assert!(logged.stderr.contains(&place), "{}", logged.stderr);
    assert_eq!(balanced(&logged.json())[0]["failed"], 1);
}

#[test]
fn a_file_that_vanishes_while_others_are_read() {
    let stage = stage("in", "ldjson", "");
    let job = fs::read_to_string(stage.path("job.yaml")).unwrap();
    let job = job.replace("workers: 2", "workers: 1");
    stage.write("job.yaml", job.replace("- {_op: file_e", "- {_op: delay, ms: 300}\n- {_op: file_e"));
    fs::create_dir(stage.path("in")).unwrap();
    for name in ["a", "b", "c"] {
        stage.write(&format!("in/{name}"), numbers(0..100));
    }
    let mut child = stage.command(&["run", "job.yaml", "-o", "json"]).spawn().unwrap();
    while fs::read_dir(stage.path("out")).map_or(0, Iterator::count) == 0 {
        let is_running = child.try_wait().unwrap().is_none();
        assert!(is_running, "the run has begun");
        std::thread::yield_now();
    }
    fs::remove_file(stage.path("in/c")).unwrap();
    let ended = finish(child, RUN_MAX);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("in/c has vanished"), "{}", ended.stderr);
    let _adds_up = balanced(&ended.json());
    assert_eq!(stage.lines("out").len(), 200);
}

#[test]
fn an_output_that_cannot_be_written() {
    let stage = stage("in.ldjson", "ldjson", "");
    stage.write("in.ldjson", numbers(0..10));
    stage.write("out", "a file where the folder should be");
    let ended = run(&stage, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let message = "/operations/1/path: failed to create folder out: File exists";
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
}

#[test]
fn an_output_that_is_full() {
    let stage = stage("in.ldjson", "ldjson", "");
    stage.write("in.ldjson", numbers(0..500_000));
    // No file of this process may grow beyond a mebibyte or two; what happens then is an error, no signal.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let teraslice = stage.command(&["run", "job.yaml", "-o", "json"]);
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(teraslice.get_program())
        .args(teraslice.get_args())
        .current_dir(stage.path("."))
        .env("TERASLICE_STATE_DIRECTORY", stage.path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ended = finish(child.unwrap(), RUN_MAX);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("failed to write out/"), "{}", ended.stderr);
    assert!(ended.stderr.contains("File too large"), "{}", ended.stderr);
    let run = ended.json();
    let counts = balanced(&run);
    assert!(run["slices"]["failed"].as_u64() > Some(0), "{run}");
    // What was committed is whole, and counted.
    assert_eq!(stage.lines("out").len() as u64, counts[1]["received"]);
}

#[test]
fn a_printer_that_is_full() {
    let stage = stage("in.ldjson", "ldjson", "");
    let job = fs::read_to_string(stage.path("job.yaml")).unwrap();
    stage.write("job.yaml", job.replace("_op: file_exporter, path: out, format: ldjson", "_op: stdout"));
    stage.write("in.ldjson", numbers(0..10));
    let mut command = stage.command(&["run", "job.yaml"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = finish(command.stdout(full).spawn().unwrap(), RUN_MAX);
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("failed to print: No space left on device"), "{}", ended.stderr);
}

#[test]
fn names_and_types_that_are_wrong() {
    let cases = [
        ("operations.0._op=file_raeder", 64, "file_reader"),
        ("operations.0.format=ldjsn", 64, "ldjson"),
        ("operations.0.size=many", 64, "/operations/0/size"),
        ("operations.0.sise=3", 0, "did you mean \"size\"?"),
        ("assets=[\"standrad\"]", 64, "standard"),
        ("worker=3", 0, "did you mean \"workers\"?"),
        ("workers=many", 64, "workers"),
    ];
    let stage = stage("in.ldjson", "ldjson", "");
    stage.write("in.ldjson", numbers(0..10));
    for (set, code, message) in cases {
        let ended = stage.run(&["validate", "job.yaml", "--set", set]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(code), "{set}: {said}");
        assert!(said.contains(message), "{set}: {said}");
    }
}
