//! A store as seen from one place: slow, sometimes down, full or out of reach; an error may come before or after the write.

use std::{
    fmt,
    future::{self, Future},
    sync::Arc,
};

use async_trait::async_trait;
use teraslice_core::store::{
    Claim, ErrorQuery, ErrorRecord, ExecutionQuery, ExecutionUpdate, Flush, JobQuery, KeptLetter, Ledger,
    Letters, Page, SliceCounts, SliceRecord, StateStore, StatusChange, StoreError, Sums, Writer,
};
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    execution::{Execution, JobRecord},
    id::{Epoch, ExId, Generation, JobId},
    slice::SliceState,
};
use tokio_util::sync::CancellationToken;

use crate::{
    scenario::Sabotage,
    weather::{Answers, Place, Weather},
    witness::Witness,
};

/// Passes calls on to a real store, with faults, and shows a witness what was written. Cheap to clone.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn StateStore>,
    weather: Weather,
    witness: Witness,
    sabotage: Sabotage,
    /// Who calls.
    at: Place,
    /// Cancelled when the process that calls is dead: nothing more comes of it.
    life: CancellationToken,
}

impl FaultyStore {
    /// Wraps a store, as the master sees it.
    #[must_use]
    pub fn new(inner: Arc<dyn StateStore>, weather: Weather, witness: Witness, sabotage: Sabotage) -> Self {
        let life = CancellationToken::new();
        Self { inner, weather, witness, sabotage, at: Place::Master, life }
    }

    /// Returns the store as a process sees it that runs elsewhere, as long as it lives.
    #[must_use]
    pub fn seen_from(&self, at: Place, life: CancellationToken) -> Arc<dyn StateStore> {
        Arc::new(Self { at, life, ..self.clone() })
    }

    async fn pass(&self) -> Result<(), StoreError> {
        if self.life.is_cancelled() {
            return future::pending().await;
        }
        let weather = &self.weather;
        let is_open = weather.carry(self.at, Place::Store).await;
        match weather.answer(Weather::store).await {
            Answers::Full => return Err(StoreError::Broken { reason: "the disk is full".to_owned() }),
            Answers::Unavailable => {}
            _ if is_open && !weather.strikes(weather.faults().store_error) => return Ok(()),
            _ => {}
        }
        Err(StoreError::Unavailable { reason: "simulated".to_owned() })
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.pass().await?;
        let answer = call.await;
        if self.weather.strikes(self.weather.faults().deadly_write) {
            self.life.cancel();
        }
        self.pass().await?;
        answer
    }

    /// Returns the writer that a store without fencing would take anybody for.
    async fn writer(&self, id: ExId, writer: Writer) -> Result<Writer, StoreError> {
        if self.sabotage != Sabotage::FenceNobody {
            return Ok(writer);
        }
        let found = self.inner.execution(id).await?;
        Ok(found.map_or(writer, |it| Writer::of(&it)))
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
        let status = execution.status;
        self.call(async {
            let id = execution.ex_id;
            self.inner.create_execution(execution).await?;
            self.witness.created(id, status);
            Ok(())
        })
        .await
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
        self.call(async {
            let to = change.to;
            self.inner.set_status(id, change).await?;
            self.witness.moved(id, to, self.at);
            Ok(())
        })
        .await
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        self.call(async {
            let epoch = self.inner.begin_epoch(id, generation).await?;
            self.witness.began(id, Writer { generation, epoch }, self.at);
            Ok(epoch)
        })
        .await
    }

    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        self.call(async {
            let accepted = self.writer(id, writer).await?;
            self.inner.append(id, accepted, flush.clone()).await?;
            self.witness.appended(id, writer, &flush);
            Ok(())
        })
        .await
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
    use teraslice_core::{conformance, context::Context};
    use teraslice_store::MemoryStore;

    use super::*;
    use crate::{
        faults::Faults,
        trace::{Keep, Trace},
    };

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_a_state_store_however_slow_it_is() {
        conformance::store::run(async || {
            let context = Context::simulated(1);
            let weather = Weather::new(context.clone(), Faults::none());
            weather.set_store(Answers::Slowly);
            let witness = Witness::new(Trace::new(context.clone(), Keep::Hash));
            let inner = Arc::new(MemoryStore::new(context));
            let store: Arc<dyn StateStore> =
                Arc::new(FaultyStore::new(inner, weather, witness, Sabotage::None));
            store
        })
        .await;
    }
}
