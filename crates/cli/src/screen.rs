//! The terminal, shared by the progress line and the log.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Erases the line and goes to its beginning.
const ERASE: &str = "\r\x1b[2K";

/// Standard error: log lines and messages scroll above one line that changes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// The changing line, as it is shown.
    line: Arc<Mutex<String>>,
    is_terminal: bool,
}

impl Screen {
    /// Takes hold of standard error.
    pub(crate) fn new() -> Self {
        Self { line: Arc::default(), is_terminal: io::stderr().is_terminal() }
    }

    /// Tells whether somebody watches.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Changes the line on a terminal; elsewhere writes a line.
    pub(crate) fn show(&self, line: &str) {
        let mut shown = self.shown();
        if self.is_terminal {
            line.clone_into(&mut shown);
            write(&draw(line));
        } else {
            write(&format!("{line}\n"));
        }
    }

    /// Takes the changing line away.
    pub(crate) fn clear(&self) {
        let mut shown = self.shown();
        if !shown.is_empty() {
            shown.clear();
            write(ERASE);
        }
    }

    /// Writes a line that stays.
    pub(crate) fn say(&self, line: &str) {
        self.above(&format!("{line}\n"));
    }

    /// Writes text above the changing line.
    fn above(&self, text: &str) {
        let shown = self.shown();
        if shown.is_empty() {
            write(text);
        } else {
            write(&format!("{ERASE}{text}{}", draw(&shown)));
        }
    }

    fn shown(&self) -> MutexGuard<'_, String> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws the changing line, cut off at the edge of the terminal instead of wrapped.
fn draw(line: &str) -> String {
    format!("{ERASE}\x1b[?7l{line}\x1b[?7h")
}

fn write(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _gone = io::stderr().lock().write_all(text.as_bytes());
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.above(&String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
