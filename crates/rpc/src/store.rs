//! The master's state store, as controllers reach it over the network.
//!
//! A flush of the ledger goes as messages of its own; every other call, and its answer, is a name with JSON or one list. What
//! is large goes in parts, so that nothing is limited by the length of a message.

mod call;
mod counter;
mod order;
mod remote;

#[cfg(test)]
mod tests;

pub use counter::Access;
pub(crate) use counter::Counter;
pub use remote::{RemoteOptions, RemoteStore};
