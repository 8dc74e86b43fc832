//! Makes assets: projects from templates, modules from sources, bundles from modules.
//!
//! ```text
//! init      a template and the kit -> a project
//! build     a project -> rust: cargo, c: clang -> a core module -> bundle: a component and asset.json in a zip
//! ```

mod bundle;
pub mod c;
mod project;
mod rust;
mod toolchain;

pub use project::{Language, build, init, native_bench};
pub use rust::build_workspace;
