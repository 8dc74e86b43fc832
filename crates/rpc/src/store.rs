//! The master's state store, as controllers reach it over the network.
//!
//! A flush of the ledger goes as messages of its own; every other call, and its answer, is a name with JSON or one list. What
//! is large goes in parts, so that nothing is limited by the length of a message.

mod call;
mod order;
mod remote;
mod service;

#[cfg(test)]
mod tests;

pub use remote::{RemoteOptions, RemoteStore};
pub use service::Access;
pub(crate) use service::StoreService;
