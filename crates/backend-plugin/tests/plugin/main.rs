//! Backends of third parties: right ones, wrong ones, broken ones.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod conformance;
mod faults;
mod files;
mod protocol;
mod support;
