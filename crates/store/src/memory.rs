//! A store that lives and dies with the process: deterministic, without threads, for simulations and tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use teraslice_core::{
    context::Context,
    store::{
        Claim, ErrorQuery, ErrorRecord, ExecutionQuery, ExecutionUpdate, Flush, JobQuery, KeptLetter, Ledger,
        Letters, Page, SliceCounts, SliceRecord, StateStore, StatusChange, StoreError, Sums, Totals, Writer,
    },
};
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    checkpoint::Checkpoint,
    dead_letter::DeadLetter,
    execution::{Execution, JobRecord},
    id::{Epoch, ExId, Generation, JobId, SliceId},
    slice::SliceState,
    timestamp::Timestamp,
};

use crate::{
    list::{Collector, Listed},
    rules,
};

/// Keeps everything in memory.
///
/// # Guarantees
///
/// Those of [`StateStore`] as long as the process lives; the same calls in the same order have the same results.
pub struct MemoryStore {
    context: Context,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of creation.
    jobs: Vec<JobRecord>,
    places_of_jobs: BTreeMap<JobId, usize>,
    /// In the order of creation.
    runs: Vec<Run>,
    places: BTreeMap<ExId, usize>,
    /// In the order of creation.
    assets: Vec<AssetRecord>,
    tokens: BTreeMap<String, TokenRecord>,
    /// In the order in which they came.
    audit: Vec<AuditEntry>,
}

/// An execution and its ledger.
struct Run {
    execution: Execution,
    checkpoints: BTreeMap<u32, Checkpoint>,
    slices: BTreeMap<Place, SliceRecord>,
    pending: BTreeSet<Place>,
    /// With the time at which each was given up.
    failed: BTreeMap<Place, Timestamp>,
    totals: Totals,
    dead_letters: DeadLetters,
}

/// A slice's slicer and order.
type Place = (u32, u64);

