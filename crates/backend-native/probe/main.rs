//! A process for the tests to start and to kill.

use std::{
    env,
    error::Error,
    fs,
    path::PathBuf,
    process::{self, Command, ExitCode},
    sync::Arc,
};

use teraslice_backend_native::{
    Launcher, Mode, NativeBackend, NativeOptions, Output, ProcessTemplate, Start,
    child::{Assignment, bind_to_parent},
    socket::{self, Secret, SocketOptions},
};
use teraslice_core::{
    backend::{ClusterBackend, DesiredExecution, ExitReason},
    context::Context,
    link::{FromWorker, WorkerLink},
};
use teraslice_model::{
    id::{ExId, Generation, JobId, Term, WorkerId},
    job::{CheckEnvironment, RawJob},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type Outcome = Result<ExitCode, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    match env::args().nth(1).as_deref() {
        None => instance().await,
        Some("fail") => Ok(ExitCode::from(3)),
        Some("refuse") => Ok(ExitCode::from(64)),
        Some("family") => family().await,
        Some("eat") => eat().await,
        Some("show") => show().await,
        Some("rest") => std::future::pending().await,
        Some("work") => work().await,
        Some("lead") => lead().await,
        Some(other) => Err(format!("unknown part {other}").into()),
    }
}

/// Runs until it is asked to leave; a stubborn one for ever.
async fn instance() -> Outcome {
    let assignment = Assignment::from_environment()?;
    bind_to_parent(assignment.parent)?;
    let mut asked = signal(SignalKind::terminate())?;
    say_ready(&assignment)?;
    let is_stubborn = env::var_os("CONFORMANCE_STUBBORN").is_some();
    while asked.recv().await.is_some() {
        if !is_stubborn {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a process of its own, as a job's tools may, and ends as [`instance`] does.
async fn family() -> Outcome {
    let _stays = Command::new(env::current_exe()?).arg("rest").spawn()?;
    instance().await
}

/// Takes 256 MiB of memory once it is under limits.
async fn eat() -> Outcome {
    let says = |file: &str, is_it: fn(&str) -> bool| {
        fs::read_to_string(file).is_ok_and(|text| text.lines().any(is_it))
    };
    let has_limit = |line: &str| line.starts_with("Max data size") && !line.contains("unlimited");
    let is_group = |line: &str| line.contains("teraslice-");
    while !says("/proc/self/limits", has_limit) && !says("/proc/self/cgroup", is_group) {
        tokio::task::yield_now().await;
    }
    let mut eaten = vec![0_u8; 256 << 20];
    for page in eaten.chunks_mut(4096) {
        page[0] = 1;
    }
    let _kept = std::hint::black_box(eaten);
    instance().await
}

/// Writes down what it was started with.
async fn show() -> Outcome {
    let assignment = Assignment::from_environment()?;
    let job = assignment.job()?;
    let variables: std::collections::BTreeMap<_, _> = env::vars().collect();
    let shown = serde_json::json!({"job": job.0, "env": variables});
    fs::write(assignment.run_directory.join("shown"), shown.to_string())?;
    instance().await
}

/// Connects to the controller as a worker, says who it is, and then nothing.
async fn work() -> Outcome {
    let assignment = Assignment::from_environment()?;
    bind_to_parent(assignment.parent)?;
    let _job = assignment.job()?;
    let secret = Secret::from_environment().ok_or("no secret")?;
    let (options, context) = (SocketOptions::new(secret), Context::system());
    let mut link = socket::connect(&assignment.socket(), options, &context).await?;
    link.send(FromWorker::Hello { worker: WorkerId::new(process::id().to_string()) }).await?;
    while link.recv().await.is_some() {}
    Ok(ExitCode::from(75))
}

/// Leads a cluster with two workers, until it is killed.
async fn lead() -> Outcome {
    let directory = PathBuf::from(env::args().nth(2).ok_or("no directory")?);
    let template = ProcessTemplate::new(env::current_exe()?, &directory).output(Output::Discard);
    let options = NativeOptions::new("led", Mode::Task(Arc::new(Idle)), Mode::Process(template));
    let backend = NativeBackend::new(options, Context::system());
    backend.adopt(Term(1)).await?;
    let operations = serde_json::json!({"operations": [{"_op": "test-reader"}, {"_op": "noop"}]});
    let job: RawJob = serde_json::from_value(operations)?;
    let environment =
        CheckEnvironment { known_connections: None, cpus: 1, is_kubernetes: false, overrides_enabled: false };
    let (job, _) = job.check(&environment).map_err(|problems| format!("{problems:?}"))?;
    let desired = DesiredExecution {
        ex_id: ExId::from_random([1; 16]),
        job_id: JobId::from_random([2; 16]),
        generation: Generation(1),
        revision: 1,
        job: Arc::new(job),
        controller: true,
        workers: 2,
    };
    backend.ensure(desired).await?;
    std::future::pending().await
}

/// Tells the test that signals are heeded from now on.
fn say_ready(assignment: &Assignment) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(assignment.run_directory.join(format!("ready-{}", process::id())), "")?)
}

struct Idle;

impl Launcher for Idle {
    fn launch(&self, _: Start, stop: CancellationToken) -> futures::future::BoxFuture<'static, ExitReason> {
        Box::pin(async move {
            stop.cancelled().await;
            ExitReason::Completed
        })
    }
}
