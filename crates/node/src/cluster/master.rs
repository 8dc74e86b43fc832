//! The master: the API, the services behind it, and the cluster backend, in one process.
//!
//! ```text
//! start   lease (Kubernetes) -> store -> controllers -> backend, engine -> listening (503) -> assets -> ready
//! end     closed (503) -> engine, backend -> connections
//! ```

mod dress;
mod engaged;
mod nodes;
mod plugin;
mod pods;
mod tokens;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    serve::IncomingStream,
};
use teraslice_api::cluster::ClusterInfo;
use teraslice_backend_k8s::{self as k8s, Leadership};
use teraslice_backend_native::nodes::{
    Nodes,
    message::{FromNode, ToNode},
};
use teraslice_core::{
    context::Context,
    engine::{EngineError, EngineHandle, EngineOptions},
    store::{StateStore, StoreError},
};
use teraslice_model::{id::Term, record::VERSION};
use teraslice_rpc::{
    master::{Accepted, MasterOptions, serve},
    tls::Authority,
};
use teraslice_server::{
    ApiAuth, Readiness, ServerOptions, Services,
    controllers::{Controllers, ControllersOptions},
    library::LibraryError,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::plugin::ProcessCommand;
use self::{dress::Dress, engaged::Engaged};
use super::{
    identity::{self, IdentityError},
    listener::MasterListener,
    metrics,
    node::machine,
    shutdown::Shutdown,
};
use crate::{
    assets::{
        checker::JobChecker,
        library::{DiskLibrary, LibraryOptions},
    },
    config::Config,
    parts::{Parts, StateError},
};

/// The version of Node.js that clients are told; they parse it.
const NODE_VERSION: &str = "v24.0.0";
/// Requests under way are waited for at the end for this long.
const REQUESTS_MAX: Duration = Duration::from_secs(3);

/// A master that listens.
#[derive(Debug)]
pub struct Master {
    address: SocketAddr,
    readiness: Readiness,
    engine: EngineHandle,
    running: JoinHandle<Result<(), EngineError>>,
    serving: JoinHandle<io::Result<()>>,
    closing: CancellationToken,
    drain_max: Duration,
    /// What keeps this master the only one, on Kubernetes.
    leadership: Option<Leadership>,
    /// Ends the port for metrics.
    _metrics: Option<DropGuard>,
}

/// Why a master cannot work.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Its state cannot be opened.
    #[error(transparent)]
    Open(#[from] StateError),
    /// Its state cannot be read or written.
    #[error("failed to use the state store")]
    Store(#[from] StoreError),
    /// A file of its state cannot be used.
    #[error("failed to use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has no key or certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It cannot listen.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its assets cannot be used.
    #[error("failed to open the library of assets")]
    Library(#[from] LibraryError),
    /// There is no cluster to run anything in.
    #[error(transparent)]
    Kubernetes(#[from] k8s::ConnectError),
    /// Another master has taken over: exit with code 76.
    #[error("another master leads the cluster")]
    Replaced,
    /// The engine could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The server could not go on.
    #[error("failed to serve the API")]
    Serve(#[source] io::Error),
}

impl Master {
    /// Opens the state, takes up every execution that has not ended, and listens; the API is open when this returns.
    ///
    /// # Errors
    ///
    /// See [`MasterError`].
    pub async fn start(
        parts: &Parts,
        state_directory: &Path,
        has_node: bool,
        command: ProcessCommand,
        context: &Context,
    ) -> Result<Self, MasterError> {
        let config = parts.config();
        fs::create_dir_all(state_directory)
            .map_err(|source| MasterError::File { path: state_directory.to_owned(), source })?;
        // Before anything is touched that another master may have open.
        let (client, leadership) = lead(config, context).await?.unzip();
        let store = parts.state(state_directory, context).await?;
        let dress = dress(config, state_directory, store.as_ref(), context).await?;
        let key = dress.key.clone();
        let options = ControllersOptions {
            command_max: config.cluster.action_timeout,
            ..ControllersOptions::default()
        };
        let controllers = Controllers::load(options, context.clone(), Arc::clone(&store)).await?;
        let options = engine_options(config, leadership.as_ref(), state_directory)?;
        let shared = Arc::clone(&store);
        let engaged = match (client, config.plugin()) {
            (Some(client), _) => {
                engaged::on_kubernetes(config.kubernetes.clone(), client, dress, options, shared, context)
            }
            (None, Some(named)) => {
                let plugin = plugin::options(config, named, state_directory, command, &dress);
                engaged::on_plugin(plugin, dress, options, shared, context)
            }
            (None, None) => {
                engaged::on_nodes(config, state_directory, has_node, dress, options, shared, context)
            }
        };
        let Engaged { engine, running, view, nodes, introduce } = engaged;
        let shelves = LibraryOptions::new(config.assets_folder());
        let library = DiskLibrary::open(shelves, parts.clone(), Arc::clone(&store), context.clone()).await?;
        let checker = JobChecker::new(parts.clone(), context.clone(), Arc::clone(&store));
        let readiness = Readiness::default();
        let services = Services {
            context: context.clone(),
            store: Arc::clone(&store),
            engine: engine.clone(),
            checker: Arc::new(checker.clone()),
            library: Arc::new(library.clone()),
            controllers: controllers.clone(),
            nodes: view,
            readiness: readiness.clone(),
        };
        let finder = controllers.clone();
        let locate = Arc::new(move |ex_id| finder.located(ex_id));
        let links = MasterOptions { introduce, ..MasterOptions::new(key, store, locate) };
        let (links, accepted) = serve::<FromNode, ToNode>(links, context);
        receive(accepted, controllers, nodes, context);
        let metrics = serve_metrics(config, &services, context);
        let router = teraslice_server::router(server_options(config), services).merge(links);
        let (listener, address) = listen(config, state_directory, context).await?;
        let closing = CancellationToken::new();
        let serving = context.spawn(serve_http(listener, router, closing.clone()));
        let running = context.spawn(running);
        library.publish_standard().await?;
        library.autoload(&config.autoload_directory).await;
        checker.warm().await;
        readiness.set(true);
        tracing::info!(%address, cluster = config.cluster.name, "master is ready");
        Ok(Self {
            address,
            readiness,
            engine,
            running,
            serving,
            closing,
            drain_max: config.shutdown_timeout + Duration::from_secs(5),
            leadership,
            _metrics: metrics,
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to end. Executions go on, unless the shutdown is total.
    ///
    /// # Errors
    ///
    /// See [`MasterError`].
    pub async fn run(mut self, shutdown: &Shutdown) -> Result<(), MasterError> {
        let lost = self.leadership.as_ref().map_or_else(CancellationToken::new, Leadership::lost);
        tokio::select! {
            ended = &mut self.running => return Ok(joined(ended)?),
            () = lost.cancelled() => return Err(MasterError::Replaced),
            served = &mut self.serving => return joined(served).map_err(MasterError::Serve),
            () = shutdown.asked() => {}
        }
        tracing::info!(how = ?shutdown.how(), "master is ending");
        self.readiness.set(false);
        self.engine.shutdown(shutdown.how()).await;
        let stopped = timeout(self.drain_max, &mut self.running).await;
        if stopped.is_err() {
            tracing::warn!("what is left over does not end");
        }
        self.closing.cancel();
        // Streams of events and links have no end of their own.
        if timeout(REQUESTS_MAX, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        if let Some(leadership) = self.leadership.take() {
            let _gone = timeout(REQUESTS_MAX, leadership.release()).await;
        }
        stopped.map_or(Ok(()), |ended| Ok(joined(ended)?))
    }
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Returns who signs the certificates of controllers, where links are encrypted.
fn authority(config: &Config, state_directory: &Path) -> Result<Option<Authority>, IdentityError> {
    match &config.cluster.tls {
        Some(tls) if tls.cert.is_none() => identity::authority(state_directory).map(Some),
        _ => Ok(None),
    }
}

/// Returns what processes are given beside their job.
async fn dress(
    config: &Config,
    state_directory: &Path,
    store: &dyn StateStore,
    context: &Context,
) -> Result<Dress, MasterError> {
    let key = identity::cluster_key(config, state_directory)?;
    let bundle_token = match config.cluster.has_tokens {
        true => Some(tokens::prepare(store, &key, state_directory, context).await?),
        false => None,
    };
    Ok(Dress { key, bundle_token, authority: authority(config, state_directory)? })
}

/// Reaches the Kubernetes cluster, if that is the backend, and waits until no other master leads there.
async fn lead(config: &Config, context: &Context) -> Result<Option<(k8s::Client, Leadership)>, MasterError> {
    if !config.is_kubernetes() {
        return Ok(None);
    }
    let client = k8s::client().await?;
    // No other process has this name.
    let holder = format!("{}_{}_{}", machine(), std::process::id(), uuid::Uuid::new_v4());
    let leadership = k8s::lead(client.clone(), &config.kubernetes, holder, context).await;
    Ok(Some((client, leadership)))
}

fn engine_options(
    config: &Config,
    leadership: Option<&Leadership>,
    state_directory: &Path,
) -> Result<EngineOptions, MasterError> {
    let mut options = EngineOptions::new(config.check_environment());
    options.term = match leadership {
        Some(leadership) => leadership.term(),
        None => next_term(state_directory)?,
    };
    options.patience.drain_grace = config.shutdown_timeout;
    options.patience.start_max = config.start_timeout;
    Ok(options)
}

/// Counts the masters that have led this cluster.
fn next_term(state_directory: &Path) -> Result<Term, MasterError> {
    let path = state_directory.join("term");
    let failed = |source| MasterError::File { path: path.clone(), source };
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(io::Error::other).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    let term = Term(last + 1);
    let part = path.with_extension("part");
    fs::write(&part, term.0.to_string()).and_then(|()| fs::rename(&part, &path)).map_err(failed)?;
    Ok(term)
}

fn server_options(config: &Config) -> ServerOptions {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut options = ServerOptions::new(ClusterInfo {
        arch: arch.to_owned(),
        clustering_type: config.cluster_manager_type.clone(),
        name: config.cluster.name.clone(),
        node_version: NODE_VERSION.to_owned(),
        platform: std::env::consts::OS.to_owned(),
        teraslice_version: VERSION.to_owned(),
    });
    options.auth = if config.cluster.has_tokens { ApiAuth::Tokens } else { ApiAuth::None };
    options.body_len_max = config.cluster.body_limit;
    options.answer_max = config.cluster.api_response_timeout;
    options.metrics_url.clone_from(&config.cluster.metrics_url);
    options
}

/// Serves the metrics on a port of their own until dropped, if the configuration says so.
fn serve_metrics(config: &Config, services: &Services, context: &Context) -> Option<DropGuard> {
    let port = config.cluster.metrics_port?;
    let router = teraslice_server::metrics_router(server_options(config), services.clone());
    Some(metrics::serve_at(context, port, router))
}

/// Hands connections over to those who serve them; nodes are turned away where there are none.
fn receive(
    accepted: Accepted<FromNode, ToNode>,
    controllers: Controllers,
    nodes: Option<Nodes>,
    context: &Context,
) {
    let Accepted { controllers: mut from_controllers, nodes: mut from_nodes } = accepted;
    drop(context.spawn(async move {
        loop {
            tokio::select! {
                Some((ex_id, session)) = from_controllers.recv() => controllers.attach(ex_id, session),
                Some((node_id, link)) = from_nodes.recv() => match &nodes {
                    Some(nodes) => nodes.attach(node_id, link.from, link.to),
                    None => tracing::warn!(node_id, "node turned away: controllers and workers run elsewhere here"),
                },
                else => return,
            }
        }
    }));
}

async fn listen(
    config: &Config,
    state_directory: &Path,
    context: &Context,
) -> Result<(MasterListener, SocketAddr), MasterError> {
    let cluster = &config.cluster;
    let address = SocketAddr::new(cluster.listen_address(), cluster.port);
    if address.ip().is_loopback() {
        tracing::info!("the API is reached from this machine only: see `api_auth` and `api_unprotected`");
    }
    let failed = |source| MasterError::Listen { address, source };
    let tls = match &cluster.tls {
        None => None,
        Some(tls) => {
            let identity = identity::of_master(config, tls, state_directory)?;
            let protocols: &[&[u8]] = &[b"h2", b"http/1.1"];
            Some(identity.server_config(protocols).map_err(IdentityError::from)?)
        }
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((MasterListener::new(listener, tls, context).map_err(failed)?, address))
}

async fn serve_http(listener: MasterListener, router: Router, closing: CancellationToken) -> io::Result<()> {
    let router = router.layer(axum::middleware::map_request(with_address));
    let service = router.into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, service).with_graceful_shutdown(closing.cancelled_owned()).await
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
struct Caller(SocketAddr);

impl Connected<IncomingStream<'_, MasterListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, MasterListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Tells the API where a request comes from, in the form that it looks for.
async fn with_address(ConnectInfo(Caller(address)): ConnectInfo<Caller>, mut request: Request) -> Request {
    request.extensions_mut().insert(ConnectInfo(address));
    request
}
