//! What happens to an execution controller, and what it then wants done.

use teraslice_model::{status::Status, timestamp::Timestamp};

use crate::{
    link::{LinkEvent, Session, ToWorker},
    operation::Sliced,
    store::Flush,
};

/// Something that has happened.
#[derive(Debug)]
pub enum Event {
    /// A slicer has answered.
    Sliced {
        /// Which.
        slicer_id: u32,
        /// Its answer.
        sliced: Sliced,
        /// The wall-clock time.
        wall: Timestamp,
    },
    /// A slicer has failed: the execution fails.
    SlicerFailed {
        /// Which.
        slicer_id: u32,
        /// The cause chain.
        error: String,
    },
    /// A worker has connected, said something, or gone.
    Link(LinkEvent),
    /// The flush under way is in the store.
    Flushed,
    /// A deadline may have passed.
    Tick,
    /// A user or the system wants something.
    Command(Command),
}

/// What a user or the system wants of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Hold slices back.
    Pause,
    /// Go on.
    Resume,
    /// End for good.
    Stop,
    /// End the process, leave the execution resumable.
    Release,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask a slicer for slices.
    Ask {
        /// Which.
        slicer_id: u32,
        /// For how many at most.
        max: usize,
    },
    /// Tell a worker something.
    Send(Session, ToWorker),
    /// End a session.
    Close(Session),
    /// Write to the ledger, then say [`Event::Flushed`].
    Flush(Flush),
    /// The status has changed to this.
    Status(Status),
    /// The execution is over, or this process's part in it; the last effect.
    End(End),
}

/// How the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a terminal status, and why if it failed.
    Terminal(Status, Option<String>),
    /// Released: to be resumed.
    Released,
}
