//! State stores: in memory for simulations and tests, in SQLite for everything on one machine, on Elasticsearch or
//! OpenSearch for clusters.

#[cfg(test)]
mod alike;
pub mod elastic;
mod list;
pub mod memory;
mod rules;
pub mod sqlite;

pub use elastic::{ElasticOptions, ElasticStore, Indices, Rollover, Shards};
pub use memory::MemoryStore;
pub use sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
