//! What an execution controller starts from.

use std::time::Duration;

use teraslice_model::{
    checkpoint::Checkpoint, id::ExId, job::Lifecycle, status::Status, timestamp::Timestamp,
};

use crate::store::Ledger;

/// What a machine starts from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The execution.
    pub ex_id: ExId,
    /// Its status in the store: paused and stopping are kept.
    pub status: Status,
    /// Whether it ends by itself.
    pub lifecycle: Lifecycle,
    /// See `Health`.
    pub probation_window: Duration,
    /// Where each slicer stands: one entry per slicer.
    pub checkpoints: Vec<Checkpoint>,
    /// What the ledger holds.
    pub ledger: Ledger,
    /// When the controller starts.
    pub started: Timestamp,
}
