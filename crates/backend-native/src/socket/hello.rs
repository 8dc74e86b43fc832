//! The greeting: one line from each side, before the first frame.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::Secret;

/// The version of the protocol; another one is refused.
pub const PROTOCOL: u32 = 1;

const NAME: &str = "teraslice-link";
const WELCOME: &str = "welcome";
const REFUSED: &str = "refused: ";
/// A line is no longer than this.
const LINE_LEN_MAX: usize = 512;

/// Why a greeting failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// One side does not want the other.
    #[error("{0}")]
    Refused(String),
    /// The connection does not work.
    #[error("failed to greet")]
    Io(#[from] io::Error),
}

/// Greets a worker that has connected.
pub(super) async fn receive<S>(stream: &mut S, secret: &Secret, limit: Duration) -> Result<(), HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(limit, async {
        let line = read_line(stream).await?;
        let verdict = check_worker(&line, secret);
        let answer = match &verdict {
            Ok(()) => WELCOME.to_owned(),
            Err(reason) => format!("{REFUSED}{reason}"),
        };
        stream.write_all(format!("{NAME} {PROTOCOL} {answer}\n").as_bytes()).await?;
        verdict.map_err(HelloError::Refused)
    })
    .await
}

/// Greets the controller.
pub(super) async fn send<S>(stream: &mut S, secret: &Secret, limit: Duration) -> Result<(), HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(limit, async {
        stream.write_all(format!("{NAME} {PROTOCOL} {}\n", secret.expose()).as_bytes()).await?;
        let line = read_line(stream).await?;
        let (version, answer) = split(&line).ok_or_else(|| HelloError::Refused(foreign("controller")))?;
        match answer.strip_prefix(REFUSED) {
            Some(reason) => Err(HelloError::Refused(reason.to_owned())),
            None if version != PROTOCOL => Err(HelloError::Refused(versions(version, PROTOCOL))),
            None if answer == WELCOME => Ok(()),
            None => Err(HelloError::Refused(foreign("controller"))),
        }
    })
    .await
}

async fn within(
    limit: Duration,
    greeting: impl Future<Output = Result<(), HelloError>>,
) -> Result<(), HelloError> {
    timeout(limit, greeting).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

fn check_worker(line: &str, secret: &Secret) -> Result<(), String> {
    match split(line) {
        None => Err(foreign("worker")),
        Some((version, _)) if version != PROTOCOL => Err(versions(PROTOCOL, version)),
        Some((_, word)) if !secret.matches(word) => Err("the worker does not know the secret".to_owned()),
        Some(_) => Ok(()),
    }
}

fn split(line: &str) -> Option<(u32, &str)> {
    let (version, rest) = line.strip_prefix(NAME)?.strip_prefix(' ')?.split_once(' ')?;
    Some((version.parse().ok()?, rest))
}

fn versions(controller: u32, worker: u32) -> String {
    format!("the controller speaks version {controller} of the link protocol, the worker version {worker}")
}

fn foreign(who: &str) -> String {
    format!("the {who} does not speak the link protocol")
}

/// Reads up to the end of a line and not a byte further: what follows are frames.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return String::from_utf8(line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
            _ if line.len() == LINE_LEN_MAX => return Err(io::Error::from(io::ErrorKind::InvalidData)),
            byte => line.push(byte),
        }
    }
}
