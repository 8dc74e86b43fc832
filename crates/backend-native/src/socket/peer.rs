//! The process at the other end of a connection.

use std::time::Duration;

use rustix::process::Pid;
use tokio::{net::UnixStream, time::timeout};

use crate::pidfd::PidFd;

/// The process that has connected.
#[derive(Debug)]
pub(super) enum Peer {
    /// Held, so that its number cannot become another's.
    Held(PidFd),
    /// It had ended before it could be held.
    Gone,
    /// The system does not tell.
    Unknown,
}

impl Peer {
    /// Finds out who has connected.
    pub(super) fn of(stream: &UnixStream) -> Self {
        let Some(pid) = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw) else {
            return Self::Unknown;
        };
        match PidFd::open(pid) {
            Ok(held) => Self::Held(held),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Self::Gone,
            Err(_) => Self::Unknown,
        }
    }

    /// Tells whether it is known to have ended, now or within a limit: a process that dies closes its connections first.
    pub(super) async fn is_dead_within(&self, limit: Duration) -> bool {
        match self {
            Self::Held(held) => matches!(timeout(limit, held.ended()).await, Ok(Ok(()))),
            Self::Gone => true,
            Self::Unknown => false,
        }
    }
}
