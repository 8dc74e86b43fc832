//! What all calls of a store share.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use teraslice_core::{context::Context, store::StoreError};
use teraslice_model::id::ExId;
use tokio::sync::{OnceCell, watch};
use uuid::Uuid;

use super::{documents::Documents, index::Index, options::ElasticOptions, run::Run, settle::Role};

/// What all calls of a store share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) context: Context,
    pub(super) documents: Documents,
    /// Tells this store from others on the same indices.
    pub(super) id: Uuid,
    pub(super) append_interval: Duration,
    pub(super) settle_interval: Duration,
    /// The last number given out.
    last_number: AtomicU64,
    /// Held while an asset is looked for and stored.
    pub(super) publishing: tokio::sync::Mutex<()>,
    runs: Mutex<HashMap<ExId, Arc<Run>>>,
    /// Indices of periods that are known to be there.
    made: Mutex<HashSet<String>>,
    /// Whether what others have left unsettled has been looked for.
    leftovers: OnceCell<()>,
    /// True from the close on.
    pub(super) is_closing: watch::Sender<bool>,
}

impl Inner {
    pub(super) fn new(documents: Documents, options: &ElasticOptions, last_number: u64) -> Self {
        let id = options.context.random(|random| random.u128(..));
        Self {
            context: options.context.clone(),
            documents,
            id: uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid(),
            append_interval: options.append_interval,
            settle_interval: options.settle_interval,
            last_number: AtomicU64::new(last_number),
            publishing: tokio::sync::Mutex::default(),
            runs: Mutex::default(),
            made: Mutex::default(),
            leftovers: OnceCell::new(),
            is_closing: watch::Sender::new(false),
        }
    }

    /// Returns a number that is larger than all before: microseconds since 1970, or the next after the last.
    pub(super) fn number(&self) -> u64 {
        let wall = u64::try_from(self.context.wall().as_millis()).unwrap_or_default().saturating_mul(1_000);
        let larger = |last: u64| wall.max(last.saturating_add(1));
        let last = self.last_number.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| Some(larger(it)));
        larger(last.unwrap_or_else(|last| last))
    }

    pub(super) fn runs(&self) -> MutexGuard<'_, HashMap<ExId, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn made(&self) -> MutexGuard<'_, HashSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a ledger that only its task still holds. Returns whether it did.
    pub(super) fn forget(&self, run: &Arc<Run>) -> bool {
        let mut runs = self.runs();
        let is_unused = Arc::strong_count(run) == 2 && run.journal().waiting() == 0;
        if is_unused {
            runs.remove(&run.ex_id);
        }
        is_unused
    }

    /// Writes the records of everything that this store has appended, and of what others have left behind.
    pub(super) async fn settle_everything(&self) -> Result<(), StoreError> {
        self.leftovers.get_or_try_init(|| self.settle_leftovers()).await?;
        self.settle_own().await?;
        self.documents.refresh(Index::State).await
    }

    /// Writes the records of everything that this store has appended.
    pub(super) async fn settle_own(&self) -> Result<(), StoreError> {
        let runs: Vec<_> = self.runs().values().map(Arc::clone).collect();
        for run in runs {
            // Also where nothing waits: the task may be about to write what has been left over.
            if run.journal().is_of(self.id) {
                self.settle(&run, Role::Writer).await?;
            }
        }
        Ok(())
    }

    /// Writes the records of executions whose last writer has gone before it did.
    async fn settle_leftovers(&self) -> Result<(), StoreError> {
        self.documents.refresh_now(Index::Ledger).await?;
        let query = json!({"term": {"has_outcomes": true}});
        for id in self.documents.values(Index::Ledger, query, "ex_id").await? {
            let Ok(id) = id.parse() else { continue };
            match self.current(id).await {
                Ok(run) => self.settle(&run, Role::Reader).await?,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
