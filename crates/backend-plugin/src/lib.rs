//! Runs cluster backends of third parties: shared libraries and child processes.
//!
//! ```text
//!  engine --> PluginBackend --> link: opens, and again after a failure --> connection: calls with deadlines
//!                                                                             |
//!                                             library: one C symbol  <--------+--------> process: a line of JSON each
//! ```
//!
//! Nothing that a plugin does is trusted for more than it has to be: files are checked before they are loaded, every call has
//! a deadline, every answer is checked, and terms and revisions are refused here already.

mod backend;
mod connection;
mod file;
mod library;
mod link;
mod open_error;
mod options;
mod process;
mod schema;
mod seen;
mod translate;

pub use backend::PluginBackend;
pub use open_error::OpenError;
pub use options::{Dress, PluginOptions, Transport};
pub use teraslice_plugin_sdk::message::{Description, ProcessTemplate};
