//! Does what the controller's state machine asks for.

use std::{sync::Arc, time::Duration};

use teraslice_model::{
    checkpoint::Checkpoint,
    execution::{Execution, Stats},
    id::Epoch,
    status::Status,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Command, Controller, ControllerError, ExecutionEnd, Request,
    event::{Effect, End, Event},
    machine::Machine,
    recovery,
    setup::Setup,
};
use crate::{
    context::Context,
    link::ControllerLink,
    operation::{OperationError, Sliced, Slicer, SlicerContext},
    store::{Flush, Ledger, StateStore, StatusChange, StoreError, Writer},
};

/// Statistics are renewed this often.
const STATS_EVERY: Duration = Duration::from_millis(100);
/// A paused controller looks this often whether it is still to wait, and still the execution's: nothing else tells it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A status that others change at the same time is tried this often.
const STATUS_TRIES: u32 = 5;

/// What the driver's own tasks report.
enum Done {
    Sliced(u32, Result<Sliced, OperationError>),
    Flushed(Result<(), StoreError>),
    /// Whose the execution was, and its status, when the store was looked at.
    Looked(Instant, Option<(Writer, Status)>),
}

struct Driver {
    execution: Execution,
    writer: Writer,
    store_outage_max: Duration,
    context: Context,
    store: Arc<dyn StateStore>,
    link: Box<dyn ControllerLink>,
    commands: mpsc::Receiver<Request>,
    /// What the status in the store asks for; taken in the next step.
    order: Option<Command>,
    /// When the status was written last.
    status_since: Instant,
    /// When a paused controller looks at the store; absent while it does.
    look_due: Option<Instant>,
    stats: watch::Sender<Stats>,
    machine: Machine,
    start: Instant,
    stats_due: Instant,
    /// One per slicer; each holds at most the one ask under way.
    asks: Vec<mpsc::Sender<usize>>,
    done: mpsc::Receiver<Done>,
    report: mpsc::Sender<Done>,
    /// Ends the slicers' tasks with the driver.
    _slicers: DropGuard,
}

/// Runs the controller's loop.
pub(super) async fn run(
    controller: Controller,
    execution: Execution,
    epoch: Epoch,
) -> Result<ExecutionEnd, ControllerError> {
    let Controller { options, context, store, plan, link, commands, stats, epoch: _ } = controller;
    let writer = Writer { generation: options.generation, epoch };
    let ledger = recovery::prepare(store.as_ref(), &execution, writer).await?;
    let job = plan.job();
    let slicers = SlicerContext {
        context: context.clone(),
        ex_id: execution.ex_id,
        lifecycle: job.lifecycle,
        slicers: job.slicers.max(u32::try_from(ledger.checkpoints.len()).unwrap_or(u32::MAX)),
        workers: job.workers,
        job: Arc::clone(job),
        checkpoints: ledger.checkpoints.clone(),
        store: Some(Arc::clone(&store)),
    };
    let made = match check_recoverable(&ledger, plan.is_recoverable()) {
        Ok(()) => plan.slicers(slicers.clone()).await,
        Err(error) => Err(error),
    };
    let made = match made.and_then(|made| check_count(made, &ledger)) {
        Ok(made) => made,
        Err(error) => {
            let reason = format!("failed to start the slicers: {error}");
            return fail(store.as_ref(), &execution, writer, reason).await;
        }
    };
    let count = u32::try_from(made.len()).unwrap_or(u32::MAX);
    let mut limits = options.limits;
    limits.queue_len_max = limits.queue_len_max.min(plan.queue_len_max());
    let setup = Setup {
        ex_id: execution.ex_id,
        status: execution.status,
        lifecycle: job.lifecycle,
        probation_window: job.probation_window,
        checkpoints: (0..count).map(|id| slicers.checkpoint(id)).collect(),
        ledger,
        started: context.wall(),
    };
    let (report, done) = mpsc::channel(made.len() + 2);
    let stop = CancellationToken::new();
    let asks = start_slicers(&context, made, &report, &stop);
    let start = context.now();
    let driver = Driver {
        execution,
        writer,
        store_outage_max: options.store_outage_max,
        machine: Machine::new(setup, limits),
        context,
        store,
        link,
        commands,
        order: None,
        status_since: start,
        look_due: Some(start + LOOK_EVERY),
        stats,
        start,
        stats_due: start,
        asks,
        done,
        report,
        _slicers: stop.drop_guard(),
    };
    driver.run().await
}

