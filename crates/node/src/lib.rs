//! Puts one process together: the only crate that knows all backends, stores and runtimes.

pub mod assets;
pub mod backends;
pub mod cluster;
pub mod config;
pub mod doctor;
pub mod dry_run;
pub mod exit_code;
pub mod local;
pub mod logging;
pub mod moving;
pub mod parts;
pub mod state;
pub mod traces;
