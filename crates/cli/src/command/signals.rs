//! The signals that ask a program to end: SIGINT and SIGTERM.

use std::future::pending;

use teraslice_node::exit_code;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that ask a program to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen; from now on these signals do not end the program by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = || Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
        let listening: std::io::Result<_> = listen();
        let (interrupt, terminate) = listening.map_err(|error| {
            Failure::new(
                exit_code::INTERNAL,
                anyhow::Error::new(error).context("failed to listen for signals"),
            )
        })?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        let received = tokio::select! {
            received = self.interrupt.recv() => received,
            received = self.terminate.recv() => received,
        };
        if received.is_none() {
            // No more signals can come: wait for everything else.
            pending::<()>().await;
        }
    }
}
