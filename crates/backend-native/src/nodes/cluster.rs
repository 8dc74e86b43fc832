//! What the master knows: nodes, processes, and who waits for a place. No I/O; time comes from outside.
//!
//! ```text
//!  ensure --> waiting --place--> placed --report--> running --leave--> leaving --report--> exited
//!                |                  |                  |                  |
//!                +---leave: gone    +--- node is silent: shown as lost ---+--- given up: exited (unknown)
//! ```

mod index;
mod reports;
mod saved;
#[cfg(test)]
mod tests;
mod wishes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use teraslice_core::backend::{ExitReason, Instance, InstanceId, Phase, Role, revisions::Revisions};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    job::CheckedJob,
    timestamp::Timestamp,
};
use tokio::{sync::Notify, time::Instant};

use self::index::Index;
pub(super) use self::saved::Saved;
use super::{
    message::{Hello, Place, ProcessKey, ProcessSpec, ToNode},
    view::{ActiveProcess, NodeState, NodeView},
};
use crate::limits::Allowance;

/// The wall clock's milliseconds lie above so many bits of a counter.
const INCARNATION_SHIFT: u32 = 16;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

/// Nodes, processes, and who waits for a place.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) revisions: Revisions,
    nodes: BTreeMap<String, Node>,
    processes: BTreeMap<Place, Process>,
    /// Of those the ones that wait, and the live ones of each node: of many few are looked for.
    index: Index,
    /// In which order executions came.
    orders: BTreeMap<ExId, u64>,
    order_last: u64,
    incarnation_last: u64,
    /// What this master starts itself comes after this.
    born: u64,
    /// Nobody is given a place before this: the nodes of an earlier master are on their way.
    settled_at: Option<Instant>,
    /// Nodes that were given up: what they run up to this incarnation is no longer wanted.
    fences: BTreeMap<String, u64>,
    /// Executions of which something has changed since anybody asked.
    changed: BTreeSet<ExId>,
    /// Whether anything else has.
    is_changed: bool,
}

/// A process that is wanted or was.
#[derive(Clone, Debug)]
struct Process {
    incarnation: u64,
    job_id: JobId,
    /// What it is started with; none for one that was found running.
    job: Option<Arc<CheckedJob>>,
    /// Where it has a place.
    node: Option<String>,
    stage: Stage,
    /// When it is killed, once it was asked to leave.
    kill_at: Option<Instant>,
    pid: Option<i32>,
    since: Timestamp,
    /// Its number among those of its node, for people.
    worker_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Has no node yet.
    Waiting,
    /// Has a node, which has not said yet that it runs.
    Placed,
    Running,
    /// Leaves by itself, or because it was asked to.
    Leaving,
    Exited(ExitReason),
}

/// A node that is there, or was and may come back.
#[derive(Debug)]
struct Node {
    /// What it said of itself, without its processes.
    hello: Hello,
    link: Link,
    /// Wants no more processes.
    is_leaving: bool,
    /// Killed because they are not wanted; they hold a slot until they are gone.
    unwanted: BTreeSet<ProcessKey>,
    /// Processes that the node has to be told something about.
    pending: BTreeSet<ProcessKey>,
    /// Wakes who tells it.
    wake: Arc<Notify>,
    worker_id_last: u32,
}

/// Whether a node is in reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// By this connection.
    Up { connection: u64 },
    /// Out of reach since this connection ended.
    Down { connection: u64 },
}

/// What has changed since somebody asked.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) executions: BTreeSet<ExId>,
    pub(super) is_any: bool,
}

