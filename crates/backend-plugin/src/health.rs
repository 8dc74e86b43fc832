//! How a backend does.

use serde::Serialize;
use teraslice_core::context::Context;
use teraslice_model::timestamp::Timestamp;
use tokio::sync::watch;

/// How a backend does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackendHealth {
    /// What is wrong; absent: nothing.
    pub degraded: Option<Degraded>,
}

/// A backend that does not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degraded {
    /// What has happened last, and what to do.
    pub reason: String,
    /// Since when it is so.
    pub since: Timestamp,
}

/// Takes down how a backend does.
#[derive(Debug)]
pub(crate) struct Health {
    name: String,
    context: Context,
    state: watch::Sender<BackendHealth>,
}

impl Health {
    pub(crate) fn new(name: String, context: Context) -> Self {
        Self { name, context, state: watch::Sender::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BackendHealth> {
        self.state.subscribe()
    }

    /// Notes that something is wrong.
    pub(crate) fn degrade(&self, reason: impl Into<String>) {
        let (reason, now) = (reason.into(), self.context.wall());
        self.state.send_if_modified(|state| {
            let is_news = state.degraded.as_ref().is_none_or(|degraded| degraded.reason != reason);
            if is_news {
                tracing::warn!(backend = self.name, reason, "cluster backend is degraded");
                let since = state.degraded.as_ref().map_or(now, |degraded| degraded.since);
                state.degraded = Some(Degraded { reason, since });
            }
            is_news
        });
    }

    /// Notes that it does what it should again.
    pub(crate) fn recover(&self) {
        if self.state.borrow().degraded.is_none() {
            return;
        }
        self.state.send_modify(|state| state.degraded = None);
        tracing::info!(backend = self.name, "cluster backend is well again");
    }
}
