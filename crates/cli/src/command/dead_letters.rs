//! `teraslice dead-letters`: the records that a run's operations refused or broke on, and were kept.

mod replay;

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Map, Value};
use teraslice_core::{
    context::Context,
    store::{KeptLetter, Letters, Page, StateStore},
};
use teraslice_model::{
    dead_letter::{DeadLetter, DeadLetterAction, Encoding},
    execution::Execution,
    id::ExId,
};
use teraslice_node::exit_code;

use super::session::{Session, of_store, runtime};
use crate::{
    args::{DeadLetters, LetterFilter, LetterState, ListDeadLetters, ShowDeadLetter},
    failure::Failure,
    output,
};

pub(crate) use replay::execute as replay;

/// Letters that are read at once.
const PAGE: u64 = 1_000;

/// Runs a command about dead letters; returns the exit code.
pub(crate) fn execute(session: &Session, command: &DeadLetters) -> Result<u8, Failure> {
    match command {
        DeadLetters::List(arguments) => list(session, arguments),
        DeadLetters::Show(arguments) => show(session, arguments),
        DeadLetters::Replay(arguments) => replay(session, arguments),
    }
}

fn list(session: &Session, arguments: &ListDeadLetters) -> Result<u8, Failure> {
    let (filter, ex_id) = (&arguments.filter, arguments.ex_id);
    let which = if arguments.state == Some(LetterState::Open) { Letters::Open } else { Letters::All };
    let (from, size) = (arguments.from, arguments.size);
    let (letters, hint) = read(session, ex_id, async |store, execution| {
        let is_replayed = |kept: &KeptLetter| kept.replayed_in.is_some();
        let choose = |kept: KeptLetter| {
            let is_wanted = arguments.state != Some(LetterState::Replayed) || is_replayed(&kept);
            (is_wanted && filter.takes(&kept)).then_some(kept)
        };
        let end = usize::try_from(from.saturating_add(size)).unwrap_or(usize::MAX);
        let mut letters = select(store, ex_id, which, choose, end).await?;
        letters.drain(..letters.len().min(usize::try_from(from).unwrap_or(usize::MAX)));
        Ok((letters, elsewhere(&execution.job)))
    })?;
    output::print(session.output(), &letters, || render(&letters))?;
    if let Some(hint) = hint.filter(|_| letters.is_empty()) {
        session.screen.say(&hint);
    }
    Ok(exit_code::DONE)
}

fn show(session: &Session, arguments: &ShowDeadLetter) -> Result<u8, Failure> {
    let (ex_id, number) = (arguments.ex_id, arguments.number);
    let found = read(session, ex_id, async |store, _| {
        select(store, ex_id, Letters::All, |kept| (kept.number == number).then_some(kept), 1).await
    })?;
    let Some(kept) = found.first() else {
        let message = format!("execution {ex_id} has no dead letter {number}");
        let hint = format!("`teraslice dead-letters list {ex_id}` lists them");
        return Err(Failure::text(exit_code::BAD_JOB, message).with_hint(hint));
    };
    if arguments.raw {
        let bytes = kept.letter.bytes().map_err(|error| Failure::new(exit_code::STATE, error))?;
        std::io::stdout().write_all(&bytes).map_err(|error| Failure::new(exit_code::INTERNAL, error))?;
        return Ok(exit_code::DONE);
    }
    output::print(session.output(), kept, || whole(kept))?;
    Ok(exit_code::DONE)
}

/// Reads from the store beside a run that may write to it.
fn read<T>(
    session: &Session,
    ex_id: ExId,
    look: impl AsyncFnOnce(&dyn StateStore, &Execution) -> Result<T, Failure>,
) -> Result<T, Failure> {
    session.start_log(None)?;
    let runtime = runtime(None)?;
    let _guard = runtime.enter();
    let store = session.store_read_only(&Context::system())?;
    runtime.block_on(async move {
        let store = store.ok_or_else(|| unknown(ex_id))?;
        let execution = store.execution(ex_id).await.map_err(of_store)?.ok_or_else(|| unknown(ex_id))?;
        look(store.as_ref(), &execution).await
    })
}

fn unknown(ex_id: ExId) -> Failure {
    Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}"))
        .with_hint("`teraslice history` lists all runs")
}

/// Says where a job's refused records are if they are not in the store.
fn elsewhere(job: &Map<String, Value>) -> Option<String> {
    let places: Vec<_> = ["operations", "apis"]
        .into_iter()
        .filter_map(|list| job.get(list)?.as_array())
        .flatten()
        .filter_map(|operation| {
            let name = operation.get("_op").or_else(|| operation.get("_name"))?.as_str()?;
            match DeadLetterAction::parse(operation.get("_dead_letter_action")?.as_str()?) {
                DeadLetterAction::Store => None,
                DeadLetterAction::Throw => Some(format!("{name} fails the slice (throw)")),
                DeadLetterAction::Log => Some(format!("{name} writes them to the log (log)")),
                DeadLetterAction::None => Some(format!("{name} drops them (none)")),
                DeadLetterAction::Api(api) => Some(format!("{name} hands them to the api {api:?}")),
            }
        })
        .collect();
    let only = "only `_dead_letter_action: store` keeps refused records here";
    (!places.is_empty()).then(|| format!("{only}; in this job {}", places.join(", ")))
}

