//! Sees every write to the store the moment it is done, and says which law it breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use teraslice_core::store::{Flush, Writer};
use teraslice_model::{
    id::{ExId, SliceId},
    slice::SliceState,
    status::Status,
};

use crate::{
    trace::{Short, Trace},
    weather::Place,
};

/// Watches over the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Witness {
    trace: Trace,
    books: Arc<Mutex<BTreeMap<ExId, Book>>>,
}

/// What was seen of an execution.
#[derive(Clone, Debug)]
pub struct Book {
    /// Its status.
    pub status: Status,
    /// The controllers that were accepted.
    pub writers: BTreeSet<Writer>,
    /// The slices that ended, and how.
    pub finished: BTreeMap<SliceId, SliceState>,
    /// The last flush, and whose it was: a writer that has not heard that it was accepted repeats it.
    last: Option<(Writer, Flush)>,
}

impl Witness {
    /// Makes a witness that has seen nothing yet.
    #[must_use]
    pub fn new(trace: Trace) -> Self {
        Self { trace, books: Arc::default() }
    }

    /// Returns what was seen of an execution.
    #[must_use]
    pub fn book(&self, id: ExId) -> Option<Book> {
        self.lock().get(&id).cloned()
    }

    /// Sees a new execution.
    pub(crate) fn created(&self, id: ExId, status: Status) {
        self.trace.note(format_args!("{} is created", Short(id)));
        let book = Book { status, writers: BTreeSet::new(), finished: BTreeMap::new(), last: None };
        if self.lock().insert(id, book).is_some() {
            self.trace.broken(format!("{} was created twice", Short(id)));
        }
    }

    /// Sees a change of status.
    pub(crate) fn moved(&self, id: ExId, to: Status, by: Place) {
        let mut books = self.lock();
        let Some(book) = books.get_mut(&id) else { return };
        let from = std::mem::replace(&mut book.status, to);
        drop(books);
        if from == to {
            return;
        }
        self.trace.note(format_args!("{} {from} -> {to} by {by}", Short(id)));
        if !is_legal(from, to) {
            self.trace.broken(format!("{} went from {from} to {to}", Short(id)));
        }
    }

    /// Sees a controller begin.
    pub(crate) fn began(&self, id: ExId, writer: Writer, at: Place) {
        let mut books = self.lock();
        let Some(book) = books.get_mut(&id) else { return };
        let last = book.writers.last().copied();
        book.writers.insert(writer);
        drop(books);
        let Writer { generation, epoch } = writer;
        self.trace.note(format_args!("{} generation {generation} epoch {epoch} begins on {at}", Short(id)));
        if last.is_some_and(|last| last >= writer) {
            self.trace.broken(format!(
                "{}: a second controller of generation {generation} epoch {epoch} was accepted",
                Short(id)
            ));
        }
    }

    /// Sees an accepted flush.
    pub(crate) fn appended(&self, id: ExId, writer: Writer, flush: &Flush) {
        let mut books = self.lock();
        let Some(book) = books.get_mut(&id) else { return };
        if book.last.as_ref().is_some_and(|(before, last)| *before == writer && last == flush) {
            return;
        }
        book.last = Some((writer, flush.clone()));
        let mut broken = Vec::new();
        if book.writers.last() != Some(&writer) {
            broken.push(format!("a flush of the fenced epoch {} was accepted", writer.epoch));
        }
        let mut ended = 0;
        for record in &flush.slices {
            let (slice, state) = (record.slice.id, record.state);
            if let Some(before) = book.finished.get(&slice) {
                broken.push(format!("slice {slice} became {state:?} after it was {before:?}"));
            } else if state != SliceState::Pending {
                ended += 1;
                book.finished.insert(slice, state);
            }
        }
        let (made, total) = (flush.slices.len(), book.finished.len());
        drop(books);
        let epoch = writer.epoch;
        self.trace
            .note(format_args!("{} epoch {epoch}: {made} slices, {ended} ended, {total} in all", Short(id)));
        for law in broken {
            self.trace.broken(format!("{}: {law}", Short(id)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExId, Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether an execution may go from one status to another: never back, and from its end only from stopped to completed.
fn is_legal(from: Status, to: Status) -> bool {
    let stage = |status: Status| match status {
        Status::Pending => 0,
        Status::Scheduling => 1,
        Status::Initializing => 2,
        Status::Recovering | Status::Running | Status::Failing | Status::Paused => 3,
        Status::Stopping => 4,
        Status::Completed | Status::Stopped | Status::Rejected | Status::Failed | Status::Terminated => 5,
    };
    match stage(from) {
        5 => from == Status::Stopped && to == Status::Completed,
        3 => stage(to) >= 3,
        earlier => stage(to) > earlier,
    }
}

#[cfg(test)]
mod tests {
    use teraslice_core::{
        context::Context,
        store::{SliceRecord, Totals},
    };
    use teraslice_model::{
        id::{Epoch, Generation},
        slice::{Request, Slice},
        timestamp::Timestamp,
    };

    use super::*;
    use crate::trace::{Keep, ex_id};

    fn writer(epoch: u64) -> Writer {
        Writer { generation: Generation(1), epoch: Epoch(epoch) }
    }

    fn witness() -> (Trace, Witness) {
        let trace = Trace::new(Context::simulated(1), Keep::Hash);
        let witness = Witness::new(trace.clone());
        witness.created(ex_id(1), Status::Pending);
        witness.began(ex_id(1), writer(1), Place::Node(1));
        (trace, witness)
    }

    fn flush(completed: u64) -> Flush {
        let slice =
            Slice::new(ex_id(1), 0, 1, Request::from_json("{}".to_owned()), Timestamp::from_millis(0));
        let record =
            SliceRecord { slice, state: SliceState::Completed, error: None, retry_count: 0, deaths: 0 };
        let totals = Totals { completed, ..Totals::default() };
        Flush { slices: vec![record], totals, ..Flush::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn takes_a_flush_twice_but_no_slice() {
        let (trace, witness) = witness();
        witness.appended(ex_id(1), writer(1), &flush(1));
        witness.appended(ex_id(1), writer(1), &flush(1));
        assert_eq!(trace.first_broken(), None);
        witness.appended(ex_id(1), writer(1), &flush(2));
        assert!(trace.first_broken().is_some_and(|law| law.contains("after it was Completed")));
    }

    #[tokio::test(start_paused = true)]
    async fn sees_a_fenced_writer() {
        let (trace, witness) = witness();
        witness.began(ex_id(1), writer(2), Place::Node(2));
        witness.appended(ex_id(1), writer(1), &flush(1));
        assert!(trace.first_broken().is_some_and(|law| law.contains("fenced epoch 1")));
    }

    #[tokio::test(start_paused = true)]
    async fn sees_an_epoch_that_begins_twice() {
        let (trace, witness) = witness();
        witness.began(ex_id(1), writer(1), Place::Node(2));
        assert!(trace.first_broken().is_some_and(|law| law.contains("second controller")));
    }

    #[tokio::test(start_paused = true)]
    async fn sees_a_status_that_goes_back() {
        for (from, to) in [(Status::Running, Status::Pending), (Status::Failed, Status::Running)] {
            let (trace, witness) = witness();
            witness.moved(ex_id(1), from, Place::Master);
            assert_eq!(trace.first_broken(), None);
            witness.moved(ex_id(1), to, Place::Master);
            assert!(trace.first_broken().is_some(), "{from} -> {to}");
        }
    }
}
