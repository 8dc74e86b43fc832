//! `teraslice dead-letters replay`: runs dead letters through their job again, or through a changed one.
//!
//! ```text
//! letters that operation k refused  ->  a new execution: dead_letter_reader, operation k, k+1, ...
//!
//! create the execution -> claim the letters for it -> run       killed anywhere: `resume` goes on with those claimed
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use teraslice_core::{
    context::Context,
    plan::Plan,
    store::{Claim, KeptLetter, Letters, Page, StateStore},
};
use teraslice_model::{execution::Execution, id::ExId, job::RawJob, slice::SliceState};
use teraslice_node::{
    exit_code,
    local::{Local, Wanted, record},
};

use super::{
    super::{
        attend::{attend, of_local},
        resume::go_back,
        session::{Session, of_store, runtime},
        signals::Signals,
    },
    elsewhere, select, unknown,
};
use crate::{args::ReplayDeadLetters, failure::Failure};

/// Slices of an earlier replay that are read at once.
const SLICES: u64 = 100;
/// What the name of a replay's job ends with.
const MARK: &str = " (replay)";

/// A letter that is to be replayed.
#[derive(Clone, Debug)]
struct Chosen {
    number: u64,
    /// Where it was refused, in the job of its execution.
    operation: usize,
    op: String,
    /// The execution that replays it so far.
    holder: Option<ExId>,
}

/// Letters that enter the job at the same operation.
struct Group {
    /// Where they enter, in the job as its author wrote it.
    entry: usize,
    job: RawJob,
    plan: Plan,
    letters: Vec<Chosen>,
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

/// Replays dead letters; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &ReplayDeadLetters) -> Result<u8, Failure> {
    let small = runtime(None)?;
    let _guard = small.enter();
    let context = Context::system();
    let store = session.store(&context)?;
    let ex_id = arguments.ex_id;
    let execution =
        small.block_on(store.execution(ex_id)).map_err(of_store)?.ok_or_else(|| unknown(ex_id))?;
    let job = job(session, arguments, &execution)?;
    let _traces = session.start_work_log(Some(&job.0), "run")?;
    if arguments.job.is_none() {
        go_back(session, &execution)?;
    }
    let letters = small.block_on(wanted(store.as_ref(), arguments))?;
    if letters.is_empty() {
        session.screen.say(&format!("execution {ex_id} has no such dead letters to replay"));
        if let Some(hint) = elsewhere(&execution.job) {
            session.screen.say(&hint);
        }
    }
    let mut worst = exit_code::DONE;
    for group in groups(session, arguments, &execution, &job, letters)? {
        let code = replay(session, arguments, &context, &store, ex_id, group)?;
        if code == exit_code::INTERRUPTED {
            return Ok(code);
        }
        worst = worst.max(code);
    }
    Ok(worst)
}

/// Returns the job that the letters go through, whole.
fn job(session: &Session, arguments: &ReplayDeadLetters, execution: &Execution) -> Result<RawJob, Failure> {
    let mut job = match &arguments.job {
        Some(file) => session.read_file(file, &[])?,
        None => RawJob(execution.job.clone()),
    };
    for (path, value) in &arguments.set {
        job.set(path, value).map_err(|error| Failure::new(exit_code::BAD_JOB, error))?;
    }
    if let Some(workers) = arguments.workers.workers {
        job.0.insert("workers".to_owned(), workers.into());
    }
    Ok(job)
}

/// Returns the letters to replay: open ones, or those that an earlier replay has ended without.
async fn wanted(store: &dyn StateStore, arguments: &ReplayDeadLetters) -> Result<Vec<Chosen>, Failure> {
    let which = if arguments.again { Letters::All } else { Letters::Open };
    let choose = |kept: KeptLetter| {
        let is_named = arguments.number.is_empty() || arguments.number.contains(&kept.number);
        let is_chosen =
            is_named && arguments.filter.takes(&kept) && kept.replayed_in.is_some() == arguments.again;
        is_chosen.then(|| Chosen::from(kept))
    };
    let mut letters = select(store, arguments.ex_id, which, choose, usize::MAX).await?;
    let holders: BTreeSet<ExId> = letters.iter().filter_map(|letter| letter.holder).collect();
    let mut done = BTreeMap::new();
    for holder in holders {
        done.insert(holder, done_by(store, holder).await?);
    }
    let is_left = |letter: &Chosen| {
        let done = letter.holder.and_then(|holder| done[&holder].as_ref());
        letter.holder.is_none() || done.is_some_and(|done| !done.contains(&letter.number))
    };
    letters.retain(is_left);
    Ok(letters)
}

