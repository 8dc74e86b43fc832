//! The HTTP API of the master, and the services behind it.

pub mod checker;
pub mod library;