/// Returns how a controller has to end by what the store says, if it has to.
fn end_asked_by(status: Status) -> Option<Command> {
    match status {
        Status::Stopping => Some(Command::Stop),
        other => other.is_terminal().then_some(Command::Release),
    }
}

fn check_recoverable(ledger: &Ledger, is_recoverable: bool) -> Result<(), OperationError> {
    let has_begun = ledger.checkpoints.iter().any(|c| c.order > 0 && !c.is_exhausted);
    if has_begun && !is_recoverable {
        return Err(OperationError::slice("the reader cannot go on where an earlier run has stopped"));
    }
    Ok(())
}

/// Checks that no slicer is left without its like: what it has not sliced yet would be lost.
fn check_count(made: Vec<Box<dyn Slicer>>, ledger: &Ledger) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
    let orphan = |c: &&Checkpoint| !c.is_exhausted && c.slicer_id as usize >= made.len();
    match ledger.checkpoints.iter().find(orphan) {
        None => Ok(made),
        Some(orphan) => Err(OperationError::slice(format!(
            "the reader made {} slicers, but slicer {} of the earlier run is not finished",
            made.len(),
            orphan.slicer_id
        ))),
    }
}

fn start_slicers(
    context: &Context,
    made: Vec<Box<dyn Slicer>>,
    report: &mpsc::Sender<Done>,
    stop: &CancellationToken,
) -> Vec<mpsc::Sender<usize>> {
    let start = |(id, slicer): (usize, Box<dyn Slicer>)| {
        let (ask, asked) = mpsc::channel(1);
        let id = u32::try_from(id).expect("a reader makes few slicers");
        let task = run_slicer(id, slicer, asked, report.clone());
        let stop = stop.clone();
        drop(context.spawn(async move { stop.run_until_cancelled(task).await }));
        ask
    };
    made.into_iter().enumerate().map(start).collect()
}

async fn run_slicer(
    id: u32,
    mut slicer: Box<dyn Slicer>,
    mut asked: mpsc::Receiver<usize>,
    report: mpsc::Sender<Done>,
) {
    while let Some(max) = asked.recv().await {
        let sliced = slicer.next(max).await;
        if report.send(Done::Sliced(id, sliced)).await.is_err() {
            return;
        }
    }
}

/// Fails an execution whose controller could not start.
async fn fail(
    store: &dyn StateStore,
    execution: &Execution,
    writer: Writer,
    reason: String,
) -> Result<ExecutionEnd, ControllerError> {
    tracing::error!(ex_id = %execution.ex_id, reason, "execution failed");
    let change = StatusChange {
        failure: Some(reason.clone()),
        writer: Some(writer),
        ..StatusChange::new(execution.status, Status::Failed)
    };
    store.set_status(execution.ex_id, change).await?;
    let (status, stats) = (Status::Failed, execution.stats.clone());
    Ok(ExecutionEnd { status, failure: Some(reason), stats, is_resumable: false })
}

impl Driver {
    async fn run(mut self) -> Result<ExecutionEnd, ControllerError> {
        let mut end = self.handle(Event::Tick).await?;
        while end.is_none() {
            end = self.step().await?;
        }
        let end = end.expect("the loop ends with an end");
        self.finish(end).await
    }

    fn now(&self) -> Duration {
        self.context.now().duration_since(self.start)
    }

