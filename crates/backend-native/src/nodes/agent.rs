//! A node's side: starts processes when the master says so, and tells how they are.

mod starting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use teraslice_core::{
    backend::{BackendError, BackendEvent, ExitReason, Retire, Role, StopBackend, hints},
    context::Context,
};
use teraslice_model::id::{ExId, JobId};
use tokio::{
    sync::{OnceCell, broadcast, mpsc, watch},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use self::starting::Local;
use super::{
    Dress,
    message::{FromNode, Hello, ProcessKey, ProcessReport, ProcessSpec, ReportedStage, ToNode},
};
use crate::{
    child,
    limits::{CgroupRoot, Enforced, Limiter, Means},
    processes::Processes,
    template::ProcessTemplate,
};

/// What was killed has to be gone after this.
const KILL_MAX: Duration = Duration::from_secs(10);

/// Brings what the processes of an execution need: fetches its assets, compiles them ahead.
pub type Prepare = Arc<dyn Fn(Arc<ProcessSpec>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What an agent is made with.
#[derive(Clone)]
pub struct AgentOptions {
    /// The cluster's name: tells its processes from those of others on the machine.
    pub cluster: String,
    /// The node's name: the same for ever, and no other's.
    pub node_id: String,
    /// The name of the machine.
    pub hostname: String,
    /// Where processes of this node can be reached.
    pub host: String,
    /// How many processes it runs at the most.
    pub slots: u32,
    /// How controllers are started. The run directory is to be this node's alone.
    pub controller: ProcessTemplate,
    /// How workers are started. The run directory is to be this node's alone.
    pub worker: ProcessTemplate,
    /// Everything is told this often, whatever happens (default 5 s).
    pub state_interval: Duration,
    /// Called before the first process of an execution starts; its error text is told as the reason why the process has not
    /// started (default nothing).
    pub prepare: Option<Prepare>,
    /// How long that may take (default 5 minutes).
    pub prepare_max: Duration,
    /// Completes what a process is started with, beyond what the master says (default nothing).
    pub dress: Option<Dress>,
    /// Where control groups are made.
    pub cgroups: CgroupRoot,
}

impl AgentOptions {
    /// Returns options with the defaults; controllers and workers are started alike.
    #[must_use]
    pub fn new(
        cluster: impl Into<String>,
        node_id: impl Into<String>,
        slots: u32,
        template: ProcessTemplate,
    ) -> Self {
        let node_id = node_id.into();
        Self {
            cluster: cluster.into(),
            hostname: node_id.clone(),
            host: node_id.clone(),
            node_id,
            slots,
            controller: template.clone(),
            worker: template,
            state_interval: Duration::from_secs(5),
            prepare: None,
            prepare_max: Duration::from_mins(5),
            dress: None,
            cgroups: CgroupRoot::Own,
        }
    }

    const fn template(&self, role: Role) -> &ProcessTemplate {
        match role {
            Role::Controller => &self.controller,
            Role::Worker => &self.worker,
        }
    }

    fn run_directories(&self) -> BTreeSet<PathBuf> {
        [&self.controller, &self.worker].into_iter().map(|template| template.run_directory.clone()).collect()
    }
}

impl fmt::Debug for AgentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentOptions")
            .field("cluster", &self.cluster)
            .field("node_id", &self.node_id)
            .field("slots", &self.slots)
            .field("controller", &self.controller)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// Runs the processes of one node. Cheap to clone.
///
/// Processes outlive their agent; one that is made anew goes on with them, but cannot tell any more how they ended. Must be used
/// inside a tokio runtime.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

struct Shared {
    options: AgentOptions,
    context: Context,
    enforced: Enforced,
    processes: Processes,
    events: broadcast::Sender<BackendEvent>,
    /// Processes that are not started yet, or could not be.
    local: Mutex<BTreeMap<ProcessKey, Local>>,
    /// Executions whose needs were brought, or are being.
    prepared: Mutex<BTreeMap<ExId, Arc<OnceCell<()>>>>,
    /// Counts the connections; the latest one counts.
    connection: watch::Sender<u64>,
    /// Whether the node is about to end, with its processes.
    is_leaving: watch::Sender<bool>,
}

impl Agent {
    /// Makes an agent that goes on with the processes that an earlier one has left.
    ///
    /// # Errors
    ///
    /// When the processes of this machine cannot be listed.
    pub async fn open(options: AgentOptions, context: Context) -> Result<Self, BackendError> {
        let limiter = Limiter::detect(&options.cgroups);
        let enforced = limiter.enforced();
        tracing::info!(memory = ?enforced.memory, cpu = ?enforced.cpu, "limits of processes");
        if enforced.cpu == Means::None {
            tracing::warn!("limits of processor time are not enforced: no control group can be written to");
        }
        let events = hints::channel();
        // Nodes may share a machine.
        let name = format!("{}/{}", options.cluster, options.node_id);
        let processes = Processes::new(context.clone(), &name, events.clone()).limited(Arc::new(limiter));
        let found = processes.observe().await?.len();
        tracing::info!(node_id = options.node_id, processes = found, "node begins");
        let shared = Shared {
            options,
            context,
            enforced,
            processes,
            events,
            local: Mutex::default(),
            prepared: Mutex::default(),
            connection: watch::Sender::new(0),
            is_leaving: watch::Sender::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns by what means limits are enforced here.
    #[must_use]
    pub fn enforced(&self) -> Enforced {
        self.shared.enforced
    }

    /// Lists what runs here, and what has ended and was not forgotten.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessReport> {
        self.shared.reports()
    }

    /// Talks to the master until one of the channels ends, or another connection is served. Processes go on after that.
    pub async fn serve(&self, from_master: mpsc::Receiver<ToNode>, to_master: mpsc::Sender<FromNode>) {
        let mut connection = self.shared.connection.subscribe();
        self.shared.connection.send_modify(|count| *count += 1);
        let mine = *connection.borrow_and_update();
        let is_over = connection.wait_for(|latest| *latest != mine);
        let talk = Talk::new(Arc::clone(&self.shared)).run(from_master, to_master);
        tokio::select! {
            () = talk => {}
            _ = is_over => {}
        }
    }

    /// Ends the agent: with [`StopBackend::Terminate`] its processes are asked to leave, and killed after the grace, and it
    /// returns when they are gone; else they go on. Serving goes on meanwhile.
    ///
    /// # Errors
    ///
    /// When some processes cannot be killed.
    pub async fn stop(&self, how: StopBackend, grace: Duration) -> Result<(), BackendError> {
        if how == StopBackend::Detach {
            return Ok(());
        }
        self.shared.is_leaving.send_replace(true);
        let mut events = self.shared.events.subscribe();
        for local in self.shared.local().values() {
            local.cancel.cancel();
        }
        let gone = async {
            while self.shared.processes.end_all(Retire::Drain { grace }) || self.shared.is_starting() {
                let _hint = events.recv().await;
            }
        };
        timeout(grace + KILL_MAX, gone).await.map_err(|_| BackendError::Unavailable {
            reason: "some processes cannot be killed".to_owned(),
            retry_after: None,
        })
    }
}

impl Shared {
    fn local(&self) -> MutexGuard<'_, BTreeMap<ProcessKey, Local>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, ex_id: ExId) {
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
    }

    fn is_starting(&self) -> bool {
        self.local().values().any(|local| local.stage.is_live())
    }

    fn reports(&self) -> Vec<ProcessReport> {
        let local = self.local();
        let started = self.processes.reports();
        let mut all: BTreeMap<_, _> = local.iter().map(|(key, local)| (*key, local.report(*key))).collect();
        // What runs is the truth, should it be in both.
        all.extend(started.into_iter().map(|report| (report.key, report)));
        all.into_values().collect()
    }

    fn hello(&self) -> Hello {
        let options = &self.options;
        Hello {
            node_id: options.node_id.clone(),
            hostname: options.hostname.clone(),
            host: options.host.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: options.slots,
            limits: self.enforced,
            processes: self.reports(),
        }
    }

    fn hear(self: &Arc<Self>, message: ToNode) {
        match message {
            ToNode::Start(spec) => self.start(*spec),
            ToNode::Stop { process, grace } => self.end(process, Retire::Drain { grace }),
            ToNode::Kill { process } => self.end(process, Retire::Kill),
            ToNode::Forget { process } => self.forget(process),
        }
    }

    fn end(&self, key: ProcessKey, how: Retire) {
        if let Some(local) = self.local().get(&key) {
            local.cancel.cancel();
        } else if !self.processes.end(&key, how) {
            // The master has to hear that it is not there.
            let nobody = JobId::from_random([0; 16]);
            self.note(key, nobody, ReportedStage::Exited(ExitReason::Unknown));
        }
    }

    fn note(&self, key: ProcessKey, job_id: JobId, stage: ReportedStage) {
        self.local().insert(key, Local::new(job_id, stage, self.context.wall()));
        self.hint(key.ex_id);
    }

    fn forget(&self, key: ProcessKey) {
        let mut local = self.local();
        // One that has ended at once may still be on its way out of there.
        if self.processes.knows(&key) || local.get(&key).is_some_and(|local| !local.stage.is_live()) {
            local.remove(&key);
        }
        let is_any_starting = local.keys().any(|other| other.ex_id == key.ex_id);
        if self.processes.forget(&key) || is_any_starting {
            return;
        }
        self.prepared().remove(&key.ex_id);
        for directory in self.options.run_directories() {
            // There may be none.
            let _gone = fs::remove_file(child::job_file(&directory, key.ex_id));
        }
    }

    fn prepared(&self) -> MutexGuard<'_, BTreeMap<ExId, Arc<OnceCell<()>>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection to the master.
struct Talk {
    shared: Arc<Shared>,
    /// What the master was told of each process.
    told: BTreeMap<ProcessKey, ReportedStage>,
    /// What it is to be told next.
    news: VecDeque<FromNode>,
    is_leaving_told: bool,
}

/// What a connection waits for.
enum Next {
    Message(ToNode),
    /// Something may have changed.
    Look,
    /// Time to tell everything.
    Tell,
    /// Something was sent.
    Sent,
    Over,
}

impl Talk {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, told: BTreeMap::new(), news: VecDeque::new(), is_leaving_told: false }
    }

    async fn run(mut self, mut from: mpsc::Receiver<ToNode>, to: mpsc::Sender<FromNode>) {
        let mut hints = self.shared.events.subscribe();
        let mut leaving = self.shared.is_leaving.subscribe();
        let mut tick: Interval = interval(self.shared.options.state_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let hello = self.shared.hello();
        self.told = told(&hello.processes);
        self.news.push_back(FromNode::Hello(Box::new(hello)));
        self.look(*leaving.borrow_and_update());
        loop {
            let next = tokio::select! {
                message = from.recv() => message.map_or(Next::Over, Next::Message),
                permit = to.reserve(), if !self.news.is_empty() => match (permit, self.news.pop_front()) {
                    (Ok(permit), Some(news)) => {
                        permit.send(news);
                        Next::Sent
                    }
                    _ => Next::Over,
                },
                _hint_or_lag = hints.recv() => Next::Look,
                _ = leaving.changed() => Next::Look,
                _ = tick.tick() => Next::Tell,
                () = to.closed() => Next::Over,
            };
            match next {
                Next::Message(message) => self.shared.hear(message),
                Next::Look => {
                    while hints.try_recv().is_ok() {}
                    self.look(*leaving.borrow());
                }
                Next::Tell => self.tell(),
                Next::Sent => {}
                Next::Over => return,
            }
        }
    }

    /// Queues what has changed. What waits in the queue is at most one message per process and change of it.
    fn look(&mut self, is_leaving: bool) {
        if is_leaving && !std::mem::replace(&mut self.is_leaving_told, true) {
            self.news.push_back(FromNode::Leaving);
        }
        let reports = self.shared.reports();
        let now = told(&reports);
        for report in reports {
            if self.told.get(&report.key) != Some(&report.stage) {
                self.news.push_back(FromNode::Changed(report));
            }
        }
        self.told = now;
    }

    /// Queues everything, unless the master is slow to hear what it was told before.
    fn tell(&mut self) {
        if self.news.is_empty() {
            let reports = self.shared.reports();
            self.told = told(&reports);
            self.news.push_back(FromNode::Processes(reports));
        }
    }
}

fn told(reports: &[ProcessReport]) -> BTreeMap<ProcessKey, ReportedStage> {
    reports.iter().map(|report| (report.key, report.stage.clone())).collect()
}
