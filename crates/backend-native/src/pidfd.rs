//! Waiting for the end of any process, child or not.

use std::{io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{Interest, unix::AsyncFd};

/// Names a process for as long as this is held, whatever becomes of its number.
#[derive(Debug)]
pub(crate) struct PidFd(AsyncFd<OwnedFd>);

impl PidFd {
    /// Takes hold of a process.
    ///
    /// # Errors
    ///
    /// When there is none of that number, or the system has no such descriptors (Linux before 5.3).
    #[expect(
        deprecated,
        reason = "the new way is unsafe only for types whose descriptor may change; an owned one does not"
    )]
    pub(crate) fn open(pid: Pid) -> io::Result<Self> {
        let held = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self(AsyncFd::with_interest(held, Interest::READABLE)?))
    }

    /// Waits until the process has ended; its parent may not have taken notice yet.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut ready| ready.retain_ready())
    }
}
