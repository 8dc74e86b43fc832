//! Takes the connections of controllers and nodes, and tells workers where controllers are.

use std::pin::Pin;

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use teraslice_core::{
    context::Context,
    control::{ControlSession, Hello},
};
use teraslice_model::id::ExId;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::MasterOptions;
use crate::{
    duplex::{self, Duplex},
    introduce::Stranger,
    protocol,
    wire::v1::{Envelope, IntroduceRequest, Located, WatchRequest, master_server::Master},
};

/// The service.
pub(super) struct MasterService<NodeIn, NodeOut> {
    pub(super) options: MasterOptions,
    pub(super) context: Context,
    pub(super) controllers: mpsc::Sender<(ExId, ControlSession)>,
    pub(super) nodes: mpsc::Sender<(String, Duplex<NodeIn, NodeOut>)>,
}

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl<NodeIn, NodeOut> MasterService<NodeIn, NodeOut> {
    fn execution(&self, metadata: &MetadataMap) -> Result<ExId, Status> {
        protocol::check_version(metadata)?;
        let ex_id = protocol::ex_id(metadata)?;
        protocol::check_secret(metadata, &self.options.key.execution(ex_id))?;
        Ok(ex_id)
    }

    fn node(&self, metadata: &MetadataMap) -> Result<String, Status> {
        protocol::check_version(metadata)?;
        let name = protocol::text(metadata, protocol::NODE)?;
        protocol::check_secret(metadata, &self.options.key.node(name))?;
        Ok(name.to_owned())
    }

    /// Starts a connection; returns the master's end and the stream to the peer.
    fn connection<In, Out>(&self, incoming: Streaming<Envelope>) -> (Duplex<In, Out>, Outgoing<Envelope>)
    where
        In: DeserializeOwned + Send + 'static,
        Out: Serialize + Send + 'static,
    {
        let pulse = self.options.pulse;
        let (arrived, from) = mpsc::channel(duplex::WAITING_MAX);
        let (to, messages) = mpsc::channel(duplex::WAITING_MAX);
        let ends = CancellationToken::new();
        let outgoing = duplex::outgoing(messages, pulse, ends.clone());
        drop(self.context.spawn(duplex::read(incoming, arrived, pulse.silence_max, ends)));
        (Duplex { from, to }, Box::pin(outgoing.map(Ok)))
    }

    /// Hands a connection over to the master.
    async fn hand_over<T: Send>(&self, taken: &mpsc::Sender<T>, connection: T) -> Result<(), Status> {
        match timeout(self.options.accept_max, taken.send(connection)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the master is leaving")),
            Err(_) => Err(Status::unavailable("the master is too busy")),
        }
    }
}

#[async_trait]
impl<NodeIn, NodeOut> Master for MasterService<NodeIn, NodeOut>
where
    NodeIn: DeserializeOwned + Send + 'static,
    NodeOut: Serialize + Send + 'static,
{
    type ControlStream = Outgoing<Envelope>;
    type NodeStream = Outgoing<Envelope>;
    type WatchControllerStream = Outgoing<Located>;

    async fn control(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Outgoing<Envelope>>, Status> {
        let ex_id = self.execution(request.metadata()).inspect_err(refused)?;
        let (Duplex { from, to }, outgoing) = self.connection(request.into_inner());
        self.hand_over(&self.controllers, (ex_id, ControlSession { from, to })).await?;
        Ok(protocol::accept(outgoing))
    }

    async fn node(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Outgoing<Envelope>>, Status> {
        let name = Self::node(self, request.metadata()).inspect_err(refused)?;
        let (connection, outgoing) = self.connection(request.into_inner());
        self.hand_over(&self.nodes, (name, connection)).await?;
        Ok(protocol::accept(outgoing))
    }

    async fn watch_controller(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Outgoing<Located>>, Status> {
        let ex_id = self.execution(request.metadata()).inspect_err(refused)?;
        let mut known = (self.options.locate)(ex_id);
        // What is known now comes first.
        known.mark_changed();
        let located = stream::unfold(known, async |mut known| {
            loop {
                known.changed().await.ok()?;
                let hello = known.borrow_and_update().clone();
                if let Some(hello) = hello {
                    return Some((Ok(located(hello)), known));
                }
            }
        });
        Ok(protocol::accept(Box::pin(located)))
    }

    async fn introduce(&self, request: Request<IntroduceRequest>) -> Result<Response<Envelope>, Status> {
        protocol::check_version(request.metadata())?;
        let Some(introduce) = &self.options.introduce else {
            return Err(Status::permission_denied("this cluster has no tokens for its processes"));
        };
        let token = protocol::word(request.metadata()).unwrap_or_default().to_owned();
        let introduced = introduce(token).await.map_err(|stranger| {
            tracing::warn!(reason = %stranger, "process not introduced");
            match stranger {
                Stranger::Unknown { .. } => Status::permission_denied(stranger.to_string()),
                Stranger::Unavailable { .. } => Status::unavailable(stranger.to_string()),
            }
        })?;
        let json = serde_json::to_vec(&introduced).map_err(|error| Status::internal(error.to_string()))?;
        Ok(protocol::accept(Envelope { json: json.into() }))
    }
}

fn refused(status: &Status) {
    tracing::warn!(reason = status.message(), "call refused");
}

fn located(hello: Hello) -> Located {
    Located {
        generation: hello.generation.0,
        epoch: hello.epoch.0,
        host: hello.host,
        port: hello.port.into(),
        log_level: hello.log_level,
    }
}
