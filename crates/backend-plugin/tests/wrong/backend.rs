//! A cluster in memory, right but for the one fault that its configuration names.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use teraslice_plugin_sdk::{
    BackendError, Capabilities, ClusterBackend, Host,
    message::{
        DesiredExecution, Gone, Instance, Phase, Retire, RetireParams, Role, Snapshot, StartParams, Stop,
        StopParams,
    },
};

/// The variable of a job whose instances do not leave when they are asked to.
const STUBBORN: &str = "CONFORMANCE_STUBBORN";

/// The clusters of this process by name: handles to the same one share it.
static CLUSTERS: Mutex<BTreeMap<String, Arc<Mutex<Cluster>>>> = Mutex::new(BTreeMap::new());

/// A cluster in memory, right but for its fault.
pub(crate) struct Wrong {
    fault: String,
    host: Host,
    cluster: Arc<Mutex<Cluster>>,
}

#[derive(Default)]
struct Cluster {
    last: u64,
    instances: Vec<Entry>,
}

struct Entry {
    it: Instance,
    is_stubborn: bool,
}

impl Wrong {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }
}

impl ClusterBackend for Wrong {
    const NAME: &'static str = "wrong";
    const VERSION: &'static str = "1.2.3";
    const CAPABILITIES: Capabilities = Capabilities::EVENTS;

    fn config_schema() -> Value {
        json!({
            "type": "object", "required": ["fault"], "additionalProperties": false,
            "properties": {"fault": {"type": "string"}},
        })
    }

    fn job_schema() -> Option<Value> {
        Some(json!({"properties": {"workers": {"maximum": 100}}}))
    }

    async fn start(params: StartParams, host: Host) -> Result<Self, BackendError> {
        let fault = params.config["fault"].as_str().unwrap_or_default().to_owned();
        match fault.as_str() {
            "hangs_at_start" => pending().await,
            "panics_at_start" => panic!("no start today"),
            _ => {}
        }
        let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Arc::clone(clusters.entry(params.cluster).or_default());
        Ok(Self { fault, host, cluster })
    }

    async fn ensure(&self, _: u64, desired: DesiredExecution) -> Result<(), BackendError> {
        match self.fault.as_str() {
            "hangs" => pending().await,
            "panics" => panic!("as told"),
            "loses_ensure" => return Ok(()),
            "refuses" => return Err(BackendError::refused("no room for it, ever")),
            _ => {}
        }
        let is_stubborn = desired.job["env_vars"].get(STUBBORN).is_some();
        let mut cluster = self.lock();
        for role in Role::ALL {
            for ordinal in 0..desired.count(role) {
                let is_there = cluster.instances.iter().any(|Entry { it, .. }| {
                    it.ex_id == desired.ex_id
                        && (it.generation == desired.generation || self.is("ignores_generation"))
                        && (it.role, it.ordinal) == (role, ordinal)
                });
                if is_there && !self.is("duplicates") {
                    continue;
                }
                cluster.last += 1;
                let id = format!("i-{}", cluster.last);
                let (ex_id, generation) = (desired.ex_id.clone(), desired.generation);
                let it =
                    Instance { id, ex_id, generation, role, ordinal, phase: Phase::Running, since_ms: None };
                cluster.instances.push(Entry { it, is_stubborn });
            }
        }
        if !self.is("ignores_generation") {
            cluster.instances.retain(|Entry { it, .. }| {
                it.ex_id != desired.ex_id
                    || it.generation > desired.generation
                    || (it.generation == desired.generation && it.ordinal < desired.count(it.role))
            });
        }
        drop(cluster);
        self.host.changed(desired.ex_id);
        Ok(())
    }

    async fn retire(&self, params: RetireParams) -> Result<Gone, BackendError> {
        if self.is("forgets_the_stubborn") || params.how == Retire::Kill || params.grace_ms < 1_000 {
            self.lock().instances.retain(|Entry { it, is_stubborn }| {
                let is_meant = it.ex_id == params.ex_id && it.generation <= params.generation_max;
                !is_meant || (*is_stubborn && self.is("never_kills"))
            });
        }
        let mut cluster = self.lock();
        cluster.instances.retain(|Entry { it, is_stubborn }| {
            *is_stubborn || it.ex_id != params.ex_id || it.generation > params.generation_max
        });
        let mut unconfirmed = Vec::new();
        for Entry { it, .. } in cluster.instances.iter_mut() {
            if it.ex_id == params.ex_id && it.generation <= params.generation_max {
                it.phase = Phase::Draining;
                unconfirmed.push(it.id.clone());
            }
        }
        drop(cluster);
        self.host.changed(params.ex_id);
        Ok(Gone { unconfirmed })
    }

    async fn observe(&self, ex_id: Option<String>) -> Result<Snapshot, BackendError> {
        let cluster = self.lock();
        let mut instances: Vec<_> = cluster.instances.iter().map(|entry| entry.it.clone()).collect();
        if !self.is("shows_others") {
            instances.retain(|it| ex_id.as_ref().is_none_or(|ex_id| it.ex_id == *ex_id));
        }
        match self.fault.as_str() {
            // It says that a worker runs which does not.
            "lies" if !instances.is_empty() => {
                let lie =
                    Instance { id: "lie".to_owned(), ordinal: 7, role: Role::Worker, ..instances[0].clone() };
                instances.push(lie);
            }
            "says_twice" if !instances.is_empty() => instances.push(instances[0].clone()),
            _ => {}
        }
        Ok(Snapshot { as_of_ms: None, instances })
    }

    async fn stop(&self, params: StopParams) -> Result<(), BackendError> {
        if params.how == Stop::Terminate {
            self.lock().instances.clear();
            self.host.resync();
        }
        Ok(())
    }
}
