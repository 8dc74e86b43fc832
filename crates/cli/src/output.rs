//! Results on standard output: for people, or as one JSON document.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::{args::Output, failure::Failure};

/// Prints a result.
///
/// # Errors
///
/// When standard output cannot be written; a reader that has gone is no error.
pub(crate) fn print(
    output: Output,
    result: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let text = match output {
        Output::Table | Output::Name => text(),
        Output::Json => serde_json::to_string_pretty(result)? + "\n",
    };
    write(&text)
}

/// Prints a line, whatever form results have.
///
/// # Errors
///
/// As of [`print()`](fn@print).
pub(crate) fn write_line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
