//! The roles of a cluster: master, node, execution controller, worker.
//!
//! ```text
//! clients --HTTP--> master <--gRPC-- node --starts--> controller <--gRPC-- worker
//!                     ^                                    |                 |
//!                     +------ store, commands, where -------+-----------------+
//! ```

pub mod controller;
pub mod identity;
mod listener;
pub mod master;
mod metrics;
pub mod node;
mod process;
pub mod shutdown;
pub mod worker;

pub use process::ProcessError;
