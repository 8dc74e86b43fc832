//! `teraslice dead-letters replay`: runs dead letters through their job again, or through a changed one.
//!
//! ```text
//! letters that operation k refused  ->  a new execution: dead_letter_reader, operation k, k+1, ...
//!
//! create the execution -> claim the letters for it -> run       killed anywhere: `resume` goes on with those claimed
//! ```

use std::{collections::BTreeMap, env, sync::Arc};

use serde_json::{Map, Value, json};
use teraslice_core::{
    context::Context,
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
    select, unknown,
};
use crate::{args::ReplayDeadLetters, failure::Failure};

/// Replays dead letters; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &ReplayDeadLetters) -> Result<u8, Failure> {
    let small = runtime(None)?;
    let _guard = small.enter();
    let context = Context::system();
    let store = session.store(&context)?;
    let ex_id = arguments.ex_id;
    let execution =
        small.block_on(store.execution(ex_id)).map_err(of_store)?.ok_or_else(|| unknown(ex_id))?;
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
    session.start_log(Some(&job.0))?;
    if arguments.job.is_none() {
        go_back(session, &execution)?;
    }
    let letters = small.block_on(wanted(store.as_ref(), arguments))?;
    if letters.is_empty() {
        session.screen.say(&format!("execution {ex_id} has no such dead letters to replay"));
    }
    let mut worst = exit_code::DONE;
    for (entry, letters) in by_entry(&job, letters)? {
        let job = replaying(&job, ex_id, entry);
        let code = replay(session, arguments, &context, &store, &execution, job, letters)?;
        if code == exit_code::INTERRUPTED {
            return Ok(code);
        }
        worst = worst.max(code);
    }
    Ok(worst)
}

/// Returns the letters to replay: open ones, or those that an earlier replay has failed with.
async fn wanted(store: &dyn StateStore, arguments: &ReplayDeadLetters) -> Result<Vec<KeptLetter>, Failure> {
    let is_wanted = |kept: &KeptLetter| {
        let is_named = arguments.number.is_empty() || arguments.number.contains(&kept.number);
        is_named && arguments.filter.takes(kept)
    };
    if !arguments.again {
        return select(store, arguments.ex_id, Letters::Open, is_wanted, usize::MAX).await;
    }
    let replayed = |kept: &KeptLetter| kept.replayed_in.is_some() && is_wanted(kept);
    let mut letters = select(store, arguments.ex_id, Letters::All, replayed, usize::MAX).await?;
    let mut failed = BTreeMap::new();
    for kept in &letters {
        if let Some(replay) = kept.replayed_in
            && !failed.contains_key(&replay)
        {
            failed.insert(replay, failed_numbers(store, replay).await?);
        }
    }
    letters.retain(|kept| kept.replayed_in.is_some_and(|replay| failed[&replay].contains(&kept.number)));
    Ok(letters)
}

/// Returns the numbers of the letters in the failed slices of a replay that has ended.
async fn failed_numbers(store: &dyn StateStore, replay: ExId) -> Result<Vec<u64>, Failure> {
    let ended = store.execution(replay).await.map_err(of_store)?;
    if !ended.is_some_and(|execution| execution.status.is_terminal()) {
        return Ok(Vec::new());
    }
    let all = Page { from: 0, size: u64::MAX };
    let slices = store.slices(replay, SliceState::Error, all).await.map_err(of_store)?;
    let requests = slices.iter().filter_map(|record| record.slice.request.parse::<Value>().ok());
    let numbers = requests.flat_map(|request| match request["letters"].as_array() {
        Some(letters) => letters.iter().filter_map(|letter| letter["number"].as_u64()).collect(),
        None => Vec::new(),
    });
    Ok(numbers.collect())
}

/// Sorts letters by the operation of the job that they go into: the one that refused them, or the first after the reader.
fn by_entry(job: &RawJob, letters: Vec<KeptLetter>) -> Result<BTreeMap<usize, Vec<KeptLetter>>, Failure> {
    let operations = job.0.get("operations").and_then(Value::as_array);
    let name = |at: usize| operations.and_then(|all| all.get(at)?.get("_op")?.as_str());
    let mut groups: BTreeMap<usize, Vec<KeptLetter>> = BTreeMap::new();
    for kept in letters {
        let at = usize::try_from(kept.letter.operation).unwrap_or(usize::MAX);
        if at > 0 && name(at) != Some(kept.letter.op.as_str()) {
            let found = name(at).map_or_else(|| "nothing".to_owned(), |op| format!("{op:?}"));
            let message = format!(
                "dead letter {} was refused by operation {at} ({}), where the job has {found}",
                kept.number, kept.letter.op
            );
            let hint = "change settings of the job, or add operations behind that one; or choose letters with --operation";
            return Err(Failure::text(exit_code::BAD_JOB, message).with_hint(hint));
        }
        groups.entry(at.max(1)).or_default().push(kept);
    }
    Ok(groups)
}

