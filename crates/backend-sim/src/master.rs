//! Masters, one term after the other: the real engine over the real backend of nodes.

use std::{path::PathBuf, sync::Arc};

use teraslice_backend_native::nodes::{Nodes, NodesOptions};
use teraslice_core::{
    context::Context,
    engine::{Engine, EngineError, EngineHandle, EngineOptions, Patience},
    store::StateStore,
};
use teraslice_model::id::Term;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::SimBackend,
    scenario::{BackendLife, Sabotage, environment},
    store::FaultyStore,
    switchboard::Switchboard,
    trace::Trace,
    weather::{Place, Weather},
};

/// What masters are made with.
pub(crate) struct Masters {
    pub(crate) context: Context,
    pub(crate) weather: Weather,
    pub(crate) trace: Trace,
    pub(crate) store: FaultyStore,
    pub(crate) switchboard: Switchboard,
    pub(crate) life: BackendLife,
    pub(crate) patience: Patience,
    pub(crate) sabotage: Sabotage,
    /// Where the backend keeps what runs where, if it does.
    pub(crate) memory: Option<PathBuf>,
    /// The last term.
    pub(crate) term: Term,
    /// The backend, where it outlives masters.
    pub(crate) nodes: Option<Nodes>,
    pub(crate) leader: Option<Leader>,
    /// Masters that were not told that they lead no more.
    pub(crate) earlier: Vec<Leader>,
}

/// A master that leads, or thinks so.
pub(crate) struct Leader {
    pub(crate) engine: EngineHandle,
    task: AbortHandle,
}

impl Masters {
    /// Begins a further term. An earlier master still runs, if the backend is one that two can talk to.
    pub(crate) fn begin(&mut self) {
        if self.life != BackendLife::OfItsOwn {
            self.crash();
        }
        self.term = self.term.next();
        let term = self.term;
        self.trace.note(format_args!("master of term {term} begins"));
        let context = self.context.skewed(self.weather.faults().skew_ms(&self.context));
        let nodes = match (self.life, &self.nodes) {
            (BackendLife::OfItsOwn, Some(nodes)) => nodes.handle(),
            _ => {
                let options = NodesOptions { memory: self.memory.clone(), ..NodesOptions::default() };
                let nodes = Nodes::new(options, context.clone());
                self.switchboard.plug(nodes.handle());
                self.nodes = Some(nodes.handle());
                nodes
            }
        };
        let backend = SimBackend::new(nodes, self.weather.clone(), self.sabotage);
        let mut options = EngineOptions::new(environment());
        options.term = term;
        options.patience = self.patience;
        let life = CancellationToken::new();
        let store: Arc<dyn StateStore> = self.store.seen_from(Place::Master, life.clone());
        let (engine, handle) = Engine::new(options, context, store, Arc::new(backend));
        let (trace, switchboard) = (self.trace.clone(), self.switchboard.clone());
        let is_apart = self.life == BackendLife::OfItsOwn;
        let task = self.context.spawn(async move {
            match life.run_until_cancelled(engine.run()).await {
                None => {
                    trace.note(format_args!("master of term {term} dies"));
                    if !is_apart {
                        switchboard.unplug();
                    }
                }
                Some(Ok(())) => trace.note(format_args!("master of term {term} ends")),
                Some(Err(EngineError::Fenced { .. })) => {
                    trace.note(format_args!("master of term {term} is fenced"));
                }
                Some(Err(error)) => trace.broken(format!("the engine of term {term} ended: {error}")),
            }
        });
        self.earlier.extend(self.leader.replace(Leader { engine: handle, task: task.abort_handle() }));
    }

    /// Ends the master that leads, at whatever it is doing.
    pub(crate) fn crash(&mut self) {
        let Some(leader) = self.leader.take() else { return };
        self.trace.note(format_args!("master of term {} crashes", self.term));
        leader.task.abort();
        if self.life != BackendLife::OfItsOwn {
            self.switchboard.unplug();
            self.nodes = None;
        }
    }

    /// Tells whether a master leads.
    pub(crate) fn is_led(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| !leader.task.is_finished())
    }
}
