//! A whole cluster in one thread under one seed: time, faults, crashes.
//!
//! ```text
//!             Simulation ---- Storm: crashes, cuts, outages, until the calm
//!                 |
//!   Users --> Master: the real engine over the real backend of nodes, one term after the other
//!                 |  \
//!       FaultyStore   Switchboard --ToNode/FromNode--> SimNode: starts and kills
//!        (Witness)                                        |
//!                 ^                             the real controllers and workers
//!                 +------------- writes --------- over Network: delays, order, doubles, cuts
//! ```
//!
//! A run is a function of its seed: the clock is tokio's paused one, random numbers come from the seed, and nothing leaves
//! the thread. So a seed that fails can be replayed: `teraslice sim --seed 1234`.

pub mod backend;
pub mod faults;
mod laws;
mod master;
pub mod network;
pub mod node;
pub mod operations;
mod process;
pub mod scenario;
pub mod simulation;
pub mod store;
mod storm;
pub mod switchboard;
pub mod trace;
mod users;
pub mod weather;
pub mod witness;
