//! What an operation may ask of its host: log lines, counters, the time of the slice, a seed.
//!
//! Outside of the sandbox, in tests of an asset, [`crate::testing`] stands in for the host.

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For whoever follows every step.
    Trace,
    /// For whoever looks for a defect.
    Debug,
    /// Good to know.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::teraslice::asset::{host, types};

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host;

/// Writes a line to the log of the slice.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    let level = match level {
        Level::Trace => types::Level::Trace,
        Level::Debug => types::Level::Debug,
        Level::Info => types::Level::Info,
        Level::Warn => types::Level::Warn,
        Level::Error => types::Level::Error,
    };
    host::log(level, message);
}

/// Adds to a counter of the slice.
pub fn count(name: &str, delta: i64) {
    host::count(name, delta);
}

/// Returns the time the slice was created, in milliseconds since 1970: the same on every attempt.
#[must_use]
pub fn now_ms() -> u64 {
    host::now_ms()
}

/// Returns a seed for random numbers: the same on every attempt of a slice.
#[must_use]
pub fn seed() -> u64 {
    host::seed()
}
