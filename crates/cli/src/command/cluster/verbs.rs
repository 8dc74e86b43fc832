//! What can be done to a job of a cluster, whether it is named by its id or by its file.

use serde_json::Value;
use teraslice_model::status::Status;
use teraslice_node::exit_code;

use super::{
    Site, of_client,
    outcome::Outcome,
    select::{Target, status_of},
    show,
    wait::{Wait, watch},
};
use crate::{
    args::cluster::{Cleanup, Paging, Scaling, Waiting},
    failure::Failure,
};

impl Target {
    /// Begins what is told of the job.
    pub(crate) fn outcome(&self, status: &str) -> Outcome {
        let outcome = Outcome::new(status).with("job_id", self.job_id.as_str());
        match &self.file {
            Some(file) => outcome.with("file", file.as_str()),
            None => outcome,
        }
    }

    fn post(&self, action: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.client.post(&["jobs", &self.job_id, action], query, None).map_err(of_client)
    }

    fn latest(&self) -> Result<Option<Value>, Failure> {
        self.client.latest_execution(&self.job_id).map_err(of_client)
    }

    /// Starts the job, and watches the new execution if asked for.
    pub(crate) fn start(&self, site: &Site, slices: u64, waiting: Waiting) -> Result<Outcome, Failure> {
        let answer = self.post("_start", &[])?;
        self.begun(site, &answer, slices, waiting)
    }

    /// Starts an execution that goes on where the last one broke off.
    pub(crate) fn recover(
        &self,
        site: &Site,
        cleanup: Option<Cleanup>,
        slices: u64,
        waiting: Waiting,
    ) -> Result<Outcome, Failure> {
        let query: Vec<_> = cleanup.map(|cleanup| ("cleanup_type", cleanup.word())).into_iter().collect();
        let answer = self.post("_recover", &query)?;
        self.begun(site, &answer, slices, waiting)
    }

    /// Tells of an execution that was started by `answer`.
    pub(crate) fn begun(
        &self,
        site: &Site,
        answer: &Value,
        slices: u64,
        waiting: Waiting,
    ) -> Result<Outcome, Failure> {
        warn(site, answer);
        let ex_id = answer.get("ex_id").and_then(Value::as_str);
        let Some(ex_id) = ex_id.filter(|_| slices > 0) else {
            return Ok(self.outcome("started").with_fields(answer, &["ex_id"]));
        };
        let execution = watch(site, &self.client, ex_id, slices, waiting)?;
        Ok(watched(self.outcome(""), &execution).with("ex_id", ex_id))
    }

    /// Stops the job and waits until it has ended.
    pub(crate) fn stop(&self, is_forced: bool, waiting: Waiting) -> Result<Outcome, Failure> {
        let answer = self.post("_stop", &stop_query(is_forced, &millis(waiting)))?;
        let what = format!("job {} has not stopped", self.job_id);
        let execution = Wait::new(waiting).until(&what, || {
            let latest = self.client.latest_execution(&self.job_id)?;
            Ok(latest.filter(|execution| status_of(execution).is_none_or(Status::is_terminal)))
        })?;
        let outcome = self.outcome(&show::cell(&execution, "_status"));
        Ok(outcome.with_fields(&execution, &["ex_id"]).with_fields(&answer, &["message"]))
    }

    /// Stops the job if it runs, and starts it.
    pub(crate) fn restart(&self, site: &Site, slices: u64, waiting: Waiting) -> Result<Outcome, Failure> {
        let latest = self.latest()?;
        if latest.as_ref().and_then(status_of).is_some_and(|status| !status.is_terminal()) {
            let _stopped = self.stop(false, waiting)?;
        }
        self.start(site, slices, waiting)
    }

    /// Holds the job back.
    pub(crate) fn pause(&self) -> Result<Outcome, Failure> {
        let answer = self.post("_pause", &[])?;
        Ok(self.outcome(&show::cell(&answer, "status")))
    }

    /// Lets the job go on, and watches it if asked for.
    pub(crate) fn resume(&self, site: &Site, slices: u64, waiting: Waiting) -> Result<Outcome, Failure> {
        let answer = self.post("_resume", &[])?;
        let outcome = self.outcome(&show::cell(&answer, "status"));
        if slices == 0 {
            return Ok(outcome);
        }
        let latest = self.latest()?.unwrap_or_default();
        let ex_id = show::cell(&latest, "ex_id");
        let execution = watch(site, &self.client, &ex_id, slices, waiting)?;
        Ok(watched(outcome, &execution).with("ex_id", ex_id))
    }

    /// Deletes the job.
    pub(crate) fn delete(&self) -> Result<Outcome, Failure> {
        let deleted = self.client.delete(&["jobs", &self.job_id]).map_err(of_client)?;
        Ok(self.outcome("deleted").with_fields(&deleted, &["name"]))
    }

    /// Tells where the job stands.
    pub(crate) fn status(&self) -> Result<Outcome, Failure> {
        let job = self.record()?;
        let latest = self.latest()?;
        let status =
            latest.as_ref().map_or_else(|| "never started".to_owned(), |ex| show::cell(ex, "_status"));
        let outcome = self.outcome(&status).with_fields(&job, &["name", "workers"]);
        Ok(outcome.with_fields(&latest.unwrap_or_default(), &["ex_id"]))
    }

    /// Returns the job's record.
    pub(crate) fn record(&self) -> Result<Value, Failure> {
        self.client.get(&["jobs", &self.job_id], &[]).map_err(of_client)
    }

