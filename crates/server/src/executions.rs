//! Executions: stop, pause, resume, scale.

use std::time::Duration;

use serde_json::{Value, json};
use teraslice_core::{
    control::ControlCommand,
    engine::{CommandError, View},
    store::{ExecutionUpdate, StatusChange, StoreError},
};
use teraslice_model::{execution::Execution, id::ExId, status::Status};
use tokio::{sync::watch, time::timeout};

use crate::{app::App, endpoint::Changed, params::Params, refusal::Refusal};

/// A change of status that somebody else's is in the way of is tried so often.
const TRIES: u32 = 8;
/// Workers of an execution at most.
pub(crate) const WORKERS_MAX: u32 = 10_000;
/// The levels that a log can have.
pub(crate) const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// How the workers of an execution are to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaling {
    /// So many more.
    Add(u32),
    /// So many fewer.
    Remove(u32),
    /// So many.
    Total(u32),
}

impl Scaling {
    /// Reads the one of `add`, `remove` and `total` that is given.
    pub(crate) fn read(params: &Params) -> Result<Self, Refusal> {
        let given = ["add", "remove", "total"].map(|name| params.get(name).map(|text| (name, text)));
        let mut given = given.into_iter().flatten();
        let (Some((name, text)), None) = (given.next(), given.next()) else {
            return Err(Refusal::bad("one of the query parameters add, remove and total is needed"));
        };
        let wrong = |_| Refusal::bad(format!("{name} must be a whole number from 0, found {text:?}"));
        let count = text.parse().map_err(wrong)?;
        Ok(match name {
            "add" => Self::Add(count),
            "remove" => Self::Remove(count),
            _ => Self::Total(count),
        })
    }
}

impl App {
    /// Returns an execution, deleted or not.
    pub(crate) async fn execution(&self, ex_id: ExId) -> Result<Execution, Refusal> {
        let found = self.services.store.execution(ex_id).await?;
        found.ok_or_else(|| Refusal::not_found(format!("execution {ex_id}")))
    }

    /// Returns an execution that has not ended.
    pub(crate) async fn running_execution(&self, ex_id: ExId) -> Result<Execution, Refusal> {
        let execution = self.execution(ex_id).await?;
        if execution.status.is_terminal() {
            let what = format!("an active execution: {ex_id} is {}", execution.status);
            return Err(Refusal::not_found(what));
        }
        Ok(execution)
    }

