//! gRPC between master, nodes, execution controllers and workers.

pub mod control;
mod duplex;
pub mod introduce;
pub mod link;
pub mod locate;
pub mod master;
pub mod node;
pub mod peer;
pub mod protocol;
pub mod secret;
mod serve;
pub mod store;
pub mod tls;
mod wire;

pub use duplex::{Duplex, Pulse};
pub use peer::{ConnectError, Peer};
pub use serve::Farewell;

#[cfg(test)]
mod tests;
