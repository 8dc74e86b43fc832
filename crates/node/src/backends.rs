//! Cluster backends of third parties: which there are, and whether they keep the laws.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use teraslice_backend_plugin::{Dress, PluginBackend, PluginOptions, ProcessTemplate, Transport};
pub use teraslice_core::conformance::backend::{LAWS, Verdict};
use teraslice_core::{
    backend::{
        DesiredExecution, Instance, Role,
        variables::{CLUSTER, EX_ID, GENERATION, JOB_ID, NODE_TYPE, RUN_DIRECTORY},
    },
    conformance::backend::{Cluster, check as check_law},
    context::Context,
};
use tokio::time::sleep;

use crate::config::{BackendConfig, Config};

/// Instances say that they heed signals by a file; it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What an instance does while laws are checked: it says when it heeds signals, and leaves when it is asked to.
const PROBE: &str = r#"
if [ -n "$CONFORMANCE_STUBBORN" ]; then trap '' TERM; else trap 'exit 0' TERM; fi
: > "$TERASLICE_RUN_DIRECTORY/$TERASLICE_EX_ID-$TERASLICE_GENERATION-$NODE_TYPE-$TERASLICE_ORDINAL"
while :; do sleep 100 & wait $!; done
"#;

/// A backend that the configuration names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Its name in the configuration.
    pub name: String,
    /// `library` or `process`.
    pub transport: &'static str,
    /// Its file, or its command.
    pub place: String,
    /// Whether it is the one in use.
    pub is_used: bool,
    /// What it says of itself: name, version, capabilities, schemas; absent: it cannot be used.
    pub description: Option<Value>,
    /// Why it cannot be used, and what to do.
    pub error: Option<String>,
}

/// Opens every backend of the configuration, and says what came of it.
///
/// # Errors
///
/// When there is no folder for what they keep meanwhile.
pub async fn list(config: &Config, context: &Context) -> std::io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    for (name, backend) in &config.cluster_backends {
        let folder = tempfile::tempdir()?;
        let options = options(name, backend, "backends-list", folder.path());
        let opened = PluginBackend::new(options, context.clone()).open().await;
        let (transport, place) = match &backend.transport {
            Transport::Library { path, .. } => ("library", path.display().to_string()),
            Transport::Process { command, .. } => ("process", command.join(" ")),
        };
        let (description, error) = match opened {
            Ok(description) => (serde_json::to_value(description).ok(), None),
            Err(error) => (None, Some(error.line())),
        };
        let is_used = *name == config.cluster_manager_type;
        all.push(Listed { name: name.clone(), transport, place, is_used, description, error });
    }
    Ok(all)
}

/// Holds a backend against every law, each on a cluster of its own; `tell` hears of each as it is done.
///
/// Its instances have to run on this machine, or to see the folder for temporary files.
///
/// # Errors
///
/// When there is no folder for temporary files.
pub async fn check(
    name: &str,
    backend: &BackendConfig,
    context: &Context,
    mut tell: impl FnMut(&Verdict),
) -> std::io::Result<Vec<Verdict>> {
    let (number, mut verdicts) = (AtomicU32::new(0), Vec::new());
    for law in LAWS {
        let folder = Arc::new(tempfile::tempdir()?);
        let make = async || Stage {
            name: name.to_owned(),
            backend: backend.clone(),
            cluster: format!("check-{}-{}", std::process::id(), number.fetch_add(1, Ordering::Relaxed)),
            folder: Arc::clone(&folder),
            context: context.clone(),
        };
        if let Some(verdict) = check_law(law, make).await {
            tell(&verdict);
            verdicts.push(verdict);
        }
    }
    Ok(verdicts)
}

/// A cluster of its own for one law.
struct Stage {
    name: String,
    backend: BackendConfig,
    cluster: String,
    folder: Arc<TempDir>,
    context: Context,
}

impl Cluster for Stage {
    type Backend = PluginBackend;

    fn connect(&self) -> PluginBackend {
        let options = options(&self.name, &self.backend, &self.cluster, self.folder.path());
        PluginBackend::new(options, self.context.clone())
    }

    async fn ready(&self, instances: &[Instance]) {
        for it in instances.iter().filter(|it| it.phase.is_live()) {
            let name = format!("{}-{}-{}-{}", it.ex_id, it.generation, it.role.node_type(), it.ordinal);
            while !self.folder.path().join(&name).exists() {
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

fn options(name: &str, backend: &BackendConfig, cluster: &str, folder: &Path) -> PluginOptions {
    let (named, run) = (cluster.to_owned(), folder.to_owned());
    let dress: Dress = Arc::new(move |desired, role| probe(desired, role, &named, &run));
    let state: PathBuf = folder.join("state");
    let mut options = PluginOptions::new(name, backend.transport.clone(), cluster, state, dress);
    options.config = backend.config.clone();
    options.config_pointer.clone_from(&backend.config_pointer);
    options
}

fn probe(desired: &DesiredExecution, role: Role, cluster: &str, run: &Path) -> ProcessTemplate {
    let mut environment: BTreeMap<_, _> = desired.job.env_vars.clone();
    let own = [
        (CLUSTER, cluster.to_owned()),
        (EX_ID, desired.ex_id.to_string()),
        (JOB_ID, desired.job_id.to_string()),
        (GENERATION, desired.generation.to_string()),
        (NODE_TYPE, role.node_type().to_owned()),
        (RUN_DIRECTORY, run.display().to_string()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let arguments = vec!["-c".to_owned(), PROBE.to_owned()];
    ProcessTemplate { program: "/bin/sh".to_owned(), arguments, environment }
}
