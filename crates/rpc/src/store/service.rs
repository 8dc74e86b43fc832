//! The master's side: takes calls and flushes, and hands them to the store.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, stream};
use teraslice_core::{
    context::Context,
    store::{StateStore, StoreError},
};
use teraslice_model::id::ExId;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    call::{self, Call, not_allowed},
    order::{self, Order, Try},
};
use crate::{
    master::MasterOptions,
    protocol,
    secret::ClusterKey,
    wire::{
        self, failure,
        v1::{AppendReply, FlushPart, Piece, StoreCall, piece::What, store_server::Store},
    },
};

/// Bytes of a piece of an answer.
const PIECE_LEN: usize = 256 << 10;
/// A flush has to have come whole after this.
const FLUSH_MAX: Duration = Duration::from_mins(1);

/// What controllers may do with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Change their own execution, and read those that they recover or replay.
    #[default]
    OwnExecution,
    /// Everything. For tests.
    Everything,
}

/// The service.
pub(crate) struct StoreService {
    key: ClusterKey,
    store: Arc<dyn StateStore>,
    access: Access,
    flush_len_max: usize,
    order: Order,
    context: Context,
}

impl StoreService {
    pub(crate) fn new(options: &MasterOptions, context: &Context) -> Self {
        Self {
            key: options.key.clone(),
            store: Arc::clone(&options.store),
            access: options.access,
            flush_len_max: options.flush_len_max,
            order: Order::default(),
            context: context.clone(),
        }
    }

    fn caller(&self, metadata: &MetadataMap) -> Result<ExId, Status> {
        protocol::check_version(metadata)?;
        let ex_id = protocol::ex_id(metadata)?;
        protocol::check_secret(metadata, &self.key.execution(ex_id))?;
        Ok(ex_id)
    }

    /// Writes a flush, unless it is late or another's.
    async fn write(&self, own: ExId, whole: FlushPart) -> Result<Result<(), StoreError>, Status> {
        let (client, number) = (whole.client, whole.number);
        let (id, writer, flush) = wire::flush(whole)?;
        if self.access == Access::OwnExecution && id != own {
            return Ok(Err(not_allowed(own)));
        }
        let mut last = self.order.of(id).lock_owned().await;
        if let Err(late) = order::check(&mut last, Try { writer, client, number }) {
            return Ok(Err(late));
        }
        // A task of its own: a caller that goes away must not leave a write behind that is neither done nor given up.
        let store = Arc::clone(&self.store);
        let writing = self.context.spawn(async move {
            let written = store.append(id, writer, flush).await;
            drop(last);
            written
        });
        writing.await.map_err(|error| Status::internal(error.to_string()))
    }
}

#[async_trait]
impl Store for StoreService {
    async fn append(&self, request: Request<Streaming<FlushPart>>) -> Result<Response<AppendReply>, Status> {
        let own = self.caller(request.metadata())?;
        let whole = timeout(FLUSH_MAX, gather(request.into_inner(), self.flush_len_max));
        let whole = whole.await.map_err(|_| Status::deadline_exceeded("the flush did not come whole"))??;
        let written = self.write(own, whole).await?;
        let failure = written.err().map_or_else(Bytes::new, failure::write);
        Ok(Response::new(AppendReply { failure }))
    }

    type CallStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn call(&self, request: Request<StoreCall>) -> Result<Response<Self::CallStream>, Status> {
        let own = self.caller(request.metadata())?;
        let unknown = |error| Status::unimplemented(format!("the call is not known: {error}"));
        let call: Call = serde_json::from_slice(&request.into_inner().call).map_err(unknown)?;
        let allowed = match self.access {
            Access::OwnExecution => call.check_controller(own),
            Access::Everything => Ok(()),
        };
        let answer = match allowed {
            Ok(()) => call::answer(&*self.store, call).await,
            Err(refused) => Err(refused),
        };
        Ok(Response::new(Box::pin(stream::iter(pieces(answer).map(Ok)))))
    }
}

/// Joins the parts of a flush.
async fn gather(mut parts: Streaming<FlushPart>, len_max: usize) -> Result<FlushPart, Status> {
    let cut_off = || Status::cancelled("the flush was cut off");
    let mut whole = parts.message().await?.ok_or_else(cut_off)?;
    let mut len = prost::Message::encoded_len(&whole);
    while !whole.is_last {
        let mut part = parts.message().await?.ok_or_else(cut_off)?;
        len += prost::Message::encoded_len(&part);
        if len > len_max {
            return Err(Status::out_of_range(format!("a flush is longer than {len_max} bytes")));
        }
        whole.slices.append(&mut part.slices);
        whole.checkpoints.append(&mut part.checkpoints);
        whole.dead_letters.append(&mut part.dead_letters);
        whole.is_last = part.is_last;
    }
    Ok(whole)
}

/// Cuts an answer into pieces; there is one at least.
fn pieces(answer: Result<Vec<u8>, StoreError>) -> impl Iterator<Item = Piece> {
    let (failure, mut rest) = match answer {
        Ok(answer) => (None, Some(Bytes::from(answer))),
        Err(error) => (Some(What::Failure(failure::write(error))), None),
    };
    let answers = std::iter::from_fn(move || {
        let mut left = rest.take()?;
        let piece = left.split_to(left.len().min(PIECE_LEN));
        rest = (!left.is_empty()).then_some(left);
        Some(What::Answer(piece))
    });
    failure.into_iter().chain(answers).map(|what| Piece { what: Some(what) })
}
