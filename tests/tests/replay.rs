//! Dead letters run again: through a changed job, and killed on the way.

use std::{fmt::Write as _, process::Child, thread::sleep, time::Duration};

use serde_json::Value;
use teraslice_tests::{Ended, Stage, balanced, finish, kill};

const RUN_MAX: Duration = Duration::from_mins(2);
const RECORDS: u64 = 2_000;
const ROUNDS: u32 = 20;

/// The filter refuses records whose field is `bad`; the changed job looks at another field, which never is.
fn job(field: &str) -> String {
    format!(
        "name: letters\nworkers: 2\nmax_retries: 0\noperations:\n  \
         - {{_op: file_reader, path: in.ldjson, format: ldjson, size: 4000, _dead_letter_action: store}}\n  \
         - {{_op: set_field, field: seen, value: true}}\n  \
         - {{_op: filter, field: {field}, value: bad, filtered_to_dead_letter_queue: true, _dead_letter_action: store}}\n  \
         - {{_op: delay, ms: 10}}\n  \
         - {{_op: file_exporter, path: out, format: ldjson}}\n"
    )
}

/// A stage with 2,000 records: the text of one in four is bad, and one line is no JSON.
fn stage() -> Stage {
    let stage = Stage::default();
    let mut input = String::new();
    for n in 0..RECORDS {
        let text = if n % 4 == 0 { "bad" } else { "good" };
        writeln!(input, "{{\"n\":{n},\"text\":\"{text}\",\"fine\":\"good\"}}")
            .expect("memory can be written");
    }
    input.push_str("{\"n\":9999,\"text\"\n");
    stage.write("in.ldjson", input);
    stage.write("job.yaml", job("text"));
    stage.write("fixed.yaml", job("fine"));
    stage
}

fn run(stage: &Stage, job: &str) -> Value {
    let ended = stage.run(&["run", job, "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json()
}

fn letters(stage: &Stage, ex_id: &str, more: &[&str]) -> Vec<Value> {
    let all = ["dead-letters", "list", ex_id, "--size", "100000", "-o", "json"];
    let ended = stage.run(&[&all[..], more].concat());
    let Value::Array(letters) = ended.json() else { panic!("no list: {}", ended.stdout) };
    letters
}

/// Returns what a run of the changed job over the whole input writes.
fn expected() -> Vec<String> {
    let stage = stage();
    run(&stage, "fixed.yaml");
    stage.lines("out")
}

#[test]
fn letters_go_through_a_changed_job_from_where_they_were_refused() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    let ex_id = first["ex_id"].as_str().unwrap();
    assert_eq!(balanced(&first)[2]["dead_lettered"], RECORDS / 4);
    assert_eq!(letters(&stage, ex_id, &["--state", "open"]).len() as u64, RECORDS / 4 + 1);
    assert_eq!(letters(&stage, ex_id, &["--operation", "file_reader"]).len(), 1);
    let replay = stage.run(&[
        "dead-letters",
        "replay",
        ex_id,
        "--job",
        "fixed.yaml",
        "--operation",
        "2",
        "-o",
        "json",
    ]);
    assert_eq!(replay.code, Some(0), "{}", replay.stderr);
    let second = replay.json();
    assert_eq!(balanced(&second)[0]["created"], RECORDS / 4);
    assert_eq!(stage.lines("out"), expected());
    let replayed = letters(&stage, ex_id, &["--state", "replayed"]);
    assert_eq!(replayed.len() as u64, RECORDS / 4);
    assert!(replayed.iter().all(|letter| letter["replayed_in"] == second["ex_id"]));
    // What is left is no JSON, and stays a letter wherever it goes.
    let again = stage.run(&["dead-letters", "replay", ex_id, "-o", "json"]).json();
    assert_eq!(balanced(&again)[0]["dead_lettered"], 1);
    let kept = letters(&stage, again["ex_id"].as_str().unwrap(), &[]);
    let number = kept[0]["number"].as_u64().unwrap().to_string();
    let shown = stage.run(&["dead-letters", "show", again["ex_id"].as_str().unwrap(), &number, "--raw"]);
    assert_eq!(shown.stdout, "{\"n\":9999,\"text\"");
    let nothing = stage.run(&["dead-letters", "replay", ex_id]);
    assert_eq!(nothing.code, Some(0));
    assert!(nothing.stderr.contains("no such dead letters to replay"), "{}", nothing.stderr);
}

#[test]
fn letters_that_fail_again_can_be_tried_again() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    let ex_id = first["ex_id"].as_str().unwrap();
    let replay = ["dead-letters", "replay", ex_id, "--operation", "2", "-o", "json"];
    // The same job, which fails its slices now.
    let strict = ["--set", "operations.2._dead_letter_action=throw"];
    let failed = stage.run(&[&replay[..], &strict].concat());
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("--again"), "{}", failed.stderr);
    let fixed = stage.run(&[&replay[..], &["--job", "fixed.yaml", "--again", "--processes"]].concat());
    assert_eq!(fixed.code, Some(0), "{}", fixed.stderr);
    assert_eq!(stage.lines("out"), expected());
}

