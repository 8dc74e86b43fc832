//! Where modules are compiled: in a process of its own, which may be killed and cannot take this one with it.
//!
//! ```text
//! this process                                  the child
//! spawn `<program> <arguments> <tier>`    -->   limits itself, ends with its parent
//! module                                  -->   standard input
//! machine code, or what is wrong          <--   standard output, or standard error and exit code 1
//! ```

use std::{
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, kill_process, nice, set_parent_process_death_signal, setrlimit,
};
use wasmtime::Engine;

use crate::engine::{self, Tier};

/// Bytes of what the child says that are kept.
const SAID_MAX: u64 = 4 << 10;

/// Where modules are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// In this process: for programs that trust their assets, and for tests.
    #[default]
    InProcess,
    /// In a process per module.
    Process(CompilerProcess),
}

/// How the compiler's process is started, and what it may use.
#[derive(Clone, Debug)]
pub struct CompilerProcess {
    /// The program; it has to call [`serve`].
    pub program: PathBuf,
    /// Its arguments; the name of the tier comes behind them.
    pub arguments: Vec<String>,
    /// Bytes of address space (default 4 GiB; a 1 MiB module takes some 900 MiB of memory).
    pub memory: u64,
    /// Processor time, and twice as much of the wall clock's (default 2 minutes).
    pub time: Duration,
}

/// A module that was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is not one that runs here.
    #[error("{0}")]
    Module(String),
    /// The compiler cannot be started.
    #[error("failed to start the compiler")]
    Start(#[source] io::Error),
    /// The compiler took too long.
    #[error("the compiler took longer than {} s", .0.as_secs())]
    Time(Duration),
    /// The compiler was killed, or ran out of memory.
    #[error("the compiler ended by signal {signal}{}", with_colon(.said))]
    Killed {
        /// By this signal.
        signal: i32,
        /// What it said before.
        said: String,
    },
}

fn with_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Compiler {
    /// Compiles a module. A compiler that is killed is started once more.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        tier: Tier,
        module: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::InProcess => compile(engine, module),
            Self::Process(process) => match process.run(tier, module) {
                Err(CompileError::Killed { signal, said }) if said.is_empty() => {
                    tracing::warn!(signal, "compiler was killed, starting it again");
                    process.run(tier, module)
                }
                ended => ended,
            },
        }
    }
}

impl CompilerProcess {
    /// Returns the usual limits for a program.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self { program, arguments, memory: 4 << 30, time: Duration::from_mins(2) }
    }

    fn run(&self, tier: Tier, module: &[u8]) -> Result<Vec<u8>, CompileError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args([tier.as_str(), &self.memory.to_string(), &self.time.as_secs().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(CompileError::Start)?;
        let limit = self.time * 2;
        let (status, code, said) = thread::scope(|scope| {
            let (done, waits) = mpsc::channel::<()>();
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let watch = scope.spawn(move || {
                let is_late = waits.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                if let (true, Some(pid)) = (is_late, pid) {
                    // It is not waited for before this thread has ended: the id is still its own.
                    let _gone = kill_process(pid, Signal::KILL);
                }
                is_late
            });
            let (input, errors) = (child.stdin.take(), child.stderr.take());
            scope.spawn(move || {
                // A compiler that ends early says why.
                let _ended = input.map(|mut input| input.write_all(module));
            });
            let errors = scope.spawn(move || read(errors, SAID_MAX));
            let code = read(child.stdout.take(), u64::MAX);
            let said = errors.join().unwrap_or_default();
            drop(done);
            let is_late = watch.join().unwrap_or_default();
            (if is_late { None } else { Some(wait(&mut child)) }, code, said)
        });
        let Some(status) = status else {
            wait(&mut child).map_err(CompileError::Start)?;
            return Err(CompileError::Time(limit));
        };
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        judge(status.map_err(CompileError::Start)?, code, said, self.time)
    }
}

