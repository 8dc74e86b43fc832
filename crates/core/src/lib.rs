//! The slicing engine and every trait it needs. Names no backend, engine, database or protocol.

pub mod backend;
pub mod context;
pub mod link;
pub mod operation;
pub mod plan;
pub mod registry;
pub mod store;
