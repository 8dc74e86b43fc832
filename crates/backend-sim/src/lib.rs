//! A whole cluster in one thread under one seed: time, faults, crashes.
//!
//! A run is a function of its seed: the clock is tokio's paused one, random numbers come from the seed, and nothing leaves
//! the thread. So a seed that fails can be replayed: `TERASLICE_SIM_SEED=1234 cargo test -p teraslice-backend-sim`.

pub mod backend;
pub mod faults;
pub mod network;
pub mod operations;
pub mod simulation;
pub mod store;
