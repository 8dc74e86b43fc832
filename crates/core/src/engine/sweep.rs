//! The sweep: finds what runs for nobody, and executions that nobody looks after.

use std::collections::{BTreeMap, BTreeSet};

use teraslice_model::{
    execution::Execution,
    id::{ExId, Generation},
    status::Status,
    timestamp::Timestamp,
};

use super::{
    Charge,
    history::between,
    step::{Failure, Surroundings},
};
use crate::{
    backend::{ClusterBackend, Instance, Retire, Scope},
    store::{ExecutionQuery, Page},
};

/// Executions are listed in portions of this size.
const PAGE_LEN: u64 = 500;

/// Executions that run here, but that the store does not know, and since when that is so.
pub(super) type Suspects = BTreeMap<ExId, Timestamp>;

/// What a sweep has found.
#[derive(Debug)]
pub(super) struct Swept {
    /// Those to look at again in the next sweep.
    pub(super) suspects: Suspects,
    /// Executions that have not ended.
    pub(super) unfinished: Vec<Execution>,
}

impl<B: ClusterBackend> Surroundings<B> {
    /// Retires what runs for executions that have ended, and for those that the store twice did not know. Those that are
    /// `tracked` have steps of their own.
    pub(super) async fn sweep(&self, tracked: &BTreeSet<ExId>, before: Suspects) -> Result<Swept, Failure> {
        let observed = self.call("the cluster backend", self.backend.observe(Scope::Cluster)).await?;
        let mut suspects = Suspects::new();
        let untracked = newest(&observed.instances).into_iter().filter(|(ex_id, _)| !tracked.contains(ex_id));
        for (ex_id, upto) in untracked {
            let is_over = match self.call("the state store", self.store.execution(ex_id)).await? {
                Some(execution) => execution.status.is_terminal(),
                None => {
                    let now = self.context.wall();
                    let since = before.get(&ex_id).copied().unwrap_or(now);
                    suspects.insert(ex_id, since);
                    between(since, now) >= self.options.unknown_for
                }
            };
            if is_over {
                tracing::info!(%ex_id, "retiring what runs for nobody");
                let how = Retire::Drain { grace: self.options.patience.drain_grace };
                let _later = self.call("the cluster backend", self.backend.retire(ex_id, upto, how)).await?;
            }
        }
        let unfinished = match self.options.charge {
            Charge::All => self.unfinished().await?,
            Charge::Submitted => Vec::new(),
        };
        Ok(Swept { suspects, unfinished })
    }

    async fn unfinished(&self) -> Result<Vec<Execution>, Failure> {
        let mut all = Vec::new();
        let mut page = Page { from: 0, size: PAGE_LEN };
        loop {
            let found = self.call("the state store", self.store.executions(open(page))).await?;
            if found.is_empty() {
                return Ok(all);
            }
            page.from += found.len() as u64;
            all.extend(found);
        }
    }
}

/// Asks for executions that have not ended.
fn open(page: Page) -> ExecutionQuery {
    let statuses = Status::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
    ExecutionQuery { statuses, page, ..ExecutionQuery::default() }
}

/// Returns the executions that something runs for, each with its newest generation.
fn newest(instances: &[Instance]) -> BTreeMap<ExId, Generation> {
    let mut newest = BTreeMap::new();
    for instance in instances {
        let generation = newest.entry(instance.ex_id).or_insert(instance.generation);
        *generation = instance.generation.max(*generation);
    }
    newest
}
