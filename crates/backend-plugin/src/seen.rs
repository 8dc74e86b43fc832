//! What the backend has said last of what runs, for those who only want to show it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use teraslice_core::backend::{Instance, Scope, Snapshot};
use teraslice_model::id::{ExId, JobId};

/// Instances by execution. Empty after a start, until the engine has looked.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<ExId, Execution>>);

#[derive(Debug, Default)]
struct Execution {
    job_id: Option<JobId>,
    instances: Vec<Instance>,
}

impl Seen {
    /// Takes note of the job of an execution that is asked for.
    pub(crate) fn ask(&self, ex_id: ExId, job_id: JobId) {
        self.executions().entry(ex_id).or_default().job_id = Some(job_id);
    }

    /// Takes note of an observation; executions without instances are forgotten.
    pub(crate) fn observe(&self, scope: Scope, snapshot: &Snapshot) {
        let mut executions = self.executions();
        match scope {
            Scope::Execution(ex_id) if snapshot.instances.is_empty() => drop(executions.remove(&ex_id)),
            Scope::Execution(ex_id) => {
                executions.entry(ex_id).or_default().instances.clone_from(&snapshot.instances);
            }
            Scope::Cluster => {
                executions.values_mut().for_each(|execution| execution.instances.clear());
                for instance in &snapshot.instances {
                    executions.entry(instance.ex_id).or_default().instances.push(instance.clone());
                }
                executions.retain(|_, it| it.job_id.is_some() || !it.instances.is_empty());
            }
        }
    }

    /// Returns what is alive, with its job where that is known.
    pub(crate) fn live(&self) -> Vec<(Instance, Option<JobId>)> {
        let executions = self.executions();
        let all =
            executions.values().flat_map(|it| it.instances.iter().map(|instance| (instance, it.job_id)));
        all.filter(|(instance, _)| instance.phase.is_live())
            .map(|(instance, job_id)| (instance.clone(), job_id))
            .collect()
    }

    fn executions(&self) -> MutexGuard<'_, BTreeMap<ExId, Execution>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_core::backend::{InstanceId, Phase, Role};
    use teraslice_model::{id::Generation, timestamp::Timestamp};

    use super::*;

    fn ex(number: u8) -> ExId {
        ExId::from_random([number; 16])
    }

    fn snapshot(instances: &[(u8, &str, Phase)]) -> Snapshot {
        let at = Timestamp::from_millis(0);
        let instance = |(number, id, phase): &(u8, &str, Phase)| Instance {
            id: InstanceId((*id).to_owned()),
            ex_id: ex(*number),
            generation: Generation(0),
            role: Role::Worker,
            ordinal: 0,
            phase: phase.clone(),
            address: None,
            since: at,
        };
        Snapshot { instances: instances.iter().map(instance).collect(), as_of: at }
    }

    #[test]
    fn shows_what_lives_as_it_was_seen_last() {
        let (seen, job_id) = (Seen::default(), JobId::from_random([9; 16]));
        let ids = || seen.live().into_iter().map(|(it, job)| (it.id.0, job)).collect::<Vec<_>>();
        seen.ask(ex(1), job_id);
        assert!(ids().is_empty());
        seen.observe(Scope::Cluster, &snapshot(&[(1, "a", Phase::Running), (2, "b", Phase::Lost)]));
        assert_eq!(ids()[0], ("a".to_owned(), Some(job_id)));
        seen.observe(Scope::Execution(ex(2)), &snapshot(&[(2, "c", Phase::Running)]));
        assert_eq!(ids(), [("a".to_owned(), Some(job_id)), ("c".to_owned(), None)]);
        seen.observe(Scope::Execution(ex(1)), &snapshot(&[]));
        assert_eq!(ids(), [("c".to_owned(), None)]);
        seen.observe(Scope::Cluster, &snapshot(&[]));
        assert!(ids().is_empty());
    }
}