/// Returns the numbers of the letters that a replay is done with; nothing if it has not ended.
async fn done_by(store: &dyn StateStore, replay: ExId) -> Result<Option<BTreeSet<u64>>, Failure> {
    let ended = store.execution(replay).await.map_err(of_store)?;
    if !ended.is_some_and(|execution| execution.status.is_terminal()) {
        return Ok(None);
    }
    let mut page = Page { from: 0, size: SLICES };
    let mut done = BTreeSet::new();
    loop {
        let slices = store.slices(replay, SliceState::Completed, page).await.map_err(of_store)?;
        if slices.is_empty() {
            return Ok(Some(done));
        }
        page.from += slices.len() as u64;
        for record in slices {
            let asked: Asked = record.slice.request.parse().map_err(|error| {
                let message = format!("failed to read slice {} of execution {replay}", record.slice.id);
                Failure::new(exit_code::STATE, anyhow::Error::new(error).context(message))
            })?;
            done.extend(asked.letters.into_iter().map(|letter| letter.number));
        }
    }
}

impl From<KeptLetter> for Chosen {
    fn from(KeptLetter { number, replayed_in, letter }: KeptLetter) -> Self {
        let operation = usize::try_from(letter.operation).unwrap_or(usize::MAX);
        Self { number, operation, op: letter.op, holder: replayed_in }
    }
}

/// Makes the jobs of all groups, and checks them before the first one runs.
fn groups(
    session: &Session,
    arguments: &ReplayDeadLetters,
    execution: &Execution,
    job: &RawJob,
    letters: Vec<Chosen>,
) -> Result<Vec<Group>, Failure> {
    let start = start_of(execution);
    // The job of a replay lacks the operations before its start; a file has them.
    let shift = if arguments.job.is_some() { start - 1 } else { 0 };
    let mut groups = Vec::new();
    for (at, letters) in by_entry(job, shift, letters)? {
        let job = replaying(job, execution.ex_id, at);
        let plan = session.prepare(&job, "the job of the replay")?.plan;
        groups.push(Group { entry: at - shift + start - 1, job, plan, letters });
    }
    Ok(groups)
}

/// Returns the operation of the author's job that comes first after the reader of an execution.
fn start_of(execution: &Execution) -> usize {
    let cli = execution.metadata.get("cli");
    let start = cli.and_then(|cli| cli.get("entry")?.as_u64()).and_then(|entry| usize::try_from(entry).ok());
    start.unwrap_or(1).max(1)
}

/// Sorts letters by the operation of the job that they go into: the one that refused them, or the first after the reader.
///
/// The job has `shift` operations more before those than the one that refused the letters.
fn by_entry(
    job: &RawJob,
    shift: usize,
    letters: Vec<Chosen>,
) -> Result<BTreeMap<usize, Vec<Chosen>>, Failure> {
    let operations = job.0.get("operations").and_then(Value::as_array);
    let name = |at: usize| operations.and_then(|all| all.get(at)?.get("_op")?.as_str());
    let mut groups: BTreeMap<usize, Vec<Chosen>> = BTreeMap::new();
    for letter in letters {
        let at = letter.operation.max(1).saturating_add(shift);
        if letter.operation > 0 && name(at) != Some(letter.op.as_str()) {
            let found = name(at).map_or_else(|| "nothing".to_owned(), |op| format!("{op:?}"));
            let message = format!(
                "dead letter {} was refused by operation {} ({}), where the job has {found}",
                letter.number, at, letter.op
            );
            let hint = "change settings of the job, or add operations behind that one; or choose letters with --operation";
            return Err(Failure::text(exit_code::BAD_JOB, message).with_hint(hint));
        }
        groups.entry(at).or_default().push(letter);
    }
    Ok(groups)
}

/// Returns the job that runs the letters of an execution from one operation on.
fn replaying(job: &RawJob, ex_id: ExId, entry: usize) -> RawJob {
    let mut job = job.clone();
    let name = job.0.get("name").and_then(Value::as_str).unwrap_or("Custom Job");
    let name = format!("{}{MARK}", name.strip_suffix(MARK).unwrap_or(name));
    job.0.insert("name".to_owned(), name.into());
    job.0.insert("lifecycle".to_owned(), "once".into());
    job.0.insert("slicers".to_owned(), 1.into());
    if let Some(operations) = job.0.get_mut("operations").and_then(Value::as_array_mut) {
        let reader = json!({"_op": "dead_letter_reader", "ex_id": ex_id});
        operations.splice(..entry.min(operations.len()), [reader]);
    }
    job
}

