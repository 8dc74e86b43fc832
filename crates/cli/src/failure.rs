//! Failures as the user sees them: what failed, the chain of causes, one hint, an exit code.

use std::{error::Error, fmt::Write as _, io::Write as _};

use teraslice_model::problem::Problem;
use teraslice_node::exit_code;

/// A failure that ends the program.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    error: anyhow::Error,
    problems: Vec<Problem>,
    hint: Option<String>,
}

impl Failure {
    /// Makes a failure of an error and what to exit with.
    pub(crate) fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), problems: Vec::new(), hint: None }
    }

    /// Makes a failure of a message.
    pub(crate) fn text(code: u8, message: impl Into<String>) -> Self {
        Self::new(code, anyhow::Error::msg(message.into()))
    }

    /// Adds what would help.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds everything that is wrong with a document.
    #[must_use]
    pub(crate) fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// Prints the failure to stderr and returns the exit code.
    pub(crate) fn report(&self) -> u8 {
        // Nobody is left to tell when stderr is gone.
        let _gone = std::io::stderr().write_all(self.render().as_bytes());
        self.code
    }

    /// Writes the failure as the user sees it.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        for cause in self.error.chain().skip(1) {
            let _infallible = writeln!(text, "  caused by: {cause}");
        }
        for problem in &self.problems {
            text.push_str(&render_problem("problem", problem));
        }
        if let Some(hint) = &self.hint {
            let _infallible = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(exit_code::INTERNAL, error)
    }
}

/// Writes a problem over two or three lines: its place, the message, the hint.
pub(crate) fn render_problem(kind: &str, problem: &Problem) -> String {
    let place = if problem.pointer.is_empty() { "/" } else { &problem.pointer };
    let mut text = format!("{kind}  {place}\n         {}\n", problem.message);
    if let Some(hint) = &problem.hint {
        let _infallible = writeln!(text, "         hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_chain_the_problems_and_the_hint() {
        let cause = std::io::Error::other("no space left");
        let failure = Failure::new(74, anyhow::Error::new(cause).context("failed to write"))
            .with_problems(vec![Problem::new("/a", "is wrong").with_hint("make it right")])
            .with_hint("free some space");
        assert_eq!(
            failure.render(),
            "error: failed to write\n  caused by: no space left\nproblem  /a\n         is wrong\n         hint: make it right\nhint: free some space\n"
        );
    }
}
