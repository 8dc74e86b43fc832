//! Users: submit executions, change how many workers they want, hold back and stop what they have started; and insist.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use teraslice_core::{
    context::Context,
    engine::{CommandError, EngineHandle},
    store::{ExecutionUpdate, StateStore, StatusChange, StoreError},
};
use teraslice_model::{
    execution::Execution,
    id::{Generation, JobId},
    status::Status,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    master::Masters,
    process::Controllers,
    scenario::Work,
    store::FaultyStore,
    trace::{Short, Trace},
    weather::Place,
};

/// A user tries again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A user waits this long for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The user of one execution.
pub(crate) struct User {
    pub(crate) context: Context,
    pub(crate) trace: Trace,
    pub(crate) store: FaultyStore,
    pub(crate) masters: Arc<Mutex<Masters>>,
    pub(crate) controllers: Controllers,
    pub(crate) work: Work,
}

impl User {
    /// Does everything that the user of this execution does.
    pub(crate) async fn run(self) {
        let start = self.context.now();
        sleep_until(start + self.work.after).await;
        self.insist(Wish::Submit).await;
        let mut wishes: Vec<(Duration, Wish)> = Vec::new();
        wishes.extend(self.work.scale.map(|(at, workers)| (at, Wish::Scale(workers))));
        wishes.extend(self.work.stop.map(|at| (at, Wish::Stop)));
        if let Some((from, to)) = self.work.hold {
            wishes.extend([(from, Wish::Hold(true)), (to, Wish::Hold(false))]);
        }
        wishes.sort_by_key(|(at, _)| *at);
        for (at, wish) in wishes {
            self.wish(start + at, wish).await;
        }
    }

    async fn wish(&self, at: Instant, wish: Wish) {
        sleep_until(at).await;
        let name = Short(self.work.ex_id());
        self.trace.note(format_args!("user: {name} {wish:?}"));
        self.insist(wish).await;
        self.trace.note(format_args!("user: {name} {wish:?} is done"));
    }

    /// Tries until it is done.
    async fn insist(&self, wish: Wish) {
        loop {
            let engine = {
                let masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
                masters.leader.as_ref().map(|leader| leader.engine.clone())
            };
            if let Some(engine) = engine
                && matches!(timeout(ANSWER_MAX, self.ask(&engine, wish)).await, Ok(Ok(())))
            {
                return;
            }
            tokio::time::sleep(self.context.jittered(AGAIN_AFTER)).await;
        }
    }

    async fn ask(&self, engine: &EngineHandle, wish: Wish) -> Result<(), CommandError> {
        match wish {
            Wish::Submit => self.submit(engine).await,
            Wish::Scale(workers) => self.scale(engine, workers).await,
            Wish::Hold(is_held) => self.hold(is_held).await,
            Wish::Stop => self.stop(engine).await,
        }
    }

    /// Returns the store as the master sees it that a request has come to: a write that is its last is not the user's.
    fn store(&self) -> Arc<dyn StateStore> {
        self.store.seen_from(Place::Master, CancellationToken::new())
    }

    async fn submit(&self, engine: &EngineHandle) -> Result<(), CommandError> {
        match engine.submit(self.execution()).await {
            // An earlier try was stored.
            Ok(_) | Err(CommandError::Store { source: StoreError::Conflict { .. }, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn scale(&self, engine: &EngineHandle, workers: u32) -> Result<(), CommandError> {
        let ex_id = self.work.ex_id();
        let update = ExecutionUpdate { workers_wanted: Some(workers), ..ExecutionUpdate::default() };
        let updated = self.store().update_execution(ex_id, update).await;
        updated.map_err(|source| CommandError::Store { ex_id, source })?;
        match engine.scale(ex_id, workers).await {
            // It has ended, or is taken up with what is stored.
            Ok(()) | Err(CommandError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the controller, as the master does.
    async fn hold(&self, is_held: bool) -> Result<(), CommandError> {
        let ex_id = self.work.ex_id();
        let found = self.store().execution(ex_id).await;
        let found = found.map_err(|source| CommandError::Store { ex_id, source })?;
        if found.is_some_and(|found| found.status.is_terminal() || found.status == Status::Stopping) {
            return Ok(());
        }
        for controller in self.controllers.of(ex_id) {
            let told = if is_held { controller.pause().await } else { controller.resume().await };
            if told.is_ok() {
                return Ok(());
            }
        }
        Err(CommandError::Unknown { ex_id })
    }

    async fn stop(&self, engine: &EngineHandle) -> Result<(), CommandError> {
        let ex_id = self.work.ex_id();
        let of_store = |source| CommandError::Store { ex_id, source };
        let Some(found) = self.store().execution(ex_id).await.map_err(of_store)? else {
            return Err(CommandError::Unknown { ex_id });
        };
        let from = found.status;
        if from.is_terminal() {
            return Ok(());
        }
        if from != Status::Stopping {
            let change = StatusChange::new(from, Status::Stopping);
            self.store().set_status(ex_id, change).await.map_err(of_store)?;
        }
        let _view = engine.resume(ex_id).await?;
        engine.stop(ex_id).await
    }

    fn execution(&self) -> Execution {
        let ex_id = self.work.ex_id();
        Execution {
            generation: Generation(1),
            ..Execution::new(ex_id, JobId::new(*ex_id.uuid()), self.work.job().0, self.context.wall())
        }
    }
}

/// What a user wants.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// The execution.
    Submit,
    /// So many workers.
    Scale(u32),
    /// That it waits, or goes on.
    Hold(bool),
    /// The end.
    Stop,
}
