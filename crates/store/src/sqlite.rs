//! A store in one SQLite file: one writer thread with group commit, two reader threads, one process at a time.

mod access;
mod asset;
mod error;
mod list;
mod lock;
mod open;
mod read;
mod row;
mod schema;
mod thread;
mod write;

use std::{fmt, num::NonZeroUsize, path::Path, time::Duration};

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

pub use error::OpenError;

use lock::Lock;
use thread::{Role, Thread};

/// The database's file name in the state directory.
pub const FILE: &str = "state.sqlite";
/// The lock's file name in the state directory.
pub const LOCK_FILE: &str = "state.lock";

const QUEUE_LEN_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");

/// What a [`SqliteStore`] is opened with.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Gives the time for what the store dates itself.
    pub context: Context,
    /// What a confirmed write survives (default [`Durability::Process`]).
    pub durability: Durability,
    /// Calls that wait for the writer, and for each reader, before callers are held back (default 256).
    pub queue_len_max: NonZeroUsize,
    /// How long a lock that another program holds on the file is waited for (default 5 s).
    pub busy_max: Duration,
    /// The database's size in bytes beyond which it counts as full (default: as large as the disk allows).
    pub size_max: Option<u64>,
}

impl SqliteOptions {
    /// Returns the defaults.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self {
            context,
            durability: Durability::Process,
            queue_len_max: QUEUE_LEN_MAX,
            busy_max: Duration::from_secs(5),
            size_max: None,
        }
    }
}

/// What a confirmed write survives. The database stays whole in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however sudden; a power cut may take the last writes (`synchronous=NORMAL`).
    #[default]
    Process,
    /// A power cut as well; each group of writes waits for the disk (`synchronous=FULL`).
    Machine,
}

/// Keeps everything in `state.sqlite` of one directory.
///
/// # Guarantees
///
/// - Those of [`StateStore`]; what a confirmed write survives is set by [`Durability`].
/// - Writes that wait at the same time share one transaction; when that fails, each is tried on its own.
/// - Nothing that cannot be understood is overwritten: foreign, newer and damaged files are refused as they are.
///
/// Dropping the store finishes what was asked for, closes the file and lets the next process in; it blocks meanwhile.
pub struct SqliteStore {
    context: Context,
    /// Closed before the writer, which then tidies up as the last one.
    reader: Thread,
    /// Reads lists, so that nothing else has to wait for a long one; closed before the writer too.
    lister: Thread,
    /// Absent when opened for reading only.
    writer: Option<Thread>,
    /// Given back last.
    _lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the store of a directory, and makes it if there is none.
    ///
    /// Must not be called where blocking for some milliseconds does harm.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; whatever is there stays as it is.
    pub fn open(directory: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let opened = open::exclusive(directory, &options)?;
        let len = options.queue_len_max;
        let writer = Thread::start(opened.writer, Role::Writer, len, &opened.path)?;
        let reader = Thread::start(opened.reader, Role::Reader, len, &opened.path)?;
        let lister = Thread::start(opened.lister, Role::Reader, len, &opened.path)?;
        Ok(Self { context: options.context, reader, lister, writer: Some(writer), _lock: Some(opened.lock) })
    }

    /// Opens the store of a directory for reading, also while another process writes to it.
    ///
    /// Everything that writes is refused with [`StoreError::Broken`].
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`] when there is no store, and the rest of [`OpenError`].
    pub fn open_read_only(directory: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let (path, connection) = open::read_only(directory, &options)?;
        let len = options.queue_len_max;
        let reader = Thread::start(connection, Role::Reader, len, &path)?;
        let lister = Thread::start(open::another_reader(&path, &options)?, Role::Reader, len, &path)?;
        Ok(Self { context: options.context, reader, lister, writer: None, _lock: None })
    }

    fn writer(&self) -> Result<&Thread, StoreError> {
        self.writer
            .as_ref()
            .ok_or_else(|| StoreError::Broken { reason: "it was opened for reading only".to_owned() })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("reader", &self.reader).finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError> {
        self.writer()?.run(move |connection| write::put_job(connection, &job)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.reader.run(move |connection| read::job(connection, id)).await
    }

    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError> {
        self.writer()?.run(move |connection| write::create_execution(connection, &execution)).await
    }

    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        self.reader.run(move |connection| read::execution(connection, id)).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        self.lister.run(move |connection| list::jobs(connection, &query)).await
    }

    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        self.lister.run(move |connection| list::executions(connection, &query)).await
    }

    async fn sums(&self) -> Result<Sums, StoreError> {
        self.lister.run(list::sums).await
    }

    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError> {
        let now = self.context.wall();
        self.writer()?.run(move |connection| write::update_execution(connection, id, &update, now)).await
    }

    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError> {
        let now = self.context.wall();
        self.writer()?.run(move |connection| write::set_status(connection, id, &change, now)).await
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        let now = self.context.wall();
        self.writer()?.run(move |connection| write::begin_epoch(connection, id, generation, now)).await
    }

    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        let now = self.context.wall();
        self.writer()?.run(move |connection| write::append(connection, id, writer, &flush, now)).await
    }

    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        self.reader.run(move |connection| read::ledger(connection, id)).await
    }

    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError> {
        self.reader.run(move |connection| read::slices(connection, id, state, page)).await
    }

    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        self.lister.run(move |connection| list::errors(connection, &query)).await
    }

    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        self.reader.run(move |connection| read::slice_counts(connection, id)).await
    }

    async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        self.reader.run(move |connection| read::dead_letters(connection, id, which, page)).await
    }

    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError> {
        self.writer()?.run(move |connection| write::claim_dead_letters(connection, id, &claim)).await
    }

    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError> {
        self.writer()?.run(move |connection| asset::create(connection, &asset)).await
    }

    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        self.lister.run(asset::list).await
    }

    async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.writer()?.run(move |connection| asset::delete(connection, &id)).await
    }

    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.writer()?.run(move |connection| access::create_token(connection, &token)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.reader.run(access::tokens).await
    }

    async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer()?.run(move |connection| access::delete_token(connection, &name)).await
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.writer()?.run(move |connection| access::note(connection, &entry)).await
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        self.lister.run(move |connection| access::audit(connection, page)).await
    }
}

#[cfg(test)]
mod tests;
