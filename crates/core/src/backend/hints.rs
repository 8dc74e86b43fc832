//! Hints that something changed, for any number of listeners.

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::broadcast;

use super::BackendEvent;

/// Hints that wait for a slow reader; a reader that misses some is told to look again.
const EVENTS_MAX: usize = 256;

/// Makes the channel that hints are sent through.
#[must_use]
pub fn channel() -> broadcast::Sender<BackendEvent> {
    broadcast::channel(EVENTS_MAX).0
}

/// Returns the hints from now on, after the one to look at everything.
#[must_use]
pub fn stream(events: &broadcast::Sender<BackendEvent>) -> BoxStream<'static, BackendEvent> {
    let hints = stream::unfold(events.subscribe(), |mut hints| async {
        match hints.recv().await {
            Ok(hint) => Some((hint, hints)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some((BackendEvent::Resync, hints)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    });
    stream::once(async { BackendEvent::Resync }).chain(hints).boxed()
}
