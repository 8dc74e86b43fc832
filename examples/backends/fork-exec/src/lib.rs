//! A cluster backend that starts controllers and workers as processes of this machine.
//!
//! This is all that a backend has to have: what it can, the schema of its configuration, and five functions. What is there is
//! read from the system each time (see [`system`]); memory holds only what the system does not know (see [`fleet`]).

pub mod fleet;
pub mod system;

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use teraslice_plugin_sdk::{
    BackendError, Capabilities, ClusterBackend, Host,
    message::{DesiredExecution, Gone, RetireParams, Snapshot, StartParams, Stop, StopParams},
    tokio::time::sleep,
};

use crate::fleet::Fleet;

/// Ends and deadlines are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What was killed has to be gone after so many looks.
const LOOKS_MAX: u32 = 400;

teraslice_plugin_sdk::export_backend!(ForkExec);

/// The backend.
pub struct ForkExec {
    fleet: Arc<Fleet>,
}

/// Its configuration.
#[derive(Deserialize)]
struct Config {
    log_directory: Option<PathBuf>,
}

impl ClusterBackend for ForkExec {
    const NAME: &'static str = "fork-exec";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CAPABILITIES: Capabilities = Capabilities::EVENTS.and(Capabilities::DETACH);

    fn config_schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "log_directory": {
                    "type": "string",
                    "description": "where the output of processes goes (default logs in the state directory)",
                },
            },
        })
    }

    async fn start(params: StartParams, host: Host) -> Result<Self, BackendError> {
        let config: Config = serde_json::from_value(params.config).map_err(BackendError::unavailable)?;
        let logs = config.log_directory.unwrap_or_else(|| PathBuf::from(params.state_directory).join("logs"));
        let fleet = Arc::new(Fleet::new(params.cluster, logs, host));
        let watched = Arc::downgrade(&fleet);
        let watching = thread::Builder::new().name("fork-exec".to_owned()).spawn(move || watch(&watched));
        watching.map_err(BackendError::unavailable)?;
        Ok(Self { fleet })
    }

    async fn ensure(&self, _: u64, desired: DesiredExecution) -> Result<(), BackendError> {
        self.fleet.ensure(&desired)
    }

    async fn retire(&self, params: RetireParams) -> Result<Gone, BackendError> {
        self.fleet.retire(&params)
    }

    async fn observe(&self, ex_id: Option<String>) -> Result<Snapshot, BackendError> {
        self.fleet.observe(ex_id.as_deref())
    }

    async fn stop(&self, params: StopParams) -> Result<(), BackendError> {
        if params.how == Stop::Detach {
            return Ok(());
        }
        for _ in 0..LOOKS_MAX {
            if !self.fleet.kill_all()? {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        Err(BackendError::unavailable("some processes cannot be killed"))
    }
}

/// Looks after processes for as long as the backend is there.
fn watch(fleet: &Weak<Fleet>) {
    while let Some(fleet) = fleet.upgrade() {
        fleet.look();
        drop(fleet);
        thread::sleep(LOOK_EVERY);
    }
}
