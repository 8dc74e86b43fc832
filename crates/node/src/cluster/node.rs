//! A node: joins a master and runs the processes that it is told to.

use std::{
    ffi::OsString,
    net::{SocketAddr, ToSocketAddrs as _, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt as _;
use teraslice_backend_native::{
    Output, ProcessTemplate,
    limits::CgroupRoot,
    nodes::{
        agent::{Agent, AgentOptions},
        message::{FromNode, ProcessSpec, ToNode},
    },
};
use teraslice_core::{
    backend::{
        BackendError,
        variables::{HOST, MASTER},
    },
    context::Context,
};
use teraslice_rpc::{ConnectError, Duplex, Peer, node::connect, secret::Secret};

use super::{
    identity::{self, IdentityError},
    process::Pauses,
    shutdown::Shutdown,
};
use crate::{
    assets::cache::NodeAssets,
    config::Config,
    parts::{Parts, chain},
};

/// The variable by which the master tells a node the word that bundles are fetched with.
pub(super) const BUNDLE_TOKEN: &str = "TERASLICE_BUNDLE_TOKEN";

/// The variable that keeps a node from making control groups, where they are somebody else's business.
const NO_CGROUPS: &str = "TERASLICE_NO_CGROUPS";

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This program, to be started again for controllers and workers.
    pub program: PathBuf,
    /// The arguments that come before the role.
    pub arguments: Vec<OsString>,
    /// Where job files are kept.
    pub run_directory: PathBuf,
    /// Where the output of processes goes; absent: where this process's own goes.
    pub logs: Option<PathBuf>,
}

/// Runs the processes of one node.
#[derive(Debug)]
pub struct Node {
    context: Context,
    agent: Agent,
    master: Peer,
    secret: Secret,
    node_id: String,
    shutdown_timeout: std::time::Duration,
}

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It has nothing to show to the master.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its assets folder cannot be used.
    #[error("failed to use the assets folder {path}", path = path.display())]
    Assets {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its processes cannot be listed or ended.
    #[error("failed to look after the processes of this node")]
    Processes(#[from] BackendError),
    /// The master does not want it.
    #[error("the master does not accept this node")]
    Refused(#[source] ConnectError),
}

impl Node {
    /// Takes up the processes that an earlier node of this name has left.
    ///
    /// # Errors
    ///
    /// See [`NodeError`].
    pub async fn open(parts: &Parts, options: NodeOptions, context: &Context) -> Result<Self, NodeError> {
        let config = parts.config();
        let machine = machine();
        let node_id = config.cluster.node_id.clone().unwrap_or_else(|| machine.clone());
        let secret = identity::node_secret(config, &node_id)?;
        let mut master = Peer::new(config.cluster.master_url());
        master.ca_pem = identity::trusted(config)?;
        let host = host(config);
        let mut agent =
            AgentOptions::new(&config.cluster.name, &node_id, config.cluster.slots, template(&options));
        agent.controller.arguments.push("controller".into());
        agent.worker.arguments.push("worker".into());
        agent.hostname = machine;
        if std::env::var_os(NO_CGROUPS).is_some() {
            agent.cgroups = CgroupRoot::Nowhere;
        }
        agent.host.clone_from(&host);
        agent.state_interval = config.cluster.node_state_interval;
        // The word comes with every process; the processes themselves have no business with it.
        let bundle_token = Arc::new(Mutex::new(None));
        agent.prepare = Some(prepare(parts, &master, Arc::clone(&bundle_token), context)?);
        let (url, vars) = (master.endpoint.clone(), config.env_vars.clone());
        agent.dress = Some(Arc::new(move |spec: &mut ProcessSpec| {
            if let Some(word) = spec.env.remove(BUNDLE_TOKEN) {
                *bundle_token.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
            }
            for (name, value) in &vars {
                spec.env.entry(name.clone()).or_insert_with(|| value.clone());
            }
            spec.env.insert(MASTER.to_owned(), url.clone());
            spec.env.insert(HOST.to_owned(), host.clone());
        }));
        let agent = Agent::open(agent, context.clone()).await?;
        let shutdown_timeout = config.shutdown_timeout;
        Ok(Self { context: context.clone(), agent, master, secret, node_id, shutdown_timeout })
    }

    /// Serves the master, through its restarts, until told to end.
    ///
    /// # Errors
    ///
    /// See [`NodeError`].
    pub async fn run(self, shutdown: &Shutdown) -> Result<(), NodeError> {
        tokio::select! {
            refused = self.serve() => return Err(refused),
            () = shutdown.asked() => {}
        }
        // The master is told of every end meanwhile.
        let stop = self.agent.stop(shutdown.how(), self.shutdown_timeout);
        tokio::select! {
            stopped = stop => Ok(stopped?),
            refused = self.serve() => Err(refused),
        }
    }

    /// Serves one connection after the other; returns only when the master will never want this node.
    async fn serve(&self) -> NodeError {
        let mut pauses = Pauses::new(self.context.clone());
        let mut is_told = false;
        loop {
            match connect::<ToNode, FromNode>(&self.master, &self.node_id, &self.secret, &self.context).await
            {
                Ok(Duplex { from, to }) => {
                    tracing::info!(node_id = self.node_id, master = self.master.endpoint, "node joined");
                    pauses.reset();
                    is_told = false;
                    self.agent.serve(from, to).await;
                    tracing::warn!(node_id = self.node_id, "connection to the master ended");
                }
                Err(
                    error @ (ConnectError::Secret
                    | ConnectError::Version { .. }
                    | ConnectError::Endpoint { .. }),
                ) => {
                    return NodeError::Refused(error);
                }
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::warn!(reason = chain(&error), "master not reached, trying again");
                }
                Err(_) => {}
            }
            pauses.wait().await;
        }
    }
}

fn template(options: &NodeOptions) -> ProcessTemplate {
    let mut template = ProcessTemplate::new(&options.program, &options.run_directory);
    template.arguments.clone_from(&options.arguments);
    match &options.logs {
        Some(folder) => template.output(Output::Files(folder.clone())),
        None => template,
    }
}

/// Fetches the assets of an execution and compiles them, before its first process starts.
fn prepare(
    parts: &Parts,
    master: &Peer,
    bundle_token: Arc<Mutex<Option<String>>>,
    context: &Context,
) -> Result<teraslice_backend_native::nodes::agent::Prepare, NodeError> {
    let assets = NodeAssets::from_master(parts, master, context)
        .map_err(|source| NodeError::Assets { path: parts.config().assets_folder(), source })?;
    Ok(Arc::new(move |spec: Arc<ProcessSpec>| {
        let assets = assets.clone();
        let token = bundle_token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            assets.ensure(&spec.assets, token.as_deref()).await.map_err(|error| chain(error.as_ref()))
        }
        .boxed()
    }))
}

/// Returns the name of this machine.
pub(super) fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns where others reach the processes of this machine.
pub(super) fn host(config: &Config) -> String {
    config.cluster.hostname.clone().unwrap_or_else(|| address(config))
}

/// Returns the address by which this machine reaches the master, which others reach it by.
fn address(config: &Config) -> String {
    let find = || {
        let master = (config.cluster.master_hostname.as_str(), config.cluster.port);
        let master: SocketAddr = master.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4)?;
        // Nothing is sent: the system only looks for the way.
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        socket.connect(master).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    find().unwrap_or_else(machine)
}
