//! What the master serves to controllers, nodes and workers: part of its HTTP server, on the same port.

mod service;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use axum::Router;
use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::{
    context::Context,
    control::{ControlSession, Hello},
    store::StateStore,
};
use teraslice_model::id::ExId;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;

use crate::{
    duplex::{Duplex, Pulse},
    introduce::Introduce,
    peer::MESSAGE_SLACK,
    secret::ClusterKey,
    store::{Access, StoreService},
    wire::v1::{master_server::MasterServer, store_server::StoreServer},
};

/// Connections that wait for the master to take them.
const ACCEPTED_MAX: usize = 64;

/// Tells where the controller of an execution listens, now and later.
pub type Locate = Arc<dyn Fn(ExId) -> watch::Receiver<Option<Hello>> + Send + Sync>;

/// What the master serves with.
#[derive(Clone)]
pub struct MasterOptions {
    /// From which all secrets are derived.
    pub key: ClusterKey,
    /// The store that controllers reach through the master.
    pub store: Arc<dyn StateStore>,
    /// What they may do there (default: what concerns their own execution).
    pub access: Access,
    /// Tells workers where their controller listens.
    pub locate: Locate,
    /// Tells processes that show a token what they are for (default: nobody does).
    pub introduce: Option<Introduce>,
    /// How dead peers are noticed.
    pub pulse: Pulse,
    /// A new connection is refused when the master has not taken it after this (default 5 s).
    pub accept_max: Duration,
    /// The longest message, in bytes (default 64 MiB).
    pub message_len_max: usize,
    /// The largest flush of a ledger, in bytes (default 1 GiB): the refused records of all slices that ended within 10 ms.
    pub flush_len_max: usize,
}

impl MasterOptions {
    /// Returns the defaults.
    #[must_use]
    pub fn new(key: ClusterKey, store: Arc<dyn StateStore>, locate: Locate) -> Self {
        Self {
            key,
            store,
            access: Access::default(),
            locate,
            introduce: None,
            pulse: Pulse::default(),
            accept_max: Duration::from_secs(5),
            message_len_max: 64 << 20,
            flush_len_max: 1 << 30,
        }
    }
}

impl fmt::Debug for MasterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access, pulse, accept_max, .. } = self;
        f.debug_struct("MasterOptions")
            .field("access", access)
            .field("pulse", pulse)
            .field("accept_max", accept_max)
            .finish_non_exhaustive()
    }
}

/// Who has connected.
#[derive(Debug)]
pub struct Accepted<NodeIn, NodeOut> {
    /// Controllers, by execution.
    pub controllers: mpsc::Receiver<(ExId, ControlSession)>,
    /// Nodes, by name.
    pub nodes: mpsc::Receiver<(String, Duplex<NodeIn, NodeOut>)>,
}

/// Makes the routes, to be merged into the master's HTTP server, and where connections come out. What nodes say and are told
/// is up to the caller.
pub fn serve<NodeIn, NodeOut>(
    options: MasterOptions,
    context: &Context,
) -> (Router, Accepted<NodeIn, NodeOut>)
where
    NodeIn: DeserializeOwned + Send + 'static,
    NodeOut: Serialize + Send + 'static,
{
    let len_max = options.message_len_max.saturating_add(MESSAGE_SLACK);
    let (controllers, taken_controllers) = mpsc::channel(ACCEPTED_MAX);
    let (nodes, taken_nodes) = mpsc::channel(ACCEPTED_MAX);
    let store = StoreService::new(&options, context);
    let master = service::MasterService { options, context: context.clone(), controllers, nodes };
    let routes = Routes::new(
        MasterServer::new(master).max_decoding_message_size(len_max).max_encoding_message_size(len_max),
    )
    .add_service(
        StoreServer::new(store).max_decoding_message_size(len_max).max_encoding_message_size(len_max),
    );
    // Of two merged routers only one may say what happens to paths that neither knows.
    let router = routes.into_axum_router().reset_fallback();
    (router, Accepted { controllers: taken_controllers, nodes: taken_nodes })
}
