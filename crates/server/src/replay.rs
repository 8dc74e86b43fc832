//! Replays of dead letters: a new job and execution for each operation at which letters go in.
//!
//! ```text
//! letters that operation k refused  ->  a new execution: dead_letter_reader, operation k, k+1, ...
//!
//! store the execution -> claim the letters for it -> have it run      ended midway: the engine runs what was claimed,
//!                                                                     `again` gets at the rest
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use teraslice_api::answer::{Replay, ReplayRequest};
use teraslice_core::store::{Claim, KeptLetter, Letters, Page};
use teraslice_model::{
    execution::{Execution, JobRecord},
    id::ExId,
    slice::SliceState,
};

use crate::{app::App, checker::Checked, refusal::Refusal};

/// Letters, and slices of an earlier replay, are read in portions of this size.
const PAGE_LEN: u64 = 500;
/// Letters of one request at most.
const LETTERS_MAX: usize = 100_000;
/// What the name of a replay's job ends with.
const MARK: &str = " (replay)";

/// A letter that is to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    number: u64,
    operation: usize,
    op: String,
    /// The execution that replays it so far.
    holder: Option<ExId>,
}

/// What a slice of a replay asks for, as far as it says which letters these are.
#[derive(Deserialize)]
struct Asked {
    letters: Vec<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

impl App {
    /// Replays dead letters of an execution through the job that it had.
    pub(crate) async fn replay(&self, source: ExId, wanted: &ReplayRequest) -> Result<Vec<Replay>, Refusal> {
        let execution = self.execution(source).await?;
        let letters = self.letters(source, wanted).await?;
        let mut groups = Vec::new();
        // All jobs are checked before the first one runs.
        for (entry, letters) in by_entry(&execution.job, letters)? {
            let job = replaying(&execution.job, source, entry);
            let checked = self.check(job.clone()).await?;
            groups.push((entry, job, checked, letters));
        }
        let mut replays = Vec::new();
        for (entry, job, checked, letters) in groups {
            replays.push(self.start_replay(&execution, entry, job, checked, letters).await?);
        }
        Ok(replays)
    }

    async fn start_replay(
        &self,
        source: &Execution,
        entry: usize,
        job: Map<String, Value>,
        checked: Checked,
        letters: Vec<Chosen>,
    ) -> Result<Replay, Refusal> {
        let (store, now) = (&self.services.store, self.now());
        let job_id = self.services.context.job_id();
        store.put_job(JobRecord { job_id, job, deleted: None, created: now, updated: now }).await?;
        let mut execution = self.new_execution(job_id, checked.document, None);
        let ex_id = execution.ex_id;
        let started = json!({"replays": source.ex_id, "entry": entry + start_of(source) - 1});
        execution.metadata.insert("cli".to_owned(), started);
        store.create_execution(execution).await?;
        let mut holders: BTreeMap<Option<ExId>, Vec<u64>> = BTreeMap::new();
        for letter in letters {
            holders.entry(letter.holder).or_default().push(letter.number);
        }
        let mut claimed = 0;
        for (from, numbers) in holders {
            let claim = Claim { numbers, from, by: ex_id };
            claimed += store.claim_dead_letters(source.ex_id, claim).await?;
        }
        let _view = self.services.engine.resume(ex_id).await?;
        Ok(Replay { job_id, ex_id, operation: entry, letters: claimed })
    }

    /// Returns the letters to replay: open ones, or those that an earlier replay has ended without.
    async fn letters(&self, source: ExId, wanted: &ReplayRequest) -> Result<Vec<Chosen>, Refusal> {
        let which = if wanted.again { Letters::All } else { Letters::Open };
        let mut letters = Vec::new();
        let mut page = Page { from: 0, size: PAGE_LEN };
        loop {
            let found = self.services.store.dead_letters(source, which, page).await?;
            if found.is_empty() {
                break;
            }
            page.from += found.len() as u64;
            letters.extend(found.into_iter().filter(|kept| is_wanted(kept, wanted)).map(Chosen::from));
            if letters.len() > LETTERS_MAX {
                let message = format!(
                    "more than {LETTERS_MAX} letters are to be replayed: choose some by numbers or op"
                );
                return Err(Refusal::bad(message));
            }
        }
        let mut done = BTreeMap::new();
        for holder in letters.iter().filter_map(|letter| letter.holder).collect::<BTreeSet<_>>() {
            done.insert(holder, self.done_by(holder).await?);
        }
        letters.retain(|letter| {
            let done = letter.holder.and_then(|holder| done[&holder].as_ref());
            letter.holder.is_none() || done.is_some_and(|done| !done.contains(&letter.number))
        });
        Ok(letters)
    }

