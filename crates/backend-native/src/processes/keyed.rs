//! Processes by their keys, without a look at the system: what the agent of a node needs.

use rustix::process::Signal;
use teraslice_core::backend::{Phase, Retire};

use super::{Known, Processes, nursery, signal};
use crate::nodes::message::{ProcessKey, ProcessReport, ReportedStage};

impl Processes {
    /// Lists what is known.
    pub(crate) fn reports(&self) -> Vec<ProcessReport> {
        self.lock().values().map(report).collect()
    }

    /// Tells whether the process is known, live or ended.
    pub(crate) fn knows(&self, key: &ProcessKey) -> bool {
        self.lock().values().any(|it| it.found.key == *key)
    }

    /// Returns the live process that holds the same place.
    pub(crate) fn holder(&self, key: &ProcessKey) -> Option<ProcessKey> {
        let known = self.lock();
        let mut live = known.values().filter(|it| it.phase.is_live());
        live.find(|it| it.found.key.is_same_place(key)).map(|it| it.found.key)
    }

    /// Ends a process; tells whether it is known.
    pub(crate) fn end(&self, key: &ProcessKey, how: Retire) -> bool {
        let mut known = self.lock();
        let Some(it) = known.values_mut().find(|it| it.found.key == *key) else { return false };
        match how {
            Retire::Drain { grace } => {
                let was_asked = it.kill_at.is_some();
                self.drain(it, grace);
                if !was_asked {
                    self.hint(key.ex_id);
                }
            }
            Retire::Kill if it.phase.is_live() => signal(it.found.process, Signal::KILL),
            Retire::Kill => {}
        }
        true
    }

    /// Asks all to leave; returns whether something still runs.
    pub(crate) fn end_all(&self, how: Retire) -> bool {
        let live =
            self.lock().values().filter(|it| it.phase.is_live()).map(|it| it.found.key).collect::<Vec<_>>();
        for key in &live {
            self.end(key, how);
        }
        !live.is_empty()
    }

    /// Forgets a process that has ended; tells whether any of its execution is left.
    pub(crate) fn forget(&self, key: &ProcessKey) -> bool {
        let mut known = self.lock();
        for (process, _) in known.extract_if(.., |_, it| it.found.key == *key && !it.phase.is_live()) {
            nursery::forget(process);
        }
        known.values().any(|it| it.found.key.ex_id == key.ex_id)
    }
}

fn report(it: &Known) -> ProcessReport {
    let stage = match &it.phase {
        Phase::Exited(reason) => ReportedStage::Exited(reason.clone()),
        Phase::Draining => ReportedStage::Leaving,
        _ => ReportedStage::Running,
    };
    let (key, job_id) = (it.found.key, it.found.job_id);
    ProcessReport { key, job_id, pid: Some(it.found.process.number), stage, since: it.since }
}
