//! What a guest may ask of the host, per instance.

use std::collections::BTreeMap;

use teraslice_core::operation::SliceContext;

use crate::{
    bindings::teraslice::asset::{host, types},
    limits::{Account, Limits},
};

/// Counters of one slice at the most; further names are ignored.
const COUNTERS_MAX: usize = 256;

/// The state behind one instance.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) account: Account,
    /// What the answers to the guest depend on: the same on every attempt of the slice.
    pub(crate) now_ms: u64,
    pub(crate) seed: u64,
    pub(crate) slice: String,
    log_left: usize,
    log_line_max: usize,
    counters: BTreeMap<String, i64>,
}

impl State {
    pub(crate) fn new(limits: &Limits, slice: Option<&SliceContext>) -> Self {
        Self {
            account: Account::new(limits),
            now_ms: slice.map_or(0, |slice| u64::try_from(slice.slice.created.as_millis()).unwrap_or(0)),
            seed: slice.map_or(0, SliceContext::seed),
            slice: slice.map_or_else(String::new, |slice| slice.slice.id.to_string()),
            log_left: limits.log_bytes,
            log_line_max: limits.log_line_bytes,
            counters: BTreeMap::new(),
        }
    }

    /// Writes the counters to the log, at the end of the slice.
    pub(crate) fn report(&self) {
        for (name, count) in &self.counters {
            tracing::debug!(slice = %self.slice, name, count, "asset counter");
        }
    }
}

impl types::Host for State {}

impl host::Host for State {
    fn log(&mut self, level: types::Level, message: String) {
        if self.log_left == 0 {
            return;
        }
        let line = cut(&message, self.log_line_max.min(self.log_left));
        self.log_left -= line.len();
        let slice = &self.slice;
        match level {
            types::Level::Trace => tracing::trace!(%slice, line, "asset says"),
            types::Level::Debug => tracing::debug!(%slice, line, "asset says"),
            types::Level::Info => tracing::info!(%slice, line, "asset says"),
            types::Level::Warn => tracing::warn!(%slice, line, "asset says"),
            types::Level::Error => tracing::error!(%slice, line, "asset says"),
        }
        if self.log_left == 0 {
            tracing::warn!(%slice, "asset has said enough about this slice");
        }
    }

    fn count(&mut self, name: String, delta: i64) {
        let is_known = self.counters.contains_key(&name);
        if is_known || self.counters.len() < COUNTERS_MAX {
            let count = self.counters.entry(name).or_default();
            *count = count.saturating_add(delta);
        }
    }

    fn now_ms(&mut self) -> u64 {
        self.now_ms
    }

    fn seed(&mut self) -> u64 {
        self.seed
    }
}

/// Cuts text to so many bytes, between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 9), "aé");
    }

    #[test]
    fn bounds_the_counters() {
        let mut state = State::new(&Limits::default(), None);
        for n in 0..1_000 {
            host::Host::count(&mut state, n.to_string(), 1);
        }
        host::Host::count(&mut state, "0".to_owned(), i64::MAX);
        assert_eq!(state.counters.len(), COUNTERS_MAX);
        assert_eq!(state.counters["0"], i64::MAX);
    }
}
