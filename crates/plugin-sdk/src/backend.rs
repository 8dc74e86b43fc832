//! What a backend implements, and what it is handed.

use std::{fmt, future::Future, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::message::{
    DesiredExecution, ErrorObject, Event, Gone, Log, LogLevel, RetireParams, Snapshot, StartParams,
    StopParams, code,
};

/// Runs controllers and workers somewhere. Level-triggered: told what is wanted, asked what is.
///
/// # Guarantees
///
/// - Everything is idempotent by `(ex_id, generation, role, ordinal)`: the same [`ensure`](Self::ensure) twice is one.
/// - `ensure` returns when the request is accepted, and never waits for readiness. What was accepted shows up in the next
///   [`observe`](Self::observe), running or exited, until it is retired; nothing is lost in silence.
/// - A higher generation replaces the instances of lower ones; a lower one never touches those of a higher.
/// - [`retire`](Self::retire) says that an instance is gone only on evidence.
/// - `observe` is the truth of the system, not of memory: a backend that is started anew finds what an earlier one has started.
///
/// # Assumptions
///
/// The host refuses stale revisions and earlier terms by itself, as far as one machine can tell; `term` is there for backends
/// whose system can fence for all.
///
/// # Cancel safety
///
/// A call that the host gives up is dropped at its next `await`. Dropping any future leaves the backend consistent.
pub trait ClusterBackend: Sized + Send + Sync + 'static {
    /// Its own name.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// What it can beyond what it must.
    const CAPABILITIES: Capabilities;

    /// Returns the JSON Schema of its configuration. The host checks the configuration before [`start`](Self::start).
    #[must_use]
    fn config_schema() -> Value {
        json!({"type": "object", "additionalProperties": false})
    }

    /// Returns the JSON Schema that the jobs it runs have to match, if it asks for something.
    #[must_use]
    fn job_schema() -> Option<Value> {
        None
    }

    /// Begins; the configuration has passed the schema.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn start(params: StartParams, host: Host) -> impl Future<Output = Result<Self, BackendError>> + Send;

    /// Begins a term of leadership.
    ///
    /// # Errors
    ///
    /// [`BackendError::Fenced`] when a later term has begun already, where that can be told.
    fn adopt(&self, term: u64) -> impl Future<Output = Result<(), BackendError>> + Send {
        let _this_host_fences = term;
        async { Ok(()) }
    }

    /// Moves reality towards `desired`.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn ensure(
        &self,
        term: u64,
        desired: DesiredExecution,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Removes every instance of an execution up to a generation; returns those that may still run.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn retire(&self, params: RetireParams) -> impl Future<Output = Result<Gone, BackendError>> + Send;

    /// Lists what exists, of one execution or of the whole cluster.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn observe(&self, ex_id: Option<String>) -> impl Future<Output = Result<Snapshot, BackendError>> + Send;

    /// Ends; running work goes on or not.
    ///
    /// # Errors
    ///
    /// See [`BackendError`].
    fn stop(&self, params: StopParams) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// What a backend can beyond what it must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(
    /// A bit each; unknown ones mean nothing.
    pub u64,
);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// It says when something has changed; otherwise the host looks every few seconds.
    pub const EVENTS: Self = Self(1);
    /// What it has started goes on when the host ends.
    pub const DETACH: Self = Self(2);

    const NAMES: [(&'static str, Self); 2] = [("events", Self::EVENTS), ("detach", Self::DETACH)];

    /// Returns both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(Self::NAMES.iter().filter(|(_, it)| self.has(*it)).map(|(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let known = Self::NAMES.iter().filter(|(name, _)| names.iter().any(|it| it == name));
        Ok(known.fold(Self::NONE, |all, (_, it)| all.and(*it)))
    }
}

/// Why a call fails, split by what the engine does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Passing: the same call later.
    #[error("{reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The least time to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// A newer leader is at work: this one steps down.
    #[error("a later term has begun")]
    Fenced,
    /// The job asks for what this backend cannot give: its execution fails.
    #[error("{reason}")]
    Refused {
        /// What, and why.
        reason: String,
    },
}

impl BackendError {
    /// Says that the same call may work later.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string(), retry_after_ms: None }
    }

    /// Says that the job cannot run here.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused { reason: reason.to_string() }
    }
}

impl From<BackendError> for ErrorObject {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        match error {
            BackendError::Unavailable { retry_after_ms, .. } => {
                let mut object = Self::new(code::UNAVAILABLE, message);
                object.data.retry_after_ms = retry_after_ms;
                object
            }
            BackendError::Fenced => Self::new(code::FENCED, message),
            BackendError::Refused { .. } => Self::new(code::REFUSED, message),
        }
    }
}

/// The way back to the host. Cheap to clone; works from any thread.
#[derive(Clone)]
pub struct Host {
    sink: Arc<dyn Sink>,
}

/// Where notifications go.
pub(crate) trait Sink: Send + Sync {
    fn event(&self, event: &Event);
    fn log(&self, log: &Log);
}

impl Host {
    pub(crate) fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink }
    }

    /// Hints that something of an execution has changed. May be said too often, and may be lost.
    pub fn changed(&self, ex_id: impl Into<String>) {
        self.sink.event(&Event { ex_id: Some(ex_id.into()) });
    }

    /// Hints that anything may have changed.
    pub fn resync(&self) {
        self.sink.event(&Event { ex_id: None });
    }

    /// Writes a line into the log of the host.
    pub fn log(&self, level: LogLevel, message: impl Into<String>) {
        self.sink.log(&Log { level, message: message.into() });
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_capabilities_as_names_and_passes_over_unknown_ones() {
        let both = Capabilities::EVENTS.and(Capabilities::DETACH);
        assert_eq!(serde_json::to_value(both).unwrap(), json!(["events", "detach"]));
        let read: Capabilities = serde_json::from_value(json!(["later", "detach"])).unwrap();
        assert_eq!(read, Capabilities::DETACH);
    }

    #[test]
    fn tells_errors_apart_by_code() {
        let object = ErrorObject::from(BackendError::Unavailable {
            reason: "full".to_owned(),
            retry_after_ms: Some(5),
        });
        let expected = json!({"code": code::UNAVAILABLE, "message": "full", "data": {"retry_after_ms": 5}});
        assert_eq!(serde_json::to_value(object).unwrap(), expected);
        assert_eq!(ErrorObject::from(BackendError::Fenced).code, code::FENCED);
        assert_eq!(ErrorObject::from(BackendError::refused("gpu")).message, "gpu");
    }
}
