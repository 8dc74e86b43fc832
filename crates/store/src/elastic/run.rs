//! The ledger of one execution: one append after the other, each one document of its journal.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use teraslice_core::store::{Flush, Ledger, StoreError, Writer};
use teraslice_model::id::{Epoch, ExId, Generation};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    documents::{Document, Query},
    entry::{Entry, FORMAT, entry_id},
    error::unreadable,
    execution::Head,
    index::Index,
    inner::Inner,
    journal::{Author, Draft, Journal},
};
use crate::rules;

/// Entries that are read at once: each may be some megabytes long.
const LOAD_LEN: u64 = 16;
/// Ledgers kept in memory before those that nobody uses are forgotten.
const RUNS_LEN: usize = 64;
/// So often an append is tried where others write as well.
const TRIES: u32 = 20;
/// Finished slices without records beyond which appends wait.
const WAITING_LEN_MAX: usize = 20_000;
/// How long they wait at most.
const ROOM_MAX: Duration = Duration::from_secs(30);

/// The ledger of one execution, as far as this store knows it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ex_id: ExId,
    journal: Mutex<Journal>,
    /// Absent before the journal was read.
    head: Mutex<Option<Head>>,
    /// Held by the one that appends.
    turn: tokio::sync::Mutex<Turn>,
    /// Held while the journal is read.
    loading: tokio::sync::Mutex<()>,
    /// Held by the one that settles.
    pub(super) settling: tokio::sync::Mutex<()>,
    /// Told when much waits for records.
    pub(super) is_pressed: Notify,
    /// Told when records were written, or could not be.
    pub(super) has_settled: Notify,
    /// Why records cannot be written, if so.
    pub(super) fault: Mutex<Option<String>>,
}

/// The order of appends.
#[derive(Debug, Default)]
struct Turn {
    /// When the last one began.
    began: Option<Instant>,
    /// The last entry's place in its shard: one that is not higher says that the index was deleted and made again.
    seq_no: Option<u64>,
    /// Whether a task settles what is appended.
    is_tended: bool,
}

impl Run {
    pub(super) fn new(ex_id: ExId) -> Self {
        Self {
            ex_id,
            journal: Mutex::default(),
            head: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            is_pressed: Notify::new(),
            has_settled: Notify::new(),
            fault: Mutex::default(),
        }
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> MutexGuard<'_, Option<Head>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Returns what is known of an execution's ledger.
    fn run(&self, id: ExId) -> Arc<Run> {
        let mut runs = self.runs();
        if runs.len() >= RUNS_LEN && !runs.contains_key(&id) {
            // Those of others are read anew when they are asked for again.
            runs.retain(|_, run| Arc::strong_count(run) > 1);
        }
        Arc::clone(runs.entry(id).or_insert_with(|| Arc::new(Run::new(id))))
    }

    pub(super) async fn append(
        self: &Arc<Self>,
        id: ExId,
        writer: Writer,
        flush: &Flush,
    ) -> Result<(), StoreError> {
        let run = self.run(id);
        let mut turn = run.turn.lock().await;
        if !run.journal().is_of(self.id) {
            // Before anything is written, so that a refused writer changes nothing.
            self.load(&run).await?;
            self.check(&run, writer)?;
            self.seize(&run, &mut turn).await?;
        }
        self.check(&run, writer)?;
        self.wait_for_room(&run).await?;
        if let Some(began) = turn.began {
            sleep_until(began + self.append_interval).await;
        }
        for _ in 0..TRIES {
            turn.began = Some(self.context.now());
            if self.write(&run, &mut turn, writer, Draft::Flush(flush)).await? {
                if run.journal().is_torn {
                    // What has got lost with the index and is still known here is written again at once.
                    self.write(&run, &mut turn, writer, Draft::Rest).await?;
                }
                if run.journal().waiting() >= WAITING_LEN_MAX / 4 {
                    run.is_pressed.notify_one();
                }
                return Ok(());
            }
            if !self.follow(&run).await? {
                self.load(&run).await?;
                self.check(&run, writer)?;
                self.seize(&run, &mut turn).await?;
            }
        }
        Err(contested(id))
    }

    /// Replaces the entries of a journal by one, if nobody appends.
    pub(super) async fn rest(&self, run: &Run) -> Result<(), StoreError> {
        let Ok(mut turn) = run.turn.try_lock() else { return Ok(()) };
        let writer = run.head().map(|head| head.writer);
        let may = run.journal().is_of(self.id) && run.journal().waiting() == 0 && run.journal().can_rest();
        if let Some(writer) = writer
            && may
            && !self.write(run, &mut turn, writer, Draft::Rest).await?
        {
            self.follow(run).await?;
        }
        Ok(())
    }

    pub(super) async fn begin_epoch(
        self: &Arc<Self>,
        id: ExId,
        generation: Generation,
    ) -> Result<Epoch, StoreError> {
        let run = self.run(id);
        let mut turn = run.turn.lock().await;
        let now = self.context.wall();
        let begun = self.change(id, |execution| {
            let current = Writer::of(execution);
            rules::check_generation(id, current, generation)?;
            execution.epoch = execution.epoch.next();
            execution.updated = now;
            Ok(execution.epoch)
        });
        let epoch = self.known(id, begun.await)?;
        self.seize(&run, &mut turn).await?;
        Ok(epoch)
    }

    pub(super) async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        let run = self.current(id).await?;
        let ledger = run.journal().ledger();
        Ok(ledger)
    }