    /// Waits for one event and handles it.
    async fn step(&mut self) -> Result<Option<End>, ControllerError> {
        if let Some(command) = self.order.take() {
            return self.handle(Event::Command(command)).await;
        }
        let deadline = self.start + self.machine.deadline(self.now());
        let look_due = self.look_due.filter(|_| self.machine.is_paused());
        tokio::select! {
            biased;
            Some(done) = self.done.recv() => match done {
                Done::Flushed(written) => {
                    written?;
                    self.handle(Event::Flushed).await
                }
                Done::Looked(begun, found) => self.looked(begun, found).await,
                Done::Sliced(slicer_id, Ok(sliced)) => {
                    let wall = self.context.wall();
                    self.handle(Event::Sliced { slicer_id, sliced, wall }).await
                }
                Done::Sliced(slicer_id, Err(error)) => {
                    let error = error.to_string();
                    self.handle(Event::SlicerFailed { slicer_id, error }).await
                }
            },
            Some((command, taken)) = self.commands.recv() => {
                let is_heeded = self.machine.heeds(command);
                let end = self.handle(Event::Command(command)).await?;
                if is_heeded {
                    let _nobody_waits = taken.send(());
                }
                Ok(end)
            }
            Some(event) = self.link.next() => self.handle(Event::Link(event)).await,
            () = sleep_until(look_due.unwrap_or(deadline)), if look_due.is_some() => {
                self.look();
                Ok(None)
            }
            () = sleep_until(deadline) => self.handle(Event::Tick).await,
        }
    }

    fn look(&mut self) {
        self.look_due = None;
        let (store, report) = (Arc::clone(&self.store), self.report.clone());
        let (ex_id, begun) = (self.execution.ex_id, self.context.now());
        drop(self.context.spawn(async move {
            // Without an answer it looks again.
            let found = store.execution(ex_id).await.ok().flatten();
            let found = found.map(|it| (Writer::of(&it), it.status));
            let _driver_gone = report.send(Done::Looked(begun, found)).await;
        }));
    }

    /// Heeds what the store says of an execution that is paused here: a controller that did not know yet that this one has
    /// taken over may have been told to go on.
    async fn looked(
        &mut self,
        begun: Instant,
        found: Option<(Writer, Status)>,
    ) -> Result<Option<End>, ControllerError> {
        self.look_due = Some(self.context.now() + LOOK_EVERY);
        let is_news = begun > self.status_since && self.machine.is_paused();
        let Some((current, status)) = found.filter(|_| is_news) else { return Ok(None) };
        let ex_id = self.execution.ex_id;
        if current != self.writer {
            return Err(StoreError::Fenced { ex_id, current }.into());
        }
        if status == Status::Paused {
            return Ok(None);
        }
        let command = end_asked_by(status).unwrap_or(Command::Resume);
        tracing::info!(%ex_id, %status, ?command, "paused, but the store says otherwise");
        self.execution.status = status;
        self.handle(Event::Command(command)).await
    }

    /// Hands an event to the machine and does what it asks for.
    async fn handle(&mut self, event: Event) -> Result<Option<End>, ControllerError> {
        let effects = self.machine.handle(self.now(), event);
        let mut end = None;
        for effect in effects {
            match effect {
                Effect::Ask { slicer_id, max } => {
                    let asked = self.asks[slicer_id as usize].try_send(max);
                    debug_assert!(asked.is_ok(), "a slicer is asked once at a time");
                }
                Effect::Send(session, message) => self.link.send(session, message),
                Effect::Close(session) => self.link.close(session),
                Effect::Flush(flush) => self.flush(flush),
                Effect::Status(status) => self.change_status(status).await?,
                Effect::End(reached) => end = Some(reached),
            }
        }
        if end.is_some() || self.context.now() >= self.stats_due {
            self.stats_due = self.context.now() + STATS_EVERY;
            let _before = self.stats.send_replace(self.machine.stats());
        }
        Ok(end)
    }

