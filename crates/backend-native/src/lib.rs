//! Runs controllers and workers on this machine: as tasks of this process, or as processes of their own.
//!
//! [`NativeBackend`] is the cluster backend, with a [`Mode`] for each role. Worker processes reach their controller over the
//! Unix socket of [`socket`], and find out what they are for in [`child`].

mod backend;
pub mod child;
mod pidfd;
mod processes;
pub mod socket;
mod tasks;
mod template;
mod unused;

pub use backend::{Mode, NativeBackend, NativeOptions};
pub use tasks::{Launcher, Start};
pub use template::{Output, ProcessTemplate};
