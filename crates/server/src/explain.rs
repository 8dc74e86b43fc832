//! Why is nothing happening: finds the one cause that is in the way of an execution.

use serde_json::{Map, Value, json};
use teraslice_api::explanation::{Cause, Explanation};
use teraslice_core::{
    backend::health::Trouble,
    engine::{Condition, View},
    store::{ErrorQuery, Page},
};
use teraslice_model::{
    execution::{Execution, Stats},
    id::ExId,
    status::Status,
    timestamp::Timestamp,
};

use crate::{app::App, executions::workers, refusal::Refusal};

/// Failed slices that are shown.
const ERRORS_SHOWN: u64 = 3;

/// Everything that an explanation looks at.
struct Scene {
    execution: Execution,
    /// What the engine knows; absent: it does not look after the execution.
    view: Option<View>,
    /// What the controller reports; absent: it is not connected.
    stats: Option<Stats>,
    /// None where the machines are somebody else's business.
    nodes: Option<NodeCount>,
    /// What is wrong with the cluster backend.
    trouble: Option<Trouble>,
    now: Timestamp,
}

/// The nodes, counted.
#[derive(Clone, Copy)]
struct NodeCount {
    connected: usize,
    known: usize,
    free_slots: Option<u64>,
}

/// A cause with what is said about it.
struct Finding {
    cause: Cause,
    message: String,
    evidence: Value,
    hint: Option<&'static str>,
}