    /// Returns the numbers of the letters that a replay is done with; nothing if it has not ended.
    async fn done_by(&self, replay: ExId) -> Result<Option<BTreeSet<u64>>, Refusal> {
        let ended = self.services.store.execution(replay).await?;
        if !ended.is_some_and(|execution| execution.status.is_terminal()) {
            return Ok(None);
        }
        let mut page = Page { from: 0, size: PAGE_LEN };
        let mut done = BTreeSet::new();
        loop {
            let slices = self.services.store.slices(replay, SliceState::Completed, page).await?;
            if slices.is_empty() {
                return Ok(Some(done));
            }
            page.from += slices.len() as u64;
            for record in slices {
                let asked: Asked = record.slice.request.parse().map_err(|error| {
                    Refusal::internal(format!(
                        "failed to read slice {} of execution {replay}: {error}",
                        record.slice.id
                    ))
                })?;
                done.extend(asked.letters.into_iter().map(|letter| letter.number));
            }
        }
    }
}

impl From<KeptLetter> for Chosen {
    fn from(KeptLetter { number, replayed_in, letter }: KeptLetter) -> Self {
        let operation = usize::try_from(letter.operation).unwrap_or(usize::MAX);
        Self { number, operation, op: letter.op, holder: replayed_in }
    }
}

fn is_wanted(kept: &KeptLetter, wanted: &ReplayRequest) -> bool {
    let is_named = wanted.numbers.is_empty() || wanted.numbers.contains(&kept.number);
    let is_of_op = wanted.op.as_ref().is_none_or(|op| *op == kept.letter.op);
    is_named && is_of_op && kept.replayed_in.is_some() == wanted.again
}

/// Returns the operation of the author's job that comes first after the reader of an execution.
fn start_of(execution: &Execution) -> usize {
    let entry = execution.metadata.get("cli").and_then(|cli| cli.get("entry")?.as_u64());
    entry.and_then(|entry| usize::try_from(entry).ok()).unwrap_or(1).max(1)
}

/// Sorts letters by the operation that they go into: the one that refused them, or the first after the reader.
fn by_entry(job: &Map<String, Value>, letters: Vec<Chosen>) -> Result<BTreeMap<usize, Vec<Chosen>>, Refusal> {
    let operations = job.get("operations").and_then(Value::as_array);
    let name = |at: usize| operations.and_then(|all| all.get(at)?.get("_op")?.as_str());
    let mut groups: BTreeMap<usize, Vec<Chosen>> = BTreeMap::new();
    for letter in letters {
        let at = letter.operation.max(1);
        if letter.operation > 0 && name(at) != Some(letter.op.as_str()) {
            let found = name(at).unwrap_or("nothing");
            let message = format!(
                "dead letter {} was refused by operation {at} ({}), where the job has {found}",
                letter.number, letter.op
            );
            return Err(Refusal::unprocessable(message));
        }
        groups.entry(at).or_default().push(letter);
    }
    Ok(groups)
}

/// Returns the job that runs the letters of an execution from one operation on.
fn replaying(job: &Map<String, Value>, source: ExId, entry: usize) -> Map<String, Value> {
    let mut job = job.clone();
    let name = job.get("name").and_then(Value::as_str).unwrap_or("Custom Job");
    let name = format!("{}{MARK}", name.strip_suffix(MARK).unwrap_or(name));
    job.insert("name".to_owned(), name.into());
    job.insert("lifecycle".to_owned(), "once".into());
    job.insert("slicers".to_owned(), 1.into());
    job.insert("autorecover".to_owned(), false.into());
    if let Some(operations) = job.get_mut("operations").and_then(Value::as_array_mut) {
        let reader = json!({"_op": "dead_letter_reader", "ex_id": source});
        operations.splice(..entry.min(operations.len()), [reader]);
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::object;

    fn job() -> Map<String, Value> {
        object(json!({"name": "j", "operations": [{"_op": "r"}, {"_op": "a"}, {"_op": "b"}]}))
    }

    fn chosen(number: u64, operation: usize, op: &str) -> Chosen {
        Chosen { number, operation, op: op.to_owned(), holder: None }
    }

    #[test]
    fn groups_letters_by_where_they_go_in() {
        let letters = vec![chosen(1, 0, "r"), chosen(2, 2, "b"), chosen(3, 1, "a")];
        let groups = by_entry(&job(), letters).unwrap();
        let numbers: Vec<_> = groups
            .iter()
            .map(|(at, all)| (*at, all.iter().map(|it| it.number).collect::<Vec<_>>()))
            .collect();
        assert_eq!(numbers, [(1, vec![1, 3]), (2, vec![2])]);
    }

    #[test]
    fn refuses_letters_of_another_job() {
        let refusal = by_entry(&job(), vec![chosen(1, 2, "x")]).unwrap_err();
        assert_eq!(refusal.status, 422);
        assert_eq!(refusal.message, "dead letter 1 was refused by operation 2 (x), where the job has b");
    }

    #[test]
    fn puts_the_reader_of_letters_before_the_operation() {
        let source = ExId::from_random([1; 16]);
        let replay = replaying(&replaying(&job(), source, 2), source, 1);
        assert_eq!(replay["name"], "j (replay)");
        let operations = json!([{"_op": "dead_letter_reader", "ex_id": source}, {"_op": "b"}]);
        assert_eq!(replay["operations"], operations);
    }
}
