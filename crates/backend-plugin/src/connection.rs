//! Calls to a backend, and what comes back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::backend::{BackendEvent, health::Health};
use teraslice_plugin_sdk::message::{ErrorObject, Event, Log, LogLevel, MESSAGE_LEN_MAX, Method};
use tokio::{
    sync::{broadcast, oneshot},
    time::timeout,
};

/// Calls that are under way at the most.
const CALLS_MAX: usize = 256;
/// So many calls that were given up are remembered, to know their late answers.
const GIVEN_UP_MAX: usize = 1_024;
/// A backend that does not answer so often in a row is ended, where that can be done.
const MISSES_MAX: u32 = 3;
/// Characters of a foreign text that are shown.
const SHOWN_MAX: usize = 200;

/// What a call ends with: JSON, or an error.
pub(crate) type Reply = Result<Vec<u8>, ErrorObject>;

/// Carries calls to a backend. None of its functions wait.
pub(crate) trait Carrier: Send + Sync {
    /// Hands a call over.
    fn call(&self, id: u64, method: Method, params: &[u8]) -> Result<(), CallError>;
    /// Says that nobody waits for a call any more.
    fn cancel(&self, id: u64);
    /// Ends the backend, if that can be done.
    fn end(&self);
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{}", .0.message)]
    Remote(ErrorObject),
    #[error("it did not answer {method} within {} s", within.as_secs_f32())]
    Late { method: &'static str, within: Duration },
    #[error("its answer to {method} is not understood: {what}")]
    Garbage { method: &'static str, what: String },
    #[error("too many calls are under way")]
    Busy,
    #[error("{method} needs a message of {len} bytes, at most {MESSAGE_LEN_MAX} are allowed")]
    TooLong { method: &'static str, len: usize },
    #[error("{0}")]
    Gone(String),
}

/// A backend that is reached.
pub(crate) struct Connection {
    inbox: Arc<Inbox>,
    carrier: Box<dyn Carrier>,
    /// Calls in a row that were not answered.
    misses: AtomicU32,
}

impl Connection {
    pub(crate) fn new(inbox: Arc<Inbox>, carrier: Box<dyn Carrier>) -> Self {
        Self { inbox, carrier, misses: AtomicU32::new(0) }
    }

    /// Returns why it is over, if it is.
    pub(crate) fn over(&self) -> Option<String> {
        self.inbox.calls().over.clone()
    }

    /// Calls a method. Dropped, the call is given up.
    pub(crate) async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: &P,
        within: Duration,
    ) -> Result<R, CallError> {
        let name = method.name();
        let garbage = |error: serde_json::Error| CallError::Garbage { method: name, what: error.to_string() };
        let params = serde_json::to_vec(params).map_err(garbage)?;
        if params.len() > MESSAGE_LEN_MAX {
            return Err(CallError::TooLong { method: name, len: params.len() });
        }
        let (id, answer) = self.inbox.expect()?;
        let mut given_up = GivenUp { connection: self, id, is_armed: true };
        self.carrier.call(id, method, &params)?;
        let Ok(answered) = timeout(within, answer).await else {
            if self.misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES_MAX {
                self.carrier.end();
            }
            return Err(CallError::Late { method: name, within });
        };
        given_up.is_armed = false;
        self.misses.store(0, Ordering::Relaxed);
        let Ok(reply) = answered else {
            return Err(CallError::Gone(self.over().unwrap_or_else(|| "it has ended".to_owned())));
        };
        let result = reply.map_err(CallError::Remote)?;
        serde_json::from_slice(&result).map_err(garbage)
    }
}

/// Tells the backend of a call that was dropped or took too long.
struct GivenUp<'a> {
    connection: &'a Connection,
    id: u64,
    is_armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.is_armed && self.connection.inbox.give_up(self.id) {
            self.connection.carrier.cancel(self.id);
        }
    }
}

