//! The worker: takes leases, runs slices through the job's operations, answers.

mod chains;
pub(crate) mod failure;
mod letters;
mod pipeline;
mod runner;
mod sinks;

use std::time::Duration;

use teraslice_model::id::{ExId, JobId, WorkerId};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    context::Context,
    link::{FromWorker, Lease, LinkClosed, SliceResult, ToWorker, WorkerLink},
    plan::Plan,
};

use runner::{Runner, released};

/// The pace of a worker is measured over at least this long.
const PACE_WINDOW: Duration = Duration::from_millis(10);
/// Handovers from the runner to the loop that may wait.
const HANDOVERS_MAX: usize = 16;

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The execution.
    pub ex_id: ExId,
    /// Its job; by default the execution's id, for jobs that are not stored.
    pub job_id: JobId,
    /// The worker; unique among the live workers of the execution.
    pub id: WorkerId,
    /// Leases held at once to begin with: one at work, the others waiting (default 5).
    pub credits: u32,
    /// Leases held at once by a worker whose slices are quick: about what it runs in 20 ms, at most this (default 128).
    pub credits_max: u32,
    /// A sign of life is sent this often (default 3 s; the controller's patience is 15 s).
    pub heartbeat_interval: Duration,
    /// The pauses between the tries of a slice; how many there are says the job (`max_retries`).
    pub backoff: Backoff,
    /// Dead letters of one slice that may wait for the state store.
    pub dead_letters_max: DeadLetterLimits,
    /// How long the slice at work may take to end when the worker leaves (default 30 s).
    pub drain_timeout: Duration,
    /// How long sinks may take to forget a slice and to close when the worker leaves (default 5 s).
    pub abort_timeout: Duration,
}

/// The pauses between tries: each twice the one before, and up to half of it left to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second try (default 100 ms).
    pub first: Duration,
    /// The longest (default 60 s).
    pub max: Duration,
}

/// How many dead letters of one slice may wait for the state store; with more, the slice fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLimits {
    /// By number (default 100,000).
    pub letters: usize,
    /// By size in bytes, with 128 bytes for each beside its texts (default 64 MiB).
    pub bytes: usize,
}

/// How a worker's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// The execution is over.
    Finished,
    /// The controller wanted the worker to leave; everything is answered.
    Drained,
    /// The process is to end; everything is answered.
    Stopped,
    /// The controller cannot be reached; the slice at work was dropped.
    LinkClosed,
}

/// Runs the slices of one execution, one at a time.
///
/// # Guarantees
///
/// - Each lease is answered once, or the link closes; a slice is `Completed` only after every sink has committed it.
/// - A slice fails or is retried as the job says; no operation, whatever it does, ends the worker.
/// - Memory is bounded by a few batches, and by what operations of scope `slice` hold.
///
/// Dropping the future of [`run`](Self::run) drops the slice at work.
pub struct Worker {
    options: WorkerOptions,
    context: Context,
    plan: Plan,
    link: Box<dyn WorkerLink>,
}

impl WorkerOptions {
    /// Returns the defaults for a worker of an execution.
    #[must_use]
    pub fn new(ex_id: ExId, id: WorkerId) -> Self {
        Self {
            ex_id,
            job_id: JobId::new(*ex_id.uuid()),
            id,
            credits: 5,
            credits_max: 128,
            heartbeat_interval: Duration::from_secs(3),
            backoff: Backoff::default(),
            dead_letters_max: DeadLetterLimits::default(),
            drain_timeout: Duration::from_secs(30),
            abort_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_mins(1) }
    }
}

impl Backoff {
    /// Returns the pause after the first try (0), the second (1), and so on.
    #[must_use]
    pub fn pause(&self, context: &Context, tries: u32) -> Duration {
        let doubled = 2_u32.checked_pow(tries).and_then(|factor| self.first.checked_mul(factor));
        context.jittered(doubled.unwrap_or(self.max).min(self.max))
    }
}

