//! Changes of jobs and executions: read, alter, write if it is still what was read.

use std::time::Duration;

use teraslice_core::store::{StoreError, Writer};
use teraslice_model::{
    execution::{Execution, JobRecord},
    id::{ExId, JobId},
};
use tokio::time::sleep;

use super::{
    documents::Document,
    index::Index,
    inner::Inner,
    record::{self, Beside},
};
use crate::rules;

/// So often a change is tried on what others have changed meanwhile.
const TRIES: u32 = 50;
/// Before a change is tried again, at most.
const PAUSE: Duration = Duration::from_millis(20);

/// Who may write to the ledger of an execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) writer: Writer,
    /// Whether its unfinished slices are where the original keeps them as long as there is no journal.
    pub(super) is_adopted: bool,
}

impl Inner {
    pub(super) async fn put_job(&self, job: &JobRecord) -> Result<(), StoreError> {
        let id = job.job_id.to_string();
        for _ in 0..TRIES {
            let found = self.documents.get(Index::Jobs, &id, "").await?;
            let Some(found) = found else {
                let body = record::write_job(job, &Beside::new(self.number()));
                if self.documents.create(Index::Jobs, &id, body.into()).await? {
                    return Ok(());
                }
                continue;
            };
            let (stored, beside) = record::read_job(&found)?;
            if stored == *job && beside.number.is_some() {
                return Ok(());
            }
            let body = record::write_job(job, &self.next(beside));
            if self.documents.replace(Index::Jobs, &id, found.at(), body.into()).await? {
                return Ok(());
            }
            self.pause().await;
        }
        Err(restless(format!("job {id}")))
    }

    pub(super) async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        let found = self.documents.get(Index::Jobs, &id.to_string(), "").await?;
        found.map(|found| record::read_job(&found).map(|(job, _)| job)).transpose()
    }

    pub(super) async fn create_execution(&self, execution: &Execution) -> Result<(), StoreError> {
        let id = execution.ex_id.to_string();
        let beside = Beside::new(self.number());
        let body = record::write_execution(execution, &beside);
        if self.documents.create(Index::Executions, &id, body.into()).await? {
            return Ok(());
        }
        // It may be there because the answer to an earlier try was lost.
        let (found, stored) = self.stored(execution.ex_id).await?;
        let is_own = found.internal.change == beside.internal.change && stored == *execution;
        if is_own { Ok(()) } else { Err(rules::id_taken(execution.ex_id)) }
    }

    pub(super) async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        let found = self.find_execution(id).await?;
        found.map(|found| record::read_execution(&found).map(|(execution, _)| execution)).transpose()
    }

    /// Returns who may write to an execution's ledger.
    pub(super) async fn head(&self, id: ExId) -> Result<Head, StoreError> {
        let (beside, Execution { generation, epoch, .. }) = self.stored(id).await?;
        Ok(Head { writer: Writer { generation, epoch }, is_adopted: beside.internal.is_adopted })
    }

    async fn stored(&self, id: ExId) -> Result<(Beside, Execution), StoreError> {
        let found = self.find_execution(id).await?.ok_or_else(|| rules::no_execution(id))?;
        record::read_execution(&found).map(|(execution, beside)| (beside, execution))
    }

    async fn find_execution(&self, id: ExId) -> Result<Option<Document>, StoreError> {
        self.documents.get(Index::Executions, &id.to_string(), "").await
    }

    /// Alters an execution and returns what `alter` does; it is called again where somebody else was faster.
    pub(super) async fn change<T>(
        &self,
        id: ExId,
        alter: impl Fn(&mut Execution) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut tried: Option<(u64, T)> = None;
        for _ in 0..TRIES {
            let found = self.find_execution(id).await?.ok_or_else(|| rules::no_execution(id))?;
            let (mut execution, beside) = record::read_execution(&found)?;
            if let Some((change, done)) = tried.take()
                && beside.internal.change == change
            {
                // Refused as too late because it had been made: the answer to the first try was lost.
                return Ok(done);
            }
            let done = alter(&mut execution)?;
            let beside = self.next(beside);
            let body = record::write_execution(&execution, &beside);
            if self.documents.replace(Index::Executions, &id.to_string(), found.at(), body.into()).await? {
                return Ok(done);
            }
            tried = Some((beside.internal.change, done));
            self.pause().await;
        }
        Err(restless(format!("execution {id}")))
    }

    fn next(&self, mut beside: Beside) -> Beside {
        beside.internal.change = self.number();
        beside
    }

    async fn pause(&self) {
        sleep(self.context.jittered(PAUSE)).await;
    }
}

fn restless(what: String) -> StoreError {
    StoreError::Unavailable { reason: format!("{what} is changed by others all the time") }
}
