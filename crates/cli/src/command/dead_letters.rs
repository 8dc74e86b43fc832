//! `teraslice dead-letters list`: the records that a run's operations refused and kept.

use std::fmt::Write as _;

use teraslice_core::{context::Context, store::Page};
use teraslice_model::dead_letter::DeadLetter;
use teraslice_node::exit_code;

use super::session::{Session, of_store, runtime};
use crate::{args::ListDeadLetters, failure::Failure, output};

/// Lists dead letters; returns the exit code.
pub(crate) fn execute(session: &Session, arguments: &ListDeadLetters) -> Result<u8, Failure> {
    session.start_log(None)?;
    let runtime = runtime(None)?;
    let _guard = runtime.enter();
    let ex_id = arguments.ex_id;
    let page = Page { from: arguments.from, size: arguments.size };
    let store = session.store_read_only(&Context::system())?;
    let letters = runtime.block_on(async move {
        match store {
            Some(store) if store.execution(ex_id).await?.is_some() => {
                store.dead_letters(ex_id, page).await.map(Some)
            }
            _ => Ok(None),
        }
    });
    let letters = letters.map_err(of_store)?.ok_or_else(|| {
        Failure::text(exit_code::BAD_JOB, format!("there is no execution {ex_id}"))
            .with_hint("`teraslice history` lists all runs")
    })?;
    output::print(session.output(), &letters, || render(&letters))?;
    Ok(exit_code::DONE)
}

fn render(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut text = String::new();
    for letter in letters {
        let DeadLetter { slice_id, operation, op, reason, record, .. } = letter;
        let _infallible = writeln!(
            text,
            "operation {operation} ({op})  slice {slice_id}\n  {reason}\n  {}",
            record.trim_end()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use teraslice_model::id::{ExId, SliceId};

    use super::*;

    #[test]
    fn shows_the_reason_and_the_record() {
        let letter = DeadLetter {
            slice_id: SliceId::derive(ExId::from_random([1; 16]), 0, 1),
            operation: 2,
            op: "filter".to_owned(),
            reason: "no field".to_owned(),
            record: "{\"a\":1}\n".to_owned(),
            metadata: None,
        };
        let text = render(&[letter]);
        assert!(text.starts_with("operation 2 (filter)  slice "), "{text}");
        assert!(text.ends_with("\n  no field\n  {\"a\":1}\n"), "{text}");
        assert_eq!(render(&[]), "no dead letters\n");
    }
}
