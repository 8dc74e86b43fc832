//! The worker's end.

use std::{fmt, io, path::Path, time::Duration};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use teraslice_core::{
    context::Context,
    link::{FromWorker, LinkClosed, Outcome, SliceResult, ToWorker, WorkerLink},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::sleep,
};

use super::{SocketError, SocketOptions, frame, hello};

/// The first pause before a controller that does not listen yet is tried again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Connects to a controller, which may not listen yet.
///
/// # Errors
///
/// When nobody listens in time, or this worker is refused.
pub async fn connect(
    path: &Path,
    options: SocketOptions,
    context: &Context,
) -> Result<SocketWorker, SocketError> {
    let failed = |source| SocketError::Connect { path: path.to_owned(), source };
    let give_up = context.now() + options.connect_max;
    let mut pause = PAUSE_MIN;
    let mut stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            Err(error) if is_passing(&error) && context.now() < give_up => {
                sleep(context.jittered(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => return Err(failed(error)),
        }
    };
    match hello::send(&mut stream, &options.secret, options.hello_max).await {
        Ok(()) => {}
        Err(hello::HelloError::Refused(reason)) => return Err(SocketError::Refused { reason }),
        Err(hello::HelloError::Io(source)) => return Err(failed(source)),
    }
    let received = BytesMut::with_capacity(8 << 10);
    Ok(SocketWorker { stream, received, out: BytesMut::new(), frame_len_max: options.frame_len_max })
}

/// Tells whether the controller may yet come to listen; a full queue of connections is such a case too.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
    )
}

/// A worker process's end of the link. Dropping it closes the session.
pub struct SocketWorker {
    stream: UnixStream,
    received: BytesMut,
    /// What a send that was given up has left: the next one goes on with it, so that frames stay whole.
    out: BytesMut,
    frame_len_max: usize,
}

impl fmt::Debug for SocketWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketWorker").finish_non_exhaustive()
    }
}

impl SocketWorker {
    /// Frames a message. Results that are too long for one frame go in several; one that is too long by itself becomes a
    /// failure that says so.
    fn frame(&mut self, message: &FromWorker) -> Result<(), frame::FrameError> {
        let too_long = match frame::encode(message, &mut self.out, self.frame_len_max) {
            Err(frame::FrameError::TooLong { len, .. }) => len,
            other => return other,
        };
        match message {
            FromWorker::Results(results) if results.len() > 1 => {
                let (one, two) = results.split_at(results.len() / 2);
                self.frame(&FromWorker::Results(one.to_vec()))?;
                self.frame(&FromWorker::Results(two.to_vec()))
            }
            FromWorker::Results(results) if results.iter().any(|it| !it.dead_letters.is_empty()) => {
                let results = results.iter().map(|result| without_letters(result, too_long)).collect();
                self.frame(&FromWorker::Results(results))
            }
            _ => Err(frame::FrameError::TooLong { len: too_long, max: self.frame_len_max }),
        }
    }

    /// Returns the next message; fails when the session has ended.
    async fn read(&mut self) -> io::Result<ToWorker> {
        loop {
            if let Some(message) = frame::decode(&mut self.received, self.frame_len_max)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    }
}

fn without_letters(result: &SliceResult, len: usize) -> SliceResult {
    let error = format!(
        "the slice refused {} records, which are too many to report at once ({len} bytes)",
        result.dead_letters.len()
    );
    SliceResult {
        outcome: Outcome::Failed { error },
        operations: Vec::new(),
        dead_letters: Vec::new(),
        ..result.clone()
    }
}

#[async_trait]
impl WorkerLink for SocketWorker {
    async fn send(&mut self, message: FromWorker) -> Result<(), LinkClosed> {
        if let Err(error) = self.frame(&message) {
            tracing::error!(%error, "message to the controller cannot be sent");
            return Err(LinkClosed);
        }
        while self.out.has_remaining() {
            // Either written or not when it is given up.
            self.stream.write_buf(&mut self.out).await.map_err(|_| LinkClosed)?;
        }
        Ok(())
    }

    async fn recv(&mut self) -> Option<ToWorker> {
        match self.read().await {
            Ok(message) => Some(message),
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    tracing::warn!(%error, "connection to the controller lost");
                }
                None
            }
        }
    }
}
