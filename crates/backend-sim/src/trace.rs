//! What happened in a run, in order: a hash of it always, the lines when somebody wants to read them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use teraslice_core::context::Context;
use teraslice_model::id::ExId;
use tokio::time::Instant;

/// The start value and the factor of the FNV-1a hash.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0100_0000_01b3);

/// Whether the lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only their hash.
    Hash,
    /// The lines too.
    Lines,
}

/// Takes down what happens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace {
    context: Context,
    start: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
    broken: Option<String>,
}

impl Trace {
    /// Begins a trace now.
    #[must_use]
    pub fn new(context: Context, keep: Keep) -> Self {
        let lines = (keep == Keep::Lines).then(Vec::new);
        let state = State { hash: FNV.0, events: 0, lines, broken: None };
        Self { start: context.now(), context, state: Arc::new(Mutex::new(state)) }
    }

    /// Takes down an event.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let at = self.context.now().duration_since(self.start);
        let line = format!("{:>4}.{:03}s {event}", at.as_secs(), at.subsec_millis());
        let mut state = self.lock();
        state.events += 1;
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(FNV.1);
        }
        if let Some(lines) = &mut state.lines {
            lines.push(line);
        }
    }

    /// Takes down that a law is broken; the first one counts.
    pub fn broken(&self, law: String) {
        self.note(format_args!("BROKEN: {law}"));
        let _first = self.lock().broken.get_or_insert(law);
    }

    /// Returns the law that was broken first.
    #[must_use]
    pub fn first_broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Returns the hash of all events so far, and how many they are.
    #[must_use]
    pub fn hash(&self) -> (u64, u64) {
        let state = self.lock();
        (state.hash, state.events)
    }

    /// Returns the lines that were kept.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the id of the execution with a number.
#[must_use]
pub fn ex_id(number: u32) -> ExId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ExId::from_random(bytes)
}

/// Shows an execution by its number.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub ExId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = *self.0.uuid().as_bytes();
        write!(f, "ex{}", u32::from_be_bytes([a, b, c, d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn has_another_hash_for_other_events() {
        let trace = |event: &str| {
            let trace = Trace::new(Context::simulated(1), Keep::Hash);
            trace.note(format_args!("{event}"));
            trace.hash()
        };
        assert_eq!(trace("one"), trace("one"));
        assert_ne!(trace("one"), trace("two"));
    }

    #[tokio::test(start_paused = true)]
    async fn shows_executions_by_their_numbers() {
        let trace = Trace::new(Context::simulated(1), Keep::Lines);
        trace.note(format_args!("{} ended", Short(ex_id(258))));
        assert_eq!(trace.lines(), ["   0.000s ex258 ended"]);
    }
}