/// Dead letters in the order in which they came.
#[derive(Default)]
struct DeadLetters {
    next: u64,
    by_number: BTreeMap<u64, KeptLetter>,
    by_slice: BTreeMap<SliceId, Vec<u64>>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("jobs", &state.jobs.len())
            .field("executions", &state.runs.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn put_job(&self, job: JobRecord) -> Result<(), StoreError> {
        let mut state = self.state();
        match state.places_of_jobs.get(&job.job_id).copied() {
            Some(place) => state.jobs[place] = job,
            None => {
                let place = state.jobs.len();
                state.places_of_jobs.insert(job.job_id, place);
                state.jobs.push(job);
            }
        }
        Ok(())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        let state = self.state();
        Ok(state.places_of_jobs.get(&id).map(|place| state.jobs[*place].clone()))
    }

    async fn create_execution(&self, execution: Execution) -> Result<(), StoreError> {
        let mut state = self.state();
        let (id, place) = (execution.ex_id, state.runs.len());
        if state.places.contains_key(&id) {
            return Err(rules::id_taken(id));
        }
        state.places.insert(id, place);
        state.runs.push(Run::new(execution));
        Ok(())
    }

    async fn execution(&self, id: ExId) -> Result<Option<Execution>, StoreError> {
        Ok(self.state().run(id).ok().map(|run| run.execution.clone()))
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        let state = self.state();
        let jobs = state.jobs.iter().rev().filter(|job| rules::is_wanted_job(job, &query));
        Ok(collect(Collector::new(query.filter.as_ref(), query.sort.as_ref(), query.page), jobs))
    }

    async fn executions(&self, query: ExecutionQuery) -> Result<Vec<Execution>, StoreError> {
        let state = self.state();
        let executions = state.runs.iter().rev().map(|run| &run.execution);
        let wanted = executions.filter(|execution| rules::is_wanted_execution(execution, &query));
        Ok(collect(Collector::new(query.filter.as_ref(), query.sort.as_ref(), query.page), wanted))
    }

    async fn sums(&self) -> Result<Sums, StoreError> {
        let mut sums = Sums::default();
        for run in &self.state().runs {
            rules::add(&mut sums, rules::part_of_sums(&run.execution.stats));
        }
        Ok(sums)
    }

    async fn update_execution(&self, id: ExId, update: ExecutionUpdate) -> Result<Execution, StoreError> {
        let now = self.context.wall();
        let mut state = self.state();
        let execution = &mut state.run_mut(id)?.execution;
        rules::update(execution, update, now);
        Ok(execution.clone())
    }

    async fn set_status(&self, id: ExId, change: StatusChange) -> Result<(), StoreError> {
        let now = self.context.wall();
        self.state().run_mut(id)?.set_status(change, now)
    }

    async fn begin_epoch(&self, id: ExId, generation: Generation) -> Result<Epoch, StoreError> {
        let now = self.context.wall();
        let mut state = self.state();
        let run = state.run_mut(id)?;
        rules::check_generation(id, run.writer(), generation)?;
        run.execution.epoch = run.execution.epoch.next();
        run.execution.updated = now;
        Ok(run.execution.epoch)
    }

    async fn append(&self, id: ExId, writer: Writer, flush: Flush) -> Result<(), StoreError> {
        let now = self.context.wall();
        let mut state = self.state();
        let run = state.run_mut(id)?;
        rules::check_writer(id, run.writer(), writer)?;
        run.append(flush, now);
        Ok(())
    }

    async fn ledger(&self, id: ExId) -> Result<Ledger, StoreError> {
        let state = self.state();
        let run = state.run(id)?;
        Ok(Ledger {
            checkpoints: run.checkpoints.values().cloned().collect(),
            unfinished: run.pending.iter().map(|place| run.slices[place].clone()).collect(),
            totals: run.totals.clone(),
        })
    }

    async fn slices(&self, id: ExId, state: SliceState, page: Page) -> Result<Vec<SliceRecord>, StoreError> {
        let all = self.state();
        let run = all.run(id)?;
        Ok(match state {
            SliceState::Pending => cut(page, run.pending.iter().map(|place| &run.slices[place])),
            SliceState::Error => cut(page, run.failed.keys().map(|place| &run.slices[place])),
            SliceState::Completed => cut(page, run.slices.values().filter(|record| record.state == state)),
        })
    }

    async fn errors(&self, query: ErrorQuery) -> Result<Vec<ErrorRecord>, StoreError> {
        let state = self.state();
        let mut collector = Collector::new(query.filter.as_ref(), query.sort.as_ref(), query.page);
        let is_wanted = |execution: &Execution| match query.ex_id {
            Some(ex_id) => execution.ex_id == ex_id,
            None => execution.deleted.is_none(),
        };
        for run in state.runs.iter().rev().filter(|run| is_wanted(&run.execution)) {
            if !run.errors().all(|error| collector.offer(error)) {
                break;
            }
        }
        Ok(collector.finish())
    }

    async fn slice_counts(&self, id: ExId) -> Result<SliceCounts, StoreError> {
        let state = self.state();
        let run = state.run(id)?;
        let (pending, error) = (run.pending.len() as u64, run.failed.len() as u64);
        Ok(SliceCounts { pending, completed: run.slices.len() as u64 - pending - error, error })
    }

    async fn dead_letters(
        &self,
        id: ExId,
        which: Letters,
        page: Page,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        let is_wanted = |kept: &&KeptLetter| match which {
            Letters::All => true,
            Letters::Open => kept.replayed_in.is_none(),
            Letters::ReplayedIn(ex_id) => kept.replayed_in == Some(ex_id),
        };
        Ok(cut(page, self.state().run(id)?.dead_letters.by_number.values().filter(is_wanted)))
    }

    async fn claim_dead_letters(&self, id: ExId, claim: Claim) -> Result<u64, StoreError> {
        let mut state = self.state();
        let letters = &mut state.run_mut(id)?.dead_letters.by_number;
        let mut claimed = 0;
        for number in claim.numbers {
            if let Some(kept) = letters.get_mut(&number).filter(|kept| kept.replayed_in == claim.from) {
                kept.replayed_in = Some(claim.by);
                claimed += 1;
            }
        }
        Ok(claimed)
    }

    async fn create_asset(&self, asset: AssetRecord) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some(found) = state.assets.iter().find(|found| rules::is_same_asset(found, &asset)) {
            return Err(rules::asset_taken(&asset, &found.id));
        }
        state.assets.push(asset);
        Ok(())
    }

    async fn assets(&self) -> Result<Vec<AssetRecord>, StoreError> {
        Ok(self.state().assets.iter().rev().cloned().collect())
    }

