//! gRPC between master, nodes, execution controllers and workers.

pub mod link;
pub mod peer;
pub mod protocol;
pub mod secret;
mod serve;
pub mod tls;
mod wire;

pub use peer::{ConnectError, Peer};
pub use serve::Farewell;

#[cfg(test)]
mod tests;
