//! State stores: in memory for simulations and tests, in SQLite for everything on one machine.

mod list;
pub mod memory;
mod rules;
pub mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
