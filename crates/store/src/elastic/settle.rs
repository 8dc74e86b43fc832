//! Settling: what has left the ledger of an execution gets its records, and entries that do not count any more go.
//!
//! Any store may settle what it has read, also late: records carry the place of their entry as their version, and the
//! server takes none that is older than what it has.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use teraslice_core::store::StoreError;
use teraslice_elastic::{Bulk, BulkFailure, BulkItem};
use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    entry::entry_id,
    error::{explain_item, is_block},
    index::Index,
    inner::Inner,
    journal::{Batch, Kept, Letter, Stale},
    letter,
    run::Run,
    state,
};

/// A journal that nobody has written to for so long is made as short as it can be.
const REST_AFTER: Duration = Duration::from_secs(5);
/// What nobody has written to for so long is forgotten; it is read again when it is needed.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Before what the server had no room for is tried again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// So often it is tried again before it counts as an outage.
const TRIES: u32 = 8;
/// Versions between those of two entries; a claim of a dead letter takes one.
const VERSIONS: u64 = 1 << 16;
/// A record is written unless there is a later one.
const UNLESS_LATER: &str = "external_gte";

/// Whether entries may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The store that writes to the journal.
    Writer,
    /// Another, which reads it.
    Reader,
}

/// What an item of a bulk request is for.
enum Item<'b> {
    Slice(&'b Arc<Kept>),
    Letter(&'b Letter),
    /// A dead letter of a slice that has completed again.
    Earlier,
    Entry(u64),
}

/// What came of a batch.
enum Settled {
    All,
    /// The rest has to be tried again.
    Partly,
}

impl Inner {
    /// Starts the task that settles what is appended to an execution's journal.
    pub(super) fn tend(self: &Arc<Self>, run: &Arc<Run>) {
        let task = tend(Arc::downgrade(self), Arc::clone(run), self.is_closing.subscribe());
        drop(self.context.spawn(task));
    }

    /// Writes the records of everything that has left the ledger.
    pub(super) async fn settle(&self, run: &Run, role: Role) -> Result<(), StoreError> {
        let _alone = run.settling.lock().await;
        let settled = self.settle_all(run, role).await;
        *run.fault() = match &settled {
            Err(StoreError::Broken { reason }) => Some(reason.clone()),
            _ => None,
        };
        run.has_settled.notify_waiters();
        settled
    }

    async fn settle_all(&self, run: &Run, role: Role) -> Result<(), StoreError> {
        let (mut pause, mut tries) = (PAUSE.0, 0);
        loop {
            let mut batch = run.journal().batch(self.context.wall());
            if role == Role::Reader {
                batch.entries.clear();
            }
            if batch.is_empty() {
                return Ok(());
            }
            let settled = self.settle_batch(run, &batch).await?;
            run.has_settled.notify_waiters();
            match settled {
                Settled::All if !batch.is_full => return Ok(()),
                Settled::All => tries = 0,
                Settled::Partly if tries < TRIES => {
                    tries += 1;
                    sleep(self.context.jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                Settled::Partly => {
                    let reason = format!("the server has no room for records of execution {}", run.ex_id);
                    return Err(StoreError::Unavailable { reason });
                }
            }
        }
    }

    async fn settle_batch(&self, run: &Run, batch: &Batch) -> Result<Settled, StoreError> {
        let earlier = self.earlier_letters(run.ex_id, &batch.stale).await?;
        let (bulk, items) = self.bulk_of(run, batch, &earlier).await?;
        let failed = if bulk.is_empty() { Vec::new() } else { self.documents.bulk(bulk).await?.failed };
        if !batch.slices.is_empty() {
            self.documents.wrote(Index::State);
        }
        if !(batch.letters.is_empty() && earlier.is_empty()) {
            self.documents.wrote(Index::DeadLetters);
        }
        let mut unwritten = BTreeSet::new();
        let mut broken = None;
        let mut journal = run.journal();
        for failure in failed {
            match self.judge(&items[failure.at], &failure) {
                Verdict::Done => {}
                Verdict::Torn => journal.is_torn = true,
                Verdict::Again => drop(unwritten.insert(failure.at)),
                Verdict::Broken(error) => {
                    unwritten.insert(failure.at);
                    broken.get_or_insert(error);
                }
            }
        }
        let has_earlier = unwritten.iter().any(|at| matches!(items[*at], Item::Earlier));
        for (_, item) in items.iter().enumerate().filter(|(at, _)| !unwritten.contains(at)) {
            match item {
                Item::Slice(kept) => journal.settled(kept),
                Item::Letter(letter) => journal.settled_letter(letter),
                Item::Entry(seq) => journal.deleted(*seq),
                Item::Earlier => {}
            }
        }
        if !has_earlier {
            batch.stale.iter().for_each(|stale| journal.settled_stale(*stale));
        }
        match broken {
            Some(error) => Err(error),
            None if unwritten.is_empty() => Ok(Settled::All),
            None => Ok(Settled::Partly),
        }
    }

    /// Writes the body of a bulk request.
    async fn bulk_of<'b>(
        &self,
        run: &Run,
        batch: &'b Batch,
        earlier: &[(String, Stale)],
    ) -> Result<(Bulk, Vec<Item<'b>>), StoreError> {
        let mut bulk = Bulk::with_capacity(batch.slices.len() * 640 + batch.entries.len() * 128);
        let mut items = Vec::with_capacity(batch.slices.len() + batch.letters.len() + batch.entries.len());
        let mut body = Vec::new();
        let ledger = self.documents.layout.name(Index::Ledger);
        let letters = self.documents.layout.name(Index::DeadLetters);
        for kept in &batch.slices {
            let (index, id) = state::address(&self.documents.layout, run.ex_id, &kept.line);
            self.make_state(&index).await?;
            body.clear();
            state::write(&mut body, run.ex_id, kept);
            bulk.push("index", &versioned(&index, &id, kept.seq), Some(&body));
            items.push(Item::Slice(kept));
        }
        for kept in &batch.letters {
            body.clear();
            letter::write(&mut body, run.ex_id, kept);
            let id = letter::id(run.ex_id, kept.number);
            bulk.push("index", &versioned(&letters, &id, kept.seq), Some(&body));
            items.push(Item::Letter(kept));
        }
        for (id, stale) in earlier {
            bulk.push("delete", &versioned(&letters, id, stale.seq), None);
            items.push(Item::Earlier);
        }
        for seq in &batch.entries {
            let id = entry_id(run.ex_id, *seq);
            let item = BulkItem { index: &ledger, id: Some(&id), ..BulkItem::default() };
            bulk.push("delete", &item, None);
            items.push(Item::Entry(*seq));
        }
        Ok((bulk, items))
    }

    /// Makes the index of a period unless this store has seen it.
    async fn make_state(&self, index: &str) -> Result<(), StoreError> {
        if self.made().contains(index) {
            return Ok(());
        }
        self.documents.make(index, Index::State).await?;
        self.made().insert(index.to_owned());
        Ok(())
    }

    fn judge(&self, item: &Item<'_>, failure: &BulkFailure) -> Verdict {
        let what = match item {
            Item::Slice(kept) => format!("the record of slice {}", kept.line.record.slice.id),
            Item::Letter(kept) => format!("a dead letter of slice {}", kept.letter.slice_id),
            Item::Earlier => "the deletion of a dead letter".to_owned(),
            Item::Entry(seq) => format!("the deletion of entry {seq} of a ledger"),
        };
        match (item, failure.status) {
            // A later record is there.
            (_, 409) | (Item::Earlier, 404) => Verdict::Done,
            (Item::Entry(_), 404) => Verdict::Torn,
            (_, 404) => {
                // The index was deleted, and the server makes none by itself.
                self.made().clear();
                Verdict::Again
            }
            _ if failure.is_passing() && !is_block(&failure.reason) => Verdict::Again,
            (_, status) => Verdict::Broken(explain_item(&what, status, &failure.kind, &failure.reason)),
        }
    }
}

/// What a failed item means.
enum Verdict {
    Done,
    /// There was no such entry: others may be missing as well.
    Torn,
    Again,
    Broken(StoreError),
}

fn versioned<'a>(index: &'a str, id: &'a str, seq: u64) -> BulkItem<'a> {
    BulkItem {
        index,
        id: Some(id),
        version: Some(seq.saturating_mul(VERSIONS)),
        version_type: Some(UNLESS_LATER),
        ..BulkItem::default()
    }
}

/// Settles what is appended, again and again, until nobody appends any more.
async fn tend(store: Weak<Inner>, run: Arc<Run>, mut is_closing: watch::Receiver<bool>) {
    let mut last = 0;
    let mut quiet = Duration::ZERO;
    loop {
        let Some(interval) = store.upgrade().map(|inner| inner.settle_interval) else { return };
        select! {
            _pressed_or_late = timeout(interval, run.is_pressed.notified()) => {}
            _closed_or_dropped = is_closing.changed() => return,
        }
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = inner.settle(&run, Role::Writer).await {
            tracing::warn!(ex_id = %run.ex_id, %error, "records of finished slices could not be written");
            continue;
        }
        let seq = run.journal().last;
        let waiting = run.journal().waiting();
        quiet = if seq == last && waiting == 0 { quiet + interval } else { Duration::ZERO };
        last = seq;
        if quiet >= REST_AFTER && run.journal().can_rest() {
            if let Err(error) = inner.rest(&run).await {
                tracing::warn!(ex_id = %run.ex_id, %error, "a ledger could not be made shorter");
            }
        } else if quiet >= FORGET_AFTER && inner.forget(&run) {
            return;
        }
    }
}