    /// Returns the job's record with its latest execution, if it has one.
    pub(crate) fn record_with_execution(&self) -> Result<Value, Failure> {
        let mut job = self.record()?;
        if let (Some(job), Some(execution)) = (job.as_object_mut(), self.latest()?) {
            let part = |key: &str| (key.to_owned(), execution.get(key).cloned().unwrap_or_default());
            job.insert("ex".to_owned(), Value::Object(["ex_id", "_status"].map(part).into_iter().collect()));
        }
        Ok(job)
    }

    /// Returns the slices of the latest execution that failed.
    pub(crate) fn errors(&self, paging: &Paging) -> Result<Value, Failure> {
        let query = paging.query();
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.client.get(&["jobs", &self.job_id, "errors"], &query).map_err(of_client)
    }

    /// Waits until the latest execution has one of these statuses; another end is a failure.
    pub(crate) fn wait(&self, wanted: &[String], waiting: Waiting) -> Result<Outcome, Failure> {
        let what = format!("job {} is not {}", self.job_id, wanted.join(" or "));
        let execution = Wait::new(waiting).until(&what, || {
            let Some(execution) = self.client.latest_execution(&self.job_id)? else { return Ok(None) };
            let status = show::cell(&execution, "_status");
            let is_over = status_of(&execution).is_some_and(Status::is_terminal);
            Ok((is_over || wanted.contains(&status)).then_some(execution))
        })?;
        let status = show::cell(&execution, "_status");
        let code = if wanted.contains(&status) { exit_code::DONE } else { exit_code::FAILED };
        Ok(self.outcome(&status).with_fields(&execution, &["ex_id"]).with_code(code))
    }

    /// Changes the number of workers.
    pub(crate) fn scale(&self, action: Scaling, number: u32) -> Result<Outcome, Failure> {
        let number = number.to_string();
        let answer = self.post("_workers", &[(action.word(), &number)])?;
        Ok(self.outcome("changed").with_fields(&answer, &["message"]))
    }
}

impl Paging {
    /// Returns the parameters of a list.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("from", self.from.to_string()), ("size", self.size.to_string())];
        query.extend(self.sort.clone().map(|sort| ("sort", sort)));
        query.extend(self.filter.clone().map(|filter| ("filter", filter)));
        query
    }
}

impl Cleanup {
    /// Returns the word of the API.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Errors => "errors",
            Self::Pending => "pending",
        }
    }
}

impl Scaling {
    /// Returns the word of the API.
    const fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Total => "total",
        }
    }
}

/// Returns the longest wait as the API has it.
pub(crate) fn millis(waiting: Waiting) -> String {
    waiting.timeout.as_millis().to_string()
}

/// Returns how a stop is asked for: the master does not keep the request open, the command looks itself.
pub(crate) fn stop_query(is_forced: bool, timeout: &str) -> Vec<(&'static str, &str)> {
    let mut query = vec![("timeout", timeout), ("blocking", "false")];
    if is_forced {
        query.push(("force", "true"));
    }
    query
}

/// Tells how far a watched execution is.
pub(crate) fn watched(outcome: Outcome, execution: &Value) -> Outcome {
    let stats = execution.get("_slicer_stats").cloned().unwrap_or_default();
    let has_failed =
        matches!(status_of(execution), Some(Status::Failed | Status::Terminated | Status::Rejected));
    let code = if has_failed { exit_code::FAILED } else { exit_code::DONE };
    let outcome = outcome.with("status", show::cell(execution, "_status"));
    let outcome =
        match execution.get("_failureReason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            Some(reason) => outcome.with("message", reason),
            None => outcome,
        };
    outcome.with_fields(&stats, &["processed", "failed"]).with_code(code)
}

/// Shows the warnings of an answer.
pub(crate) fn warn(site: &Site, answer: &Value) {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        site.screen.say(&format!("warning: {}", show::plain(&worded(warning))));
    }
}

/// Says a warning in words: a plain one, or one about a property of a job, an operation or an API.
fn worded(warning: &Value) -> String {
    let text = |pointer: &str| warning.pointer(pointer).and_then(Value::as_str);
    let about = (text("/reason/reason/field"), text("/reason/reason/description"));
    let (Some(field), Some(description)) = about else {
        return warning
            .as_str()
            .or_else(|| text("/message"))
            .map_or_else(|| warning.to_string(), str::to_owned);
    };
    let owner = text("/reason/reason/_op").or_else(|| text("/reason/reason/api_name"));
    let owner = owner.map_or_else(String::new, |owner| format!(" of {owner}"));
    let is_deprecated = text("/reason/kind") == Some("deprecation");
    format!("{field:?}{owner}{}: {description}", if is_deprecated { " is deprecated" } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_warnings_in_words() {
        let about = |kind: &str, reason: Value| json!({"type": "JobValidation", "reason": {"type": "jobProperty", "kind": kind, "reason": reason}});
        for (warning, words) in [
            (json!("mind the gap"), "mind the gap"),
            (json!({"message": "mind the gap"}), "mind the gap"),
            (json!({"gap": 1}), r#"{"gap":1}"#),
            (
                about("deprecation", json!({"field": "cpu", "description": "use x"})),
                r#""cpu" is deprecated: use x"#,
            ),
            (
                about("deprecation", json!({"_op": "filter", "field": "cpu", "description": "use x"})),
                r#""cpu" of filter is deprecated: use x"#,
            ),
            (
                about("notice", json!({"field": "cpus", "description": "no such property"})),
                r#""cpus": no such property"#,
            ),
        ] {
            assert_eq!(worded(&warning), words);
        }
    }
}
