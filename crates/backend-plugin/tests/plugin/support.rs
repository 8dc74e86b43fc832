//! What the cases share: where the backends are, and how processes for them are started.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use teraslice_backend_plugin::{Dress, PluginBackend, PluginOptions, ProcessTemplate, Transport};
use teraslice_core::{
    backend::{DesiredExecution, Instance, Phase, Role},
    conformance::backend::Cluster,
    context::Context,
};
use tokio::time::sleep;

/// A process that says when it heeds signals, and leaves when it is asked to.
const PROBE: &str = r#"
if [ -n "$CONFORMANCE_STUBBORN" ]; then trap '' TERM; else trap 'exit 0' TERM; fi
: > "$TERASLICE_RUN_DIRECTORY/ready-$$"
while :; do sleep 100 & wait $!; done
"#;

static LAST: AtomicU32 = AtomicU32::new(0);

/// A backend, with a folder and a cluster of its own.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    cluster: String,
    transport: Transport,
    config: Value,
    call_max: Duration,
}

impl Stage {
    pub(crate) fn new(transport: Transport, config: Value) -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Self {
            folder: tempfile::tempdir().unwrap(),
            cluster: format!("plugin-test-{}-{number}", std::process::id()),
            transport,
            config,
            call_max: Duration::from_secs(10),
        }
    }

    /// A backend with a fault, as a library or as a process. What hangs is given up soon.
    pub(crate) fn wrong(transport: Transport, fault: &str) -> Self {
        let is_slow = ["hangs", "late", "answers_another", "answers_nothing"].contains(&fault);
        let call_max = Duration::from_secs(if is_slow { 1 } else { 10 });
        Self { call_max, ..Self::new(transport, json!({ "fault": fault })) }
    }

    pub(crate) fn options(&self) -> PluginOptions {
        let (run, cluster) = (self.folder.path().to_owned(), self.cluster.clone());
        let dress: Dress = Arc::new(move |desired, role| probe(desired, role, &cluster, &run));
        let state = self.folder.path().join("state");
        let mut options =
            PluginOptions::new("tested", self.transport.clone(), self.cluster.clone(), state, dress);
        options.config = self.config.clone();
        options.config_pointer = "/cluster_backends/tested/config".to_owned();
        options.call_max = self.call_max;
        options.open_max = Duration::from_secs(5);
        options
    }
}

impl Cluster for Stage {
    type Backend = PluginBackend;

    fn connect(&self) -> PluginBackend {
        PluginBackend::new(self.options(), Context::system())
    }

    async fn ready(&self, instances: &[Instance]) {
        for instance in instances.iter().filter(|instance| instance.phase == Phase::Running) {
            // `process-PID-START`; others are not processes.
            let Some(pid) = instance.id.0.strip_prefix("process-") else { continue };
            let pid = pid.split('-').next().unwrap();
            while !self.folder.path().join(format!("ready-{pid}")).exists() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn probe(desired: &DesiredExecution, role: Role, cluster: &str, run: &Path) -> ProcessTemplate {
    let mut environment: BTreeMap<_, _> = desired.job.env_vars.clone();
    let own = [
        ("TERASLICE_CLUSTER", cluster.to_owned()),
        ("TERASLICE_EX_ID", desired.ex_id.to_string()),
        ("TERASLICE_GENERATION", desired.generation.to_string()),
        ("NODE_TYPE", role.node_type().to_owned()),
        ("TERASLICE_RUN_DIRECTORY", run.display().to_string()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let arguments = vec!["-c".to_owned(), PROBE.to_owned()];
    ProcessTemplate { program: "/bin/sh".to_owned(), arguments, environment }
}

/// Returns the folder of built tests.
fn deps() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Returns the shared library of the example.
pub(crate) fn library() -> Transport {
    Transport::Library { path: deps().join("libfork_exec_backend.so"), sha256: None }
}

/// Returns the example in Python.
pub(crate) fn python() -> Transport {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/backends/python/fork_exec.py");
    process(&[script])
}

/// Returns the file of the library with faults.
pub(crate) fn wrong_file() -> PathBuf {
    deps().parent().unwrap().join("examples/libwrong.so")
}

pub(crate) fn wrong_library() -> Transport {
    Transport::Library { path: wrong_file(), sha256: None }
}

pub(crate) fn wrong_process() -> Transport {
    let program = deps().parent().unwrap().join("examples/wrong-process");
    process(&[program.to_str().unwrap()])
}

pub(crate) fn process(command: &[&str]) -> Transport {
    Transport::Process { command: command.iter().map(|&it| it.to_owned()).collect(), sha256: None }
}

/// Copies a file into a folder, so that it can be spoilt.
pub(crate) fn spoil(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(wrong_file()).unwrap();
    change(&mut bytes);
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}