fn read(from: Option<impl Read>, max: u64) -> Vec<u8> {
    let mut all = Vec::new();
    // What could not be read shows in how the process ended.
    let _read = from.map(|from| from.take(max).read_to_end(&mut all));
    all
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    child.wait()
}

fn judge(status: ExitStatus, code: Vec<u8>, said: String, time: Duration) -> Result<Vec<u8>, CompileError> {
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => Err(CompileError::Time(time)),
        Some(signal) => Err(CompileError::Killed { signal, said }),
        None if status.success() => Ok(code),
        None => Err(CompileError::Module(said)),
    }
}

/// The child's side: reads a module from standard input and writes its machine code to standard output.
///
/// `arguments` are the last three that the child was started with. It limits the whole process: call it first, and only in a
/// process that was started for it.
///
/// # Errors
///
/// What is wrong with the module or with how the process was started, for standard error; the exit code is to be 1.
pub fn serve(arguments: &[String]) -> Result<(), String> {
    let [tier, memory, seconds] = arguments else { return Err("expected TIER MEMORY SECONDS".to_owned()) };
    let tier = Tier::parse(tier).ok_or_else(|| format!("there is no tier {tier:?}"))?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    limit(number(memory)?, number(seconds)?).map_err(|error| format!("failed to set limits: {error}"))?;
    let mut module = Vec::new();
    io::stdin().read_to_end(&mut module).map_err(|error| format!("failed to read the module: {error}"))?;
    let engine = engine::compiler(tier).map_err(|error| format!("{error:#}"))?;
    let code = compile(&engine, &module).map_err(|error| error.to_string())?;
    io::stdout().write_all(&code).map_err(|error| format!("failed to hand the code over: {error}"))
}

fn limit(memory: u64, seconds: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let both = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::As, both(memory))?;
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    setrlimit(Resource::Core, both(0))?;
    nice(10)?;
    Ok(())
}

fn compile(engine: &Engine, module: &[u8]) -> Result<Vec<u8>, CompileError> {
    engine.precompile_component(module).map_err(|error| CompileError::Module(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler that is a shell script.
    fn script(text: &str) -> CompilerProcess {
        let arguments = vec!["-c".to_owned(), text.to_owned()];
        CompilerProcess {
            time: Duration::from_millis(500),
            ..CompilerProcess::new("/bin/sh".into(), arguments)
        }
    }

    fn compiled(text: &str) -> Result<Vec<u8>, String> {
        let engine = engine::compiler(Tier::Default).unwrap();
        let compiler = Compiler::Process(script(text));
        compiler.compile(&engine, Tier::Default, b"module").map_err(|error| error.to_string())
    }

    #[test]
    fn says_how_the_compiler_ended() {
        assert_eq!(compiled("cat").unwrap(), b"module");
        assert_eq!(compiled("echo no module >&2; exit 1").unwrap_err(), "no module");
        assert_eq!(compiled("kill -9 $$").unwrap_err(), "the compiler ended by signal 9");
        let aborted = compiled("echo memory allocation failed >&2; kill -6 $$").unwrap_err();
        assert_eq!(aborted, "the compiler ended by signal 6: memory allocation failed");
        assert_eq!(compiled("exec sleep 60").unwrap_err(), "the compiler took longer than 1 s");
        assert_eq!(compiled("kill -XCPU $$").unwrap_err(), "the compiler took longer than 0 s");
    }

    #[test]
    fn starts_a_compiler_again_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let text = format!("test -e {mark:?} && exec cat; touch {mark:?}; kill -9 $$");
        assert_eq!(compiled(&text).unwrap(), b"module");
    }

    #[test]
    fn does_not_wait_for_a_module_that_nobody_reads() {
        let engine = engine::compiler(Tier::Default).unwrap();
        let compiler = Compiler::Process(script("exit 0"));
        assert_eq!(compiler.compile(&engine, Tier::Default, &vec![0; 4 << 20]).unwrap(), b"");
    }
}