#[test]
fn letters_of_a_replay_that_got_nowhere_can_be_tried_again() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    let ex_id = first["ex_id"].as_str().unwrap();
    let replay = ["dead-letters", "replay", ex_id, "--job", "fixed.yaml", "--operation", "2", "-o", "json"];
    // Nothing can be written below a file.
    let failed = stage.run(&[&replay[..], &["--set", "operations.4.path=in.ldjson/out"]].concat());
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(letters(&stage, ex_id, &["--state", "open", "--operation", "2"]).is_empty());
    let again = stage.run(&[&replay[..], &["--again"]].concat());
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(balanced(&again.json())[0]["created"], RECORDS / 4);
    assert_eq!(stage.lines("out"), expected());
    let nothing = stage.run(&[&replay[..], &["--again"]].concat());
    assert!(nothing.stderr.contains("no such dead letters to replay"), "{}", nothing.stderr);
}

#[test]
fn letters_that_a_replay_has_kept_go_through_the_whole_job_changed() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    let replay = |ex_id: &str, more: &[&str]| {
        let arguments = ["dead-letters", "replay", ex_id, "-o", "json"];
        let ended = stage.run(&[&arguments[..], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.json()
    };
    // The same job refuses them again, once more in a replay of the replay.
    let second = replay(first["ex_id"].as_str().unwrap(), &["--operation", "filter"]);
    assert_eq!(balanced(&second)[1]["dead_lettered"], RECORDS / 4);
    let third = replay(second["ex_id"].as_str().unwrap(), &[]);
    assert_eq!(balanced(&third)[1]["dead_lettered"], RECORDS / 4);
    replay(third["ex_id"].as_str().unwrap(), &["--job", "fixed.yaml"]);
    assert_eq!(stage.lines("out"), expected());
}

#[test]
fn a_job_that_does_not_fit_the_letters_is_refused() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    stage.write("other.yaml", job("text").replace("_op: filter", "_op: drop_field"));
    let refused =
        stage.run(&["dead-letters", "replay", first["ex_id"].as_str().unwrap(), "--job", "other.yaml"]);
    assert_eq!(refused.code, Some(64));
    let expected = "was refused by operation 2 (filter), where the job has \"drop_field\"";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    let unknown = stage.run(&["dead-letters", "show", first["ex_id"].as_str().unwrap(), "123456"]);
    assert_eq!(unknown.code, Some(64));
}

/// So stands a replay that was killed before it was given its letters, once it is resumed.
#[test]
fn an_execution_without_letters_of_its_own_ends_and_takes_none() {
    let stage = stage();
    let first = run(&stage, "job.yaml");
    let ex_id = first["ex_id"].as_str().unwrap();
    let job = format!(
        "name: empty\noperations:\n  - {{_op: dead_letter_reader, ex_id: {ex_id}}}\n  \
         - {{_op: file_exporter, path: out, format: ldjson}}\n"
    );
    stage.write("empty.yaml", job);
    let empty = run(&stage, "empty.yaml");
    assert_eq!(balanced(&empty)[0]["created"], 0);
    assert_eq!(letters(&stage, ex_id, &["--state", "open"]).len() as u64, RECORDS / 4 + 1);
}

/// Goes on until nothing is left to resume and nothing is open.
fn settle(stage: &Stage, ex_id: &str) {
    loop {
        let runs = stage.run(&["history", "-o", "json"]).json();
        let is_resumable =
            runs.as_array().is_some_and(|runs| runs.iter().any(|run| run["is_resumable"] == true));
        if is_resumable {
            let resumed = stage.run(&["resume"]);
            assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
        } else if letters(stage, ex_id, &["--state", "open", "--operation", "2"]).is_empty() {
            return;
        } else {
            let replayed = finish(replay(stage, ex_id, &[]), RUN_MAX);
            assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        }
    }
}

fn replay(stage: &Stage, ex_id: &str, more: &[&str]) -> Child {
    let arguments = ["dead-letters", "replay", ex_id, "--job", "fixed.yaml", "--operation", "2"];
    stage.command(&[&arguments[..], more].concat()).spawn().expect("the binary starts")
}

#[test]
fn a_replay_that_is_killed_loses_and_doubles_nothing() {
    let expected = expected();
    let mut caught = 0;
    for round in 0..ROUNDS {
        let stage = stage();
        let first = run(&stage, "job.yaml");
        let ex_id = first["ex_id"].as_str().unwrap();
        let mode: &[&str] = if round % 2 == 0 { &[] } else { &["--processes"] };
        // Five slices, one after the other, so that a replay takes 300 ms and more.
        let slow = ["--workers", "1", "--set", "operations.3.ms=60"];
        let killed = replay(&stage, ex_id, &[&slow, mode].concat());
        sleep(Duration::from_millis(fastrand::u64(5..300)));
        kill(killed.id());
        let killed: Ended = finish(killed, RUN_MAX);
        caught += u32::from(killed.code.is_none());
        settle(&stage, ex_id);
        assert_eq!(stage.lines("out"), expected, "round {round}");
        assert_eq!(letters(&stage, ex_id, &["--operation", "2"]).len() as u64, RECORDS / 4);
    }
    assert!(caught >= ROUNDS / 2, "only {caught} of {ROUNDS} replays were at work when they were killed");
}
