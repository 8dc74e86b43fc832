//! A simulated node: starts and ends processes as the master says, and is lost with all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use teraslice_backend_native::{
    limits::Enforced,
    nodes::message::{FromNode, Hello, ProcessKey, ProcessReport, ProcessSpec, ReportedStage, ToNode},
};
use teraslice_core::{
    backend::{ExitReason, Role},
    context::Context,
};
use teraslice_model::{id::JobId, timestamp::Timestamp};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    switchboard::{Switchboard, Wire, node_id},
    trace::{Short, Trace},
    weather::{Place, Weather},
};

/// A node says this often what runs there.
const STATE_EVERY: Duration = Duration::from_secs(5);
/// A node that has lost its master looks for it again after this.
const REDIAL_AFTER: Duration = Duration::from_secs(1);
/// A process that is killed may take so long to die.
const LINGERS_MAX: Duration = Duration::from_secs(60);
/// A node that leaves gives its processes this long.
const LEAVE_GRACE: Duration = Duration::from_secs(70);

/// What a process is started for.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its name.
    pub key: ProcessKey,
    /// What it is started with.
    pub spec: Arc<ProcessSpec>,
    /// Where it runs.
    pub at: Place,
    /// The clocks of that place.
    pub context: Context,
}

/// Runs a process until it ends or is asked to.
pub type Launch = Arc<dyn Fn(Start, CancellationToken) -> BoxFuture<'static, ExitReason> + Send + Sync>;

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its number.
    pub number: u32,
    /// How many processes it runs at the most.
    pub slots: u32,
}

/// A node. Cheap to clone.
#[derive(Clone)]
pub struct SimNode {
    size: Size,
    context: Context,
    launch: Launch,
    weather: Weather,
    trace: Trace,
    state: Arc<Mutex<State>>,
    /// Moves with every change of a process, and of the node itself.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    is_up: bool,
    is_leaving: bool,
    /// Counts the starts of the node.
    boot: u64,
    /// Processes that were killed, the ends of the node aside.
    kills: u64,
    processes: BTreeMap<ProcessKey, Process>,
}

struct Process {
    job_id: JobId,
    stage: ReportedStage,
    since: Timestamp,
    stop: CancellationToken,
    task: Option<AbortHandle>,
    kill_at: Option<Instant>,
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNode").field("size", &self.size).finish_non_exhaustive()
    }
}

impl SimNode {
    /// Makes a node that runs nothing; `context` has its clocks.
    #[must_use]
    pub fn new(size: Size, context: Context, launch: Launch, weather: Weather, trace: Trace) -> Self {
        let state = Arc::new(Mutex::new(State { is_up: true, ..State::default() }));
        Self { size, context, launch, weather, trace, state, changes: watch::Sender::new(0) }
    }

