//! Controllers and workers on our own nodes: the master's side ([`Nodes`]) and a node's ([`agent::Agent`]).
//!
//! ```text
//!  engine --ensure/observe--> Nodes --ToNode: start, stop, kill, forget--> Agent --> processes
//!                               ^                                            |
//!                               +------FromNode: hello, list, changed--------+
//! ```
//!
//! A connection is a pair of channels; what carries them is somebody else's business. Everything may be said twice, and after
//! each reconnect a node says everything that runs there.

pub mod agent;
mod cluster;
mod connection;
mod memory;
pub mod message;
mod plan;
mod view;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::stream::BoxStream;
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, BackendInfo, ClusterBackend, DesiredExecution, Retire, Retired, Scope,
        Snapshot, StopBackend, hints,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation, Term},
    job::CheckedJob,
    problem::Problem,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{sleep, sleep_until, timeout},
};

pub use self::view::{ActiveProcess, NodeState, NodeView};
use self::{
    cluster::{Cluster, Moment},
    message::{FromNode, ProcessSpec, ToNode},
};
use crate::unused;

/// What was killed has to be gone after this.
const KILL_MAX: Duration = Duration::from_secs(10);

/// A master that starts anew gives nobody a place for this long: what it remembers may lack the last moments of the one before,
/// and the nodes tell what they run when they find it.
const SETTLE: Duration = Duration::from_secs(3);

/// Completes what a process is started with: a secret, for example.
pub type Dress = Arc<dyn Fn(&mut ProcessSpec) + Send + Sync>;

/// What the backend over nodes is made with.
#[derive(Clone)]
pub struct NodesOptions {
    /// A node that stays away for so long is given up: its processes count as ended (default 5 minutes).
    pub node_disconnect_timeout: Duration,
    /// A node that says nothing for so long is out of reach, whatever its connection says (default 20 s). It is to be a few
    /// times the interval at which nodes say how they are.
    pub silence_max: Duration,
    /// Surplus workers are killed after this (default 30 s).
    pub drain_grace: Duration,
    /// Where a master that starts anew finds what may run on which node (default nowhere). Written when that changes.
    pub memory: Option<PathBuf>,
    /// Completes what processes are started with (default as the job says). Called with a lock held: it must not wait.
    pub dress: Option<Dress>,
}

impl Default for NodesOptions {
    fn default() -> Self {
        Self {
            node_disconnect_timeout: Duration::from_mins(5),
            silence_max: Duration::from_secs(20),
            drain_grace: Duration::from_secs(30),
            memory: None,
            dress: None,
        }
    }
}

impl fmt::Debug for NodesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesOptions")
            .field("node_disconnect_timeout", &self.node_disconnect_timeout)
            .field("silence_max", &self.silence_max)
            .field("drain_grace", &self.drain_grace)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// Runs controllers and workers on nodes.
///
/// # Guarantees
///
/// - A process has a place before it starts, and no node gets more processes than it has slots. Who waits for a place is served
///   as soon as there is one, in the order in which executions came; see `plan`.
/// - The processes of a node that is out of reach are [`Phase::Lost`](teraslice_core::backend::Phase::Lost), and live, until
///   the node is given up. What a node still runs when it comes back after that is killed at once.
/// - A process that this master does not know is taken in as it is: the engine decides what becomes of it.
///
/// Must be used inside a tokio runtime.
#[derive(Debug)]
pub struct Nodes {
    shared: Arc<Shared>,
    /// The term of this handle.
    term: Mutex<Term>,
}

#[derive(Debug)]
struct Shared {
    options: NodesOptions,
    context: Context,
    cluster: Mutex<Cluster>,
    events: broadcast::Sender<BackendEvent>,
    /// Counts the changes; the memory and whoever looks on follow it.
    changes: watch::Sender<u64>,
    connection_last: AtomicU64,
}