impl Default for DeadLetterLimits {
    fn default() -> Self {
        Self { letters: 100_000, bytes: 64 * 1024 * 1024 }
    }
}

impl Worker {
    /// Makes a worker on a fresh link.
    #[must_use]
    pub fn new(options: WorkerOptions, context: Context, plan: Plan, link: Box<dyn WorkerLink>) -> Self {
        Self { options, context, plan, link }
    }

    /// Runs until the execution is over, the controller lets the worker go, `stop` is set, or the link closes.
    ///
    /// # Panics
    ///
    /// Only from a defect of the worker itself; a panic of an operation fails its slice.
    pub async fn run(self, stop: CancellationToken) -> WorkerEnd {
        let span = tracing::info_span!("execution", ex_id = %self.options.ex_id, worker = %self.options.id);
        self.run_in_span(stop).instrument(span).await
    }

    async fn run_in_span(self, stop: CancellationToken) -> WorkerEnd {
        let Self { options, context, plan, link } = self;
        let credits_max = options.credits_max.max(options.credits).max(1);
        let (leases, to_run) = mpsc::channel(credits_max as usize);
        let (done, results) = mpsc::channel(HANDOVERS_MAX);
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [drain.clone(), abort.clone()];
        let runner = Runner::new(options.clone(), context.clone(), plan, to_run, done, tokens);
        let runner = context.spawn(runner.run().in_current_span());
        let credits = options.credits.max(1);
        let service = Service {
            pace: Pace { credits, since: context.now(), finished: 0 },
            options,
            context,
            link,
            leases: Some(leases),
            results,
            drain,
            abort,
            runner: Task(runner),
            leaving: None,
            deadline: None,
        };
        service.run(stop).await
    }
}

/// The worker's loop.
struct Service {
    options: WorkerOptions,
    context: Context,
    link: Box<dyn WorkerLink>,
    /// To the runner; gone once the worker is leaving.
    leases: Option<mpsc::Sender<Lease>>,
    results: mpsc::Receiver<Vec<SliceResult>>,
    drain: CancellationToken,
    abort: CancellationToken,
    runner: Task,
    /// Why the worker is leaving; it ends once the runner has.
    leaving: Option<WorkerEnd>,
    /// The end of the patience with the runner: first with the slice at work, then with its sinks.
    deadline: Option<Instant>,
    pace: Pace,
}

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How quickly slices are run, and how many may be held for it.
struct Pace {
    credits: u32,
    since: Instant,
    finished: u32,
}

enum Event {
    Link(Option<ToWorker>),
    Results(Option<Vec<SliceResult>>),
    Heartbeat,
    Stop,
    Deadline,
}

