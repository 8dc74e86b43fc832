//! `teraslice jobs`: the jobs of a cluster.

mod export;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use teraslice_node::exit_code;

use super::cluster::{
    Site,
    home::pretty,
    of_client,
    outcome::{Outcome, each},
    select::{All, Target, select},
    show,
};
use crate::{
    args::{
        Common,
        cluster::{
            AwaitJobs, JobErrors, JobWorkers, Jobs, ListJobs, PauseJobs, RecoverJobs, Selection, StartJobs,
            StopJobs,
        },
    },
    failure::Failure,
};

/// Columns of failed slices.
pub(crate) const ERRORS: [(&str, &str); 5] = [
    ("slice_id", "slice_id"),
    ("slicer", "slicer_id"),
    ("order", "slicer_order"),
    ("updated", "_updated"),
    ("error", "error"),
];

/// Runs a command about jobs; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Jobs) -> Result<u8, Failure> {
    match command {
        Jobs::List(arguments) => list(common, arguments),
        Jobs::Start(arguments) => start(common, arguments),
        Jobs::Stop(arguments) => stop(common, arguments),
        Jobs::Restart(arguments) => restart(common, arguments),
        Jobs::Pause(arguments) => pause(common, arguments),
        Jobs::Resume(arguments) => resume(common, arguments),
        Jobs::Recover(arguments) => recover(common, arguments),
        Jobs::Status(jobs) => change(common, jobs, All::Every, None, |_, job| job.status()),
        Jobs::View(jobs) => view(common, jobs),
        Jobs::Errors(arguments) => errors(common, arguments),
        Jobs::Save(jobs) => save(common, jobs),
        Jobs::Export(arguments) => export::execute(common, arguments),
        Jobs::Delete(jobs) => change(common, jobs, All::Every, Some("delete"), |_, job| job.delete()),
        Jobs::Await(arguments) => wait(common, arguments),
        Jobs::Workers(arguments) => workers(common, arguments),
    }
}

/// Does something to each job of a selection.
fn change(
    common: &Common,
    jobs: &Selection,
    all: All,
    verb: Option<&str>,
    act: impl Fn(&Site, &Target) -> Result<Outcome, Failure>,
) -> Result<u8, Failure> {
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, all, verb)?;
    each(&site, "job_id", &targets, |target| act(&site, target))
}

/// As [`change`]; writes the jobs down before, if asked for.
fn change_saved(
    common: &Common,
    jobs: &Selection,
    is_saved: bool,
    (all, verb): (All, &str),
    act: impl Fn(&Site, &Target) -> Result<Outcome, Failure>,
) -> Result<u8, Failure> {
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, all, Some(verb))?;
    if is_saved {
        write_down(&site, &jobs.alias, &targets)?;
    }
    each(&site, "job_id", &targets, |target| act(&site, target))
}

fn list(common: &Common, arguments: &ListJobs) -> Result<u8, Failure> {
    let ListJobs { alias, active, deleted, paging, access } = arguments;
    let site = Site::new(common, access)?;
    let mut query = paging.query();
    query.extend(active.map(|active| ("active", active.to_string())));
    if *deleted {
        query.push(("deleted", "true".to_owned()));
    }
    query.push(("ex", "ex_id,_status".to_owned()));
    let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let jobs = site.client(alias)?.get(&["jobs"], &query).map_err(of_client)?;
    let columns = [
        ("job_id", "job_id"),
        ("name", "name"),
        ("status", "ex._status"),
        ("active", "active"),
        ("lifecycle", "lifecycle"),
        ("slicers", "slicers"),
        ("workers", "workers"),
        ("created", "_created"),
        ("updated", "_updated"),
    ];
    site.list(&jobs, "job_id", &columns)?;
    Ok(exit_code::DONE)
}

fn start(common: &Common, arguments: &StartJobs) -> Result<u8, Failure> {
    let StartJobs { jobs, save, watching, waiting } = arguments;
    change_saved(common, jobs, *save, (All::Saved, "start"), |site, job| {
        job.start(site, watching.watch, *waiting)
    })
}

fn stop(common: &Common, arguments: &StopJobs) -> Result<u8, Failure> {
    let StopJobs { jobs, save, force, waiting } = arguments;
    change_saved(common, jobs, *save, (All::Live, "stop"), |_, job| job.stop(*force, *waiting))
}

fn restart(common: &Common, arguments: &StartJobs) -> Result<u8, Failure> {
    let StartJobs { jobs, save, watching, waiting } = arguments;
    let meant = (All::Live, "restart");
    change_saved(common, jobs, *save, meant, |site, job| job.restart(site, watching.watch, *waiting))
}

