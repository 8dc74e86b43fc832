//! What the tests share: launchers, jobs, templates, and waiting for a state.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use teraslice_backend_native::{
    Launcher, Mode, NativeBackend, NativeOptions, Output, ProcessTemplate, Start,
};
use teraslice_core::{
    backend::{ClusterBackend, DesiredExecution, ExitReason, Instance, Scope},
    conformance::backend::STUBBORN,
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    job::{CheckEnvironment, CheckedJob, RawJob},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Everything has to happen within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs tasks until they are asked to leave.
pub(crate) struct Idle;

impl Launcher for Idle {
    fn launch(&self, start: Start, stop: CancellationToken) -> BoxFuture<'static, ExitReason> {
        Box::pin(async move {
            stop.cancelled().await;
            if start.job.env_vars.contains_key(STUBBORN) {
                std::future::pending::<()>().await;
            }
            ExitReason::Completed
        })
    }
}

/// A directory for a cluster's processes, and its name.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Tests run side by side: each has a cluster of its own.
    pub(crate) fn cluster(&self) -> String {
        self.directory.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn template(&self, part: Option<&str>) -> ProcessTemplate {
        let template = ProcessTemplate::new(env!("CARGO_BIN_EXE_native-probe"), self.run_directory());
        let template = template.output(Output::Discard);
        part.into_iter().fold(template, ProcessTemplate::argument)
    }

    /// A backend whose controllers are idle tasks and whose workers are processes.
    pub(crate) fn backend(&self, part: Option<&str>) -> NativeBackend {
        let worker = Mode::Process(self.template(part));
        let options = NativeOptions::new(self.cluster(), Mode::Task(Arc::new(Idle)), worker);
        NativeBackend::new(options, Context::system())
    }
}

pub(crate) fn job() -> CheckedJob {
    let operations =
        serde_json::json!({"operations": [{"_op": "test-reader"}, {"_op": "noop"}], "workers": 2});
    serde_json::from_value::<RawJob>(operations).unwrap().check(&environment()).unwrap().0
}

pub(crate) fn environment() -> CheckEnvironment {
    CheckEnvironment { known_connections: None, cpus: 2, is_kubernetes: false, overrides_enabled: false }
}

pub(crate) fn ex_id() -> ExId {
    ExId::from_random([1; 16])
}

pub(crate) fn desired(revision: u64, workers: u32) -> DesiredExecution {
    DesiredExecution {
        ex_id: ex_id(),
        job_id: JobId::from_random([2; 16]),
        generation: Generation(1),
        revision,
        job: Arc::new(job()),
        controller: false,
        workers,
    }
}

pub(crate) async fn observe(backend: &NativeBackend) -> Vec<Instance> {
    backend.observe(Scope::Cluster).await.unwrap().instances
}

/// The number of the process of an instance.
pub(crate) fn pid(instance: &Instance) -> rustix::process::Pid {
    let number = instance.id.0.rsplit('-').nth(1).and_then(|number| number.parse().ok()).unwrap();
    rustix::process::Pid::from_raw(number).unwrap()
}

/// Waits until the processes of these instances have set up their signals.
pub(crate) async fn ready(run_directory: &Path, instances: &[Instance]) {
    for instance in instances.iter().filter(|instance| instance.phase.is_live()) {
        let mark = run_directory.join(format!("ready-{}", pid(instance).as_raw_pid()));
        until("a process is ready", async || mark.exists()).await;
    }
}

/// Waits for a state.
pub(crate) async fn until(state: &str, is_reached: impl AsyncFn() -> bool) {
    within(PATIENCE, state, is_reached).await;
}

/// Waits for a state, as long as it is told.
pub(crate) async fn within(limit: Duration, state: &str, is_reached: impl AsyncFn() -> bool) {
    let reached = async {
        while !is_reached().await {
            sleep(limit / 10_000).await;
        }
    };
    timeout(limit, reached).await.unwrap_or_else(|_| panic!("not in time: {state}"));
}

/// Lists the live processes whose environment says that they belong to a cluster, whoever has started them.
pub(crate) fn processes_of(cluster: &str) -> Vec<i32> {
    let wanted = format!("TERASLICE_CLUSTER={cluster}\0");
    let belongs = |directory: &Path| {
        let environment = fs::read(directory.join("environ")).unwrap_or_default();
        environment.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?)));
    numbers.filter(|(path, _)| belongs(path)).map(|(_, number)| number).collect()
}
