//! A store on Elasticsearch (7.8 to 9) or OpenSearch (1 to 3), in the indices and records of the original.
//!
//! ```text
//! append -> <name>__ledger, one document each: the journal -> settled once a second -> <name>__state-YYYY.MM
//!                                                                                  -> <name>__dead_letters
//! ```

mod access;
mod asset;
mod documents;
mod entry;
mod error;
mod execution;
mod index;
mod inner;
mod journal;
mod letter;
mod list;
mod open;
mod options;
mod record;
mod run;
mod settle;
mod state;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use teraslice_core::store::{
    Claim, ErrorQuery, ErrorRecord, ExecutionQuery, ExecutionUpdate, Flush, JobQuery, KeptLetter, Ledger,
    Letters, Page, SliceCounts, SliceRecord, StateStore, StatusChange, StoreError, Sums, Writer,
};
use teraslice_elastic::Client;
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    execution::{Execution, JobRecord},
    id::{Epoch, ExId, Generation, JobId},
    slice::SliceState,
};

pub use options::{ElasticOptions, Indices, Rollover, Shards};

use crate::rules;
use inner::Inner;

/// Keeps everything in indices whose names begin with that of the cluster.
///
/// # Guarantees
///
/// - Those of [`StateStore`], also for several stores on the same indices: one that writes to a ledger is noticed by all
///   that did before it. What a confirmed write survives is up to the server (`index.translog.durability`, replicas).
/// - Everything that the original has written can be read, and the original can read what is written here.
/// - Lists show everything that this store has confirmed, and what others have as soon as the server shows it.
/// - Of two assets of one name and version that two processes publish at the same time both may get in.
///
/// # Assumptions
///
/// Nobody deletes documents of `<name>__ledger`. An index that is deleted is made again; what it held is lost.
pub struct ElasticStore {
    inner: Arc<Inner>,
}

impl ElasticStore {
    /// Opens the store of a cluster name: makes the indices that are missing, and templates for all of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the server does not answer, [`StoreError::Broken`] when it is too old, refuses, or
    /// the name cannot begin that of an index.
    pub async fn open(client: Client, options: &ElasticOptions) -> Result<Self, StoreError> {
        let (documents, last_number) = open::open(client, options).await?;
        Ok(Self { inner: Arc::new(Inner::new(documents, options, last_number)) })
    }

    /// Writes the records of all finished slices and ends the store's tasks. What is confirmed is safe without it; the
    /// records then follow as soon as somebody asks for them.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.is_closing.send_replace(true);
        self.inner.settle_own().await
    }
}

impl fmt::Debug for ElasticStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElasticStore").field("client", &self.inner.documents.client).finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for ElasticStore {
    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError> {
        self.inner.put_job(&job).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.inner.job(id).await
    }

    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError> {
        self.inner.create_execution(&execution).await
    }

    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        self.inner.execution(id).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        self.inner.jobs(&query).await
    }

    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        self.inner.executions(&query).await
    }

    async fn sums(&self) -> Result<Sums, StoreError> {
        self.inner.sums().await
    }

    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError> {
        let now = self.inner.context.wall();
        let alter = |execution: &mut Execution| {
            rules::update(execution, update.clone(), now);
            Ok(execution.clone())
        };
        self.inner.change(id, alter).await
    }

    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError> {
        let now = self.inner.context.wall();
        let alter = |execution: &mut Execution| {
            rules::check_status(id, execution.status, Writer::of(execution), &change)?;
            execution.status = change.to;
            execution.updated = now;
            if change.failure.is_some() {
                execution.failure.clone_from(&change.failure);
            }
            if let Some(stats) = &change.stats {
                execution.stats = stats.clone();
            }
            Ok(())
        };
        self.inner.change(id, alter).await
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        self.inner.begin_epoch(id, generation).await
    }

    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        self.inner.append(id, writer, &flush).await
    }

    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        self.inner.ledger(id).await
    }

    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError> {
        self.inner.slices(id, state, page).await
    }

    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        self.inner.errors(&query).await
    }

    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        self.inner.slice_counts(id).await
    }

    async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        self.inner.dead_letters(id, which, page).await
    }

    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError> {
        self.inner.claim_dead_letters(id, &claim).await
    }

    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError> {
        self.inner.create_asset(&asset).await
    }

    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        self.inner.assets().await
    }

    async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        self.inner.delete_asset(id).await
    }

    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.inner.create_token(&token).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.inner.tokens().await
    }

    async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete_token(name).await
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.inner.note(&entry).await
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.audit(page).await
    }
}

#[cfg(test)]
mod tests;