impl Finding {
    fn new(cause: Cause, message: impl Into<String>, evidence: Value) -> Self {
        Self { cause, message: message.into(), evidence, hint: None }
    }

    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl App {
    /// Finds what is in the way of an execution.
    pub(crate) async fn explain(&self, ex_id: ExId) -> Result<Explanation, Refusal> {
        let execution = self.execution(ex_id).await?;
        let errors =
            if execution.status == Status::Failed { self.first_errors(ex_id).await? } else { Vec::new() };
        let nodes = self.services.nodes.state();
        let nodes = self.services.nodes.are_ours().then(|| NodeCount {
            connected: nodes.values().filter(|node| node.is_connected()).count(),
            known: nodes.len(),
            free_slots: self.services.nodes.free_slots(),
        });
        let view = self.services.engine.watch(ex_id).await.ok().map(|view| view.borrow().clone());
        let stats = self.services.controllers.stats(ex_id).map(|controller| controller.stats);
        let status = execution.status;
        let trouble = self.services.nodes.trouble();
        let found = find(&Scene { execution, view, stats, nodes, trouble, now: self.now() });
        let mut evidence = crate::documents::object(found.evidence);
        if !errors.is_empty() {
            evidence.insert("errors".to_owned(), errors.into());
        }
        let hint = found.hint.map(str::to_owned);
        Ok(Explanation { ex_id, status, cause: found.cause, message: found.message, evidence, hint })
    }

    async fn first_errors(&self, ex_id: ExId) -> Result<Vec<Value>, Refusal> {
        let page = Page { from: 0, size: ERRORS_SHOWN };
        let query = ErrorQuery { ex_id: Some(ex_id), page, ..ErrorQuery::default() };
        let errors = self.services.store.errors(query).await?;
        let shown = errors.iter().map(|error| {
            json!({"slice_id": error.slice.slice.id, "error": error.slice.error.as_deref().unwrap_or_default()})
        });
        Ok(shown.collect())
    }
}

fn find(scene: &Scene) -> Finding {
    let status = scene.execution.status;
    match status {
        _ if status.is_terminal() => over(&scene.execution),
        Status::Stopping => stopping(scene),
        _ => unavailable(scene)
            .or_else(|| (status == Status::Paused).then(paused))
            .or_else(|| controller(scene))
            .or_else(|| worker(scene))
            .unwrap_or_else(|| at_work(scene)),
    }
}

fn over(execution: &Execution) -> Finding {
    let (status, stats) = (execution.status, &execution.stats);
    let evidence = json!({
        "failure": execution.failure, "processed": stats.processed, "failed": stats.failed,
        "ended": execution.updated,
    });
    if matches!(status, Status::Failed | Status::Rejected) {
        let reason = execution.failure.as_deref().unwrap_or("nobody has written down why");
        return Finding::new(Cause::Failed, format!("it has failed: {reason}"), evidence)
            .hint("fix the cause, then start the job again, or recover it with cleanup_type=errors");
    }
    let found = Finding::new(Cause::Ended, format!("it is {status}"), evidence);
    match status {
        Status::Stopped | Status::Terminated => found.hint("recover it to go on, or start the job again"),
        _ => found,
    }
}

fn stopping(scene: &Scene) -> Finding {
    let live = scene.view.as_ref().map(|view| (view.is_controller_live, view.workers_live));
    let evidence = json!({
        "controller_runs": live.map(|live| live.0), "workers_running": live.map(|live| live.1),
        "leased": scene.stats.as_ref().map(|stats| stats.leased), "since": scene.execution.updated,
    });
    Finding::new(Cause::Stopping, "it is stopping: its processes finish the slices at work", evidence)
        .hint("processes that do not leave in time are killed")
}

fn paused() -> Finding {
    Finding::new(Cause::Paused, "somebody has paused it", json!({})).hint("resume it: POST /ex/<id>/_resume")
}

fn unavailable(scene: &Scene) -> Option<Finding> {
    if let Some(Trouble { reason, since }) = &scene.trouble {
        let evidence = json!({"reason": reason, "since": since});
        return Some(
            Finding::new(Cause::BackendUnavailable, reason.clone(), evidence)
                .hint("the master tries again by itself; `teraslice backends list`, on Kubernetes `teraslice k8s doctor`, tell more"),
        );
    }
    let Some(view) = &scene.view else {
        return Some(
            Finding::new(Cause::NotLookedAfter, "the engine does not look after it yet", json!({}))
                .hint("the engine takes up what it finds in the store within some minutes"),
        );
    };
    view.conditions.iter().find_map(|condition| match condition {
        Condition::Unavailable(reason) => Some(
            Finding::new(Cause::BackendUnavailable, reason.clone(), json!({"reason": reason}))
                .hint("look at the log of the master; it tries again by itself"),
        ),
        _ => None,
    })
}

/// Finds what keeps the controller away.
fn controller(scene: &Scene) -> Option<Finding> {
    let view = scene.view.as_ref()?;
    let failing = view.conditions.iter().find_map(|condition| match condition {
        Condition::ControllerFailing { exits, last } => Some((exits, last)),
        _ => None,
    });
    if let Some((exits, last)) = failing {
        let evidence = json!({"exits": exits, "last": last});
        let message =
            format!("the controller has ended too early {exits} times in a row, the last time {last}");
        return Some(
            Finding::new(Cause::ControllerFailing, message, evidence)
                .hint("look at the log of the controller; after some tries the execution fails"),
        );
    }
    if scene.stats.is_some() {
        return None;
    }
    if view.is_controller_live {
        let evidence = json!({"controller_runs": true, "slicer_hostname": scene.execution.slicer_hostname,
            "slicer_port": scene.execution.slicer_port});
        return Some(if let Some(waiting) = waiting(view) {
            waiting
        } else if scene.execution.status.is_initial() {
            Finding::new(Cause::Initializing, "the controller is starting", evidence)
        } else {
            Finding::new(
                Cause::ControllerNotConnected,
                "the controller runs, but is not connected to the master",
                evidence,
            )
            .hint("check that the node of the controller reaches the master")
        });
    }
    Some(no_room(scene, 1).unwrap_or_else(|| {
        waiting(view).unwrap_or_else(|| {
            Finding::new(
                Cause::Initializing,
                "the controller is about to start",
                json!({"controller_runs": false}),
            )
        })
    }))
}

/// Finds what keeps every worker away.
fn worker(scene: &Scene) -> Option<Finding> {
    let (view, stats) = (scene.view.as_ref()?, scene.stats.as_ref()?);
    let failing = view.conditions.iter().find_map(|condition| match condition {
        Condition::WorkersFailing { rounds, last } => Some((rounds, last)),
        _ => None,
    });
    if stats.workers_available + stats.workers_active > 0 {
        return None;
    }
    if let Some((rounds, last)) = failing {
        let evidence = json!({"rounds": rounds, "last": last, "workers_wanted": view.workers_wanted});
        let message =
            format!("workers end soon after they start, {rounds} times in a row, the last one {last}");
        return Some(
            Finding::new(Cause::WorkersFailing, message, evidence)
                .hint("look at the log of a worker: its memory limit or an operation may be the cause"),
        );
    }
    if view.workers_live == 0
        && let Some(found) = no_room(scene, u64::from(workers(&scene.execution)))
    {
        return Some(found);
    }
    if let Some(found) = waiting(view) {
        return Some(found);
    }
    let evidence = json!({"workers_running": view.workers_live, "workers_wanted": view.workers_wanted,
        "workers_joined": stats.workers_joined});
    Some(
        Finding::new(Cause::NoWorker, "no worker is connected to the controller", evidence)
            .hint("workers are starting, or do not reach slicer_hostname:slicer_port"),
    )
}

/// Finds that there is no place to run something.
fn no_room(scene: &Scene, needed: u64) -> Option<Finding> {
    let NodeCount { connected, known, free_slots } = scene.nodes?;
    let evidence = json!({"nodes_connected": connected, "nodes_known": known, "free_slots": free_slots, "needed": needed});
    if connected == 0 {
        return Some(
            Finding::new(Cause::NoNode, "no node is connected to the master", evidence)
                .hint("start a node: teraslice node"),
        );
    }
    (free_slots == Some(0)).then(|| {
        Finding::new(Cause::NoFreeSlot, "every slot of every node is taken", evidence)
            .hint("stop another execution, add a node, or raise workers of a node")
    })
}

fn waiting(view: &View) -> Option<Finding> {
    view.conditions.iter().find_map(|condition| match condition {
        Condition::Waiting(reason) => {
            Some(Finding::new(Cause::Waiting, reason.clone(), json!({"reason": reason})))
        }
        _ => None,
    })
}

fn at_work(scene: &Scene) -> Finding {
    let stats = scene.stats.clone().unwrap_or_default();
    let view = scene.view.as_ref();
    let seconds =
        stats.started.map(|started| scene.now.as_millis().saturating_sub(started.as_millis()) / 1_000);
    let per_second = seconds.filter(|seconds| *seconds > 0).map(|seconds| {
        let hundredths = u128::from(stats.processed) * 100 / u128::from(seconds.unsigned_abs());
        f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0
    });
    let mut evidence = Map::new();
    for (key, value) in [
        ("workers_available", json!(stats.workers_available)),
        ("workers_active", json!(stats.workers_active)),
        ("workers_wanted", json!(view.map(|view| view.workers_wanted))),
        ("queued", json!(stats.queued)),
        ("leased", json!(stats.leased)),
        ("processed", json!(stats.processed)),
        ("failed", json!(stats.failed)),
        ("seconds", json!(seconds)),
        ("slices_per_second", json!(per_second)),
    ] {
        evidence.insert(key.to_owned(), value);
    }
    let evidence = Value::Object(evidence);
    if stats.queued == 0 && stats.leased == 0 && stats.workers_active == 0 {
        return Finding::new(
            Cause::SlicerIdle,
            "the reader has given no more slices, and workers wait",
            evidence,
        )
        .hint("there may be no new input, or the reader is slow to cut it");
    }
    let message = if stats.workers_available == 0 {
        format!("nothing blocks it: all {} workers are busy", stats.workers_active)
    } else {
        format!(
            "nothing blocks it: {} workers are busy, {} wait",
            stats.workers_active, stats.workers_available
        )
    };
    Finding::new(Cause::Nothing, message, evidence)
}

#[cfg(test)]
mod tests;
