//! Messages both ways as JSON, with signs of life: the connections of controllers and nodes to the master.

use std::time::Duration;

use futures::{Stream, stream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{serve::FAREWELL_MAX, wire::v1::Envelope};

/// Messages that wait to be sent, or to be taken.
pub(crate) const WAITING_MAX: usize = 64;

/// A connection to a peer. It ends when either channel does, on either side.
#[derive(Debug)]
pub struct Duplex<In, Out> {
    /// What the peer says; none when the connection has ended.
    pub from: mpsc::Receiver<In>,
    /// What it is told.
    pub to: mpsc::Sender<Out>,
}

/// How a peer that has died without a word is noticed.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// A sign of life is sent this often (default 3 s).
    pub every: Duration,
    /// A connection on which nothing came for so long is closed (default 15 s).
    pub silence_max: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { every: Duration::from_secs(3), silence_max: Duration::from_secs(15) }
    }
}

struct Outgoing<Out> {
    messages: mpsc::Receiver<Out>,
    pulse: Interval,
    ends: CancellationToken,
}

/// Makes the stream of what is told to the peer. It ends with its channel, or at `ends` once all is told.
pub(crate) fn outgoing<Out: Serialize + Send>(
    messages: mpsc::Receiver<Out>,
    pulse: Pulse,
    ends: CancellationToken,
) -> impl Stream<Item = Envelope> + Send {
    let mut pulse = interval(pulse.every);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Outgoing { messages, pulse, ends }, async |mut out| {
        let envelope = out.next().await?;
        Some((envelope, out))
    })
}

impl<Out: Serialize> Outgoing<Out> {
    async fn next(&mut self) -> Option<Envelope> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.messages.recv() => message?,
                () = self.ends.cancelled() => return None,
                _ = self.pulse.tick() => return Some(Envelope::default()),
            };
            match serde_json::to_vec(&message) {
                Ok(json) => return Some(Envelope { json: json.into() }),
                Err(error) => tracing::error!(%error, "message cannot be sent"),
            }
        }
    }
}

/// Hands on what the peer says until it ends, falls silent, or nobody listens any more; then ends the other direction too.
pub(crate) async fn read<In: DeserializeOwned>(
    mut incoming: Streaming<Envelope>,
    arrived: mpsc::Sender<In>,
    silence_max: Duration,
    ends: CancellationToken,
) {
    tokio::select! {
        () = hand_on(&mut incoming, &arrived, silence_max) => {}
        () = arrived.closed() => {}
    }
    ends.cancel();
    if arrived.is_closed() {
        // Giving up the stream at once would take back what this side has said last.
        let rest = async { while let Ok(Some(_)) = incoming.message().await {} };
        let _sent = timeout(FAREWELL_MAX, rest).await;
    }
}

async fn hand_on<In: DeserializeOwned>(
    incoming: &mut Streaming<Envelope>,
    arrived: &mpsc::Sender<In>,
    silence_max: Duration,
) {
    loop {
        let json = match timeout(silence_max, incoming.message()).await {
            Ok(Ok(Some(Envelope { json }))) => json,
            Ok(Ok(None)) => return,
            Ok(Err(status)) => return tracing::warn!(reason = status.message(), "connection lost"),
            Err(_) => return tracing::warn!(?silence_max, "connection closed: the peer is silent"),
        };
        if json.is_empty() {
            continue;
        }
        match serde_json::from_slice(&json) {
            Ok(message) => {
                if arrived.send(message).await.is_err() {
                    return;
                }
            }
            // A later minor version may say more than this one knows.
            Err(error) => tracing::warn!(%error, "message not understood"),
        }
    }
}
