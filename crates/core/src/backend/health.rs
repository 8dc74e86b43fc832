//! How a backend does, for people.

use teraslice_model::timestamp::Timestamp;
use tokio::sync::watch;

use crate::context::Context;

/// What keeps a backend from doing what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What has happened last, and what to do.
    pub reason: String,
    /// Since when something is wrong.
    pub since: Timestamp,
}

/// Takes down how a backend does.
#[derive(Debug)]
pub struct Health {
    name: String,
    context: Context,
    state: watch::Sender<Option<Trouble>>,
}

impl Health {
    /// Begins with a backend that is well; `name` is for the log.
    #[must_use]
    pub fn new(name: String, context: Context) -> Self {
        Self { name, context, state: watch::Sender::default() }
    }

    /// Follows what is wrong; none: nothing.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Trouble>> {
        self.state.subscribe()
    }

    /// Notes that something is wrong.
    pub fn degrade(&self, reason: impl Into<String>) {
        let (reason, now) = (reason.into(), self.context.wall());
        self.state.send_if_modified(|state| {
            let is_news = state.as_ref().is_none_or(|trouble| trouble.reason != reason);
            if is_news {
                tracing::warn!(backend = self.name, reason, "cluster backend is degraded");
                let since = state.as_ref().map_or(now, |trouble| trouble.since);
                *state = Some(Trouble { reason, since });
            }
            is_news
        });
    }

    /// Notes that it does what it should.
    pub fn recover(&self) {
        if self.state.send_if_modified(|state| state.take().is_some()) {
            tracing::info!(backend = self.name, "cluster backend is well again");
        }
    }
}
