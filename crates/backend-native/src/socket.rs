//! The link between a controller and worker processes on one machine: a Unix socket.
//!
//! ```text
//! worker                                  controller
//!   | teraslice-link 1 SECRET \n              |
//!   |---------------------------------------->|  another protocol or secret: refused, with the reason
//!   |              teraslice-link 1 welcome \n|
//!   |<----------------------------------------|
//!   | length (4 bytes, big-endian), JSON      |
//!   |<--------------------------------------->|  frames of `FromWorker` and `ToWorker` until one side closes
//! ```

mod controller;
mod frame;
mod hello;
mod peer;
mod place;
mod secret;
mod worker;

use std::{io, path::PathBuf, time::Duration};

pub use controller::{SocketController, listen};
pub use hello::PROTOCOL;
pub use place::path;
pub use secret::{SECRET, Secret};
pub use worker::{SocketWorker, connect};

/// The numbers a socket link goes by.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// What both sides must know.
    pub secret: Secret,
    /// The longest frame, in bytes (default 64 MiB).
    pub frame_len_max: usize,
    /// A controller that does not listen yet is waited for this long (default 30 s).
    pub connect_max: Duration,
    /// The greeting has to be over after this (default 5 s).
    pub hello_max: Duration,
    /// How long it is waited after a closed connection to see whether the worker's process has ended (default 250 ms).
    pub death_max: Duration,
}

impl SocketOptions {
    /// Returns the defaults.
    #[must_use]
    pub const fn new(secret: Secret) -> Self {
        Self {
            secret,
            frame_len_max: 64 << 20,
            connect_max: Duration::from_secs(30),
            hello_max: Duration::from_secs(5),
            death_max: Duration::from_millis(250),
        }
    }
}

/// Why a link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The controller cannot listen.
    #[error("failed to listen at {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The worker cannot reach the controller.
    #[error("failed to reach the execution controller at {}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The other side does not want this one.
    #[error("the connection was refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
