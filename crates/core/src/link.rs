//! The link between an execution controller and its workers.

pub mod channel;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use teraslice_model::{
    counts::Counts,
    dead_letter::DeadLetter,
    id::{SliceId, WorkerId},
    slice::Slice,
};

/// One connection of one worker; never used again after it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Session(pub u64);

/// A slice handed to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The slice.
    pub slice: Slice,
    /// How often the slice was handed out before; a result counts only for the latest.
    pub attempt: u32,
}

/// What became of a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceResult {
    /// The slice.
    pub slice_id: SliceId,
    /// The attempt of the lease.
    pub attempt: u32,
    /// Done, or why not.
    pub outcome: Outcome,
    /// Tries beyond the first within this lease.
    pub retry_count: u32,
    /// Record counts per operation, in the order of the job; empty unless done.
    pub operations: Vec<Counts>,
    /// Refused records that the store shall keep; empty unless done.
    pub dead_letters: Vec<DeadLetter>,
}

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The slice's output is committed.
    Completed,
    /// The slice is given up.
    Failed {
        /// The cause chain.
        error: String,
    },
    /// The job cannot run anywhere: the execution ends.
    JobFault {
        /// The cause chain.
        error: String,
    },
    /// The worker is leaving and has not finished the slice; not counted against it.
    Released,
}

/// From a worker to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message of a session.
    Hello {
        /// Who it is; a later session of the same worker replaces the earlier.
        worker: WorkerId,
    },
    /// Room for so many more leases.
    Credit(u32),
    /// Leases that ended; each gives its credit back.
    Results(Vec<SliceResult>),
    /// The worker lives.
    Heartbeat,
    /// The worker leaves; every lease has been answered.
    Goodbye,
}

/// From the controller to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Slices to run, in this order; never more than the worker has given credit for.
    Leases(Vec<Lease>),
    /// Take no more, answer what is held (finished or released), and leave.
    Drain,
    /// The execution is over: leave.
    Finished,
}

/// The worker's end.
///
/// # Guarantees
///
/// Messages arrive in order, each once, or the session ends.
///
/// # Cancel safety
///
/// Dropping the future of [`recv`](Self::recv) loses no message.
#[async_trait]
pub trait WorkerLink: Send {
    /// Sends to the controller; waits while the link is full.
    ///
    /// # Errors
    ///
    /// When the session has ended.
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed>;

    /// Returns the next message; none when the session has ended.
    async fn recv(&mut self) -> Option<ToWorker>;
}

/// The controller's end, for all its workers.
///
/// # Guarantees
///
/// Per session: `Opened` first, then its messages in order, then `Closed` once. After `Closed` nothing more.
///
/// # Cancel safety
///
/// Dropping the future of [`next`](Self::next) loses no event.
#[async_trait]
pub trait ControllerLink: Send {
    /// Returns the next event; none when no worker can ever connect again.
    async fn next(&mut self) -> Option<LinkEvent>;

    /// Sends to a worker; to a session that has ended it does nothing. Never waits: credits bound what is under way.
    fn send(&mut self, session: Session, message: ToWorker);

    /// Ends a session: its worker is told nothing more.
    fn close(&mut self, session: Session);
}

/// What the controller sees of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// A worker has connected.
    Opened {
        /// Its session.
        session: Session,
    },
    /// It says something.
    Message {
        /// Its session.
        session: Session,
        /// What it says.
        message: FromWorker,
    },
    /// The connection is gone.
    Closed {
        /// Its session.
        session: Session,
        /// Whether its process is known to be dead, so that nothing of it can come any more.
        is_dead: bool,
    },
}

/// The session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the execution controller is closed")]
pub struct LinkClosed;
