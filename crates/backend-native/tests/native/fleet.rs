//! A master and its nodes, connected by channels, whose processes are real.

use std::{collections::BTreeMap, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use teraslice_backend_native::{
    limits::CgroupRoot,
    nodes::{
        Nodes, NodesOptions,
        agent::{Agent, AgentOptions},
        message::ProcessReport,
    },
};
use teraslice_core::{
    backend::{ClusterBackend, DesiredExecution, Instance, Phase, Role, Scope},
    context::Context,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::{Place, desired, processes_of, until};

/// A master and its nodes. What is left of their processes ends with it.
pub(crate) struct Fleet {
    pub(crate) place: Place,
    pub(crate) context: Context,
    pub(crate) nodes: Nodes,
    pub(crate) agents: BTreeMap<String, Agent>,
    wires: BTreeMap<String, JoinHandle<()>>,
}

impl Fleet {
    pub(crate) async fn of(nodes: &[(&str, u32)]) -> Self {
        Self::with(nodes, NodesOptions::default(), None).await
    }

    /// Makes a fleet whose processes play a part.
    pub(crate) async fn with(nodes: &[(&str, u32)], options: NodesOptions, part: Option<&str>) -> Self {
        let (place, context) = (Place::new(), Context::system());
        let master = Nodes::new(options, context.clone());
        let (agents, wires) = (BTreeMap::new(), BTreeMap::new());
        let mut fleet = Self { place, context, nodes: master, agents, wires };
        for (name, slots) in nodes {
            let options = fleet.options(name, *slots, part);
            fleet.join(options).await;
        }
        fleet
    }

    pub(crate) fn options(&self, name: &str, slots: u32, part: Option<&str>) -> AgentOptions {
        let mut template = self.place.template(part);
        template.run_directory = self.run_directory(name);
        let mut options = AgentOptions::new(self.place.cluster(), name, slots, template);
        options.cgroups = CgroupRoot::Nowhere;
        options.state_interval = std::time::Duration::from_millis(200);
        options
    }

    /// Makes a node, or makes it anew.
    pub(crate) async fn join(&mut self, options: AgentOptions) {
        let name = options.node_id.clone();
        self.cut(&name);
        let agent = Agent::open(options, self.context.clone()).await.unwrap();
        self.agents.insert(name.clone(), agent);
        self.plug(&name).await;
    }

    /// Connects a node to the master, and waits until the master knows it.
    pub(crate) async fn plug(&mut self, name: &str) {
        let (to_node, from_master) = mpsc::channel(16);
        let (to_master, from_node) = mpsc::channel(16);
        let agent = self.agents[name].clone();
        self.nodes.attach(name, from_node, to_node);
        let serving = self.context.spawn(async move { agent.serve(from_master, to_master).await });
        self.wires.insert(name.to_owned(), serving);
        until("the node is connected", async || self.is_connected(name)).await;
    }

    /// Cuts the connection of a node.
    pub(crate) fn cut(&mut self, name: &str) {
        if let Some(wire) = self.wires.remove(name) {
            wire.abort();
        }
    }

    pub(crate) fn is_connected(&self, name: &str) -> bool {
        let connected = teraslice_backend_native::nodes::NodeState::Connected;
        self.nodes.state().iter().any(|node| node.node_id == name && node.state == connected)
    }

    pub(crate) fn run_directory(&self, name: &str) -> PathBuf {
        self.place.run_directory().join(name)
    }

    /// Waits until these live instances have set up their signals.
    pub(crate) async fn ready(&self, instances: &[Instance]) {
        for instance in instances.iter().filter(|instance| instance.phase.is_live()) {
            until("a process is ready", async || {
                let pids = self.reports().into_iter().filter(|it| it.key.to_string() == instance.id.0);
                let mark = pids.filter_map(|it| it.pid).map(|pid| format!("ready-{pid}")).next();
                mark.is_some_and(|mark| {
                    self.agents.keys().any(|name| self.run_directory(name).join(&mark).exists())
                })
            })
            .await;
        }
    }

    pub(crate) fn reports(&self) -> Vec<ProcessReport> {
        self.agents.values().flat_map(Agent::processes).collect()
    }

    pub(crate) async fn ensure(&self, revision: u64, workers: u32) {
        let wish = DesiredExecution { controller: true, ..desired(revision, workers) };
        self.nodes.ensure(wish).await.unwrap();
    }

    pub(crate) async fn observe(&self) -> Vec<Instance> {
        self.nodes.observe(Scope::Cluster).await.unwrap().instances
    }

    /// Waits until all instances are in that phase.
    pub(crate) async fn all(&self, phase: &Phase) -> Vec<Instance> {
        until(&format!("all are {phase:?}"), async || {
            let all = self.observe().await;
            !all.is_empty() && all.iter().all(|it| it.phase == *phase)
        })
        .await;
        self.observe().await
    }

    /// Counts the workers on each node.
    pub(crate) fn workers(&self) -> Vec<usize> {
        let is_worker = |report: &ProcessReport| report.key.role == Role::Worker && report.stage.is_live();
        self.agents.values().map(|agent| agent.processes().into_iter().filter(is_worker).count()).collect()
    }

    /// Returns the numbers of the live processes of a node, whoever knows of them.
    pub(crate) fn pids(&self, name: &str) -> Vec<i32> {
        let mut pids = processes_of(&format!("{}/{name}", self.place.cluster()));
        pids.sort_unstable();
        pids
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for name in self.agents.keys() {
            for pid in self.pids(name) {
                let _ended_meanwhile = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }
}