    /// Returns where this is.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place::Node(self.size.number)
    }

    /// Talks to whatever master there is, for ever.
    pub async fn run(self, switchboard: Switchboard) {
        let mut changes = self.changes.subscribe();
        loop {
            while !self.lock().is_up {
                let _changed = changes.changed().await;
            }
            if let Some(wire) = switchboard.connect(self.size.number) {
                Talk::new(&self).run(wire).await;
            }
            sleep(self.context.jittered(REDIAL_AFTER)).await;
        }
    }

    /// Loses the node with all that runs there.
    pub fn crash(&self) {
        let mut state = self.lock();
        if !state.is_up {
            return;
        }
        self.trace.note(format_args!("{} crashes, {} processes", self.place(), state.processes.len()));
        self.power_off(&mut state);
    }

    fn power_off(&self, state: &mut State) {
        for process in state.processes.values().filter_map(|process| process.task.as_ref()) {
            process.abort();
        }
        *state = State { boot: state.boot + 1, kills: state.kills, ..State::default() };
        self.changed();
    }

    /// Starts the node, if it is down.
    pub fn boot(&self) {
        let mut state = self.lock();
        if !state.is_up {
            self.trace.note(format_args!("{} boots", self.place()));
            state.is_up = true;
            self.changed();
        }
    }

    /// Has the node leave in order: it takes no more processes, ends its own, and is down.
    pub async fn leave(&self) {
        let boot = {
            let mut state = self.lock();
            if !state.is_up || state.is_leaving {
                return;
            }
            self.trace.note(format_args!("{} leaves", self.place()));
            state.is_leaving = true;
            for process in state.processes.values_mut().filter(|process| process.stage.is_live()) {
                process.stage = ReportedStage::Leaving;
                process.stop.cancel();
            }
            self.changed();
            state.boot
        };
        sleep(LEAVE_GRACE).await;
        let mut state = self.lock();
        if state.boot == boot {
            self.trace.note(format_args!("{} is down", self.place()));
            self.power_off(&mut state);
        }
    }

    /// Kills one live process, as the system would: it gets no chance to say anything.
    pub fn kill_some(&self) {
        let mut state = self.lock();
        let live: Vec<_> =
            state.processes.iter().filter(|(_, it)| it.stage.is_live()).map(|(key, _)| *key).collect();
        if !live.is_empty() {
            let key = live[self.context.random(|random| random.usize(..live.len()))];
            self.end(&mut state, key, ExitReason::Signal(9));
        }
    }

    /// Lists what runs here.
    #[must_use]
    pub fn live(&self) -> Vec<ProcessKey> {
        let state = self.lock();
        state.processes.iter().filter(|(_, it)| it.stage.is_live()).map(|(key, _)| *key).collect()
    }

    /// Returns how many processes were killed here.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.lock().kills
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn reports(&self) -> Vec<ProcessReport> {
        let report = |(key, process): (&ProcessKey, &Process)| ProcessReport {
            key: *key,
            job_id: process.job_id,
            pid: None,
            stage: process.stage.clone(),
            since: process.since,
        };
        self.lock().processes.iter().map(report).collect()
    }

    fn hello(&self) -> Hello {
        let name = node_id(self.size.number);
        Hello {
            node_id: name.clone(),
            hostname: name.clone(),
            host: name,
            pid: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: self.size.slots,
            limits: Enforced::default(),
            processes: self.reports(),
        }
    }

    fn hear(&self, message: ToNode) {
        match message {
            ToNode::Start(spec) => self.start(*spec),
            ToNode::Stop { process, grace } => self.stop(process, grace),
            ToNode::Kill { process } => {
                let mut state = self.lock();
                if state.processes.contains_key(&process)
                    && self.weather.strikes(self.weather.faults().lingers)
                {
                    let most = LINGERS_MAX.mul_f64(self.context.random(|random| random.f64()));
                    self.kill_later(process, state.boot, self.context.now() + most);
                } else if state.processes.contains_key(&process) {
                    self.end(&mut state, process, ExitReason::Signal(9));
                } else {
                    self.deny(&mut state, process);
                }
            }
            ToNode::Forget { process } => {
                let mut state = self.lock();
                if state.processes.get(&process).is_some_and(|it| !it.stage.is_live()) {
                    state.processes.remove(&process);
                }
            }
        }
    }

    fn start(&self, spec: ProcessSpec) {
        let key = spec.key;
        let mut state = self.lock();
        if state.processes.contains_key(&key) {
            return;
        }
        let mut stage = ReportedStage::Running;
        let holder =
            state.processes.iter().find(|(it, process)| process.stage.is_live() && it.is_same_place(&key));
        match holder.map(|(holder, _)| *holder) {
            _ if state.is_leaving => stage = ReportedStage::Exited(ExitReason::INTERRUPTED),
            Some(later) if later.incarnation > key.incarnation => {
                let reason = "a later process holds its place".to_owned();
                stage = ReportedStage::Exited(ExitReason::NotStarted(reason));
            }
            Some(earlier) => self.end(&mut state, earlier, ExitReason::Signal(9)),
            None => {}
        }
        let live = state.processes.values().filter(|process| process.stage.is_live()).count();
        if stage.is_live() && live >= self.size.slots as usize {
            self.trace.broken(format!("{} is to run more than its {} slots", self.place(), self.size.slots));
        }
        let stop = CancellationToken::new();
        let task = stage.is_live().then(|| self.spawn(&spec, state.boot, stop.clone()));
        let since = self.context.wall();
        let process = Process { job_id: spec.job_id, stage, since, stop, task, kill_at: None };
        state.processes.insert(key, process);
        self.changed();
    }

    fn spawn(&self, spec: &ProcessSpec, boot: u64, stop: CancellationToken) -> AbortHandle {
        let key = spec.key;
        self.trace.note(format_args!("{} starts {}", self.place(), Name(key)));
        let start =
            Start { key, spec: Arc::new(spec.clone()), at: self.place(), context: self.context.clone() };
        let (work, node) = ((self.launch)(start, stop), self.clone());
        let task = self.context.spawn(async move {
            let reason = work.await;
            let mut state = node.lock();
            if state.boot == boot {
                node.end(&mut state, key, reason);
            }
        });
        task.abort_handle()
    }

    fn stop(&self, key: ProcessKey, grace: Duration) {
        let mut state = self.lock();
        let Some(process) = state.processes.get_mut(&key) else { return self.deny(&mut state, key) };
        let kill_at = self.context.now() + grace;
        if !process.stage.is_live() || process.kill_at.is_some_and(|earlier| earlier <= kill_at) {
            return;
        }
        process.kill_at = Some(kill_at);
        process.stage = ReportedStage::Leaving;
        process.stop.cancel();
        self.changed();
        self.kill_later(key, state.boot, kill_at);
    }

    fn kill_later(&self, key: ProcessKey, boot: u64, at: Instant) {
        let node = self.clone();
        drop(self.context.spawn(async move {
            sleep_until(at).await;
            let mut state = node.lock();
            if state.boot == boot {
                node.end(&mut state, key, ExitReason::Signal(9));
            }
        }));
    }

    /// The master has to hear that a process is not there.
    fn deny(&self, state: &mut State, key: ProcessKey) {
        let process = Process {
            job_id: JobId::from_random([0; 16]),
            stage: ReportedStage::Exited(ExitReason::Unknown),
            since: self.context.wall(),
            stop: CancellationToken::new(),
            task: None,
            kill_at: None,
        };
        state.processes.insert(key, process);
        self.changed();
    }

    /// Ends a process, if it still runs.
    fn end(&self, state: &mut State, key: ProcessKey, reason: ExitReason) {
        let Some(process) = state.processes.get_mut(&key).filter(|process| process.stage.is_live()) else {
            return;
        };
        if let Some(task) = process.task.take() {
            task.abort();
        }
        self.trace.note(format_args!("{} ends {}: {reason:?}", self.place(), Name(key)));
        process.stage = ReportedStage::Exited(reason);
        process.since = self.context.wall();
        state.kills += u64::from(process.stage == ReportedStage::Exited(ExitReason::Signal(9)));
        self.changed();
    }
}

