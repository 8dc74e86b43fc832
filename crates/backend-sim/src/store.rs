//! A store that is slow and sometimes answers with an error, before or after it has written.

use std::{fmt, future::Future, sync::Arc};

use async_trait::async_trait;
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
use tokio::time::{Instant, sleep};

use crate::faults::Faults;

/// Passes calls on to a real store, with faults.
pub struct FaultyStore {
    inner: Arc<dyn StateStore>,
    context: Context,
    faults: Faults,
    start: Instant,
}

impl FaultyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn StateStore>, context: Context, faults: Faults) -> Self {
        let start = context.now();
        Self { inner, context, faults, start }
    }

    fn strike(&self) -> Result<(), StoreError> {
        let since_start = self.context.now().duration_since(self.start);
        if self.faults.strike(&self.context, since_start, self.faults.store_error) {
            return Err(StoreError::Unavailable { reason: "simulated".to_owned() });
        }
        Ok(())
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        sleep(self.faults.delay(&self.context)).await;
        self.strike()?;
        let answer = call.await;
        sleep(self.faults.delay(&self.context)).await;
        self.strike()?;
        answer
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for FaultyStore {
    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError> {
        self.call(self.inner.put_job(job)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.call(self.inner.job(id)).await
    }

    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError> {
        self.call(self.inner.create_execution(execution)).await
    }

    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        self.call(self.inner.execution(id)).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        self.call(self.inner.jobs(query)).await
    }

    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        self.call(self.inner.executions(query)).await
    }

    async fn sums(&self) -> Result<Sums, StoreError> {
        self.call(self.inner.sums()).await
    }

    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError> {
        self.call(self.inner.update_execution(id, update)).await
    }

    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError> {
        self.call(self.inner.set_status(id, change)).await
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        self.call(self.inner.begin_epoch(id, generation)).await
    }

    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        self.call(self.inner.append(id, writer, flush)).await
    }

    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        self.call(self.inner.ledger(id)).await
    }

    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError> {
        self.call(self.inner.slices(id, state, page)).await
    }

    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        self.call(self.inner.errors(query)).await
    }

    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        self.call(self.inner.slice_counts(id)).await
    }

    async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        self.call(self.inner.dead_letters(id, which, page)).await
    }

    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError> {
        self.call(self.inner.claim_dead_letters(id, claim)).await
    }

    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError> {
        self.call(self.inner.create_asset(asset)).await
    }

    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        self.call(self.inner.assets()).await
    }

    async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        self.call(self.inner.delete_asset(id)).await
    }

    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.call(self.inner.create_token(token)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.call(self.inner.tokens()).await
    }

    async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        self.call(self.inner.delete_token(name)).await
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.call(self.inner.note(entry)).await
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        self.call(self.inner.audit(page)).await
    }
}

#[cfg(test)]
mod tests {
    use teraslice_core::conformance;
    use teraslice_store::MemoryStore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_a_state_store_however_slow_it_is() {
        conformance::store::run(async || {
            let context = Context::simulated(1);
            let inner = Arc::new(MemoryStore::new(context.clone()));
            let store: Arc<dyn StateStore> = Arc::new(FaultyStore::new(inner, context, Faults::none()));
            store
        })
        .await;
    }
}