/// Returns the job that runs the letters of an execution from one operation on.
fn replaying(job: &RawJob, ex_id: ExId, entry: usize) -> RawJob {
    let mut job = job.clone();
    let name = job.0.get("name").and_then(Value::as_str).unwrap_or("Custom Job");
    let name = format!("{name} (replay)");
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
    source: &Execution,
    job: RawJob,
    letters: Vec<KeptLetter>,
) -> Result<u8, Failure> {
    let plan = session.prepare(&job, "the job of the replay")?.plan;
    let workers = session.workers(arguments.workers)?;
    let runtime = runtime(Some(plan.job()))?;
    let done = runtime.block_on(Box::pin(async {
        let signals = Signals::listen()?;
        let directory = env::current_dir().unwrap_or_default();
        let started = json!({"directory": directory, "replays": source.ex_id});
        let metadata = Map::from_iter([("cli".to_owned(), started)]);
        let created = record::create(context, store.as_ref(), &plan, job.0, metadata).await;
        let execution = created.map_err(of_store)?;
        let ex_id = execution.ex_id;
        store.create_execution(execution).await.map_err(of_store)?;
        let claimed = claim(store.as_ref(), source.ex_id, ex_id, &letters).await?;
        session.screen.say(&format!("execution {ex_id} replays {claimed} dead letters of {}", source.ex_id));
        let wanted = Wanted::Stored(ex_id, None);
        let local = Local::start(context, &session.parts, Arc::clone(store), &plan, wanted, workers).await;
        let code = attend(session, context, store.as_ref(), ex_id, local.map_err(of_local)?, signals).await?;
        if code == exit_code::FAILED {
            let again =
                format!("try them again with: teraslice dead-letters replay {} --again", source.ex_id);
            session.screen.say(&again);
        }
        Ok(code)
    }));
    runtime.shutdown_background();
    done
}

async fn claim(
    store: &dyn StateStore,
    source: ExId,
    by: ExId,
    letters: &[KeptLetter],
) -> Result<u64, Failure> {
    let mut holders: BTreeMap<Option<ExId>, Vec<u64>> = BTreeMap::new();
    for kept in letters {
        holders.entry(kept.replayed_in).or_default().push(kept.number);
    }
    let mut claimed = 0;
    for (from, numbers) in holders {
        claimed += store.claim_dead_letters(source, Claim { numbers, from, by }).await.map_err(of_store)?;
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use teraslice_model::{
        dead_letter::{DeadLetter, Encoding},
        id::SliceId,
    };

    use super::*;

    fn job() -> RawJob {
        let job =
            json!({"name": "j", "operations": [{"_op": "r"}, {"_op": "a"}, {"_op": "b"}, {"_op": "s"}]});
        RawJob(job.as_object().expect("it is an object").clone())
    }

    fn kept(number: u64, operation: u32, op: &str) -> KeptLetter {
        let letter = DeadLetter {
            slice_id: SliceId::derive(ExId::from_random([1; 16]), 0, 1),
            operation,
            op: op.to_owned(),
            reason: String::new(),
            record: String::new(),
            encoding: Encoding::Text,
            metadata: None,
        };
        KeptLetter { number, replayed_in: None, letter }
    }

    #[test]
    fn sends_letters_back_to_where_they_were_refused() {
        let groups = by_entry(&job(), vec![kept(1, 0, "r"), kept(2, 2, "b"), kept(3, 1, "a")]).unwrap();
        let groups: Vec<_> = groups
            .iter()
            .map(|(entry, letters)| (*entry, letters.iter().map(|kept| kept.number).collect::<Vec<_>>()))
            .collect();
        assert_eq!(groups, [(1, vec![1, 3]), (2, vec![2])]);
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
    }

    #[test]
    fn refuses_a_job_that_has_another_operation_there() {
        let error = by_entry(&job(), vec![kept(5, 1, "gone")]).unwrap_err();
        assert_eq!(error.code, exit_code::BAD_JOB);
    }
}
