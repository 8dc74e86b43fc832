//! Runs controllers and workers on this machine, as tasks or as processes, and on our own nodes.
//!
//! [`NativeBackend`] is the cluster backend of one machine, with a [`Mode`] for each role; [`nodes`] has the one over any number
//! of machines. Worker processes of one machine reach their controller over the Unix socket of [`socket`]; all find out what
//! they are for in [`child`].

mod backend;
pub mod child;
pub mod limits;
pub mod nodes;
mod pidfd;
mod processes;
pub mod socket;
mod tasks;
mod template;
mod unused;

pub use backend::{Mode, NativeBackend, NativeOptions};
pub use tasks::{Launcher, Start};
pub use template::{Output, ProcessTemplate};
