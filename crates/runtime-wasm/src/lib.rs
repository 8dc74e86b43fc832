//! Runs the operations of assets in a sandbox: WebAssembly components, called per batch.
//!
//! ```text
//! Runtime   one engine, pool and linker per process
//!   Asset   one compiled component, from the cache or compiled now
//!     Chain   neighbouring operations with their settings
//!       Processor   one instance, for one attempt of a slice
//! ```

mod asset;
mod bindings;
pub mod bundle;
mod cache;
pub mod compiler;
mod engine;
mod host;
mod instance;
mod isolate;
mod leftovers;
mod limits;
mod output;
mod processor;
mod replay;
mod runtime;
mod slots;

pub use asset::WasmAsset;
pub use bundle::{Bundle, BundleError};
pub use engine::Tier;
pub use limits::Limits;
pub use runtime::{LoadError, Runtime, RuntimeOptions};