    async fn delete_asset(&self, id: &str) -> Result<(), StoreError> {
        let mut state = self.state();
        let place = state.assets.iter().position(|asset| asset.id == id);
        state.assets.remove(place.ok_or_else(|| rules::no_asset(id))?);
        Ok(())
    }

    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.tokens.contains_key(&token.name) {
            return Err(rules::token_taken(&token.name));
        }
        state.tokens.insert(token.name.clone(), token);
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        Ok(self.state().tokens.values().cloned().collect())
    }

    async fn delete_token(&self, name: &str) -> Result<(), StoreError> {
        self.state().tokens.remove(name).map(drop).ok_or_else(|| rules::no_token(name))
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.state().audit.push(entry);
        Ok(())
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(cut(page, self.state().audit.iter().rev()))
    }
}

fn collect<'a, T: Clone + Listed + 'a>(
    mut collector: Collector<'_, &'a T>,
    records: impl Iterator<Item = &'a T>,
) -> Vec<T> {
    for record in records {
        if !collector.offer(record) {
            break;
        }
    }
    collector.finish().into_iter().cloned().collect()
}

/// Returns the part of a list that a page asks for.
fn cut<'a, T: Clone + 'a>(page: Page, list: impl Iterator<Item = &'a T>) -> Vec<T> {
    let from = usize::try_from(page.from).unwrap_or(usize::MAX);
    let size = usize::try_from(page.size).unwrap_or(usize::MAX);
    list.skip(from).take(size).cloned().collect()
}

impl State {
    fn run(&self, id: ExId) -> Result<&Run, StoreError> {
        self.places.get(&id).map(|place| &self.runs[*place]).ok_or_else(|| rules::no_execution(id))
    }

    fn run_mut(&mut self, id: ExId) -> Result<&mut Run, StoreError> {
        self.places.get(&id).map(|place| &mut self.runs[*place]).ok_or_else(|| rules::no_execution(id))
    }
}

impl Run {
    fn new(execution: Execution) -> Self {
        Self {
            execution,
            checkpoints: BTreeMap::new(),
            slices: BTreeMap::new(),
            pending: BTreeSet::new(),
            failed: BTreeMap::new(),
            totals: Totals::default(),
            dead_letters: DeadLetters::default(),
        }
    }

    const fn writer(&self) -> Writer {
        Writer::of(&self.execution)
    }

    fn set_status(&mut self, change: StatusChange, now: Timestamp) -> Result<(), StoreError> {
        let execution = &mut self.execution;
        rules::check_status(execution.ex_id, execution.status, Writer::of(execution), &change)?;
        execution.status = change.to;
        execution.updated = now;
        if change.failure.is_some() {
            execution.failure = change.failure;
        }
        if let Some(stats) = change.stats {
            execution.stats = stats;
        }
        Ok(())
    }

    fn errors(&self) -> impl Iterator<Item = ErrorRecord> {
        self.failed.iter().map(|(place, updated)| ErrorRecord {
            ex_id: self.execution.ex_id,
            slice: self.slices[place].clone(),
            updated: *updated,
        })
    }

    fn append(&mut self, flush: Flush, now: Timestamp) {
        for record in flush.slices {
            self.put_slice(record, now);
        }
        for checkpoint in flush.checkpoints {
            self.checkpoints.insert(checkpoint.slicer_id, checkpoint);
        }
        for letter in flush.dead_letters {
            self.dead_letters.push(letter);
        }
        self.totals = flush.totals;
    }

    fn put_slice(&mut self, record: SliceRecord, now: Timestamp) {
        let place = (record.slice.slicer_id, record.slice.slicer_order);
        self.pending.remove(&place);
        self.failed.remove(&place);
        match record.state {
            SliceState::Pending => {
                self.pending.insert(place);
            }
            SliceState::Error => {
                self.failed.insert(place, now);
            }
            SliceState::Completed => self.dead_letters.remove(record.slice.id),
        }
        let _replaced = self.slices.insert(place, record);
    }
}

impl DeadLetters {
    fn push(&mut self, letter: DeadLetter) {
        self.by_slice.entry(letter.slice_id).or_default().push(self.next);
        let kept = KeptLetter { number: self.next, replayed_in: None, letter };
        self.by_number.insert(self.next, kept);
        self.next += 1;
    }

    fn remove(&mut self, slice_id: SliceId) {
        for number in self.by_slice.remove(&slice_id).unwrap_or_default() {
            self.by_number.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use teraslice_core::conformance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_a_state_store() {
        conformance::store::run(async || {
            let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(Context::simulated(1)));
            store
        })
        .await;
    }
}
