//! Which jobs a command is about.

use serde_json::Value;
use teraslice_api::client::Client;
use teraslice_model::status::Status;
use teraslice_node::exit_code;

use super::{Site, of_client};
use crate::{args::cluster::Selection, failure::Failure};

/// Jobs that are read at once.
const PAGE: usize = 500;
/// Jobs that `all` can mean at most.
const JOBS_MAX: usize = 100_000;

/// A job, and the cluster it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Speaks with the cluster.
    pub(crate) client: Client,
    /// The job.
    pub(crate) job_id: String,
    /// What the user calls it, when that is not its id: a file.
    pub(crate) file: Option<String>,
}

/// Which jobs `all` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum All {
    /// Those that were written down.
    Saved,
    /// Those whose latest execution has not ended.
    Live,
    /// Those whose latest execution has failed.
    Failed,
    /// Every one.
    Every,
}

/// Finds the jobs of a selection, and asks before many are changed; `verb` is what happens to them, if anything.
pub(crate) fn select(
    site: &Site,
    jobs: &Selection,
    all: All,
    verb: Option<&str>,
) -> Result<Vec<Target>, Failure> {
    let client = site.client(&jobs.alias)?;
    let is_all = jobs.ids.iter().any(|id| id == "all");
    if is_all && jobs.ids.len() > 1 {
        return Err(Failure::text(exit_code::BAD_JOB, "`all` stands alone, without further ids"));
    }
    let ids = match (is_all, all) {
        (false, _) => filter(&client, jobs.ids.clone(), &jobs.status)?,
        (true, All::Saved) => filter(&client, site.home.saved_jobs(&jobs.alias)?, &jobs.status)?,
        (true, all) => listed(&client, all, &jobs.status)?,
    };
    if ids.is_empty() {
        let message = format!("there is no such job in {}", jobs.alias);
        return Err(Failure::text(exit_code::REFUSED, message));
    }
    if let Some(verb) = verb.filter(|verb| is_all || *verb == "delete") {
        let count = ids.len();
        let noun = if count == 1 { "job" } else { "jobs" };
        site.confirm(&format!("{verb} {count} {noun} in {}?", jobs.alias), jobs.yes)?;
    }
    Ok(ids.into_iter().map(|job_id| Target { client: client.clone(), job_id, file: None }).collect())
}

/// Keeps the jobs whose latest execution has one of the statuses.
fn filter(client: &Client, ids: Vec<String>, statuses: &[String]) -> Result<Vec<String>, Failure> {
    if statuses.is_empty() {
        return Ok(ids);
    }
    let mut kept = Vec::new();
    for id in ids {
        let execution = client.latest_execution(&id).map_err(of_client)?.unwrap_or_default();
        if is_one_of(&execution, statuses) {
            kept.push(id);
        }
    }
    Ok(kept)
}

/// Lists the jobs of a cluster with their latest executions, page by page.
fn listed(client: &Client, all: All, statuses: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for from in (0..JOBS_MAX).step_by(PAGE) {
        let (from, size) = (from.to_string(), PAGE.to_string());
        // A fixed order, so that no job falls between two pages when another changes.
        let query =
            [("from", from.as_str()), ("size", &size), ("sort", "_created:asc"), ("ex", "ex_id,_status")];
        let page = client.get(&["jobs"], &query).map_err(of_client)?;
        let jobs = page.as_array().cloned().unwrap_or_default();
        for job in &jobs {
            let Some(id) = job.get("job_id").and_then(Value::as_str) else { continue };
            let execution = match job.get("ex") {
                Some(execution) => execution.clone(),
                // A master of 2018 does not know the parameter.
                None => client.latest_execution(id).map_err(of_client)?.unwrap_or_default(),
            };
            let status = status_of(&execution);
            let is_meant = match all {
                All::Live => status.is_some_and(|status| !status.is_terminal()),
                All::Failed => status == Some(Status::Failed),
                All::Saved | All::Every => true,
            };
            if is_meant && (statuses.is_empty() || is_one_of(&execution, statuses)) {
                ids.push(id.to_owned());
            }
        }
        if jobs.len() < PAGE {
            break;
        }
    }
    Ok(ids)
}

fn is_one_of(execution: &Value, statuses: &[String]) -> bool {
    let status = execution.get("_status").and_then(Value::as_str);
    status.is_some_and(|status| statuses.iter().any(|wanted| wanted == status))
}

/// Reads the status of an execution's record.
pub(crate) fn status_of(execution: &Value) -> Option<Status> {
    execution.get("_status").and_then(Value::as_str).and_then(Status::parse)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_api::client::stub::Stub;

    use super::*;
    use crate::command::cluster::testing::Place;

    const LIST: &str = "GET /v1/jobs?from=0&size=500&sort=_created:asc&ex=ex_id,_status";

    fn selection(place: &Place, ids: &[&str], status: &[&str], yes: bool) -> Selection {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Selection {
            alias: "here".to_owned(),
            ids: owned(ids),
            status: owned(status),
            yes,
            access: place.access(),
        }
    }

    fn found(place: &Place, selection: &Selection, all: All) -> Result<Vec<String>, Failure> {
        let targets = select(&place.site(), selection, all, Some("stop"))?;
        Ok(targets.into_iter().map(|target| target.job_id).collect())
    }

    fn cluster() -> Stub {
        let jobs = json!([
            {"job_id": "1", "ex": {"_status": "running"}},
            {"job_id": "2", "ex": {"_status": "failed"}},
            {"job_id": "3", "ex": {}},
            {"job_id": "4"},
        ]);
        Stub::knowing(&[
            (LIST, 200, jobs),
            ("GET /v1/jobs/1/ex", 200, json!({"_status": "running"})),
            ("GET /v1/jobs/4/ex", 200, json!({"_status": "paused"})),
        ])
    }

    #[test]
    fn takes_ids_as_they_are() {
        let stub = cluster();
        let place = Place::new(&stub.url());
        assert_eq!(
            found(&place, &selection(&place, &["7", "1"], &[], false), All::Live).unwrap(),
            ["7", "1"]
        );
        assert_eq!(stub.lines(), [""; 0]);
        let running = selection(&place, &["7", "1"], &["running"], false);
        assert_eq!(found(&place, &running, All::Live).unwrap(), ["1"]);
    }

    #[test]
    fn knows_what_all_means() {
        let stub = cluster();
        let place = Place::new(&stub.url());
        let all = selection(&place, &["all"], &[], true);
        assert_eq!(found(&place, &all, All::Live).unwrap(), ["1", "4"]);
        assert_eq!(found(&place, &all, All::Failed).unwrap(), ["2"]);
        assert_eq!(found(&place, &all, All::Every).unwrap(), ["1", "2", "3", "4"]);
        assert_eq!(found(&place, &selection(&place, &["all"], &["paused"], true), All::Live).unwrap(), ["4"]);
        place.site().home.save_jobs("here", &[json!({"job_id": "9"})]).unwrap();
        assert_eq!(found(&place, &all, All::Saved).unwrap(), ["9"]);
        assert!(found(&place, &selection(&place, &["all", "1"], &[], true), All::Live).is_err());
    }

    #[test]
    fn refuses_many_when_nobody_can_be_asked() {
        let stub = cluster();
        let place = Place::new(&stub.url());
        let text = found(&place, &selection(&place, &["all"], &[], false), All::Live).unwrap_err().render();
        assert_eq!(text, "error: nobody can be asked: stop 2 jobs in here?\nhint: say --yes\n");
    }
}