    /// Returns a ledger as it is now, whoever has written to it.
    pub(super) async fn current(&self, id: ExId) -> Result<Arc<Run>, StoreError> {
        let run = self.run(id);
        let is_own = run.journal().is_of(self.id);
        if !is_own || !self.follow(&run).await? {
            self.load(&run).await?;
        }
        Ok(run)
    }

    fn check(&self, run: &Run, writer: Writer) -> Result<(), StoreError> {
        let head = *run.head();
        head.map_or(Ok(()), |head| rules::check_writer(run.ex_id, head.writer, writer))
    }

    /// Waits until not too much waits for records.
    async fn wait_for_room(&self, run: &Run) -> Result<(), StoreError> {
        let is_there_room = async {
            loop {
                let settled = run.has_settled.notified();
                if let Some(reason) = run.fault().clone() {
                    return Err(StoreError::Broken { reason });
                }
                if run.journal().waiting() < WAITING_LEN_MAX {
                    return Ok(());
                }
                run.is_pressed.notify_one();
                settled.await;
            }
        };
        let late = || StoreError::Unavailable {
            reason: format!(
                "records of finished slices of execution {} cannot be written as fast",
                run.ex_id
            ),
        };
        timeout(ROOM_MAX, is_there_room).await.map_err(|_| late())?
    }

    /// Writes the next entry or its parts. Returns false when another store was faster.
    async fn write(
        &self,
        run: &Run,
        turn: &mut Turn,
        writer: Writer,
        draft: Draft<'_>,
    ) -> Result<bool, StoreError> {
        let author = Author {
            ex_id: run.ex_id,
            writer,
            store: self.id,
            append: self.number(),
            at: self.context.wall(),
        };
        let was_torn = run.journal().is_torn;
        let entries = run.journal().draft(author, draft);
        let mut is_torn = false;
        for entry in &entries {
            let last = turn.seq_no;
            if !self.create_entry(turn, entry).await? {
                return Ok(false);
            }
            is_torn |= turn.seq_no < last;
        }
        let mut journal = run.journal();
        journal.is_torn = is_torn || journal.is_torn && !was_torn;
        entries.into_iter().for_each(|entry| journal.apply(entry));
        Ok(true)
    }

