//! The program as users meet it: what it prints, and what it exits with.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests, in real time")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use teraslice_api::client::stub::Stub;

/// A folder with jobs, where the program runs and keeps its state.
struct Place {
    folder: TempDir,
}

/// What a run of the program has left.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teraslice"));
        command.current_dir(self.path()).args(arguments);
        command.env("TERASLICE_STATE_DIRECTORY", self.path().join("state"));
        command.env("TERASLICE_CONFIG_DIR", self.path().join("clusters"));
        for name in ["TERAFOUNDATION_CONFIG", "TERASLICE_TOKEN", "TERASLICE_CA"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Returns the lines of all output files, sorted.
    fn output(&self, folder: &str) -> Vec<String> {
        let files = fs::read_dir(self.path().join(folder)).unwrap().map(|file| file.unwrap().path());
        let visible = files
            .filter(|path| path.is_file() && !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        let mut lines: Vec<_> = visible
            .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines.sort_unstable();
        lines
    }
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|_| panic!("no JSON: {}{}", self.stdout, self.stderr))
    }
}

/// 2,000 records in 20 slices or so, each of which takes 20 ms.
fn slow_job(place: &Place) {
    let lines: String = (0..2_000).map(|id| format!("{{\"id\":{id},\"name\":\"name-{id}\"}}\n")).collect();
    place.write("in.ldjson", &lines);
    place.write(
        "slow.yaml",
        "name: slow\nworkers: 2\noperations:\n\
         - {_op: file_reader, path: in.ldjson, format: ldjson, size: 3000}\n\
         - {_op: delay, ms: 20}\n\
         - {_op: file_exporter, path: out, format: ldjson}\n",
    );
}

fn quick_job(place: &Place) {
    place.write(
        "quick.json",
        r#"{"name": "quick", "workers": 1, "operations": [
            {"_op": "data_generator", "size": 100},
            {"_op": "file_exporter", "path": "out", "format": "ldjson"}
        ]}"#,
    );
}

/// Waits until output shows up, so that the run is in its midst.
fn wait_for_output(place: &Place) {
    let limit = Instant::now() + Duration::from_secs(20);
    while fs::read_dir(place.path().join("out")).map_or(0, Iterator::count) == 0 {
        assert!(Instant::now() < limit, "the run writes nothing");
        std::thread::yield_now();
    }
}

