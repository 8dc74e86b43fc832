//! A cluster that does at once, and only on paper, what it is asked.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures::{StreamExt, stream, stream::BoxStream};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Instance, InstanceId,
        Phase, Retire, Retired, Role, Scope, Snapshot, StopBackend,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
};
use tokio::sync::broadcast;

pub(crate) struct YesBackend {
    context: Context,
    running: Mutex<BTreeMap<ExId, (Generation, u32)>>,
    events: broadcast::Sender<ExId>,
}

impl YesBackend {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, running: Mutex::default(), events: broadcast::Sender::new(256) }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<ExId, (Generation, u32)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instances(&self, ex_id: ExId, generation: Generation, workers: u32) -> impl Iterator<Item = Instance> {
        let since = self.context.wall();
        let roles = (0..workers).map(|ordinal| (Role::Worker, ordinal));
        std::iter::once((Role::Controller, 0)).chain(roles).map(move |(role, ordinal)| Instance {
            id: InstanceId(format!("{ex_id}-{role:?}-{ordinal}")),
            ex_id,
            generation,
            role,
            ordinal,
            phase: Phase::Running,
            address: None,
            since,
        })
    }
}

impl ClusterBackend for YesBackend {
    fn describe(&self) -> BackendInfo {
        BackendInfo { name: "yes".to_owned(), version: "1".to_owned(), is_in_process: true }
    }

    fn validate(&self, _: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: Term) -> Result<Snapshot, BackendError> {
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        self.running().insert(desired.ex_id, (desired.generation, desired.workers));
        let _nobody_listens = self.events.send(desired.ex_id);
        Ok(())
    }

    async fn retire(&self, ex_id: ExId, _: Generation, _: Retire) -> Result<Retired, BackendError> {
        if self.running().remove(&ex_id).is_some() {
            let _nobody_listens = self.events.send(ex_id);
        }
        Ok(Retired::Gone)
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let running = self.running().clone();
        let wanted = running.into_iter().filter(|(ex_id, _)| match scope {
            Scope::Cluster => true,
            Scope::Execution(wanted) => wanted == *ex_id,
        });
        let instances = wanted
            .flat_map(|(ex_id, (generation, workers))| self.instances(ex_id, generation, workers))
            .collect();
        Ok(Snapshot { as_of: self.context.wall(), instances })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        let changes = stream::unfold(self.events.subscribe(), |mut events| async {
            match events.recv().await {
                Ok(ex_id) => Some((BackendEvent::Changed(ex_id), events)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((BackendEvent::Resync, events)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        stream::once(async { BackendEvent::Resync }).chain(changes).boxed()
    }

    async fn stop(&self, _: StopBackend) -> Result<(), BackendError> {
        Ok(())
    }
}
