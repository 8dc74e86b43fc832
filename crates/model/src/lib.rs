//! The data of Teraslice: jobs, executions, slices, batches, checkpoints. No I/O, no async.

pub mod access;
pub mod asset;
pub mod batch;
pub mod checkpoint;
pub mod counts;
pub mod dead_letter;
pub mod execution;
pub mod filter;
pub mod id;
pub mod job;
pub mod problem;
pub mod record;
pub mod slice;
pub mod status;
pub mod timestamp;
