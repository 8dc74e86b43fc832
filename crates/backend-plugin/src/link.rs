//! The way to a backend: opened when it is needed, and again after a failure, with pauses that grow.

use std::{fs, os::unix::fs::DirBuilderExt as _, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::{
    backend::{BackendError, BackendEvent, health::Health},
    context::Context,
};
use teraslice_model::{
    id::Term,
    problem::{Problem, chain},
};
use teraslice_plugin_sdk::{
    Capabilities,
    message::{AdoptParams, Description, HandshakeParams, MAGIC, Method, PROTOCOL, StartParams, code},
};
use tokio::{
    sync::{Mutex, OnceCell, broadcast, watch},
    time::{Instant, sleep},
};

use crate::{
    connection::{CallError, Carrier, Connection, Inbox},
    library,
    open_error::OpenError,
    options::{PluginOptions, Transport},
    process,
    schema::Schema,
};

/// The first pause after a failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// A backend that was open for so long starts with a clean record.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// The way to a backend.
pub(crate) struct Link {
    options: PluginOptions,
    context: Context,
    events: broadcast::Sender<BackendEvent>,
    health: Arc<Health>,
    /// What the backend has said of itself first; a second one has to say the same.
    about: OnceCell<About>,
    state: Mutex<State>,
    /// The term that a backend which is opened anew is told.
    term: watch::Sender<Option<Term>>,
}

/// What a backend has said of itself.
pub(crate) struct About {
    pub(crate) description: Description,
    job_schema: Option<Schema>,
}

#[derive(Default)]
struct State {
    open: Option<(Arc<Connection>, Instant)>,
    /// Failures in a row.
    failures: u32,
    /// It is not tried again before, and why.
    wait: Option<(Instant, String)>,
}

impl Link {
    pub(crate) fn new(
        options: PluginOptions,
        context: Context,
        events: broadcast::Sender<BackendEvent>,
        health: Arc<Health>,
    ) -> Self {
        let (about, state) = Default::default();
        Self { options, context, events, health, about, state, term: watch::Sender::default() }
    }

    pub(crate) const fn options(&self) -> &PluginOptions {
        &self.options
    }

    /// Returns what the backend has said of itself, if it was open already.
    pub(crate) fn about(&self) -> Option<&About> {
        self.about.get()
    }

    /// Tells whether the backend can something; it was open already.
    pub(crate) fn can(&self, capability: Capabilities) -> bool {
        self.about().is_some_and(|about| about.description.capabilities.has(capability))
    }

    /// Has the backend told of a term when it is opened anew.
    pub(crate) fn set_term(&self, term: Term) {
        self.term.send_replace(Some(term));
    }

    /// Calls a method of the backend; opens it if need be.
    pub(crate) async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: &P,
    ) -> Result<R, BackendError> {
        let connection = self.connection().await?;
        match connection.call(method, params, self.options.call_max).await {
            Ok(result) => {
                self.health.recover();
                Ok(result)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Opens the backend once, without a second try.
    pub(crate) async fn open(&self) -> Result<&About, OpenError> {
        let connection = self.connect().await?;
        self.state.lock().await.open = Some((connection, self.context.now()));
        self.about().ok_or_else(|| OpenError::Gone { reason: "it said nothing of itself".to_owned() })
    }

    fn failed(&self, error: CallError) -> BackendError {
        let term = self.term.borrow().unwrap_or_default();
        let mut retry_after = None;
        if let CallError::Remote(remote) = &error {
            match remote.code {
                code::FENCED => return BackendError::Fenced { term },
                code::REFUSED => return BackendError::Refused { reason: remote.message.clone() },
                _ => retry_after = remote.data.retry_after_ms.map(Duration::from_millis),
            }
        }
        let is_own_word = matches!(&error, CallError::Remote(remote) if remote.code == code::UNAVAILABLE);
        let reason = format!("the cluster backend {}: {error}", self.options.name);
        // A system that is away, which the backend says in order, shows as degraded too.
        if is_own_word {
            self.health.degrade(&*reason);
        } else {
            self.health.degrade(format!("{reason} (look at the log of the backend; it is tried again)"));
        }
        BackendError::Unavailable { reason, retry_after }
    }

    /// Returns the connection, a new one if the last is over.
    async fn connection(&self) -> Result<Arc<Connection>, BackendError> {
        let mut state = self.state.lock().await;
        let now = self.context.now();
        if let Some((connection, since)) = &state.open {
            let Some(reason) = connection.over() else { return Ok(Arc::clone(connection)) };
            if now.duration_since(*since) > STABLE_AFTER {
                state.failures = 0;
            }
            state.open = None;
            let name = &self.options.name;
            self.postpone(&mut state, format!("the cluster backend {name} is gone: {reason}"));
        }
        if let Some((until, reason)) = state.wait.clone().filter(|(until, _)| *until > now) {
            let retry_after = Some(until - now);
            return Err(BackendError::Unavailable { reason, retry_after });
        }
        match self.connect().await {
            Ok(connection) => {
                state.open = Some((Arc::clone(&connection), self.context.now()));
                state.wait = None;
                Ok(connection)
            }
            Err(error) => {
                let name = &self.options.name;
                let reason = format!("the cluster backend {name} cannot be used: {}", error.line());
                let retry_after = Some(self.postpone(&mut state, reason.clone()));
                Err(BackendError::Unavailable { reason, retry_after })
            }
        }
    }

    /// Waits before the next try.
    fn postpone(&self, state: &mut State, reason: String) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(state.failures)).min(PAUSE_MAX);
        state.failures = state.failures.saturating_add(1);
        self.health.degrade(&*reason);
        state.wait = Some((self.context.now() + pause, reason));
        pause
    }

    /// Loads or starts the backend, and shakes hands.
    async fn connect(&self) -> Result<Arc<Connection>, OpenError> {
        let PluginOptions { name, transport, open_max, .. } = &self.options;
        let inbox = Arc::new(Inbox::new(name.clone(), self.events.clone(), Arc::clone(&self.health)));
        let carrier: Box<dyn Carrier> = match transport {
            Transport::Library { path, sha256 } => {
                Box::new(library::load(path, sha256.as_deref(), &inbox, *open_max).await?)
            }
            Transport::Process { command, sha256 } => {
                Box::new(process::start(command, sha256.as_deref(), &inbox, &self.context)?)
            }
        };
        let connection = Arc::new(Connection::new(inbox, carrier));
        let hello = HandshakeParams {
            magic: MAGIC.to_owned(),
            protocol: PROTOCOL,
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let description: Description = self.step(&connection, Method::Handshake, &hello).await?;
        check(&description)?;
        let schema = Schema::new("configuration", &description.config_schema)?;
        let problems = schema.problems(&self.options.config_pointer, &self.options.config);
        if !problems.is_empty() {
            return Err(OpenError::Config(problems));
        }
        let job_schema = description.job_schema.as_ref().map(|it| Schema::new("jobs", it)).transpose()?;
        let folder = self.make_folder()?;
        let params = StartParams {
            cluster: self.options.cluster.clone(),
            state_directory: folder,
            config: self.options.config.clone(),
        };
        let () = self.step(&connection, Method::Start, &params).await?;
        let term = *self.term.borrow();
        if let Some(term) = term {
            let () = self.step(&connection, Method::Adopt, &AdoptParams { term: term.0 }).await?;
        }
        tracing::info!(backend = name, version = description.version, "cluster backend is open");
        if !description.capabilities.has(Capabilities::EVENTS) {
            self.look_regularly(&connection);
        }
        let _known = self.about.set(About { description, job_schema });
        let _nobody_listens = self.events.send(BackendEvent::Resync);
        Ok(connection)
    }

    async fn step<P: Serialize, R: DeserializeOwned>(
        &self,
        connection: &Connection,
        method: Method,
        params: &P,
    ) -> Result<R, OpenError> {
        let step = method.name();
        let called = connection.call(method, params, self.options.open_max).await;
        called.map_err(|error| match error {
            CallError::Remote(error) => OpenError::Remote { step, error },
            CallError::Late { within, .. } => OpenError::Hung { step, within },
            CallError::Garbage { what, .. } => OpenError::Garbage { step, what },
            other => OpenError::Gone { reason: chain(&other) },
        })
    }

    fn make_folder(&self) -> Result<String, OpenError> {
        let path = &self.options.state_directory;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| OpenError::Folder { path: path.clone(), source })?;
        Ok(path.display().to_string())
    }

    /// Has everybody look now and then, as the backend does not say when.
    fn look_regularly(&self, connection: &Arc<Connection>) {
        let (events, every) = (self.events.clone(), self.options.look_every);
        let connection = Arc::downgrade(connection);
        drop(self.context.spawn(async move {
            while connection.upgrade().is_some_and(|connection| connection.over().is_none()) {
                sleep(every).await;
                let _nobody_listens = events.send(BackendEvent::Resync);
            }
        }));
    }
}

impl About {
    /// Lists what the backend asks of jobs that this one does not give.
    pub(crate) fn problems(&self, job: &serde_json::Value) -> Vec<Problem> {
        self.job_schema.as_ref().map(|schema| schema.problems("", job)).unwrap_or_default()
    }
}

/// Checks what a backend says of itself.
fn check(description: &Description) -> Result<(), OpenError> {
    let step = Method::Handshake.name();
    if description.magic != MAGIC {
        let what = format!("expected the magic {MAGIC:?}, found {:?}", description.magic);
        return Err(OpenError::Garbage { step, what });
    }
    if description.protocol.major != PROTOCOL.major {
        let (found, expected) = (description.protocol.to_string(), PROTOCOL.to_string());
        return Err(OpenError::Version { what: "protocol", found, expected });
    }
    Ok(())
}
