//! What authors of cluster backends compile against.
//!
//! A backend implements [`ClusterBackend`] once. [`export_backend!`] makes a shared library of it, [`serve_stdio!`] a program
//! that speaks over its standard input and output; the messages are the same. Either way it has a runtime of its own, a panic
//! in it is an answer, and nothing but bytes goes in and out.
//!
//! ```
//! use teraslice_plugin_sdk::{
//!     BackendError, Capabilities, ClusterBackend, Host,
//!     message::{DesiredExecution, Gone, RetireParams, Snapshot, StartParams, StopParams},
//! };
//!
//! struct Nowhere;
//!
//! impl ClusterBackend for Nowhere {
//!     const NAME: &'static str = "nowhere";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     const CAPABILITIES: Capabilities = Capabilities::NONE;
//!
//!     async fn start(_: StartParams, _: Host) -> Result<Self, BackendError> {
//!         Ok(Self)
//!     }
//!
//!     async fn ensure(&self, _: u64, _: DesiredExecution) -> Result<(), BackendError> {
//!         Err(BackendError::refused("nothing runs here"))
//!     }
//!
//!     async fn retire(&self, _: RetireParams) -> Result<Gone, BackendError> {
//!         Ok(Gone::default())
//!     }
//!
//!     async fn observe(&self, _: Option<String>) -> Result<Snapshot, BackendError> {
//!         Ok(Snapshot::default())
//!     }
//!
//!     async fn stop(&self, _: StopParams) -> Result<(), BackendError> {
//!         Ok(())
//!     }
//! }
//!
//! teraslice_plugin_sdk::export_backend!(Nowhere);
//! ```

pub mod abi;
mod backend;
mod dispatch;
pub mod library;
pub mod message;
pub mod stdio;

pub use backend::{BackendError, Capabilities, ClusterBackend, Host};
pub use tokio;
