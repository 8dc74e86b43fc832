//! The engine over the backend that the configuration names, and what else depends on that choice.

use std::{path::Path, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use teraslice_backend_k8s::{Client, Kubernetes, KubernetesSettings, TokenVerifier};
use teraslice_backend_native::nodes::{Nodes, NodesOptions, message::ProcessSpec};
use teraslice_backend_plugin::{PluginBackend, PluginOptions};
use teraslice_core::{
    backend::ClusterBackend,
    context::Context,
    engine::{Engine, EngineError, EngineHandle, EngineOptions},
    store::StateStore,
};
use teraslice_rpc::introduce::{Introduce, Introduction, Stranger};

use super::{
    dress::Dress,
    nodes::NodesOfMaster,
    plugin::{PluginIntroducer, PluginOfMaster},
    pods::PodsOfMaster,
};
use crate::config::Config;

/// An engine that is ready to run, and what belongs to its backend.
pub(super) struct Engaged {
    pub(super) engine: EngineHandle,
    pub(super) running: BoxFuture<'static, Result<(), EngineError>>,
    /// Shows where things run.
    pub(super) view: Arc<dyn teraslice_server::nodes::Nodes>,
    /// Takes the connections of nodes; none where there are no nodes.
    pub(super) nodes: Option<Nodes>,
    /// Tells processes that show a token what they are for; none where they are started with a secret.
    pub(super) introduce: Option<Introduce>,
}

/// Runs controllers and workers on our own nodes.
pub(super) fn on_nodes(
    config: &Config,
    state_directory: &Path,
    has_node: bool,
    dress: Dress,
    options: EngineOptions,
    store: Arc<dyn StateStore>,
    context: &Context,
) -> Engaged {
    let nodes = Nodes::new(
        NodesOptions {
            node_disconnect_timeout: config.cluster.node_disconnect_timeout,
            silence_max: config.cluster.node_state_interval * 4,
            drain_grace: config.shutdown_timeout,
            memory: Some(state_directory.join("nodes.json")),
            dress: Some(Arc::new(move |spec: &mut ProcessSpec| dress.put_on(spec))),
        },
        context.clone(),
    );
    let (engine, running) = engine(options, context, store, nodes.handle());
    let view = Arc::new(NodesOfMaster::new(nodes.handle(), has_node));
    Engaged { engine, running, view, nodes: Some(nodes), introduce: None }
}

/// Runs controllers and workers as pods.
pub(super) fn on_kubernetes(
    settings: KubernetesSettings,
    client: Client,
    dress: Dress,
    options: EngineOptions,
    store: Arc<dyn StateStore>,
    context: &Context,
) -> Engaged {
    let settings = KubernetesSettings { authority: dress.authority_pem(), ..settings };
    let pods = Kubernetes::new(settings, client, context.clone());
    let (engine, running) = engine(options, context, Arc::clone(&store), pods.handle());
    let view = Arc::new(PodsOfMaster::new(pods.handle()));
    let introducer = Arc::new(Introducer { tokens: pods.tokens(), pods, dress, store });
    let introduce: Introduce = Arc::new(move |token| {
        let introducer = Arc::clone(&introducer);
        async move { introducer.introduce(&token).await }.boxed()
    });
    Engaged { engine, running, view, nodes: None, introduce: Some(introduce) }
}

/// Runs controllers and workers by a backend of a third party.
pub(super) fn on_plugin(
    plugin: PluginOptions,
    dress: Dress,
    options: EngineOptions,
    store: Arc<dyn StateStore>,
    context: &Context,
) -> Engaged {
    let plugin = PluginBackend::new(plugin, context.clone());
    let (engine, running) = engine(options, context, Arc::clone(&store), plugin.handle());
    let view = Arc::new(PluginOfMaster(plugin.handle()));
    let introducer = Arc::new(PluginIntroducer { dress, store });
    let introduce: Introduce = Arc::new(move |token| {
        let introducer = Arc::clone(&introducer);
        async move { introducer.introduce(&token).await }.boxed()
    });
    Engaged { engine, running, view, nodes: None, introduce: Some(introduce) }
}

fn engine<B: ClusterBackend>(
    options: EngineOptions,
    context: &Context,
    store: Arc<dyn StateStore>,
    backend: B,
) -> (EngineHandle, BoxFuture<'static, Result<(), EngineError>>) {
    let (engine, handle) = Engine::new(options, context.clone(), store, Arc::new(backend));
    (handle, engine.run().boxed())
}

/// Tells pods what they are for.
struct Introducer {
    pods: Kubernetes,
    tokens: TokenVerifier,
    dress: Dress,
    store: Arc<dyn StateStore>,
}

impl Introducer {
    async fn introduce(&self, token: &str) -> Result<Introduction, Stranger> {
        let unknown = |reason: String| Stranger::Unknown { reason };
        let unavailable = |reason: String| Stranger::Unavailable { reason };
        let pod = self.tokens.verify(token).await.map_err(|error| match error.is_passing() {
            true => unavailable(crate::parts::chain(&error)),
            false => unknown(crate::parts::chain(&error)),
        })?;
        let purpose = self.pods.purpose_of(&pod.name, &pod.uid).await;
        let purpose = purpose.map_err(|error| unavailable(error.to_string()))?;
        let purpose = purpose.ok_or_else(|| unknown(format!("pod {} works for no execution", pod.name)))?;
        let introduction = self.dress.introduce(self.store.as_ref(), purpose.ex_id, purpose.role).await?;
        tracing::debug!(pod = pod.name, ex_id = %purpose.ex_id, "pod introduced");
        Ok(introduction)
    }
}
