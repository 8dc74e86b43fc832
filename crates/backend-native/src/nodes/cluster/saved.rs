//! What a master that starts anew has to know of the nodes: what may run where.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use teraslice_core::backend::revisions::Revisions;
use teraslice_model::id::Term;
use tokio::sync::Notify;

use super::{
    super::message::{Hello, ProcessKey, ProcessReport, ReportedStage},
    Cluster, Link, Node, Process, Stage,
};

/// The version of this form.
const VERSION: u32 = 1;

/// The nodes and their processes, as they are kept in a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Saved {
    version: u32,
    term: Term,
    incarnation: u64,
    /// With what runs there in their hello.
    nodes: Vec<Hello>,
    /// What is being killed there.
    unwanted: Vec<(String, ProcessKey)>,
    fences: BTreeMap<String, u64>,
}

impl Saved {
    /// Tells whether this version can read it.
    pub(in super::super) const fn is_readable(&self) -> bool {
        self.version == VERSION
    }
}

impl Cluster {
    /// Returns what is kept.
    pub(in super::super) fn save(&self) -> Saved {
        let mut nodes: BTreeMap<&str, Hello> =
            self.nodes.iter().map(|(id, node)| (id.as_str(), node.hello.clone())).collect();
        for (place, process) in self.processes.iter().filter(|(_, process)| process.is_live()) {
            let Some(node) = process.node.as_deref().and_then(|node| nodes.get_mut(node)) else { continue };
            node.processes.push(ProcessReport {
                key: place.with(process.incarnation),
                job_id: process.job_id,
                pid: process.pid,
                stage: ReportedStage::Running,
                since: process.since,
            });
        }
        let unwanted =
            self.nodes.iter().flat_map(|(id, node)| node.unwanted.iter().map(|key| (id.clone(), *key)));
        Saved {
            version: VERSION,
            term: self.revisions.term,
            incarnation: self.incarnation_last,
            nodes: nodes.into_values().collect(),
            unwanted: unwanted.collect(),
            fences: self.fences.clone(),
        }
    }

    /// Makes a cluster whose nodes are all out of reach, by their connection 0.
    pub(in super::super) fn restore(saved: Saved) -> Self {
        let mut cluster = Self {
            revisions: Revisions::since(saved.term),
            incarnation_last: saved.incarnation,
            fences: saved.fences,
            ..Self::default()
        };
        for mut hello in saved.nodes {
            let node_id = hello.node_id.clone();
            let reports = std::mem::take(&mut hello.processes);
            let unwanted = saved.unwanted.iter().filter(|(node, _)| *node == node_id).map(|(_, key)| *key);
            let mut node = Node {
                hello,
                link: Link::Down { connection: 0 },
                is_leaving: false,
                unwanted: unwanted.collect(),
                pending: BTreeSet::new(),
                wake: Arc::new(Notify::new()),
                worker_id_last: 0,
            };
            if reports.is_empty() && node.unwanted.is_empty() {
                continue;
            }
            for report in reports {
                let process = Process {
                    incarnation: report.key.incarnation,
                    job_id: report.job_id,
                    job: None,
                    node: Some(node_id.clone()),
                    stage: Stage::Running,
                    kill_at: None,
                    pid: report.pid,
                    since: report.since,
                    worker_id: node.next_worker_id(),
                };
                cluster.put(report.key.place(), process);
                cluster.note_order(report.key.ex_id);
            }
            cluster.nodes.insert(node_id, node);
        }
        cluster
    }

    /// Lists the nodes that are out of reach, each with its last connection.
    pub(in super::super) fn absent(&self) -> Vec<(String, u64)> {
        let absent = |(id, node): (&String, &Node)| match node.link {
            Link::Down { connection } => Some((id.clone(), connection)),
            Link::Up { .. } => None,
        };
        self.nodes.iter().filter_map(absent).collect()
    }
}