impl Cluster {
    /// Returns what has changed since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        let executions = std::mem::take(&mut self.changed);
        let is_any = std::mem::take(&mut self.is_changed) || !executions.is_empty();
        Changes { executions, is_any }
    }

    /// Lists the instances of an execution, or of all.
    pub(super) fn instances(&self, of: Option<ExId>) -> Vec<Instance> {
        let all =
            || of.map_or_else(|| self.processes.range(..), |ex_id| self.processes.range(places_of(ex_id)));
        let is_any_waiting = all().any(|(_, process)| process.stage == Stage::Waiting);
        let waiting = if is_any_waiting { self.why_waiting() } else { String::new() };
        all().map(|(place, process)| self.instance(*place, process, &waiting)).collect()
    }

    fn instance(&self, place: Place, process: &Process, waiting: &str) -> Instance {
        let is_lost = || process.node.as_ref().is_some_and(|node| !self.is_up(node));
        let phase = match &process.stage {
            Stage::Waiting => Phase::Waiting(waiting.to_owned()),
            Stage::Exited(reason) => Phase::Exited(reason.clone()),
            _ if is_lost() => Phase::Lost,
            _ if process.kill_at.is_some() => Phase::Draining,
            Stage::Placed => Phase::Starting,
            Stage::Running => Phase::Running,
            Stage::Leaving => Phase::Draining,
        };
        Instance {
            id: instance_id(place, process),
            ex_id: place.ex_id,
            generation: place.generation,
            role: place.role,
            ordinal: place.ordinal,
            phase,
            address: None,
            since: process.since,
        }
    }

    /// Says what keeps processes from having a place.
    fn why_waiting(&self) -> String {
        let used = self.used();
        let up: Vec<_> = self.nodes.iter().filter(|(_, node)| node.is_open()).collect();
        if up.is_empty() {
            return "no node is connected".to_owned();
        }
        let total: u32 = up.iter().map(|(_, node)| node.hello.slots).sum();
        let taken: u32 = up.iter().filter_map(|(id, _)| used.get(id.as_str())).sum();
        let slots = format!("{taken} of {total} slots on {} nodes are taken", up.len());
        if taken < total {
            return format!("not enough free slots: {slots}, and an execution needs two to begin");
        }
        format!("no free slot: {slots}")
    }

    /// Counts the slots that are taken, by node.
    fn used(&self) -> BTreeMap<&str, u32> {
        let live = self.index.counts();
        let mut used: BTreeMap<_, _> =
            live.map(|(node, count)| (node, u32::try_from(count).unwrap_or(u32::MAX))).collect();
        for (id, node) in self.nodes.iter().filter(|(_, node)| !node.unwanted.is_empty()) {
            let unwanted = u32::try_from(node.unwanted.len()).unwrap_or(u32::MAX);
            *used.entry(id.as_str()).or_default() += unwanted;
        }
        used
    }

    /// Keeps a process, instead of any that had its place.
    fn put(&mut self, place: Place, process: Process) {
        self.index.note(place, self.processes.get(&place), Some(&process));
        self.processes.insert(place, process);
    }

    /// Forgets a process.
    fn take_out(&mut self, place: Place) -> Option<Process> {
        let process = self.processes.remove(&place)?;
        self.index.note(place, Some(&process), None);
        Some(process)
    }

    /// Changes where a process is, or whether it lives.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(&place) {
            self.index.note(place, Some(process), None);
            change(process);
            self.index.note(place, None, Some(process));
        }
    }

    fn is_up(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(Node::is_up)
    }

    /// Tells whether this is still the connection of the node.
    pub(super) fn is_current(&self, node: &str, connection: u64) -> bool {
        self.nodes.get(node).is_some_and(|node| node.link == Link::Up { connection })
    }

    /// Returns the hellos of the nodes that are in reach.
    pub(super) fn connected(&self) -> impl Iterator<Item = &Hello> + Clone {
        self.nodes.values().filter(|node| node.is_up()).map(|node| &node.hello)
    }

    /// Shows the nodes.
    pub(super) fn view(&self) -> Vec<NodeView> {
        let used = self.used();
        let mut active: BTreeMap<&str, Vec<ActiveProcess>> = BTreeMap::new();
        for (place, process) in self.processes.iter().filter(|(_, process)| process.is_live()) {
            if let Some(node) = &process.node {
                active.entry(node).or_default().push(ActiveProcess {
                    worker_id: process.worker_id,
                    assignment: place.role.node_type(),
                    pid: process.pid,
                    ex_id: place.ex_id,
                    job_id: process.job_id,
                });
            }
        }
        let view = |(id, node): (&String, &Node)| {
            let hello = &node.hello;
            let taken = used.get(id.as_str()).copied().unwrap_or_default();
            NodeView {
                node_id: id.clone(),
                hostname: hello.hostname.clone(),
                host: hello.host.clone(),
                pid: hello.pid,
                version: hello.version.clone(),
                total: hello.slots,
                state: if node.is_up() { NodeState::Connected } else { NodeState::Disconnected },
                available: if node.is_open() { hello.slots.saturating_sub(taken) } else { 0 },
                limits: hello.limits,
                active: active.remove(id.as_str()).unwrap_or_default(),
            }
        };
        self.nodes.iter().map(view).collect()
    }

    /// Returns what a node is to be told next.
    pub(super) fn next_message(
        &mut self,
        node_id: &str,
        now: Instant,
        dress: impl Fn(&mut ProcessSpec),
    ) -> Option<ToNode> {
        let node = self.nodes.get_mut(node_id)?;
        while let Some(process) = node.pending.pop_first() {
            if node.unwanted.contains(&process) {
                return Some(ToNode::Kill { process });
            }
            let place = self.processes.get(&process.place());
            let known = place
                .filter(|it| it.incarnation == process.incarnation && it.node.as_deref() == Some(node_id));
            let Some(known) = known.filter(|it| it.is_live()) else {
                return Some(ToNode::Forget { process });
            };
            if let Some(kill_at) = known.kill_at {
                let grace = kill_at.saturating_duration_since(now);
                let is_over = grace.is_zero();
                return Some(if is_over {
                    ToNode::Kill { process }
                } else {
                    ToNode::Stop { process, grace }
                });
            }
            if let (Stage::Placed, Some(job)) = (&known.stage, &known.job) {
                let mut spec = spec(process, known.job_id, job);
                dress(&mut spec);
                return Some(ToNode::Start(Box::new(spec)));
            }
        }
        None
    }

    /// Begins to start processes: what is there already is another's.
    pub(super) fn begin(&mut self, at: Moment) {
        self.born = self.next_incarnation(at.wall);
    }

    /// Gives nobody a place until then.
    pub(super) const fn settle(&mut self, until: Instant) {
        self.settled_at = Some(until);
    }

    /// Returns a number that no process had before, after a restart of the master included.
    fn next_incarnation(&mut self, wall: Timestamp) -> u64 {
        let of_clock = u64::try_from(wall.as_millis()).unwrap_or_default() << INCARNATION_SHIFT;
        self.incarnation_last = of_clock.max(self.incarnation_last + 1);
        self.incarnation_last
    }

    /// Has a node be told about a process, if the node is known.
    fn tell(&mut self, node_id: &str, key: ProcessKey) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.pending.insert(key);
            node.wake.notify_one();
        }
    }
}

