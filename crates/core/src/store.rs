//! The state store: jobs, executions, the ledger of slices, dead letters, assets, access.

mod query;

pub use query::{ErrorQuery, ErrorRecord, ExecutionQuery, ExecutionUpdate, JobQuery, Page, Sort, Sums};

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    checkpoint::Checkpoint,
    counts::Counts,
    dead_letter::DeadLetter,
    execution::{Execution, JobRecord, Stats},
    id::{Epoch, ExId, Generation, JobId},
    slice::{Slice, SliceState},
    status::Status,
};

/// Keeps what must outlive a process.
///
/// # Guarantees
///
/// - What an `async fn` has confirmed survives the end of the process (and, where the store is set so, of the machine).
/// - [`append`](Self::append) is one transaction: all of a flush, or nothing.
/// - A writer with a lower `(generation, epoch)` than the execution's is refused with [`StoreError::Fenced`] and changes nothing.
/// - [`set_status`](Self::set_status) is a compare-and-set: of two that expect the same status one wins.
/// - Lists are in the order of creation (slices: by slicer and order), so that paging by offset neither skips nor repeats
///   what did not change.
///
/// # Cancel safety
///
/// Dropping a future leaves the write either done or not done, never half.
#[async_trait]
pub trait StateStore: Send + Sync + fmt::Debug + 'static {
    /// Stores a job, or replaces it.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError>;

    /// Returns a job.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// Stores a new execution.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the id is taken.
    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError>;

    /// Returns an execution.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError>;

    /// Lists jobs.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError>;

    /// Lists executions.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError>;

    /// Adds up the statistics that are stored with all executions, deleted ones included.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn sums(&self) -> Result<Sums, StoreError>;

    /// Changes what is neither status nor ledger of an execution; returns what it is now.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError>;

    /// Changes the status of an execution if it is still the expected one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] when a later controller than the change's has begun, [`StoreError::Conflict`] when it is another
    /// status, [`StoreError::IllegalMove`] when the status table refuses, [`StoreError::NotFound`].
    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError>;

    /// Starts a controller process: raises the epoch of the execution and fences all earlier ones.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] when the generation is not the execution's, [`StoreError::NotFound`].
    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError>;

    /// Writes one flush of the ledger.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] when a later controller has begun, [`StoreError::NotFound`].
    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError>;

    /// Returns what a controller starts from.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such execution.
    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError>;

    /// Lists slices in one state.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such execution.
    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError>;

    /// Lists slices that were given up.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError>;

    /// Counts the slices of an execution.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such execution.
    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError>;

    /// Lists dead letters of an execution, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such execution.
    async fn dead_letters(&self, id: ExId, which: Letters, page: Page)
    -> Result<Vec<KeptLetter>, StoreError>;

    /// Hands dead letters over to the execution that replays them; of two that want the same one gets it. Returns how many
    /// letters it was given.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such execution.
    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError>;

    /// Stores a new asset.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when there is one with that id, or with that name, version, `node_version`, platform and arch.
    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError>;

    /// Lists all assets, the newest first.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError>;

    /// Removes an asset.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    async fn delete_asset(&self, id: &str) -> Result<(), StoreError>;

    /// Stores a new token.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when its name is taken.
    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError>;

    /// Lists all tokens, by name.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;

    /// Removes a token.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    async fn delete_token(&self, name: &str) -> Result<(), StoreError>;

    /// Takes down a change that somebody made.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Lists the changes that were made, the newest first.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError>;
}

/// Slices that are read at once.
const SLICES_LEN: u64 = 5_000;

/// Returns all slices of an execution in one state.
///
/// # Errors
///
/// [`StoreError::NotFound`] when there is no such execution.
pub async fn all_slices(
    store: &dyn StateStore,
    id: ExId,
    state: SliceState,
) -> Result<Vec<SliceRecord>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = Page { from: all.len() as u64, size: SLICES_LEN };
        let found = store.slices(id, state, page).await?;
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found);
    }
}

/// Which dead letters are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// All.
    All,
    /// Those that no execution replays.
    Open,
    /// Those that an execution replays.
    ReplayedIn(ExId),
}

