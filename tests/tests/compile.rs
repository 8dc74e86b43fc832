//! Compiling assets: in a process that may be killed, into a cache that may be damaged.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use teraslice_tests::{Ended, Stage, children, finish, kill};

const RUN_MAX: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(2);
const POLLS_MAX: u32 = 10_000;

const JOB: &str = "
name: compile
assets: [testing]
operations:
  - {_op: test-reader}
  - {_op: test_fail}
  - {_op: noop}
";

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/dist")
}

/// A stage with a job that needs the testing asset, and a configuration.
fn stage(wasm: &str) -> Stage {
    let stage = Stage::default();
    stage.write("job.yaml", JOB);
    configure(&stage, wasm);
    stage
}

fn configure(stage: &Stage, wasm: &str) {
    stage.write(
        "config.yaml",
        format!("teraslice:\n  assets_directory: {:?}\n  wasm: {{{wasm}}}\n", assets()),
    );
}

/// Checks the job, which loads its asset, with a cache of the stage's own.
fn validate(stage: &Stage) -> Command {
    let mut command = stage.command(&["validate", "job.yaml", "-c", "config.yaml"]);
    command.env("XDG_CACHE_HOME", stage.path("cache"));
    command
}

fn start(stage: &Stage) -> Child {
    validate(stage).spawn().expect("the binary starts")
}

fn run(stage: &Stage) -> Ended {
    finish(start(stage), RUN_MAX)
}

fn compiled(stage: &Stage) -> Vec<PathBuf> {
    let files = fs::read_dir(stage.path("cache/teraslice/wasm")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "cwasm"));
    paths.sort();
    paths
}

/// Waits for a compiler of a process that is not among `known`.
fn compiler_of(parent: u32, known: &[u32]) -> u32 {
    for _ in 0..POLLS_MAX {
        if let Some(child) = children(parent).into_iter().find(|child| !known.contains(child)) {
            return child;
        }
        sleep(POLL);
    }
    panic!("no compiler was started");
}

#[test]
fn a_compiler_that_is_killed_is_started_again() {
    let stage = stage("");
    let checked = start(&stage);
    kill(compiler_of(checked.id(), &[]));
    let ended = finish(checked, RUN_MAX);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("compiler was killed, starting it again"), "{}", ended.stderr);
    assert_eq!(compiled(&stage).len(), 1);
}

#[test]
fn a_compiler_that_is_killed_twice_is_an_error_of_the_asset() {
    let stage = stage("");
    let checked = start(&stage);
    let first = compiler_of(checked.id(), &[]);
    kill(first);
    kill(compiler_of(checked.id(), &[first]));
    let ended = finish(checked, RUN_MAX);
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let expected = "failed to compile asset testing: the compiler ended by signal 9";
    assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    assert_eq!(run(&stage).code, Some(0), "nothing is left that is in the way");
}

#[test]
fn a_compiler_ends_with_the_process_that_wants_its_code() {
    let stage = stage("");
    let checked = start(&stage);
    let compiler = compiler_of(checked.id(), &[]);
    kill(checked.id());
    let _killed = finish(checked, RUN_MAX);
    let is_there = || Path::new(&format!("/proc/{compiler}")).exists();
    for _ in (0..POLLS_MAX).take_while(|_| is_there()) {
        sleep(POLL);
    }
    assert!(!is_there(), "the compiler goes on");
    assert_eq!(compiled(&stage).len(), 0);
    assert_eq!(run(&stage).code, Some(0));
}

#[test]
fn processes_that_need_the_same_asset_compile_it_once() {
    let stage = stage("");
    let mut both = [start(&stage), start(&stage)];
    let mut compilers = BTreeSet::new();
    while both.iter_mut().any(|one| one.try_wait().expect("a child can be asked").is_none()) {
        compilers.extend(both.iter().flat_map(|one| children(one.id())));
        sleep(POLL);
    }
    assert_eq!(compilers.len(), 1);
    assert_eq!(both.map(|one| finish(one, RUN_MAX).code), [Some(0), Some(0)]);
}

#[test]
fn files_that_are_damaged_are_made_anew() {
    let stage = stage("");
    assert_eq!(run(&stage).code, Some(0));
    let [path] = compiled(&stage).try_into().expect("one asset was compiled");
    let good = fs::read(&path).expect("the cache can be read");
    let mut flipped = good.clone();
    flipped[good.len() / 3] ^= 0x10;
    for bad in [flipped, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&path, &bad).expect("the cache can be written");
        let ended = run(&stage);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(bad.is_empty() || ended.stderr.contains("compiled asset was changed"), "{}", ended.stderr);
        assert_eq!(fs::read(&path).expect("the cache can be read").len(), good.len());
    }
    assert!(!run(&stage).stderr.contains("compiled asset"));
}

#[test]
fn code_of_another_tier_is_refused_and_made_anew() {
    let stage = stage("");
    assert_eq!(run(&stage).code, Some(0));
    let [path] = compiled(&stage).try_into().expect("one asset was compiled");
    configure(&stage, "trusted: [testing]");
    assert_eq!(run(&stage).code, Some(0));
    let trusted = compiled(&stage).into_iter().find(|other| *other != path).expect("it was compiled again");
    fs::copy(trusted, &path).expect("the cache can be written");
    configure(&stage, "");
    let ended = run(&stage);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("compiled asset refused"), "{}", ended.stderr);
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let stage = stage("cache_size: 1");
    assert_eq!(run(&stage).code, Some(0));
    let first = compiled(&stage);
    configure(&stage, "cache_size: 1, trusted: [testing]");
    assert_eq!(run(&stage).code, Some(0));
    let second = compiled(&stage);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
}

#[test]
fn the_compiler_keeps_within_its_limits() {
    let module = {
        let zip =
            fs::File::open(assets().join("standard-v1.0.0.zip")).expect("run `cargo xtask assets` first");
        let mut zip = zip::ZipArchive::new(zip).expect("an asset is a zip");
        let mut module = Vec::new();
        let mut file = zip.by_name("asset.wasm").expect("an asset has a module");
        std::io::Read::read_to_end(&mut file, &mut module).expect("the module can be unpacked");
        module
    };
    let compile = |memory: &str, seconds: &str| {
        let stage = Stage::default();
        let mut command = stage.command(&["compile-asset", "default", memory, seconds]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut input = child.stdin.take().expect("its input is a pipe");
        // It may end before it has read everything.
        let _ended = input.write_all(&module);
        drop(input);
        finish(child, RUN_MAX)
    };
    let ended = compile("300000000", "100");
    assert_ne!(ended.code, Some(0), "it needs more than that");
    assert!(ended.stderr.contains("memory"), "{}", ended.stderr);
    assert_eq!(compile("4000000000", "1").code, None, "a signal ends it");
}