    fn flush(&self, flush: Flush) {
        let (store, context, report) = (Arc::clone(&self.store), self.context.clone(), self.report.clone());
        let (ex_id, writer) = (self.execution.ex_id, self.writer);
        let give_up = self.context.now() + self.store_outage_max;
        drop(self.context.spawn(async move {
            let mut pause = Duration::from_millis(50);
            let written = loop {
                match store.append(ex_id, writer, flush.clone()).await {
                    Err(StoreError::Unavailable { reason }) if context.now() < give_up => {
                        tracing::warn!(%ex_id, reason, "state store not available, trying again");
                        sleep(context.jittered(pause)).await;
                        pause = (pause * 2).min(Duration::from_secs(5));
                    }
                    other => break other,
                }
            };
            let _driver_gone = report.send(Done::Flushed(written)).await;
        }));
    }

    /// Writes a status; somebody else's is respected: a stop from outside is obeyed.
    async fn change_status(&mut self, to: Status) -> Result<(), ControllerError> {
        for _ in 0..STATUS_TRIES {
            let from = self.execution.status;
            let change = self.status_change(to, self.machine.stats());
            match self.store.set_status(self.execution.ex_id, change).await {
                Ok(()) => {
                    tracing::info!(ex_id = %self.execution.ex_id, %from, %to, "status changed");
                    self.execution.status = to;
                    self.status_since = self.context.now();
                    return Ok(());
                }
                Err(StoreError::Conflict { .. }) => {
                    let stored = self.store.execution(self.execution.ex_id).await?;
                    self.execution.status = stored.map_or(Status::Terminated, |stored| stored.status);
                    self.order = end_asked_by(self.execution.status);
                    if self.order.is_some() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn status_change(&self, to: Status, stats: Stats) -> StatusChange {
        let (stats, writer) = (Some(stats), Some(self.writer));
        StatusChange { stats, writer, ..StatusChange::new(self.execution.status, to) }
    }

    /// Writes the final status and tells how it ended.
    async fn finish(mut self, end: End) -> Result<ExecutionEnd, ControllerError> {
        let mut stats = self.machine.stats();
        let (to, failure) = match end {
            End::Released => {
                self.leave(&mut stats).await;
                let status = self.execution.status;
                return Ok(ExecutionEnd {
                    status,
                    failure: None,
                    stats,
                    is_resumable: !status.is_terminal(),
                });
            }
            End::Terminal(status, failure) => (status, failure),
        };
        stats.job_duration = self.now().as_secs();
        for _ in 0..STATUS_TRIES {
            let change = StatusChange { failure: failure.clone(), ..self.status_change(to, stats.clone()) };
            match self.store.set_status(self.execution.ex_id, change).await {
                Ok(()) => break,
                Err(StoreError::Conflict { .. }) => {
                    let stored = self.store.execution(self.execution.ex_id).await?;
                    self.execution.status = stored.map_or(Status::Terminated, |stored| stored.status);
                }
                Err(error) => return Err(error.into()),
            }
        }
        tracing::info!(ex_id = %self.execution.ex_id, status = %to, "execution ended");
        Ok(ExecutionEnd { status: to, failure, stats, is_resumable: false })
    }

    /// Leaves the statistics with the execution: who ends it, or takes it up, may have heard of earlier ones only.
    async fn leave(&mut self, stats: &mut Stats) {
        let (ex_id, writer, now) = (self.execution.ex_id, self.writer, self.now());
        let store = Arc::clone(&self.store);
        let left = async move {
            let Some(stored) = store.execution(ex_id).await? else { return Ok(()) };
            let status = stored.status;
            if status == Status::Stopping || status.is_terminal() {
                stats.job_duration = now.as_secs();
            }
            let change = StatusChange {
                stats: Some(stats.clone()),
                writer: Some(writer),
                ..StatusChange::new(status, status)
            };
            store.set_status(ex_id, change).await
        };
        if let Err(error) = left.await {
            tracing::warn!(%ex_id, %error, "statistics of a released execution not stored");
        }
    }
}
