//! A controller's side: the master's state store.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use prost::Message;
use serde::de::DeserializeOwned;
use teraslice_core::{
    context::Context,
    store::{
        Claim, ErrorQuery, ErrorRecord, ExecutionQuery, ExecutionUpdate, Flush, JobQuery, KeptLetter, Ledger,
        Letters, Page, SliceCounts, SliceRecord, StateStore, StatusChange, StoreError, Sums, Writer,
    },
};
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    execution::{Execution, JobRecord},
    id::{Epoch, ExId, Generation, JobId},
    slice::SliceState,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status, metadata::MetadataMap, transport::Channel};

use super::call::Call;
use crate::{
    peer::{ConnectError, MESSAGE_SLACK, Peer},
    protocol,
    secret::Secret,
    wire::{self, Malformed, failure, v1},
};

/// About the size of a part of a flush.
const PART_LEN: usize = 1 << 20;
/// The first pause before a call is repeated; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The numbers a remote store goes by.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// A call has to be answered after this (default 30 s).
    pub call_max: Duration,
    /// A call that may be made twice is repeated for this long while the master cannot be reached (default 30 s).
    pub repeat_max: Duration,
    /// The longest answer, in bytes (default 1 GiB).
    pub answer_len_max: usize,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            call_max: Duration::from_secs(30),
            repeat_max: Duration::from_secs(30),
            answer_len_max: 1 << 30,
        }
    }
}

