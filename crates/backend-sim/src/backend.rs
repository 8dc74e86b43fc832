//! The cluster as the master sees it: the real backend of nodes, behind calls that are slow, fail or are never answered.

use std::{future::Future, time::Duration};

use futures::{StreamExt, future, stream, stream::BoxStream};
use teraslice_backend_native::nodes::Nodes;
use teraslice_core::backend::{
    BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Retire, Retired, Scope,
    Snapshot, StopBackend,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
};

use crate::{
    scenario::Sabotage,
    weather::{Answers, Weather},
};

/// The simulated cluster: a handle of one master.
#[derive(Debug)]
pub struct SimBackend {
    nodes: Nodes,
    weather: Weather,
    sabotage: Sabotage,
}

impl SimBackend {
    /// Takes a handle to the nodes.
    #[must_use]
    pub const fn new(nodes: Nodes, weather: Weather, sabotage: Sabotage) -> Self {
        Self { nodes, weather, sabotage }
    }

    /// Makes a call that may go wrong before it is made, and after.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        self.pass().await?;
        let answer = call.await;
        self.pass().await?;
        answer
    }

    async fn pass(&self) -> Result<(), BackendError> {
        let answers = self.weather.answer(Weather::api).await;
        if answers == Answers::Unavailable || self.weather.strikes(self.weather.faults().api_error) {
            let retry_after = self.weather.strikes(0.5).then_some(Duration::from_secs(2));
            return Err(BackendError::Unavailable { reason: "simulated".to_owned(), retry_after });
        }
        Ok(())
    }
}

impl ClusterBackend for SimBackend {
    fn describe(&self) -> BackendInfo {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        BackendInfo { name: "sim".to_owned(), version, is_in_process: true }
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        self.nodes.validate(job)
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        self.call(self.nodes.adopt(term)).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        if self.sabotage == Sabotage::LoseWishes {
            return Ok(());
        }
        self.call(self.nodes.ensure(desired)).await
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        if self.sabotage == Sabotage::RetireNothing {
            return Ok(Retired::Gone);
        }
        self.call(self.nodes.retire(ex_id, upto, how)).await
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        self.call(self.nodes.observe(scope)).await
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        let weather = self.weather.clone();
        let arrive = move |hint: BackendEvent| {
            let is_lost = hint != BackendEvent::Resync && weather.strikes(weather.faults().hint_lost);
            let is_doubled = weather.strikes(weather.faults().duplicate);
            let count = if is_lost { 0 } else { 1 + usize::from(is_doubled) };
            future::ready(stream::iter(vec![hint; count]))
        };
        self.nodes.events().then(arrive).flatten().boxed()
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        self.nodes.stop(how).await
    }
}
