//! The numbers that an execution controller goes by.

use std::time::Duration;

/// The numbers that a controller goes by. Times are since the controller's start.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Slices that may wait (default 10,000, or what the reader says).
    pub queue_len_max: usize,
    /// A change is written to the ledger after this at the latest (default 10 ms).
    pub flush_delay: Duration,
    /// As many changes are written at once (default 1,000).
    pub flush_len: usize,
    /// With as many unwritten changes nothing more is handed out (default 50,000).
    pub journal_len_max: usize,
    /// A worker that has been silent for so long is lost (default 15 s).
    pub worker_lease_timeout: Duration,
    /// A slice is given up when as many workers were lost that ran nothing but it (default 3).
    pub slice_death_limit: u32,
    /// The execution fails when no worker has come within this (default 180 s).
    pub slicer_timeout: Duration,
    /// The execution fails when all workers have been gone for this long (default 300 s).
    pub worker_disconnect_timeout: Duration,
    /// How long workers may take to answer what they hold when the execution ends early (default 60 s).
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_len_max: 10_000,
            flush_delay: Duration::from_millis(10),
            flush_len: 1_000,
            journal_len_max: 50_000,
            worker_lease_timeout: Duration::from_secs(15),
            slice_death_limit: 3,
            slicer_timeout: Duration::from_secs(180),
            worker_disconnect_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(60),
        }
    }
}
