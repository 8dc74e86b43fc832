//! The HTTP contract: what goes over the wire, and a client.

pub mod access;
pub mod answer;
pub mod client;
pub mod cluster;
pub mod event;
pub mod explanation;