fn pause(common: &Common, arguments: &PauseJobs) -> Result<u8, Failure> {
    let PauseJobs { jobs, save } = arguments;
    change_saved(common, jobs, *save, (All::Live, "pause"), |_, job| job.pause())
}

fn resume(common: &Common, arguments: &StartJobs) -> Result<u8, Failure> {
    let StartJobs { jobs, save, watching, waiting } = arguments;
    let meant = (All::Live, "resume");
    change_saved(common, jobs, *save, meant, |site, job| job.resume(site, watching.watch, *waiting))
}

fn recover(common: &Common, arguments: &RecoverJobs) -> Result<u8, Failure> {
    let RecoverJobs { jobs, recovery, watching, waiting } = arguments;
    change(common, jobs, All::Failed, Some("recover"), |site, job| {
        job.recover(site, recovery.cleanup, watching.watch, *waiting)
    })
}

fn view(common: &Common, jobs: &Selection) -> Result<u8, Failure> {
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, All::Every, None)?;
    show_records(&site, &targets)
}

/// Prints the records of jobs: one as it is, several as a list.
pub(crate) fn show_records(site: &Site, targets: &[Target]) -> Result<u8, Failure> {
    let records: Vec<_> = targets.iter().map(Target::record).collect::<Result<_, _>>()?;
    let document = match <[Value; 1]>::try_from(records) {
        Ok([record]) => record,
        Err(records) => Value::Array(records),
    };
    if let (Value::Array(_), crate::args::Output::Name) = (&document, site.output) {
        site.list(&document, "job_id", &[])?;
    } else {
        site.print(&document, "job_id", || String::from_utf8_lossy(&pretty(&document)).into_owned())?;
    }
    Ok(exit_code::DONE)
}

fn errors(common: &Common, arguments: &JobErrors) -> Result<u8, Failure> {
    let JobErrors { jobs, paging } = arguments;
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, All::Every, None)?;
    show_errors(&site, &targets, |target| target.errors(paging))
}

/// Prints the failed slices of jobs, all in one list.
pub(crate) fn show_errors(
    site: &Site,
    targets: &[Target],
    read: impl Fn(&Target) -> Result<Value, Failure>,
) -> Result<u8, Failure> {
    let mut all = Vec::new();
    for target in targets {
        if let Value::Array(errors) = read(target)? {
            all.extend(errors);
        }
    }
    site.list(&Value::Array(all), "slice_id", &ERRORS)?;
    Ok(exit_code::DONE)
}

fn save(common: &Common, jobs: &Selection) -> Result<u8, Failure> {
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, All::Live, None)?;
    write_down(&site, &jobs.alias, &targets)?;
    Ok(exit_code::DONE)
}

fn write_down(site: &Site, alias: &str, targets: &[Target]) -> Result<(), Failure> {
    let records: Vec<_> = targets.iter().map(Target::record_with_execution).collect::<Result<_, _>>()?;
    let path = site.home.save_jobs(alias, &records)?;
    site.screen.say(&format!("wrote {} jobs to {}", records.len(), path.display()));
    Ok(())
}

fn wait(common: &Common, arguments: &AwaitJobs) -> Result<u8, Failure> {
    let AwaitJobs { alias, ids, wanted, waiting, access } = arguments;
    let site = Site::new(common, access)?;
    let client = site.client(alias)?;
    let target = |id: &String| Target { client: client.clone(), job_id: id.clone(), file: None };
    let targets: Vec<_> = ids.iter().map(target).collect();
    each(&site, "job_id", &targets, |target| target.wait(&wanted.status, *waiting))
}

fn workers(common: &Common, arguments: &JobWorkers) -> Result<u8, Failure> {
    let JobWorkers { alias, action, number, ids, status, yes, access } = arguments;
    let jobs = Selection {
        alias: alias.clone(),
        ids: ids.clone(),
        status: status.clone(),
        yes: *yes,
        access: access.clone(),
    };
    change(common, &jobs, All::Live, Some("change the workers of"), |_, job| job.scale(*action, *number))
}

/// Returns what of a job's record belongs into a file.
pub(crate) fn content(record: &Value) -> serde_json::Map<String, Value> {
    let is_content = |key: &str| !matches!(key, "job_id" | "ex" | "ex_id") && !key.starts_with('_');
    let fields = record.as_object().into_iter().flatten();
    fields.filter(|(key, _)| is_content(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns a label for messages.
pub(crate) fn label(record: &Value) -> String {
    show::cell(record, "name")
}

/// Returns what is written into a job file about its job.
pub(crate) fn metadata(cluster: &str, job_id: &str, updated: &str) -> Value {
    json!({"cli": {"cluster": cluster, "version": env!("CARGO_PKG_VERSION"), "job_id": job_id, "updated": updated}})
}
