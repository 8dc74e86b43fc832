//! What the API is built on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use teraslice_core::{context::Context, engine::EngineHandle, store::StateStore};

use crate::{checker::Checker, controllers::Controllers, library::Library, nodes::Nodes};

/// What the API is built on. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Clock, randomness and tasks.
    pub context: Context,
    /// Jobs, executions, ledgers, tokens.
    pub store: Arc<dyn StateStore>,
    /// What makes executions run.
    pub engine: EngineHandle,
    /// What checks jobs.
    pub checker: Arc<dyn Checker>,
    /// Published assets.
    pub library: Arc<dyn Library>,
    /// The controllers that are connected.
    pub controllers: Controllers,
    /// The nodes of the cluster.
    pub nodes: Arc<dyn Nodes>,
    /// Whether the master is ready.
    pub readiness: Readiness,
}

/// Says whether the master is ready; until it is, the API answers 503. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Opens the API, or closes it again.
    pub fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::Release);
    }

    /// Tells whether the API is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
