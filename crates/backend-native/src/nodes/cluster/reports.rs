//! What nodes say, and what follows from their silence.

use std::{collections::BTreeSet, sync::Arc};

use teraslice_core::backend::ExitReason;
use tokio::sync::Notify;

use super::{
    super::message::{Hello, Place, ProcessKey, ProcessReport, ReportedStage},
    Cluster, Link, Moment, Node, Process, Stage,
};

/// Nodes that were given up are remembered, so many of them.
const FENCES_MAX: usize = 1_000;

impl Cluster {
    /// Takes in a node that has connected, anew or again, and compares what runs there with what is wanted.
    pub(in super::super) fn connect(
        &mut self,
        mut hello: Hello,
        connection: u64,
        wake: &Arc<Notify>,
        at: Moment,
    ) {
        let node_id = hello.node_id.clone();
        let reports = std::mem::take(&mut hello.processes);
        let link = Link::Up { connection };
        if let Some(node) = self.nodes.get_mut(&node_id) {
            // Whoever serves an earlier connection finds out that it is over.
            node.wake.notify_one();
            (node.hello, node.link, node.is_leaving, node.wake) = (hello, link, false, Arc::clone(wake));
        } else {
            let node = Node {
                hello,
                link,
                is_leaving: false,
                unwanted: BTreeSet::new(),
                pending: BTreeSet::new(),
                wake: Arc::clone(wake),
                worker_id_last: 0,
            };
            self.nodes.insert(node_id.clone(), node);
        }
        self.is_changed = true;
        self.touch(&node_id);
        self.compare(&node_id, reports, at);
        self.fences.remove(&node_id);
    }

    /// Takes in the list of everything that a node runs.
    pub(in super::super) fn listed(&mut self, node_id: &str, reports: Vec<ProcessReport>, at: Moment) {
        self.compare(node_id, reports, at);
    }

    /// Takes in the news of one process.
    pub(in super::super) fn reported(&mut self, node_id: &str, report: ProcessReport, at: Moment) {
        self.take(node_id, report, at);
    }