/// A dead letter as the store keeps it. None is ever removed but by its own slice, completed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLetter {
    /// Names it within the execution; ascending.
    pub number: u64,
    /// The execution that replays it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_in: Option<ExId>,
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
}

/// Dead letters that an execution takes to replay them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Their numbers; those that are not as `from` says are left alone.
    pub numbers: Vec<u64>,
    /// The execution that replays them now; absent: none does.
    pub from: Option<ExId>,
    /// The execution that takes them.
    pub by: ExId,
}

/// A wanted change of status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The status it has.
    pub from: Status,
    /// The status it shall have.
    pub to: Status,
    /// Why it failed, if so; absent: what is stored stays.
    pub failure: Option<String>,
    /// The statistics to store with it; absent: what is stored stays.
    pub stats: Option<Stats>,
    /// The controller that changes it, which is refused once a later one has begun; absent: whoever stands above controllers.
    #[serde(default)]
    pub writer: Option<Writer>,
}

impl StatusChange {
    /// Returns a change of the status alone, by no controller.
    #[must_use]
    pub const fn new(from: Status, to: Status) -> Self {
        Self { from, to, failure: None, stats: None, writer: None }
    }
}

/// Who writes to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Writer {
    /// The controller object.
    pub generation: Generation,
    /// The controller process.
    pub epoch: Epoch,
}

impl Writer {
    /// Returns the writer that an execution has now.
    #[must_use]
    pub const fn of(execution: &Execution) -> Self {
        Self { generation: execution.generation, epoch: execution.epoch }
    }
}

/// What one transaction writes to the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flush {
    /// Slices that are new or whose state changed, each once.
    pub slices: Vec<SliceRecord>,
    /// Checkpoints that moved.
    pub checkpoints: Vec<Checkpoint>,
    /// Dead letters of the completed slices among `slices`. A slice that completes again replaces its own.
    pub dead_letters: Vec<DeadLetter>,
    /// Totals over all completed slices so far, this flush included.
    pub totals: Totals,
}

/// A slice as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// The slice.
    #[serde(flatten)]
    pub slice: Slice,
    /// Where it stands.
    pub state: SliceState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// Tries beyond the first in the worker that finished it.
    #[serde(default)]
    pub retry_count: u32,
    /// Workers that were lost while they held it.
    #[serde(default)]
    pub deaths: u32,
}

/// Totals over the finished slices of an execution; they go with the outcomes into one write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Slices completed.
    pub completed: u64,
    /// Slices given up.
    pub failed: u64,
    /// Record counts per operation over the completed slices.
    pub operations: Vec<Counts>,
}

/// What a controller starts from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Where each slicer stands.
    pub checkpoints: Vec<Checkpoint>,
    /// Slices that are not finished, by slicer and order.
    pub unfinished: Vec<SliceRecord>,
    /// Totals over the finished ones.
    pub totals: Totals,
}

/// How many slices are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceCounts {
    /// Made, not finished.
    pub pending: u64,
    /// Finished well.
    pub completed: u64,
    /// Given up.
    pub error: u64,
}

/// A failure of the store, split by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A later controller writes; this one has to end (exit code 76).
    #[error("execution {ex_id} has a newer controller: it is at generation {} epoch {}", current.generation, current.epoch)]
    Fenced {
        /// The execution.
        ex_id: ExId,
        /// The writer it accepts.
        current: Writer,
    },
    /// Somebody else was faster, or the id is taken.
    #[error("{what} was changed by somebody else: found {found}")]
    Conflict {
        /// What was to be changed.
        what: String,
        /// What it is now.
        found: String,
    },
    /// The status table refuses.
    #[error("failed to change the status of execution {ex_id}")]
    IllegalMove {
        /// The execution.
        ex_id: ExId,
        /// The refused move.
        #[source]
        source: teraslice_model::status::IllegalMove,
    },
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Passing: try again later.
    #[error("the state store is not available: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// Not passing: full, damaged or foreign. A person has to act.
    #[error("the state store cannot be used: {reason}")]
    Broken {
        /// What happened, and what would help.
        reason: String,
    },
}
