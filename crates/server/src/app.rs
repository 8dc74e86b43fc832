//! What all requests share.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use teraslice_model::{access::AuditEntry, timestamp::Timestamp};
use tokio::sync::Semaphore;

use crate::{
    access::{Caller, Guard},
    endpoint::Changed,
    locks::JobLocks,
    options::ServerOptions,
    refusal::Refusal,
    services::Services,
};

/// Names of unknown parameters that are remembered.
const WARNED_MAX: usize = 1_000;

/// What all requests share.
pub(crate) struct App {
    pub(crate) options: ServerOptions,
    pub(crate) services: Services,
    pub(crate) guard: Guard,
    pub(crate) locks: JobLocks,
    /// Room for event streams.
    pub(crate) streams: Arc<Semaphore>,
    warned: Mutex<BTreeSet<String>>,
}

impl App {
    pub(crate) fn new(options: ServerOptions, services: Services) -> Self {
        let streams = Arc::new(Semaphore::new(options.streams_max));
        let guard = Guard::new(options.auth);
        Self { options, services, guard, locks: JobLocks::default(), streams, warned: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.services.context.wall()
    }

    /// Warns about a query parameter that nobody reads, once for each name.
    pub(crate) fn warn_of(&self, name: &str, path: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < WARNED_MAX && warned.insert(name.to_owned()) {
            tracing::warn!(name, path, "unknown query parameter ignored");
        }
    }

    /// Takes down a change in the audit log.
    pub(crate) async fn note(&self, caller: &Caller, changed: Changed) -> Result<(), Refusal> {
        let Caller { who, address, action } = caller.clone();
        let Changed { target, before, after } = changed;
        let entry = AuditEntry { at: self.now(), who, address, action, target, before, after };
        Ok(self.services.store.note(entry).await?)
    }
}
