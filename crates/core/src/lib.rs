//! The slicing engine and every trait it needs. Names no backend, engine, database or protocol.

pub mod backend;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod context;
pub mod control;
pub mod engine;
pub mod execution;
pub mod link;
pub mod operation;
pub mod plan;
pub mod registry;
pub mod store;
pub mod trace;
pub mod worker;