fn kill(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn says_what_it_can_do() {
    let place = Place::new();
    for (name, arguments) in [
        ("help", vec!["--help"]),
        ("help-run", vec!["run", "--help"]),
        ("help-validate", vec!["validate", "--help"]),
        ("help-resume", vec!["resume", "--help"]),
        ("help-history", vec!["history", "--help"]),
        ("help-dead-letters", vec!["dead-letters", "list", "--help"]),
        ("help-dead-letters-show", vec!["dead-letters", "show", "--help"]),
        ("help-dead-letters-replay", vec!["dead-letters", "replay", "--help"]),
        ("help-aliases", vec!["aliases", "add", "--help"]),
        ("help-jobs", vec!["jobs", "-h"]),
        ("help-jobs-start", vec!["jobs", "start", "--help"]),
        ("help-jobs-await", vec!["jobs", "await", "-h"]),
        ("help-ex", vec!["ex", "-h"]),
        ("help-tjm", vec!["tjm", "-h"]),
        ("help-tjm-register", vec!["tjm", "register", "-h"]),
        ("help-assets-deploy", vec!["assets", "deploy", "-h"]),
        ("help-master", vec!["master", "-h"]),
        ("help-node", vec!["node", "-h"]),
        ("help-config", vec!["config", "-h"]),
        ("help-sim", vec!["sim", "--help"]),
    ] {
        let done = Done::of(place.command(&arguments).env("COLUMNS", "100").output().unwrap());
        assert_eq!(done.code, 0);
        insta::assert_snapshot!(name, done.stdout);
    }
}

#[test]
fn refuses_wrong_arguments_with_64() {
    let place = Place::new();
    for wrong in
        [vec!["fly"], vec!["run"], vec!["run", "a", "--set", "x"], vec!["run", "a", "--workers", "0"]]
    {
        let done = place.run(&wrong);
        assert_eq!((done.code, done.stdout.as_str()), (64, ""), "{wrong:?}: {}", done.stderr);
    }
}

#[test]
fn lists_every_problem_of_a_job_at_once() {
    let place = Place::new();
    place.write(
        "bad.yaml",
        "name: ''\nworkers: 0\nworker: 3\ncpu: 1\nassets: [standart]\noperations:\n\
         - {_op: file_raeder, path: in}\n- {_op: noop, _encoding: xml}\n",
    );
    let done = place.run(&["validate", "bad.yaml"]);
    assert_eq!(done.code, 64);
    insta::with_settings!({filters => [("known: data_.*", "known: [all]")]}, {
        insta::assert_snapshot!("validate-bad", done.stdout);
    });
    place.write(
        "ops.yaml",
        "operations:\n- {_op: file_raeder, path: in}\n- {_op: fliter, field: a}\n- {_op: file_exporter, format: ldjsn}\n",
    );
    let done = place.run(&["validate", "ops.yaml"]);
    assert_eq!(done.code, 64);
    // Operations come and go.
    insta::with_settings!({filters => [("known: .*", "known: [all]")]}, {
        insta::assert_snapshot!("validate-operations", done.stdout);
    });
}

#[test]
fn writes_what_is_wrong_as_json_too() {
    let place = Place::new();
    place.write(
        "bad.json",
        r#"{"workers": 0, "cpu": 1, "operations": [{"_op": "data_generator"}, {"_op": "noop"}]}"#,
    );
    let done = place.run(&["validate", "bad.json", "-o", "json"]);
    let found = done.json();
    assert_eq!((done.code, &found["is_valid"]), (64, &Value::Bool(false)));
    assert_eq!(found["problems"][0]["pointer"], "/workers");
    assert_eq!(found["warnings"][0]["reason"]["kind"], "deprecation");
}

#[test]
fn accepts_a_good_job() {
    let place = Place::new();
    quick_job(&place);
    let done = place.run(&["validate", "quick.json"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "quick.json: valid\n"));
}

#[test]
fn says_where_a_file_is_broken() {
    let place = Place::new();
    place.write("broken.json", "{\"name\": \"a\",\n \"operations\": [}");
    let cases = [
        (
            "broken.json",
            "error: failed to read the job broken.json\n  caused by: not valid JSON at line 2, column 17: expected value\n",
        ),
        (
            "missing.json",
            "error: failed to read the job missing.json\n  caused by: No such file or directory (os error 2)\n",
        ),
    ];
    for (file, message) in cases {
        for command in ["run", "validate"] {
            let done = place.run(&[command, file]);
            assert_eq!((done.code, done.stderr.as_str()), (64, message), "{command}");
        }
    }
}

#[test]
fn runs_a_job_and_sums_up() {
    let place = Place::new();
    quick_job(&place);
    let done = place.run(&["run", "quick.json", "--set", "operations.0.size=250", "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let summary = done.json();
    assert_eq!((&summary["status"], &summary["job"]), (&"completed".into(), &"quick".into()));
    assert_eq!(summary["operations"][1]["received"], 250);
    assert_eq!(place.output("out").len(), 250);
    let listed = place.run(&["history", "-o", "json"]).json();
    assert_eq!((&listed[0]["status"], &listed[0]["records"]), (&"completed".into(), &250.into()));
    let ex_id = listed[0]["ex_id"].as_str().unwrap();
    let shown = place.run(&["history", ex_id]);
    assert!(shown.stdout.contains("data_generator"), "{}", shown.stdout);
}

#[test]
fn finishes_quickly() {
    let place = Place::new();
    quick_job(&place);
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        assert_eq!(place.run(&["run", "quick.json"]).code, 0);
        start.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}

#[test]
fn fails_with_1_when_slices_fail() {
    let place = Place::new();
    place.write("in.ldjson", "{\"a\":1}\nnot json\n");
    place.write(
        "job.yaml",
        "max_retries: 0\noperations:\n- {_op: file_reader, path: in.ldjson, format: ldjson}\n- {_op: noop}\n",
    );
    let done = place.run(&["run", "job.yaml", "-o", "json"]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert_eq!(done.json()["slices"]["failed"], 1);
    let kept =
        place.run(&["run", "job.yaml", "--set", "operations.0._dead_letter_action=store", "-o", "json"]);
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let summary = kept.json();
    assert_eq!(summary["operations"][0]["dead_lettered"], 1);
    let letters =
        place.run(&["dead-letters", "list", summary["ex_id"].as_str().unwrap(), "-o", "json"]).json();
    assert_eq!(letters[0]["op"], "file_reader");
    assert!(letters[0]["record"].as_str().unwrap().starts_with("not json"));
}

#[test]
fn drains_on_a_signal_and_goes_on_with_resume() {
    for mode in [&["run", "slow.yaml"][..], &["run", "slow.yaml", "--processes"]] {
        let place = Place::new();
        slow_job(&place);
        let child = place.start(mode);
        wait_for_output(&place);
        kill(&child, "-TERM");
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!(done.code, 75, "{}", done.stderr);
        let line = done.stderr.lines().last().unwrap_or_default();
        let ex_id =
            line.strip_prefix("resume with: teraslice resume ").unwrap_or_else(|| panic!("{}", done.stderr));
        assert!(place.output("out").len() < 2_000);
        let elsewhere = Place::new();
        let mut resume = place.command(&["resume", ex_id, "-o", "json"]);
        let resumed = Done::of(resume.current_dir(elsewhere.path()).output().unwrap());
        assert_eq!(resumed.code, 0, "{}", resumed.stderr);
        assert_eq!(resumed.json()["operations"][2]["received"], 2_000);
        let wanted = fs::read_to_string(place.path().join("in.ldjson")).unwrap();
        let mut wanted: Vec<_> = wanted.lines().collect();
        wanted.sort_unstable();
        assert_eq!(place.output("out"), wanted);
    }
}

#[test]
fn leaves_at_once_on_a_second_signal() {
    let place = Place::new();
    slow_job(&place);
    let mut child = place.start(&["run", "slow.yaml", "--set", "operations.1.ms=600000"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("execution "));
    kill(&child, "-INT");
    assert!(next().starts_with("interrupted: "));
    kill(&child, "-INT");
    assert!(next().starts_with("resume with: teraslice resume "));
    assert_eq!(child.wait().unwrap().code(), Some(75));
}

#[test]
fn resumes_the_latest_run_after_a_kill() {
    for mode in [&["run", "slow.yaml"][..], &["run", "slow.yaml", "--processes"]] {
        let place = Place::new();
        slow_job(&place);
        let child = place.start(mode);
        wait_for_output(&place);
        kill(&child, "-KILL");
        let _killed = child.wait_with_output().unwrap();
        let listed = place.run(&["history"]);
        assert!(listed.stdout.contains("running (resumable)"), "{}", listed.stdout);
        let resumed = place.run(&["resume"]);
        assert_eq!(resumed.code, 0, "{}", resumed.stderr);
        assert_eq!(place.output("out").len(), 2_000);
        assert_eq!(place.run(&["resume"]).code, 64);
    }
}

#[test]
fn refuses_a_wrong_configuration_with_78() {
    let place = Place::new();
    quick_job(&place);
    place.write("config.yaml", "teraslice:\n  slicer_timeout: soon\n  state_dierctory: x\n");
    let done = place.run(&["validate", "quick.json"]);
    assert_eq!(done.code, 78);
    let message = "error: the configuration ./config.yaml is wrong\nproblem  /teraslice/slicer_timeout\n         \
                   slicer_timeout must be milliseconds or a duration such as \"5 minutes\", found \"soon\"\n";
    assert_eq!(done.stderr, message);
    place.write("config.yaml", "teraslice:\n  state_dierctory: x\n");
    let done = place.run(&["validate", "quick.json"]);
    assert_eq!(done.code, 0);
    let warning = "warning: ./config.yaml: /teraslice/state_dierctory: unknown key \"state_dierctory\" has no effect \
                   (did you mean \"state_directory\"?)\n";
    assert_eq!(done.stderr, warning);
}

#[test]
fn says_who_uses_the_state_directory() {
    let place = Place::new();
    slow_job(&place);
    let mut child = place.start(&["run", "slow.yaml"]);
    wait_for_output(&place);
    let done = place.run(&["run", "slow.yaml"]);
    assert_eq!(done.code, 74);
    assert!(done.stderr.contains(&format!("is in use by process {}", child.id())), "{}", done.stderr);
    assert!(done.stderr.contains("hint: "), "{}", done.stderr);
    let running = place.run(&["history"]);
    assert!(running.stdout.contains("slow"), "{}{}", running.stdout, running.stderr);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn tries_a_job_out_without_writing() {
    let place = Place::new();
    slow_job(&place);
    let done = place.run(&["run", "slow.yaml", "--dry-run", "--samples", "3", "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let found = done.json();
    assert_eq!((&found["sampled"], &found["is_lower_bound"]), (&3.into(), &false.into()));
    assert!(found["slices"].as_u64().unwrap() > 10);
    assert_eq!(found["records"].as_array().unwrap().len(), 5);
    assert!(!place.path().join("out").exists());
    assert!(!place.path().join("state").exists());
}

#[test]
fn speaks_with_a_cluster_by_its_alias() {
    let jobs = json!([{"job_id": "j", "name": "a", "ex": {"_status": "running"}, "workers": 2}]);
    let stub = Stub::knowing(&[
        ("GET /v1/jobs?from=0&size=100&ex=ex_id,_status", 200, jobs),
        ("POST /v1/jobs/j/_start", 409, json!({"error": 409, "message": "job j is running"})),
    ]);
    let place = Place::new();
    // A configuration that is wrong is none of these commands' business.
    place.write("config.yaml", "teraslice: {slicer_timeout: soon}\n");
    assert_eq!(place.run(&["aliases", "add", "here", &stub.url(), "--token", "s3cret"]).code, 0);
    let listed = place.run(&["aliases", "list"]);
    assert!(listed.stdout.contains("localhost  http://localhost:5678"), "{}", listed.stdout);
    assert!(!listed.stdout.contains("s3cret"), "{}", listed.stdout);
    let table = place.run(&["jobs", "list", "here"]).stdout;
    assert!(table.starts_with("job_id  name  status"), "{table}");
    assert_eq!(place.run(&["jobs", "list", "here", "-o", "name"]).stdout, "j\n");
    assert_eq!(place.run(&["jobs", "list", "here", "-o", "json"]).json()[0]["name"], "a");
    assert_eq!(place.run(&["jobs", "list", "here", "-o", "txt"]).stdout, table);
    assert_eq!(stub.asked()[0].header("authorization"), Some("Bearer s3cret"));
    let refused = place.run(&["jobs", "start", "here", "j"]);
    let message = "error: the cluster has refused POST /v1/jobs/j/_start: job j is running (409)\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (65, message));
}

#[test]
fn says_what_to_do_about_a_cluster_that_is_not_there() {
    let place = Place::new();
    let unknown = place.run(&["nodes", "list", "there"]);
    let message = "error: there is no cluster \"there\"; known: localhost\n\
                   hint: `teraslice aliases add there URL` makes it known\n";
    assert_eq!((unknown.code, unknown.stderr.as_str()), (64, message));
    let url = Stub::knowing(&[]).url();
    let silent = place.run(&["jobs", "pause", &url, "j"]);
    assert_eq!(silent.code, 69, "{}", silent.stderr);
    assert!(
        silent.stderr.starts_with(&format!("error: failed to reach the cluster at {url}\n")),
        "{}",
        silent.stderr
    );
    let asked = place.run(&["jobs", "delete", &url, "j"]);
    assert_eq!((asked.code, asked.stderr.ends_with("hint: say --yes\n")), (64, true), "{}", asked.stderr);
}

#[test]
fn completes_commands_for_each_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completion", shell]);
        assert!(script.code == 0 && script.stdout.contains("dead-letters"), "{shell}");
    }
    assert_eq!(place.run(&["completion", "sh"]).code, 64);
}
