//! From the bytes of a call to the backend and back; the same for libraries and processes.

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::OnceCell, task::AbortHandle};

use crate::{
    BackendError, ClusterBackend, Host,
    message::{
        AdoptParams, Description, EnsureParams, ErrorObject, HandshakeParams, MAGIC, Method, ObserveParams,
        PROTOCOL, RetireParams, StartParams, StopParams, code,
    },
};

/// What a call ends with: JSON, or an error.
pub(crate) type Answer = Result<Vec<u8>, ErrorObject>;

/// Answers calls. A panic is an answer too.
pub(crate) trait Serve: Send + Sync {
    fn call(self: Arc<Self>, method: Method, params: Vec<u8>) -> BoxFuture<'static, Answer>;
}

/// Hands calls to a backend.
pub(crate) struct Dispatcher<B> {
    host: Host,
    backend: OnceCell<B>,
}

impl<B: ClusterBackend> Dispatcher<B> {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, backend: OnceCell::new() }
    }

    async fn answer(&self, method: Method, params: &[u8]) -> Answer {
        match method {
            Method::Handshake => {
                let theirs: HandshakeParams = read(params)?;
                if theirs.magic != MAGIC {
                    let message = format!("expected the magic {MAGIC:?}, found {:?}", theirs.magic);
                    return Err(ErrorObject::new(code::PARAMS, message));
                }
                write(&description::<B>())
            }
            Method::Start => {
                let params: StartParams = read(params)?;
                self.backend.get_or_try_init(|| B::start(params, self.host.clone())).await?;
                write(&())
            }
            Method::Adopt => {
                let params: AdoptParams = read(params)?;
                write(&self.backend()?.adopt(params.term).await?)
            }
            Method::Ensure => {
                let params: EnsureParams = read(params)?;
                write(&self.backend()?.ensure(params.term, params.desired).await?)
            }
            Method::Retire => {
                let params: RetireParams = read(params)?;
                write(&self.backend()?.retire(params).await?)
            }
            Method::Observe => {
                let params: ObserveParams = read(params)?;
                write(&self.backend()?.observe(params.ex_id).await?)
            }
            Method::Stop => {
                let params: StopParams = read(params)?;
                write(&self.backend()?.stop(params).await?)
            }
        }
    }

    fn backend(&self) -> Result<&B, BackendError> {
        self.backend.get().ok_or_else(|| BackendError::unavailable("the backend was not started"))
    }
}

impl<B: ClusterBackend> Serve for Dispatcher<B> {
    fn call(self: Arc<Self>, method: Method, params: Vec<u8>) -> BoxFuture<'static, Answer> {
        async move {
            let answer = AssertUnwindSafe(self.answer(method, &params)).catch_unwind().await;
            answer.unwrap_or_else(|panic| {
                let message = format!("the backend panicked: {}", words(panic.as_ref()));
                Err(ErrorObject::new(code::INTERNAL, message))
            })
        }
        .boxed()
    }
}

/// The calls under way. Must be used by the one thread of a runtime.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashMap<u64, AbortHandle>>>);

impl Calls {
    /// Answers a call, unless it is given up before.
    pub(crate) fn start(
        &self,
        id: u64,
        answering: BoxFuture<'static, Answer>,
        done: impl FnOnce(Answer) + Send + 'static,
    ) {
        let calls = self.clone();
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It does not run before this thread waits, so it finds its entry.
        #[expect(clippy::disallowed_methods, reason = "the runtime is the plugin's own")]
        let task = tokio::spawn(async move {
            done(answering.await);
            calls.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        under_way.insert(id, task.abort_handle());
    }

    /// Drops a call at its next wait.
    pub(crate) fn cancel(&self, id: u64) {
        if let Some(call) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            call.abort();
        }
    }
}

/// Says what a backend is.
fn description<B: ClusterBackend>() -> Description {
    Description {
        magic: MAGIC.to_owned(),
        protocol: PROTOCOL,
        name: B::NAME.to_owned(),
        version: B::VERSION.to_owned(),
        capabilities: B::CAPABILITIES,
        config_schema: B::config_schema(),
        job_schema: B::job_schema(),
    }
}

fn read<T: DeserializeOwned>(params: &[u8]) -> Result<T, ErrorObject> {
    serde_json::from_slice(params)
        .map_err(|error| ErrorObject::new(code::PARAMS, format!("the params cannot be read: {error}")))
}

fn write<T: Serialize>(result: &T) -> Answer {
    serde_json::to_vec(result)
        .map_err(|error| ErrorObject::new(code::INTERNAL, format!("the result cannot be written: {error}")))
}

/// Returns what a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