/// The state store behind the master, for the controller of one execution.
///
/// It connects when it is used, and again whenever the connection is lost. What the master's store refuses comes back as it
/// was; that the master cannot be reached is [`StoreError::Unavailable`]; that it refuses this process is
/// [`StoreError::Broken`]. What may be made twice is repeated for a while before it fails so. [`append`](StateStore::append) is
/// not: its caller has the flush, and may send it again, as a flush that is written twice is written once.
pub struct RemoteStore {
    client: v1::store_client::StoreClient<Channel>,
    metadata: MetadataMap,
    options: RemoteOptions,
    context: Context,
    /// Tells the flushes of this store from those of others.
    number_of_client: u64,
    appends: AtomicU64,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// Makes a store for the controller of an execution. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn new(
        peer: &Peer,
        ex_id: ExId,
        secret: &Secret,
        options: RemoteOptions,
        context: &Context,
    ) -> Result<Self, ConnectError> {
        let len_max = peer.message_len_max.saturating_add(MESSAGE_SLACK);
        let client = v1::store_client::StoreClient::new(peer.channel()?)
            .max_decoding_message_size(len_max)
            .max_encoding_message_size(len_max);
        Ok(Self {
            client,
            metadata: protocol::metadata(secret, &[(protocol::EXECUTION, &ex_id.to_string())])?,
            options,
            context: context.clone(),
            number_of_client: context.random(|random| random.u64(..)),
            appends: AtomicU64::new(0),
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().clone_from(&self.metadata);
        request
    }

    /// Makes a call whose answer is JSON.
    async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, StoreError> {
        let answer = self.call(call).await?;
        serde_json::from_slice(&answer).map_err(|error| not_understood(&error))
    }

    /// Makes a call whose answer is a list.
    async fn list<M, T>(&self, call: Call) -> Result<T, StoreError>
    where
        M: Message + Default,
        T: TryFrom<M, Error = Malformed>,
    {
        let answer = self.call(call).await?;
        let list = M::decode(answer.as_slice()).map_err(|error| not_understood(&error))?;
        list.try_into().map_err(|error| not_understood(&error))
    }

    /// Makes a call; if it may be made twice, until it is answered.
    async fn call(&self, call: Call) -> Result<Vec<u8>, StoreError> {
        let failed = |error| StoreError::Broken { reason: format!("a call cannot be written: {error}") };
        let message = Bytes::from(serde_json::to_vec(&call).map_err(failed)?);
        let give_up = self.context.now() + self.options.repeat_max;
        let mut pause = PAUSE_MIN;
        loop {
            match self.call_once(message.clone()).await {
                Err(StoreError::Unavailable { reason })
                    if call.is_repeatable() && self.context.now() < give_up =>
                {
                    tracing::warn!(reason, "state store not available, trying again");
                    sleep(self.context.jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                other => return other,
            }
        }
    }

    async fn call_once(&self, call: Bytes) -> Result<Vec<u8>, StoreError> {
        let mut client = self.client.clone();
        let answering = async {
            let mut pieces = client.call(self.request(v1::StoreCall { call })).await?.into_inner();
            let mut answer = Vec::new();
            while let Some(piece) = pieces.message().await? {
                match piece.what {
                    Some(v1::piece::What::Answer(piece)) => answer.extend_from_slice(&piece),
                    Some(v1::piece::What::Failure(json)) => return Ok(Err(failure::read(&json))),
                    None => {}
                }
                if answer.len() > self.options.answer_len_max {
                    return Err(Status::out_of_range("the answer is too long"));
                }
            }
            Ok(Ok(answer))
        };
        self.in_time(answering).await
    }

    async fn in_time<T>(
        &self,
        answering: impl Future<Output = Result<Result<T, StoreError>, Status>>,
    ) -> Result<T, StoreError> {
        match timeout(self.options.call_max, answering).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => Err(not_answered(&status)),
            Err(_) => Err(StoreError::Unavailable { reason: "the master does not answer".to_owned() }),
        }
    }
}

/// Returns what a call that the store has not seen, or not answered, means to the caller.
fn not_answered(status: &Status) -> StoreError {
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented => {
            StoreError::Broken { reason: format!("the master refuses: {}", status.message()) }
        }
        code => StoreError::Unavailable {
            reason: format!("the master cannot be reached: {code}: {}", status.message()),
        },
    }
}

fn not_understood(error: &dyn std::error::Error) -> StoreError {
    StoreError::Broken { reason: format!("the master's answer cannot be read: {error}") }
}

#[async_trait]
impl StateStore for RemoteStore {
    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        let mut parts = wire::flush_parts(id, writer, flush, PART_LEN);
        if let Some(first) = parts.first_mut() {
            first.client = self.number_of_client;
            first.number = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        }
        let mut client = self.client.clone();
        let answering = async {
            let reply = client.append(self.request(stream::iter(parts))).await?.into_inner();
            Ok(if reply.failure.is_empty() { Ok(()) } else { Err(failure::read(&reply.failure)) })
        };
        self.in_time(answering).await
    }

    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError> {
        self.json(Call::PutJob(job)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.json(Call::Job(id)).await
    }

    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError> {
        self.json(Call::CreateExecution(Box::new(execution))).await
    }

    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        self.json(Call::Execution(id)).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        self.json(Call::Jobs(query)).await
    }

    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        self.json(Call::Executions(query)).await
    }

    async fn sums(&self) -> Result<Sums, StoreError> {
        self.json(Call::Sums).await
    }

    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError> {
        self.json(Call::UpdateExecution { id, update: Box::new(update) }).await
    }

    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError> {
        self.json(Call::SetStatus { id, change: Box::new(change) }).await
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        self.json(Call::BeginEpoch { id, generation }).await
    }

    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        self.list::<v1::Ledger, _>(Call::Ledger(id)).await
    }

    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError> {
        self.list::<v1::SliceList, _>(Call::Slices { id, state, page }).await
    }

    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        self.list::<v1::ErrorList, _>(Call::Errors(query)).await
    }

    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        self.json(Call::SliceCounts(id)).await
    }

    async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        self.list::<v1::LetterList, _>(Call::DeadLetters { id, which: which.into(), page }).await
    }

    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError> {
        let Claim { numbers, from, by } = claim;
        self.json(Call::ClaimDeadLetters { id, numbers, from, by }).await
    }

    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError> {
        self.json(Call::CreateAsset(asset)).await
    }

    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        self.json(Call::Assets).await
    }

    async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        self.json(Call::DeleteAsset(id.to_owned())).await
    }

    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.json(Call::CreateToken(token)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.json(Call::Tokens).await
    }

    async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        self.json(Call::DeleteToken(name.to_owned())).await
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.json(Call::Note(entry)).await
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        self.json(Call::Audit(page)).await
    }
}
