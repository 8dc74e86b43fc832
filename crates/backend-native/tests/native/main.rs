//! The backend with real tasks and real processes, alone and under the engine.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod conformance;
mod engine;
mod fleet;
mod nodes;
mod processes;
mod stage;
mod support;