    /// Writes an entry unless there is one in its place. Returns whether it is there.
    async fn create_entry(&self, turn: &mut Turn, entry: &Entry) -> Result<bool, StoreError> {
        let id = entry_id(entry.ex_id, entry.seq);
        let body = serde_json::to_vec(entry).expect("its keys are text");
        if let Some(seq_no) = self.documents.create_at(Index::Ledger, &id, body.into()).await? {
            turn.seq_no = Some(seq_no);
            return Ok(true);
        }
        // It may be there because the answer to an earlier try was lost.
        let found = self.documents.get(Index::Ledger, &id, "").await?;
        let found = found.map(|found| read(&found)).transpose()?;
        Ok(found.is_some_and(|found| found.store == entry.store && found.append == entry.append))
    }

    /// Takes in entries after the last one. Returns whether this store is still the one that writes.
    ///
    /// Another one that begins leaves its barrier right after the last entry.
    async fn follow(&self, run: &Run) -> Result<bool, StoreError> {
        loop {
            let next = run.journal().last + 1;
            let found = self.documents.get(Index::Ledger, &entry_id(run.ex_id, next), "").await?;
            let Some(found) = found else { return Ok(true) };
            let entry = read(&found)?;
            if entry.store != self.id {
                return Ok(false);
            }
            run.journal().apply(entry);
        }
    }

    /// Reads the journal, or what is new of it.
    async fn load(&self, run: &Run) -> Result<(), StoreError> {
        let _alone = run.loading.lock().await;
        let head = self.head(run.ex_id).await;
        let head = self.known(run.ex_id, head)?;
        self.documents.refresh_now(Index::Ledger).await?;
        let last = run.journal().last;
        let mut entries = self.entries_after(run.ex_id, last).await?;
        if entries.first().is_some_and(|first| first.seq != last + 1) && last > 0 {
            entries = self.entries_after(run.ex_id, 0).await?;
        }
        let is_none = entries.is_empty() && last == 0;
        let adopted = if head.is_adopted && is_none { self.unfinished(run.ex_id).await? } else { Vec::new() };
        let mut journal = run.journal();
        if is_none {
            *journal = Journal::default();
            journal.adopt(adopted);
        }
        journal.load(entries);
        drop(journal);
        *run.head() = Some(head);
        Ok(())
    }

    async fn entries_after(&self, ex_id: ExId, seq: u64) -> Result<Vec<Entry>, StoreError> {
        let conditions = json!([{"term": {"ex_id": ex_id}}, {"range": {"seq": {"gt": seq}}}]);
        let query = Query {
            index: Index::Ledger,
            query: json!({"bool": {"filter": conditions}}),
            sort: json!([{"seq": "asc"}]),
            source: json!(true),
        };
        let mut entries = Vec::new();
        let take = |document: Document| {
            entries.push(read(&document)?);
            Ok(())
        };
        self.documents.each(&query, LOAD_LEN, take).await?;
        Ok(entries)
    }

    /// Becomes the store that writes: leaves a barrier, so that the one that did collides with it.
    async fn seize(self: &Arc<Self>, run: &Arc<Run>, turn: &mut Turn) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            self.load(run).await?;
            let writer = run.head().map(|head| head.writer).ok_or_else(|| rules::no_execution(run.ex_id))?;
            if !self.write(run, turn, writer, Draft::Barrier).await? {
                continue;
            }
            // If another one has gone on and deleted the entry that stood here, its later ones show it.
            self.load(run).await?;
            if run.journal().is_of(self.id) {
                if !turn.is_tended {
                    turn.is_tended = true;
                    self.tend(run);
                }
                return Ok(());
            }
        }
        Err(contested(run.ex_id))
    }

    /// Forgets the ledger of an execution that does not exist.
    fn known<T>(&self, id: ExId, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::NotFound { .. }) = &result {
            self.runs().remove(&id);
        }
        result
    }
}

fn read(document: &Document) -> Result<Entry, StoreError> {
    let entry: Entry = document.parse()?;
    if entry.format > FORMAT {
        let why = format!("it has format {}, this program knows formats up to {FORMAT}", entry.format);
        return Err(unreadable(&document.index, &document.id, why));
    }
    Ok(entry)
}

fn contested(id: ExId) -> StoreError {
    StoreError::Unavailable { reason: format!("others write to the ledger of execution {id} all the time") }
}
