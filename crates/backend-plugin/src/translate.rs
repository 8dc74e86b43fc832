//! Between the words of the engine and those of the protocol.

use std::collections::BTreeSet;

use teraslice_core::backend::{
    DesiredExecution, ExitReason, Instance, InstanceId, Phase, Role, Scope, Snapshot,
};
use teraslice_model::{id::Generation, timestamp::Timestamp};
use teraslice_plugin_sdk::message;

use crate::options::PluginOptions;

/// Writes what is wanted of an execution.
pub(crate) fn desired(desired: &DesiredExecution, options: &PluginOptions) -> message::DesiredExecution {
    message::DesiredExecution {
        ex_id: desired.ex_id.to_string(),
        job_id: desired.job_id.to_string(),
        generation: desired.generation.0,
        revision: desired.revision,
        controller: desired.controller,
        workers: desired.workers,
        drain_grace_ms: millis(options.drain_grace),
        controller_process: (options.dress)(desired, Role::Controller),
        worker_process: (options.dress)(desired, Role::Worker),
        resources: serde_json::to_value(&desired.job.resources).unwrap_or_default(),
        job: desired.job.document.clone(),
    }
}

/// Reads what exists; says what cannot be true of it.
pub(crate) fn snapshot(told: message::Snapshot, scope: Scope, asked: Timestamp) -> Result<Snapshot, String> {
    // What is as of later than the question would prove more than it can.
    let as_of = told.as_of_ms.map_or(asked, Timestamp::from_millis).min(asked);
    let mut ids = BTreeSet::new();
    let mut instances = Vec::with_capacity(told.instances.len());
    for it in told.instances {
        let instance = instance(it, asked)?;
        if !ids.insert(instance.id.clone()) {
            return Err(format!("the instance {} is listed twice", instance.id));
        }
        if let Scope::Execution(ex_id) = scope
            && instance.ex_id != ex_id
        {
            return Err(format!("the instance {} is of another execution than asked for", instance.id));
        }
        instances.push(instance);
    }
    Ok(Snapshot { as_of, instances })
}

fn instance(it: message::Instance, asked: Timestamp) -> Result<Instance, String> {
    if it.id.is_empty() {
        return Err("an instance has no id".to_owned());
    }
    let ex_id = it.ex_id.parse().map_err(|_| format!("the ex_id of {} is no UUID: {:?}", it.id, it.ex_id))?;
    Ok(Instance {
        id: InstanceId(it.id),
        ex_id,
        generation: Generation(it.generation),
        role: match it.role {
            message::Role::Controller => Role::Controller,
            message::Role::Worker => Role::Worker,
        },
        ordinal: it.ordinal,
        phase: phase(it.phase),
        address: None,
        since: it.since_ms.map_or(asked, Timestamp::from_millis),
    })
}

fn phase(told: message::Phase) -> Phase {
    match told {
        message::Phase::Waiting(reason) => Phase::Waiting(reason),
        message::Phase::Starting => Phase::Starting,
        message::Phase::Running => Phase::Running,
        message::Phase::Draining => Phase::Draining,
        message::Phase::Lost => Phase::Lost,
        message::Phase::Exited(reason) => Phase::Exited(match reason {
            message::ExitReason::Completed => ExitReason::Completed,
            message::ExitReason::Code(code) => ExitReason::Code(code),
            message::ExitReason::Signal(signal) => ExitReason::Signal(signal),
            message::ExitReason::OutOfMemory => ExitReason::OutOfMemory,
            message::ExitReason::NotStarted(reason) => ExitReason::NotStarted(reason),
            message::ExitReason::Unknown => ExitReason::Unknown,
        }),
    }
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_model::id::ExId;

    use super::*;

    const EX: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";

    fn read(instances: serde_json::Value, scope: Scope) -> Result<Snapshot, String> {
        let told = serde_json::from_value(json!({"as_of_ms": 99, "instances": instances})).unwrap();
        snapshot(told, scope, Timestamp::from_millis(50))
    }

    fn worker(id: &str, ex_id: &str) -> serde_json::Value {
        json!({"id": id, "ex_id": ex_id, "generation": 1, "role": "worker", "ordinal": 0, "phase": "running"})
    }

    #[test]
    fn never_takes_a_list_for_newer_than_the_question() {
        let snapshot = read(json!([worker("a", EX)]), Scope::Cluster).unwrap();
        assert_eq!((snapshot.as_of, snapshot.instances.len()), (Timestamp::from_millis(50), 1));
    }

    #[test]
    fn refuses_lists_that_cannot_be_true() {
        let other = Scope::Execution(ExId::from_random([9; 16]));
        let cases = [
            (json!([worker("a", EX), worker("a", EX)]), Scope::Cluster, "listed twice"),
            (json!([worker("", EX)]), Scope::Cluster, "has no id"),
            (json!([worker("a", "x")]), Scope::Cluster, "is no UUID: \"x\""),
            (json!([worker("a", EX)]), other, "of another execution"),
        ];
        for (instances, scope, expected) in cases {
            let refused = read(instances, scope).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