/// Returns the first `max` letters that are chosen.
async fn select<T>(
    store: &dyn StateStore,
    ex_id: ExId,
    which: Letters,
    choose: impl Fn(KeptLetter) -> Option<T>,
    max: usize,
) -> Result<Vec<T>, Failure> {
    let mut page = Page { from: 0, size: PAGE };
    let mut found = Vec::new();
    while found.len() < max {
        let letters = store.dead_letters(ex_id, which, page).await.map_err(of_store)?;
        page.from += letters.len() as u64;
        let is_end = letters.is_empty();
        found.extend(letters.into_iter().filter_map(&choose).take(max - found.len()));
        if is_end {
            break;
        }
    }
    Ok(found)
}

impl LetterFilter {
    /// Tells whether a letter is one of those that are asked for.
    fn takes(&self, kept: &KeptLetter) -> bool {
        let DeadLetter { operation, op, reason, .. } = &kept.letter;
        let is_of = |wanted: &String| wanted == op || wanted.parse() == Ok(*operation);
        self.operation.as_ref().is_none_or(is_of)
            && self.reason.as_ref().is_none_or(|text| reason.contains(text.as_str()))
    }
}

fn render(letters: &[KeptLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut text = String::new();
    for kept in letters {
        let DeadLetter { slice_id, operation, op, reason, record, encoding, .. } = &kept.letter;
        let replayed = kept.replayed_in.map(|ex_id| format!("  replayed in {ex_id}")).unwrap_or_default();
        let _infallible = writeln!(
            text,
            "{}  operation {operation} ({op})  slice {slice_id}{replayed}\n  {reason}\n  {}{}",
            kept.number,
            mark(*encoding),
            record.trim_end()
        );
    }
    text
}

/// Writes everything about one letter, its record spread over lines.
fn whole(kept: &KeptLetter) -> String {
    let DeadLetter { slice_id, operation, op, reason, record, encoding, metadata } = &kept.letter;
    let spread = |json: &str| {
        let value = serde_json::from_str::<serde_json::Value>(json);
        value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
    };
    let state = kept.replayed_in.map_or_else(|| "open".to_owned(), |ex_id| format!("replayed in {ex_id}"));
    let metadata =
        metadata.as_deref().map(|json| format!("metadata\n{}\n", spread(json))).unwrap_or_default();
    format!(
        "number     {}\nstate      {state}\noperation  {operation} ({op})\nslice      {slice_id}\nreason     {reason}\n{metadata}record\n{}{}\n",
        kept.number,
        mark(*encoding),
        spread(record)
    )
}

/// Returns what goes before a record that is no text.
const fn mark(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Text => "",
        Encoding::Base64 => "base64: ",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_model::id::SliceId;

    use super::*;

    fn kept(replayed_in: Option<ExId>) -> KeptLetter {
        let letter = DeadLetter {
            slice_id: SliceId::derive(ExId::from_random([1; 16]), 0, 1),
            operation: 2,
            op: "filter".to_owned(),
            reason: "no field".to_owned(),
            record: "{\"a\":1}\n".to_owned(),
            encoding: Encoding::Text,
            metadata: None,
        };
        KeptLetter { number: 7, replayed_in, letter }
    }

    #[test]
    fn shows_the_reason_and_the_record() {
        let text = render(&[kept(None)]);
        assert!(text.starts_with("7  operation 2 (filter)  slice "), "{text}");
        assert!(text.ends_with("\n  no field\n  {\"a\":1}\n"), "{text}");
        assert_eq!(render(&[]), "no dead letters\n");
        let ex_id = ExId::from_random([2; 16]);
        assert!(render(&[kept(Some(ex_id))]).contains(&format!("  replayed in {ex_id}\n")));
        assert!(whole(&kept(None)).ends_with("record\n{\n  \"a\": 1\n}\n"));
    }

    #[test]
    fn marks_a_record_that_is_no_text() {
        let mut kept = kept(None);
        (kept.letter.encoding, kept.letter.record) = Encoding::encode(b"\xff".to_vec());
        assert!(render(std::slice::from_ref(&kept)).ends_with("\n  base64: /w==\n"));
        assert!(whole(&kept).ends_with("record\nbase64: /w==\n"));
    }

    #[test]
    fn says_where_refused_records_went() {
        let job = |actions: Value| {
            let operation = |action: &Value| json!({"_op": "filter", "_dead_letter_action": action});
            let operations: Vec<_> = actions.as_array().unwrap().iter().map(operation).collect();
            elsewhere(json!({"operations": operations}).as_object().unwrap())
        };
        assert_eq!(job(json!(["store"])), None);
        let said = job(json!(["store", "log", "box"])).unwrap();
        let expected =
            "in this job filter writes them to the log (log), filter hands them to the api \"box\"";
        assert!(said.ends_with(expected), "{said}");
    }

    #[test]
    fn filters_by_operation_and_reason() {
        let filter = |operation: Option<&str>, reason: Option<&str>| LetterFilter {
            operation: operation.map(str::to_owned),
            reason: reason.map(str::to_owned),
        };
        assert!(filter(None, None).takes(&kept(None)));
        assert!(filter(Some("2"), Some("field")).takes(&kept(None)));
        assert!(filter(Some("filter"), None).takes(&kept(None)));
        assert!(!filter(Some("3"), None).takes(&kept(None)));
        assert!(!filter(None, Some("else")).takes(&kept(None)));
    }
}