    /// Ends an execution for good. Waits until it has ended, `wait` at the most; returns the status then.
    pub(crate) async fn stop(&self, ex_id: ExId, wait: Duration) -> Result<(Status, Changed), Refusal> {
        let before = self.execution(ex_id).await?.status;
        self.mark_stopping(ex_id).await?;
        let view = match self.services.engine.watch(ex_id).await {
            Err(CommandError::Unknown { .. }) => self.services.engine.resume(ex_id).await?,
            view => view?,
        };
        match self.services.engine.stop(ex_id).await {
            // It has ended meanwhile.
            Ok(()) | Err(CommandError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.services.controllers.touch(ex_id);
        ended(view, wait.min(self.options.answer_max)).await;
        self.services.controllers.touch(ex_id);
        let after = self.execution(ex_id).await?.status;
        let changed = Changed {
            target: ex_id.to_string(),
            before: json!({"_status": before}),
            after: json!({"_status": after}),
        };
        Ok((after, changed))
    }

    /// Writes down that an execution is to end, so that it does even if the master is gone the next moment.
    async fn mark_stopping(&self, ex_id: ExId) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let from = self.execution(ex_id).await?.status;
            if from.is_terminal() || from == Status::Stopping {
                return Ok(());
            }
            let change = StatusChange::new(from, Status::Stopping);
            match self.services.store.set_status(ex_id, change).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return Ok(done?),
            }
        }
        Err(Refusal::conflict(format!("the status of execution {ex_id} keeps changing")))
    }

    /// Holds the slices of an execution back, or lets them go on.
    pub(crate) async fn hold(
        &self,
        execution: &Execution,
        is_held: bool,
    ) -> Result<(Status, Changed), Refusal> {
        let (command, after) = if is_held {
            (ControlCommand::Pause, Status::Paused)
        } else {
            (ControlCommand::Resume, Status::Running)
        };
        let ex_id = execution.ex_id;
        self.services.controllers.command(ex_id, command).await?;
        self.services.controllers.touch(ex_id);
        let changed = Changed {
            target: ex_id.to_string(),
            before: json!({"_status": execution.status}),
            after: json!({"_status": after}),
        };
        Ok((after, changed))
    }

    /// Changes the number of workers; returns what was done in words.
    pub(crate) async fn scale(&self, ex_id: ExId, scaling: Scaling) -> Result<(String, Changed), Refusal> {
        let job_id = self.running_execution(ex_id).await?.job_id;
        let _alone = self.locks.lock(job_id).await;
        let execution = self.running_execution(ex_id).await?;
        let before = workers(&execution);
        let after = match scaling {
            Scaling::Add(count) => before.checked_add(count),
            Scaling::Remove(count) => before.checked_sub(count),
            Scaling::Total(count) => Some(count),
        };
        let after = after.filter(|after| (1..=WORKERS_MAX).contains(after)).ok_or_else(|| {
            Refusal::bad(format!(
                "1 to {WORKERS_MAX} workers have to be left: execution {ex_id} has {before}"
            ))
        })?;
        let update = ExecutionUpdate { workers_wanted: Some(after), ..ExecutionUpdate::default() };
        self.services.store.update_execution(ex_id, update).await?;
        match self.services.engine.scale(ex_id, after).await {
            // It is stored: the engine finds it when it takes the execution up.
            Ok(()) | Err(CommandError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (count, action) = in_words(scaling, before, self.options.is_kubernetes());
        let message = format!("{count} workers have been {action} for execution: {ex_id}");
        let changed = Changed {
            target: ex_id.to_string(),
            before: json!({"workers": before}),
            after: json!({"workers": after}),
        };
        Ok((message, changed))
    }

    /// Sets the level of an execution's logs.
    pub(crate) async fn set_log_level(&self, ex_id: ExId, level: &str) -> Result<Changed, Refusal> {
        if self.services.controllers.stats(ex_id).is_none() {
            return Err(Refusal::not_found(format!("a connected controller of execution {ex_id}")));
        }
        self.services.controllers.command(ex_id, ControlCommand::LogLevel(level.to_owned())).await?;
        Ok(Changed { target: ex_id.to_string(), before: Value::Null, after: json!({"log_level": level}) })
    }
}

/// Refuses a level that no log can have.
pub(crate) fn check_level(level: Option<&str>) -> Result<&str, Refusal> {
    level.filter(|level| LEVELS.contains(level)).ok_or_else(|| {
        Refusal::bad(format!(
            "log_level must be one of {}, found {:?}",
            LEVELS.join(", "),
            level.unwrap_or_default()
        ))
    })
}

/// Returns how many workers an execution is wanted to have.
pub(crate) fn workers(execution: &Execution) -> u32 {
    let of_job =
        execution.job.get("workers").and_then(Value::as_u64).and_then(|workers| workers.try_into().ok());
    execution.workers_wanted.or(of_job).unwrap_or(1)
}

/// Waits until an execution has ended, or the time is over.
async fn ended(mut view: watch::Receiver<View>, wait: Duration) {
    // The engine may have let go of it: then it has ended.
    let _over = timeout(wait, view.wait_for(|view| view.status.is_terminal())).await;
}

/// Returns a number and a word, as the original's backends say it.
const fn in_words(scaling: Scaling, before: u32, is_kubernetes: bool) -> (u32, &'static str) {
    match (scaling, is_kubernetes) {
        (Scaling::Add(count), true) => (count, "add"),
        (Scaling::Add(count), false) => (count, "enqueued"),
        (Scaling::Remove(count), _) => (count, "remove"),
        (Scaling::Total(count), false) if count > before => (count - before, "enqueued"),
        (Scaling::Total(count), false) if count < before => (before - count, "remove"),
        (Scaling::Total(count), _) => (count, "set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_done_in_the_words_of_each_backend() {
        let cases = [
            (Scaling::Add(2), false, (2, "enqueued")),
            (Scaling::Remove(2), false, (2, "remove")),
            (Scaling::Total(7), false, (4, "enqueued")),
            (Scaling::Total(1), false, (2, "remove")),
            (Scaling::Total(3), false, (3, "set")),
            (Scaling::Add(2), true, (2, "add")),
            (Scaling::Total(7), true, (7, "set")),
        ];
        for (scaling, is_kubernetes, expected) in cases {
            assert_eq!(in_words(scaling, 3, is_kubernetes), expected, "{scaling:?}");
        }
    }

    #[test]
    fn wants_one_way_to_scale() {
        let read = |query: &str| Scaling::read(&Params::of(&format!("/x?{query}").parse().unwrap()));
        assert_eq!(read("add=0").unwrap(), Scaling::Add(0));
        assert_eq!(read("total=5").unwrap(), Scaling::Total(5));
        for query in ["", "add=-1", "add=x", "add=1&remove=1", "add=5000000000"] {
            assert_eq!(read(query).unwrap_err().status, 400, "{query}");
        }
    }

    #[test]
    fn takes_only_levels_that_there_are() {
        assert_eq!(check_level(Some("debug")).unwrap(), "debug");
        assert_eq!(check_level(Some("loud")).unwrap_err().status, 400);
        assert_eq!(check_level(None).unwrap_err().status, 400);
    }
}
