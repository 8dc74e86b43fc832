//! The link between a controller and its workers over the network: one stream per worker.
//!
//! ```text
//! worker                                         controller
//!   | call: version, secret, execution,             |
//!   |       worker, incarnation                     |
//!   |---------------------------------------------->|  refused, with the reason, or
//!   |                        accepted: a session    |
//!   |<----------------------------------------------|
//!   | batches of `FromWorker` and `ToWorker`        |
//!   |<--------------------------------------------->|  until one side ends its stream, or the connection is lost
//! ```
//!
//! A worker is let in once at a time. Of two processes that say they are the same worker the one with the higher incarnation
//! gets in and the other one is told that it was replaced; the same process may come back.

mod admission;
mod batch;
mod controller;
mod worker;

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use teraslice_model::id::{ExId, WorkerId};

use crate::{
    secret::Secret,
    tls::{Identity, TlsError},
};

pub use controller::{GrpcController, listen};
pub use worker::{GrpcWorker, connect};

/// What a controller listens with.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The execution.
    pub ex_id: ExId,
    /// The secret of the execution.
    pub secret: Secret,
    /// What is shown to workers that connect by TLS; absent: they connect without.
    pub identity: Option<Identity>,
    /// The longest message, in bytes (default 64 MiB).
    pub message_len_max: usize,
    /// A connection that has not been let in after this is closed (default 5 s).
    pub hello_max: Duration,
    /// How often a connection is probed (default 5 s).
    pub ping_every: Duration,
    /// A probe has to be answered after this, or the session is closed (default 15 s).
    pub ping_max: Duration,
}

/// Who a worker is to its controller.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The execution.
    pub ex_id: ExId,
    /// The secret of the execution.
    pub secret: Secret,
    /// The worker.
    pub worker: WorkerId,
    /// Counts the processes that have been this worker; a lower one is not let in any more.
    pub incarnation: u64,
    /// A controller that does not listen yet is waited for this long (default 30 s).
    pub wait_max: Duration,
}

/// Why a controller cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket does not work.
    #[error("failed to listen for workers")]
    Socket(#[from] io::Error),
    /// The certificate cannot be used.
    #[error("failed to listen for workers by TLS")]
    Tls(#[from] TlsError),
}

impl ListenOptions {
    /// Returns the defaults for an execution.
    #[must_use]
    pub const fn new(ex_id: ExId, secret: Secret) -> Self {
        Self {
            ex_id,
            secret,
            identity: None,
            message_len_max: 64 << 20,
            hello_max: Duration::from_secs(5),
            ping_every: Duration::from_secs(5),
            ping_max: Duration::from_secs(15),
        }
    }
}

impl ConnectOptions {
    /// Returns the defaults for a worker.
    #[must_use]
    pub const fn new(ex_id: ExId, secret: Secret, worker: WorkerId, incarnation: u64) -> Self {
        Self { ex_id, secret, worker, incarnation, wait_max: Duration::from_secs(30) }
    }
}