impl Process {
    const fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Exited(_))
    }

    /// Ends; what it was started with is not needed any more.
    fn end(&mut self, reason: ExitReason, wall: Timestamp) {
        self.enter(Stage::Exited(reason), wall);
        self.job = None;
    }

    fn enter(&mut self, stage: Stage, wall: Timestamp) {
        if self.stage != stage {
            self.stage = stage;
            self.since = wall;
        }
    }
}

impl Node {
    const fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Tells whether it takes further processes.
    const fn is_open(&self) -> bool {
        self.is_up() && !self.is_leaving
    }

    const fn next_worker_id(&mut self) -> u32 {
        self.worker_id_last = self.worker_id_last.wrapping_add(1);
        self.worker_id_last
    }
}

fn spec(key: ProcessKey, job_id: JobId, job: &CheckedJob) -> ProcessSpec {
    ProcessSpec {
        key,
        job_id,
        job: job.document.clone(),
        env: job.env_vars.clone(),
        resources: Allowance::of(&job.resources, key.role),
        assets: job.assets.clone(),
    }
}

fn instance_id(place: Place, process: &Process) -> InstanceId {
    InstanceId(place.with(process.incarnation).to_string())
}

/// Returns the places of an execution.
fn places_of(ex_id: ExId) -> std::ops::RangeInclusive<Place> {
    let first = Place { ex_id, generation: Generation(0), role: Role::Controller, ordinal: 0 };
    let last = Place { ex_id, generation: Generation(u64::MAX), role: Role::Worker, ordinal: u32::MAX };
    first..=last
}
