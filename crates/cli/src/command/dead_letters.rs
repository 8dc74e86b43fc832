//! `teraslice dead-letters`: the records that a run's operations refused or broke on, and were kept.

mod replay;

use std::{fmt::Write as _, io::Write as _};

use teraslice_core::{
    context::Context,
    store::{KeptLetter, Letters, Page, StateStore},
};
use teraslice_model::{dead_letter::DeadLetter, id::ExId};
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
    let letters = read(session, ex_id, async |store| {
        let is_replayed = |kept: &KeptLetter| kept.replayed_in.is_some();
        let is_wanted = |kept: &KeptLetter| {
            filter.takes(kept) && (arguments.state != Some(LetterState::Replayed) || is_replayed(kept))
        };
        let end = usize::try_from(from.saturating_add(size)).unwrap_or(usize::MAX);
        let mut letters = select(store, ex_id, which, is_wanted, end).await?;
        letters.drain(..letters.len().min(usize::try_from(from).unwrap_or(usize::MAX)));
        Ok(letters)
    })?;
    output::print(session.output(), &letters, || render(&letters))?;
    Ok(exit_code::DONE)
}

fn show(session: &Session, arguments: &ShowDeadLetter) -> Result<u8, Failure> {
    let (ex_id, number) = (arguments.ex_id, arguments.number);
    let found = read(session, ex_id, async |store| {
        select(store, ex_id, Letters::All, |kept| kept.number == number, 1).await
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
    look: impl AsyncFnOnce(&dyn StateStore) -> Result<T, Failure>,
) -> Result<T, Failure> {
    session.start_log(None)?;
    let runtime = runtime(None)?;
    let _guard = runtime.enter();
    let store = session.store_read_only(&Context::system())?;
    runtime.block_on(async move {
        match store {
            Some(store) if store.execution(ex_id).await.map_err(of_store)?.is_some() => {
                look(store.as_ref()).await
            }
            _ => Err(unknown(ex_id)),
        }
    })
}

fn unknown(ex_id: ExId) -> Failure {
    Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}"))
        .with_hint("`teraslice history` lists all runs")
}

/// Returns the first `max` letters that are wanted.
async fn select(
    store: &dyn StateStore,
    ex_id: ExId,
    which: Letters,
    is_wanted: impl Fn(&KeptLetter) -> bool,
    max: usize,
) -> Result<Vec<KeptLetter>, Failure> {
    let mut page = Page { from: 0, size: PAGE };
    let mut found = Vec::new();
    while found.len() < max {
        let letters = store.dead_letters(ex_id, which, page).await.map_err(of_store)?;
        page.from += letters.len() as u64;
        let is_end = letters.is_empty();
        found.extend(letters.into_iter().filter(&is_wanted).take(max - found.len()));
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
        let DeadLetter { slice_id, operation, op, reason, record, .. } = &kept.letter;
        let replayed = kept.replayed_in.map(|ex_id| format!("  replayed in {ex_id}")).unwrap_or_default();
        let _infallible = writeln!(
            text,
            "{}  operation {operation} ({op})  slice {slice_id}{replayed}\n  {reason}\n  {}",
            kept.number,
            record.trim_end()
        );
    }
    text
}

/// Writes everything about one letter, its record spread over lines.
fn whole(kept: &KeptLetter) -> String {
    let DeadLetter { slice_id, operation, op, reason, record, metadata, .. } = &kept.letter;
    let spread = |json: &str| {
        let value = serde_json::from_str::<serde_json::Value>(json);
        value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
    };
    let state = kept.replayed_in.map_or_else(|| "open".to_owned(), |ex_id| format!("replayed in {ex_id}"));
    let metadata =
        metadata.as_deref().map(|json| format!("metadata\n{}\n", spread(json))).unwrap_or_default();
    format!(
        "number     {}\nstate      {state}\noperation  {operation} ({op})\nslice      {slice_id}\nreason     {reason}\n{metadata}record\n{}\n",
        kept.number,
        spread(record)
    )
}

#[cfg(test)]
mod tests {
    use teraslice_model::{dead_letter::Encoding, id::SliceId};

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