impl Service {
    async fn run(mut self, stop: CancellationToken) -> WorkerEnd {
        tracing::debug!("worker started");
        let hello = FromWorker::Hello { worker: self.options.id.clone() };
        let mut sent = self.link.send(hello).await;
        if sent.is_ok() {
            sent = self.link.send(FromWorker::Credit(self.pace.credits)).await;
        }
        self.notice(sent);
        let mut heartbeat = interval(self.options.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            let is_linked = self.leaving != Some(WorkerEnd::LinkClosed);
            let is_staying = self.leaving.is_none();
            let deadline = self.deadline.unwrap_or_else(|| self.context.now());
            let event = tokio::select! {
                biased;
                () = stop.cancelled(), if is_staying => Event::Stop,
                message = self.link.recv(), if is_linked => Event::Link(message),
                results = self.results.recv() => Event::Results(results),
                _ = heartbeat.tick(), if is_linked => Event::Heartbeat,
                () = sleep_until(deadline), if self.deadline.is_some() => Event::Deadline,
            };
            if let Some(end) = self.handle(event).await {
                tracing::debug!(?end, "worker ended");
                return end;
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Option<WorkerEnd> {
        match event {
            Event::Link(Some(ToWorker::Leases(leases))) => self.take(leases).await,
            Event::Link(Some(ToWorker::Drain)) => self.leave(WorkerEnd::Drained),
            Event::Link(Some(ToWorker::Finished)) => self.leave(WorkerEnd::Finished),
            Event::Link(None) => self.notice(Err(LinkClosed)),
            Event::Results(Some(results)) => self.answer(results).await,
            Event::Results(None) => return Some(self.end().await),
            Event::Heartbeat => self.send(FromWorker::Heartbeat).await,
            Event::Stop => self.leave(WorkerEnd::Stopped),
            Event::Deadline if self.abort.is_cancelled() => {
                tracing::error!("worker does not end in time, its sinks are left as they are");
                return Some(self.leaving.unwrap_or(WorkerEnd::Stopped));
            }
            Event::Deadline => {
                tracing::warn!("slice does not end in time, it is released");
                self.drop_slice();
            }
        }
        None
    }

    /// Queues leases; gives back those that come too late, or beyond the credit.
    async fn take(&mut self, leases: Vec<Lease>) {
        let mut refused = Vec::new();
        for lease in leases {
            let queued = match &self.leases {
                Some(queue) => queue.try_send(lease).map_err(mpsc::error::TrySendError::into_inner),
                None => Err(lease),
            };
            refused.extend(queued.err().map(|lease| released(&lease)));
        }
        if !refused.is_empty() {
            self.send(FromWorker::Results(refused)).await;
        }
    }

    /// Sends what the runner has answered.
    async fn answer(&mut self, mut results: Vec<SliceResult>) {
        while let Ok(more) = self.results.try_recv() {
            results.extend(more);
        }
        let finished = u32::try_from(results.len()).unwrap_or(u32::MAX);
        self.send(FromWorker::Results(results)).await;
        let more = self.pace.finished(self.context.now(), finished, self.options.credits_max);
        if more > 0 && self.leaving.is_none() {
            self.send(FromWorker::Credit(more)).await;
        }
    }

    async fn send(&mut self, message: FromWorker) {
        if self.leaving != Some(WorkerEnd::LinkClosed) {
            let sent = self.link.send(message).await;
            self.notice(sent);
        }
    }

    /// Drops the slice at work when the link has closed: its result would reach nobody.
    fn notice(&mut self, sent: Result<(), LinkClosed>) {
        if sent.is_err() {
            self.leave(WorkerEnd::LinkClosed);
        }
    }

    /// Begins no slice any more; the loop goes on until the runner has answered everything.
    fn leave(&mut self, why: WorkerEnd) {
        let is_over = matches!(why, WorkerEnd::Finished | WorkerEnd::LinkClosed);
        if self.leaving.is_some() && !is_over {
            return;
        }
        self.leaving = Some(why);
        self.leases = None;
        self.drain.cancel();
        if is_over {
            self.drop_slice();
        } else {
            self.deadline = Some(self.context.now() + self.options.drain_timeout);
        }
    }

    fn drop_slice(&mut self) {
        self.abort.cancel();
        self.deadline = Some(self.context.now() + self.options.abort_timeout);
    }

    /// Says goodbye; called when the runner has ended.
    async fn end(&mut self) -> WorkerEnd {
        if let Err(error) = (&mut self.runner.0).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.send(FromWorker::Goodbye).await;
        self.leaving.unwrap_or(WorkerEnd::Stopped)
    }
}

impl Pace {
    /// Counts finished slices; returns how many more leases to ask for.
    fn finished(&mut self, now: Instant, finished: u32, credits_max: u32) -> u32 {
        self.finished = self.finished.saturating_add(finished);
        let elapsed = now.duration_since(self.since);
        if elapsed < PACE_WINDOW {
            return 0;
        }
        let in_two_windows = f64::from(self.finished) * 2.0 * PACE_WINDOW.div_duration_f64(elapsed);
        (self.since, self.finished) = (now, 0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, not negative"
        )]
        let wanted = (in_two_windows as u32).min(credits_max);
        let more = wanted.saturating_sub(self.credits);
        self.credits += more;
        more
    }
}

#[cfg(test)]
mod tests;