/// Shows a process without the part that depends on clocks.
struct Name(ProcessKey);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessKey { ex_id, generation, role, ordinal, .. } = self.0;
        let role = match role {
            Role::Controller => "controller",
            Role::Worker => "worker",
        };
        write!(f, "{}/{role}{ordinal} generation {generation}", Short(ex_id))
    }
}

/// One connection to the master.
struct Talk<'a> {
    node: &'a SimNode,
    boot: u64,
    /// What the master was told of each process.
    told: BTreeMap<ProcessKey, ReportedStage>,
    /// What it is to be told next.
    news: VecDeque<FromNode>,
    is_leaving_told: bool,
}

impl<'a> Talk<'a> {
    fn new(node: &'a SimNode) -> Self {
        let boot = node.lock().boot;
        Self { node, boot, told: BTreeMap::new(), news: VecDeque::new(), is_leaving_told: false }
    }

    async fn run(mut self, wire: Wire) {
        let Wire { to, mut from } = wire;
        let mut changes = self.node.changes.subscribe();
        let mut tick = interval(STATE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let hello = self.node.hello();
        self.told = told(&hello.processes);
        self.news.push_back(FromNode::Hello(Box::new(hello)));
        self.look();
        loop {
            tokio::select! {
                biased;
                permit = to.reserve(), if !self.news.is_empty() => {
                    let (Ok(permit), Some(news)) = (permit, self.news.pop_front()) else { return };
                    permit.send(news);
                }
                message = from.recv() => {
                    let Some(message) = message else { return };
                    if !self.is_over() {
                        self.node.hear(message);
                    }
                }
                _ = changes.changed() => {
                    if self.is_over() {
                        return;
                    }
                    self.look();
                }
                _ = tick.tick() => {
                    let reports = self.node.reports();
                    self.told = told(&reports);
                    self.news.push_back(FromNode::Processes(reports));
                }
                () = to.closed() => return,
            }
        }
    }

    /// Tells whether the node has gone down meanwhile.
    fn is_over(&self) -> bool {
        self.node.lock().boot != self.boot
    }

    /// Queues what has changed.
    fn look(&mut self) {
        if self.node.lock().is_leaving && !std::mem::replace(&mut self.is_leaving_told, true) {
            self.news.push_back(FromNode::Leaving);
        }
        let reports = self.node.reports();
        let now = told(&reports);
        for report in reports {
            if self.told.get(&report.key) != Some(&report.stage) {
                self.news.push_back(FromNode::Changed(report));
            }
        }
        self.told = now;
    }
}

fn told(reports: &[ProcessReport]) -> BTreeMap<ProcessKey, ReportedStage> {
    reports.iter().map(|report| (report.key, report.stage.clone())).collect()
}