impl Nodes {
    /// Makes a backend that knows no nodes but those in its memory, which it waits for.
    #[must_use]
    pub fn new(options: NodesOptions, context: Context) -> Self {
        let saved = options.memory.as_deref().and_then(memory::read);
        let settling = saved.is_some().then(|| context.now() + SETTLE);
        let mut cluster = saved.map(Cluster::restore).unwrap_or_default();
        if let Some(until) = settling {
            cluster.settle(until);
        }
        cluster.begin(Moment { now: context.now(), wall: context.wall() });
        let absent = cluster.absent();
        let (changes, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            options,
            context,
            cluster: Mutex::new(cluster),
            events: hints::channel(),
            changes,
            connection_last: AtomicU64::new(0),
        });
        for (node_id, connection) in absent {
            shared.expect_return(node_id, connection);
        }
        if let Some(until) = settling {
            let settled = Arc::downgrade(&shared);
            drop(shared.context.spawn(async move {
                sleep_until(until).await;
                if let Some(shared) = settled.upgrade() {
                    shared.change(|_, _| {});
                }
            }));
        }
        if let Some(path) = shared.options.memory.clone() {
            let (context, changes) = (shared.context.clone(), shared.changes.subscribe());
            let keeping = memory::keep(path, changes, Arc::downgrade(&shared), context);
            drop(shared.context.spawn(keeping));
        }
        Self { shared, term: Mutex::default() }
    }

    /// Returns a further handle to the same nodes, with a term of its own.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), term: Mutex::default() }
    }

    /// Talks to a node until one of the channels ends, or the node connects again. Returns at once.
    ///
    /// The first message has to be the node's hello, with the same name.
    pub fn attach(
        &self,
        node_id: impl Into<String>,
        from: mpsc::Receiver<FromNode>,
        to: mpsc::Sender<ToNode>,
    ) {
        let connection = self.shared.connection_last.fetch_add(1, Ordering::Relaxed) + 1;
        let serving = connection::serve(Arc::clone(&self.shared), node_id.into(), connection, from, to);
        drop(self.shared.context.spawn(serving));
    }

    /// Shows the nodes that are there, and those that may come back.
    #[must_use]
    pub fn state(&self) -> Vec<NodeView> {
        self.shared.lock().view()
    }

    /// Returns a counter that moves whenever a node or a process has changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Refuses what an earlier leader asks for.
    fn check_term(&self, cluster: &Cluster) -> Result<Term, BackendError> {
        let term = *self.term.lock().unwrap_or_else(PoisonError::into_inner);
        if term < cluster.revisions.term { Err(BackendError::Fenced { term }) } else { Ok(term) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        Moment { now: self.context.now(), wall: self.context.wall() }
    }

    /// Changes something, gives places to who waits for one, and tells everybody.
    fn change<T>(&self, change: impl FnOnce(&mut Cluster, Moment) -> T) -> T {
        let at = self.moment();
        let mut cluster = self.lock();
        let result = change(&mut cluster, at);
        cluster.place(at);
        let changes = cluster.take_changes();
        drop(cluster);
        for ex_id in changes.executions {
            let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
        }
        if changes.is_any {
            self.changes.send_modify(|count| *count += 1);
        }
        result
    }

    /// Gives up a node if it does not come back in time.
    fn expect_return(self: &Arc<Self>, node_id: String, connection: u64) {
        let (shared, wait) = (Arc::downgrade(self), self.options.node_disconnect_timeout);
        drop(self.context.spawn(async move {
            sleep(wait).await;
            if let Some(shared) = shared.upgrade() {
                shared.change(|cluster, at| cluster.give_up(&node_id, connection, at));
            }
        }));
    }

    /// Kills everything in reach, and waits until it is gone.
    async fn terminate(&self) -> Result<(), BackendError> {
        let mut changes = self.changes.subscribe();
        let gone = async {
            while self.change(Cluster::kill_all) {
                let _closed = changes.changed().await;
            }
        };
        timeout(KILL_MAX, gone).await.map_err(|_| BackendError::Unavailable {
            reason: "some processes cannot be killed".to_owned(),
            retry_after: None,
        })
    }
}

impl ClusterBackend for Nodes {
    fn describe(&self) -> BackendInfo {
        BackendInfo {
            name: "native".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_in_process: false,
        }
    }

    fn validate(&self, job: &CheckedJob) -> Result<Vec<Problem>, Vec<Problem>> {
        let cluster = self.shared.lock();
        Ok(unused::warnings_on_nodes(job, cluster.connected()))
    }

    async fn adopt(&self, term: Term) -> Result<Snapshot, BackendError> {
        self.shared.change(|cluster, at| {
            if term < cluster.revisions.term {
                return Err(BackendError::Fenced { term });
            }
            cluster.revisions.term = term;
            cluster.begin(at);
            Ok(())
        })?;
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
        self.observe(Scope::Cluster).await
    }

    async fn ensure(&self, desired: DesiredExecution) -> Result<(), BackendError> {
        self.shared.change(|cluster, at| {
            let term = self.check_term(cluster)?;
            cluster.revisions.take(desired.ex_id, term, desired.revision)?;
            cluster.ensure(&desired, self.shared.options.drain_grace, at);
            Ok(())
        })
    }

    async fn retire(&self, ex_id: ExId, upto: Generation, how: Retire) -> Result<Retired, BackendError> {
        self.shared.change(|cluster, at| {
            self.check_term(cluster)?;
            let live = cluster.retire(ex_id, upto, how, at);
            Ok(if live.is_empty() { Retired::Gone } else { Retired::Unconfirmed(live) })
        })
    }

    async fn observe(&self, scope: Scope) -> Result<Snapshot, BackendError> {
        let of = match scope {
            Scope::Cluster => None,
            Scope::Execution(ex_id) => Some(ex_id),
        };
        let as_of = self.shared.context.wall();
        Ok(Snapshot { as_of, instances: self.shared.lock().instances(of) })
    }

    fn events(&self) -> BoxStream<'static, BackendEvent> {
        hints::stream(&self.shared.events)
    }

    async fn stop(&self, how: StopBackend) -> Result<(), BackendError> {
        if how == StopBackend::Terminate {
            self.check_term(&self.shared.lock())?;
            self.shared.terminate().await?;
        }
        if let Some(path) = self.shared.options.memory.clone() {
            let saved = self.shared.lock().save();
            let context = &self.shared.context;
            context.compute(move || memory::write(&path, &saved)).await;
        }
        Ok(())
    }
}