/// Where everything arrives that a backend says.
pub(crate) struct Inbox {
    name: String,
    calls: Mutex<Calls>,
    events: broadcast::Sender<BackendEvent>,
    health: Arc<Health>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
    given_up: VecDeque<u64>,
    /// Why nothing more will arrive.
    over: Option<String>,
}

impl Inbox {
    pub(crate) fn new(name: String, events: broadcast::Sender<BackendEvent>, health: Arc<Health>) -> Self {
        Self { name, calls: Mutex::default(), events, health }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the answer to a new call.
    fn expect(&self) -> Result<(u64, oneshot::Receiver<Reply>), CallError> {
        let mut calls = self.calls();
        if let Some(reason) = &calls.over {
            return Err(CallError::Gone(reason.clone()));
        }
        if calls.waiting.len() >= CALLS_MAX {
            return Err(CallError::Busy);
        }
        calls.last += 1;
        let (sender, answer) = oneshot::channel();
        let id = calls.last;
        calls.waiting.insert(id, sender);
        Ok((id, answer))
    }

    /// Forgets a call; tells whether it was still waited for.
    fn give_up(&self, id: u64) -> bool {
        let mut calls = self.calls();
        if calls.waiting.remove(&id).is_none() {
            return false;
        }
        if calls.given_up.len() == GIVEN_UP_MAX {
            calls.given_up.pop_front();
        }
        calls.given_up.push_back(id);
        true
    }

    /// Takes an answer.
    pub(crate) fn complete(&self, id: u64, reply: Reply) {
        let mut calls = self.calls();
        if let Some(waiting) = calls.waiting.remove(&id) {
            drop(calls);
            let _given_up = waiting.send(reply);
        } else if calls.given_up.contains(&id) {
            tracing::debug!(backend = self.name, id, "an answer came too late");
        } else {
            drop(calls);
            self.violate(&format!("it answered the call {id}, which was not asked"));
        }
    }

    /// Takes a hint.
    pub(crate) fn event(&self, bytes: &[u8]) {
        let event = serde_json::from_slice::<Event>(bytes).map_err(|error| error.to_string());
        let hint = event.and_then(|event| match event.ex_id {
            None => Ok(BackendEvent::Resync),
            Some(ex_id) => {
                ex_id.parse().map(BackendEvent::Changed).map_err(|_| format!("no ex_id: {ex_id:?}"))
            }
        });
        match hint {
            Ok(hint) => self.hint(hint),
            Err(error) => self.violate(&format!("its event is not understood: {error}")),
        }
    }

    /// Passes a hint on.
    pub(crate) fn hint(&self, hint: BackendEvent) {
        let _nobody_listens = self.events.send(hint);
    }

    /// Takes a line for the log.
    pub(crate) fn log(&self, bytes: &[u8]) {
        let backend = &self.name;
        match serde_json::from_slice::<Log>(bytes) {
            Ok(Log { level: LogLevel::Error, message }) => tracing::error!(backend, message, "backend says"),
            Ok(Log { level: LogLevel::Warn, message }) => tracing::warn!(backend, message, "backend says"),
            Ok(Log { level: LogLevel::Info, message }) => tracing::info!(backend, message, "backend says"),
            Ok(Log { level: LogLevel::Debug, message }) => tracing::debug!(backend, message, "backend says"),
            Err(error) => self.violate(&format!("its log line is not understood: {error}")),
        }
    }

    /// Notes that the backend does not keep to the protocol.
    pub(crate) fn violate(&self, what: &str) {
        self.health.degrade(format!(
            "the cluster backend {} does not keep to the protocol: {what} (report it to who has made it)",
            self.name
        ));
    }

    /// Ends everything that waits: nothing more will arrive. The first reason stays.
    pub(crate) fn close(&self, reason: &str) {
        let mut calls = self.calls();
        if calls.over.is_none() {
            calls.over = Some(reason.to_owned());
        }
        calls.waiting.clear();
        drop(calls);
        self.hint(BackendEvent::Resync);
    }
}

/// Returns the beginning of a text that somebody else has written.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN_MAX).collect()
}
