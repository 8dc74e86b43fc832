//! What is wrong with a document that a user wrote, each with its place in it.

use std::fmt;

use serde::Serialize;

/// Writes an error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// One fault of a job or configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// What is wrong, with the value found.
    pub message: String,
    /// What would be right, where one can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// Makes a problem without a hint.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that `name` is unknown, with the known names and the nearest of them.
    #[must_use]
    pub fn unknown(pointer: impl Into<String>, what: &str, name: &str, known: &[&str]) -> Self {
        let problem = Self::new(pointer, format!("unknown {what} {name:?}"));
        if known.is_empty() {
            return problem.with_hint(format!("no {what} is known here"));
        }
        let all = known.join(", ");
        match nearest(name, known) {
            Some(near) => problem.with_hint(format!("did you mean {near:?}? known: {all}")),
            None => problem.with_hint(format!("known: {all}")),
        }
    }

    /// Moves the problem below `prefix`, as when a part is checked on its own.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        self.pointer = format!("{prefix}{}", self.pointer);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Returns the known name that `name` is most likely a misspelling of.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Writes one step of a JSON pointer: `~` and `/` escaped.
#[must_use]
pub fn escape_pointer(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_and_all_known_names() {
        let problem = Problem::unknown("/a", "operation", "fliter", &["filter", "sort"]);
        assert_eq!(
            problem.to_string(),
            "/a: unknown operation \"fliter\" (did you mean \"filter\"? known: filter, sort)"
        );
    }

    #[test]
    fn does_not_guess_when_nothing_is_near() {
        assert_eq!(nearest("kafka_reader", &["filter", "sort"]), None);
    }

    #[test]
    fn escapes_pointer_steps() {
        assert_eq!(escape_pointer("a/b~c"), "a~1b~0c");
    }
}