    /// Notes that a node wants no more processes.
    pub(in super::super) fn leaving(&mut self, node_id: &str) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.is_leaving = true;
            self.is_changed = true;
        }
    }

    fn compare(&mut self, node_id: &str, reports: Vec<ProcessReport>, at: Moment) {
        let seen: BTreeSet<_> = reports.iter().map(|report| report.key).collect();
        for report in reports {
            self.take(node_id, report, at);
        }
        let here = self.index.on_node(node_id).filter_map(|place| self.key(place));
        let missing: Vec<_> = here.filter(|key| !seen.contains(key)).collect();
        for key in missing {
            let process = self.processes.get_mut(&key.place()).expect("it was found a moment ago");
            if process.stage == Stage::Placed && process.job.is_some() {
                // It was not told, or has not heard.
                self.tell(node_id, key);
            } else {
                self.note_end(key, ExitReason::Unknown, at);
            }
        }
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.unwanted.retain(|key| seen.contains(key));
        }
    }

    /// Returns the name of the process that has a place.
    fn key(&self, place: Place) -> Option<ProcessKey> {
        self.processes.get(&place).map(|process| place.with(process.incarnation))
    }

    fn take(&mut self, node_id: &str, report: ProcessReport, at: Moment) {
        let key = report.key;
        self.incarnation_last = self.incarnation_last.max(key.incarnation);
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        if !report.stage.is_live() && node.unwanted.remove(&key) {
            self.is_changed = true;
            return self.tell(node_id, key);
        }
        if node.unwanted.contains(&key) {
            return self.tell(node_id, key);
        }
        let is_fenced = self.fences.get(node_id).is_some_and(|fence| key.incarnation <= *fence);
        match self.processes.get(&key.place()) {
            // Wanted before its node could say that it runs: what runs is better than what waits.
            Some(known) if known.stage == Stage::Waiting && report.stage.is_live() && !is_fenced => {
                self.adopt(node_id, report);
            }
            Some(known) if known.incarnation == key.incarnation => self.update(node_id, report, at),
            Some(known) if known.incarnation > key.incarnation => self.refuse(node_id, &report),
            _ if is_fenced => self.refuse(node_id, &report),
            // It was retired meanwhile.
            _ if !report.stage.is_live() && key.incarnation > self.born => self.tell(node_id, key),
            _ => self.adopt(node_id, report),
        }
    }

    /// Takes in the news of a process that is known.
    fn update(&mut self, node_id: &str, report: ProcessReport, at: Moment) {
        let key = report.key;
        let process = self.processes.get_mut(&key.place()).expect("the caller has found it");
        let is_here = process.node.as_deref() == Some(node_id);
        if !process.is_live() || !is_here {
            // It was given up, or taken note of already.
            return self.refuse(node_id, &report);
        }
        let stage = match report.stage {
            ReportedStage::Exited(reason) => return self.note_end(key, reason, at),
            ReportedStage::Preparing => process.stage.clone(),
            ReportedStage::Running => Stage::Running,
            ReportedStage::Leaving => Stage::Leaving,
        };
        process.pid = report.pid.or(process.pid);
        if process.stage != stage {
            process.enter(stage, at.wall);
            self.changed.insert(key.ex_id);
        }
        let process = self.processes.get(&key.place()).expect("the caller has found it");
        if process.kill_at.is_some() && process.stage == Stage::Running {
            // It was not told, or has not heard.
            self.tell(node_id, key);
        }
    }

    /// Kills a process that nobody wants, or has the node forget it.
    fn refuse(&mut self, node_id: &str, report: &ProcessReport) {
        if report.stage.is_live() {
            tracing::warn!(node_id, process = %report.key, "process is not wanted any more");
            if let Some(node) = self.nodes.get_mut(node_id) {
                node.unwanted.insert(report.key);
            }
        }
        self.tell(node_id, report.key);
    }

    /// Goes on with a process that this master did not start.
    fn adopt(&mut self, node_id: &str, report: ProcessReport) {
        let place = report.key.place();
        if let Some(earlier) = self.take_out(place)
            && let (true, Some(node)) = (earlier.is_live(), &earlier.node)
        {
            let key = place.with(earlier.incarnation);
            if let Some(node) = self.nodes.get_mut(node) {
                node.unwanted.insert(key);
            }
            self.tell(node, key);
        }
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        let stage = match report.stage {
            ReportedStage::Exited(reason) => Stage::Exited(reason),
            ReportedStage::Leaving => Stage::Leaving,
            ReportedStage::Preparing | ReportedStage::Running => Stage::Running,
        };
        let process = Process {
            incarnation: report.key.incarnation,
            job_id: report.job_id,
            job: None,
            node: Some(node_id.to_owned()),
            stage,
            kill_at: None,
            pid: report.pid,
            since: report.since,
            worker_id: node.next_worker_id(),
        };
        let is_live = process.is_live();
        self.put(place, process);
        self.note_order(place.ex_id);
        self.changed.insert(place.ex_id);
        if !is_live {
            self.tell(node_id, report.key);
        }
        tracing::debug!(node_id, process = %report.key, "found a process that runs");
    }

    /// Takes note of the end of a process, and has its node forget it.
    fn note_end(&mut self, key: ProcessKey, reason: ExitReason, at: Moment) {
        let Some(process) = self.processes.get(&key.place()) else { return };
        tracing::debug!(process = %key, ?reason, "process ended");
        let node = process.node.clone();
        self.change(key.place(), |process| process.end(reason, at.wall));
        self.changed.insert(key.ex_id);
        if let Some(node) = node {
            self.tell(&node, key);
        }
    }

    /// Notes that a connection has ended; tells whether the node may come back to something.
    pub(in super::super) fn disconnect(&mut self, node_id: &str, connection: u64) -> bool {
        if !self.is_current(node_id, connection) {
            return false;
        }
        self.is_changed = true;
        self.touch(node_id);
        let has_processes = self.index.on_node(node_id).next().is_some();
        let node = self.nodes.get_mut(node_id).expect("its connection is current");
        if !has_processes && node.unwanted.is_empty() {
            self.nodes.remove(node_id);
            return false;
        }
        node.link = Link::Down { connection };
        true
    }

    /// Gives up a node that has not come back since a connection ended: its processes count as ended.
    pub(in super::super) fn give_up(&mut self, node_id: &str, connection: u64, at: Moment) {
        if self.nodes.get(node_id).is_none_or(|node| node.link != (Link::Down { connection })) {
            return;
        }
        self.nodes.remove(node_id);
        self.fences.insert(node_id.to_owned(), self.incarnation_last);
        while self.fences.len() > FENCES_MAX {
            let oldest = self.fences.iter().min_by_key(|(_, fence)| **fence).map(|(id, _)| id.clone());
            self.fences.remove(&oldest.expect("there are some"));
        }
        let lost: Vec<_> = self.index.on_node(node_id).collect();
        tracing::warn!(node_id, processes = lost.len(), "node is given up");
        for place in lost {
            self.change(place, |process| process.end(ExitReason::Unknown, at.wall));
            self.changed.insert(place.ex_id);
        }
        self.is_changed = true;
    }

    /// Notes that everything on a node looks different now.
    fn touch(&mut self, node_id: &str) {
        self.changed.extend(self.index.on_node(node_id).map(|place| place.ex_id));
    }
}