/// Runs one group of letters.
fn replay(
    session: &Session,
    arguments: &ReplayDeadLetters,
    context: &Context,
    store: &Arc<dyn StateStore>,
    source: ExId,
    group: Group,
) -> Result<u8, Failure> {
    let Group { entry, job, plan, letters } = group;
    let workers = session.workers(arguments.workers)?;
    let runtime = runtime(Some(plan.job()))?;
    let done = runtime.block_on(Box::pin(async {
        let signals = Signals::listen()?;
        let directory = env::current_dir().unwrap_or_default();
        let started = json!({"directory": directory, "replays": source, "entry": entry});
        let metadata = Map::from_iter([("cli".to_owned(), started)]);
        let created = record::create(context, store.as_ref(), &plan, job.0, metadata).await;
        let execution = created.map_err(of_store)?;
        let ex_id = execution.ex_id;
        store.create_execution(execution).await.map_err(of_store)?;
        let claimed = claim(store.as_ref(), source, ex_id, &letters).await?;
        session.screen.say(&format!("execution {ex_id} replays {claimed} dead letters of {source}"));
        let wanted = Wanted::Stored(ex_id, None);
        let local = Local::start(context, &session.parts, Arc::clone(store), &plan, wanted, workers).await;
        let code = attend(session, context, store.as_ref(), ex_id, local.map_err(of_local)?, signals).await?;
        if code == exit_code::FAILED {
            let again = format!(
                "letters of failed slices can be tried again: teraslice dead-letters replay {source} --again"
            );
            session.screen.say(&again);
        }
        Ok(code)
    }));
    runtime.shutdown_background();
    done
}

async fn claim(store: &dyn StateStore, source: ExId, by: ExId, letters: &[Chosen]) -> Result<u64, Failure> {
    let mut holders: BTreeMap<Option<ExId>, Vec<u64>> = BTreeMap::new();
    for letter in letters {
        holders.entry(letter.holder).or_default().push(letter.number);
    }
    let mut claimed = 0;
    for (from, numbers) in holders {
        claimed += store.claim_dead_letters(source, Claim { numbers, from, by }).await.map_err(of_store)?;
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use teraslice_core::conformance::store::execution;

    use super::*;

    fn job() -> RawJob {
        let job =
            json!({"name": "j", "operations": [{"_op": "r"}, {"_op": "a"}, {"_op": "b"}, {"_op": "s"}]});
        RawJob(job.as_object().expect("it is an object").clone())
    }

    fn chosen(number: u64, operation: usize, op: &str) -> Chosen {
        Chosen { number, operation, op: op.to_owned(), holder: None }
    }

    fn grouped(job: &RawJob, shift: usize, letters: &[Chosen]) -> Vec<(usize, Vec<u64>)> {
        let groups = by_entry(job, shift, letters.to_vec()).unwrap();
        let numbers = |letters: Vec<Chosen>| letters.iter().map(|letter| letter.number).collect();
        groups.into_iter().map(|(entry, letters)| (entry, numbers(letters))).collect()
    }

    #[test]
    fn sends_letters_back_to_where_they_were_refused() {
        let letters = [chosen(1, 0, "r"), chosen(2, 2, "b"), chosen(3, 1, "a")];
        assert_eq!(grouped(&job(), 0, &letters), [(1, vec![1, 3]), (2, vec![2])]);
        let ex_id = ExId::from_random([1; 16]);
        let replayed = replaying(&job(), ex_id, 2);
        let ops: Vec<_> = replayed.0["operations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|op| op["_op"].as_str().unwrap())
            .collect();
        assert_eq!(ops, ["dead_letter_reader", "b", "s"]);
        assert_eq!(replayed.0["name"], "j (replay)");
        assert_eq!(replaying(&replayed, ex_id, 1).0["name"], "j (replay)");
    }

    #[test]
    fn finds_letters_of_a_replay_in_the_whole_job() {
        // A replay that began at `b`: its operations are the reader, `b` and `s`.
        let letters = [chosen(1, 0, "dead_letter_reader"), chosen(2, 1, "b"), chosen(3, 2, "s")];
        let own = replaying(&job(), ExId::from_random([1; 16]), 2);
        assert_eq!(grouped(&own, 0, &letters), [(1, vec![1, 2]), (2, vec![3])]);
        assert_eq!(grouped(&job(), 1, &letters), [(2, vec![1, 2]), (3, vec![3])]);
        let mut replay = execution(1);
        assert_eq!(start_of(&replay), 1);
        replay.metadata.insert("cli".to_owned(), json!({"entry": 2}));
        assert_eq!(start_of(&replay), 2);
    }

    #[test]
    fn refuses_a_job_that_has_another_operation_there() {
        for (operation, op) in [(1, "gone"), (4, "s"), (usize::MAX, "s")] {
            let error = by_entry(&job(), 0, vec![chosen(5, operation, op)]).unwrap_err();
            assert_eq!(error.code, exit_code::BAD_JOB);
        }
    }
}
