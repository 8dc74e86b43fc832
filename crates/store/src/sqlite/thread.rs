//! A connection on a thread of its own, fed by a bounded queue.

use std::{
    fmt, fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread::{Builder, JoinHandle},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use teraslice_core::store::StoreError;
use tokio::sync::{mpsc, oneshot};

use super::error::{Fault, OpenError, explain};

/// Writes that share one transaction at most.
const GROUP_LEN_MAX: usize = 64;
/// A log of more bytes is emptied; the usual write-back begins at 8 MiB.
const LOG_LEN_WANTED: u64 = 16 << 20;

/// What a thread does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes what waits into one transaction, then answers all of it.
    Writer,
    /// Serves one call after the other, each from one snapshot.
    Reader,
}

/// Reaches the thread. Dropping it lets the thread finish its queue and waits for it.
pub(super) struct Thread {
    /// Absent only while it is dropped.
    queue: Option<mpsc::Sender<Box<dyn Task>>>,
    /// Absent only while it is dropped.
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        role: Role,
        queue_len_max: NonZeroUsize,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let (queue, tasks) = mpsc::channel(queue_len_max.get());
        let name = match role {
            Role::Writer => "state-writer",
            Role::Reader => "state-reader",
        };
        let server = Server { connection, role, path: path.to_owned() };
        let started = Builder::new().name(name.to_owned()).spawn(move || server.serve(tasks));
        let handle = started.map_err(|source| OpenError::Inaccessible { path: path.to_owned(), source })?;
        Ok(Self { queue: Some(queue), handle: Some(handle) })
    }

    /// Runs work in a transaction and returns its result after the commit.
    ///
    /// The work may run twice: again on its own after the group it was part of has failed.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let gone = || StoreError::Broken { reason: "its thread has ended".to_owned() };
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("the queue is there until the drop");
        queue.send(Box::new(Call { work, result: None, answer })).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(Err(_panic)) = self.handle.take().map(JoinHandle::join) {
            tracing::error!("a thread of the state store has panicked");
        }
    }
}

/// A piece of work in the queue.
trait Task: Send {
    /// Does the work inside a transaction; an error undoes all of that.
    fn work(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// Answers with the result, after the commit.
    fn confirm(self: Box<Self>);

    /// Answers with an error, after the transaction was undone.
    fn refuse(self: Box<Self>, error: StoreError);
}

struct Call<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Task for Call<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T, Fault> + Send,
{
    fn work(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.result = Some(match (self.work)(connection) {
            Ok(done) => Ok(done),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Sql(error)) => return Err(error),
        });
        Ok(())
    }

    fn confirm(self: Box<Self>) {
        let result = self.result.expect("a transaction commits after all its work");
        let _caller_gone = self.answer.send(result);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _caller_gone = self.answer.send(Err(error));
    }
}

struct Server {
    connection: Connection,
    role: Role,
    path: PathBuf,
}

impl Server {
    fn serve(self, mut tasks: mpsc::Receiver<Box<dyn Task>>) {
        while let Some(first) = tasks.blocking_recv() {
            let mut group = vec![first];
            while self.role == Role::Writer && group.len() < GROUP_LEN_MAX {
                match tasks.try_recv() {
                    Ok(next) => group.push(next),
                    Err(_nothing_waits) => break,
                }
            }
            self.run(group);
            if self.role == Role::Writer {
                self.bound_log();
            }
        }
        if let Err((_connection, error)) = self.connection.close() {
            tracing::warn!(%error, "failed to close the state store");
        }
    }

    /// Empties the log when the usual write-back has not kept up with it, as under a reader that is never idle: this one
    /// waits for the reads under way.
    fn bound_log(&self) {
        let log = self.path.with_extension("sqlite-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > LOG_LEN_WANTED) {
            let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = emptied {
                tracing::warn!(%error, "failed to empty the log of the state store");
            }
        }
    }

    fn run(&self, mut group: Vec<Box<dyn Task>>) {
        match self.transact(&mut group) {
            Ok(()) => group.into_iter().for_each(Task::confirm),
            Err(error) if group.len() == 1 => {
                let task = group.remove(0);
                task.refuse(explain(&self.path, &error));
            }
            Err(_) => group.into_iter().for_each(|task| self.run(vec![task])),
        }
    }

    fn transact(&self, group: &mut [Box<dyn Task>]) -> rusqlite::Result<()> {
        let behavior = match self.role {
            Role::Writer => TransactionBehavior::Immediate,
            Role::Reader => TransactionBehavior::Deferred,
        };
        let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
        for task in group {
            task.work(&transaction)?;
        }
        transaction.commit()
    }
}
