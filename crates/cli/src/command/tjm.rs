//! `teraslice tjm`: jobs by their files, each of which says which job it is.

mod difference;
mod file;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, path::Path};

use serde_json::{Map, Value, json};
use teraslice_core::context::Context;
use teraslice_node::exit_code;

use self::{
    difference::differences,
    file::{JobFile, Registered},
};
use super::{
    cluster::{
        Site, of_client,
        outcome::{Outcome, each},
        select::Target,
        show,
        verbs::warn,
    },
    jobs::{content, show_errors, show_records},
};
use crate::{
    args::{
        Common,
        cluster::Access,
        executions::{
            AwaitFiles, DeleteFiles, ErrorsOfFiles, FileWorkers, Files, NewFiles, RegisterFiles, StartFiles,
            Tjm, UpdateFiles, ViewFiles, WaitFiles,
        },
    },
    failure::Failure,
};

/// Runs a command about job files; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Tjm) -> Result<u8, Failure> {
    match command {
        Tjm::Register(arguments) => register(common, arguments),
        Tjm::Update(arguments) => update(common, arguments),
        Tjm::Start(StartFiles { files, watching, waiting }) => {
            change(common, files, |site, job| job.start(site, watching.watch, *waiting))
        }
        Tjm::Stop(WaitFiles { files, waiting }) => change(common, files, |_, job| job.stop(false, *waiting)),
        Tjm::Restart(StartFiles { files, watching, waiting }) => {
            change(common, files, |site, job| job.restart(site, watching.watch, *waiting))
        }
        Tjm::Pause(files) => change(common, files, |_, job| job.pause()),
        Tjm::Resume(StartFiles { files, watching, waiting }) => {
            change(common, files, |site, job| job.resume(site, watching.watch, *waiting))
        }
        Tjm::Status(files) => change(common, files, |_, job| job.status()),
        Tjm::Errors(ErrorsOfFiles { files, paging }) => {
            let (site, targets) = open(common, files)?;
            show_errors(&site, &targets, |target| target.errors(paging))
        }
        Tjm::View(arguments) => view(common, arguments),
        Tjm::Delete(arguments) => delete(common, arguments),
        Tjm::Await(AwaitFiles { files, wanted, waiting }) => {
            change(common, files, |_, job| job.wait(&wanted.status, *waiting))
        }
        Tjm::Workers(FileWorkers { action, number, files }) => {
            change(common, files, |_, job| job.scale(*action, *number))
        }
        Tjm::Init(files) => init(common, files),
        Tjm::Reset(files) => rewrite(common, files, "reset", |file, _| file.reset()),
        Tjm::Convert(files) => rewrite(common, files, "converted", JobFile::convert),
    }
}

/// Reads files; a wrong one keeps the command from touching any.
fn read(files: &Files) -> Result<Vec<JobFile>, Failure> {
    files.files.iter().map(|file| JobFile::read(&files.src_dir, file)).collect()
}

fn target(site: &Site, file: &JobFile) -> Result<Target, Failure> {
    let Registered { cluster, job_id } = file.require_registered()?;
    Ok(Target { client: site.client_of_file(&cluster)?, job_id, file: Some(file.name()) })
}

fn open(common: &Common, files: &Files) -> Result<(Site, Vec<Target>), Failure> {
    let site = Site::new(common, &files.access)?;
    let targets = read(files)?.iter().map(|file| target(&site, file)).collect::<Result<_, _>>()?;
    Ok((site, targets))
}

/// Does something to the job of each file.
fn change(
    common: &Common,
    files: &Files,
    act: impl Fn(&Site, &Target) -> Result<Outcome, Failure>,
) -> Result<u8, Failure> {
    let (site, targets) = open(common, files)?;
    each(&site, "job_id", &targets, |target| act(&site, target))
}

fn now() -> String {
    Context::system().wall().to_string()
}

fn register(common: &Common, arguments: &RegisterFiles) -> Result<u8, Failure> {
    let RegisterFiles { alias, files, start, watching, waiting } = arguments;
    let site = Site::new(common, &files.access)?;
    let client = site.client(alias)?;
    let files: Vec<_> = read(files)?.into_iter().map(RefCell::new).collect();
    for file in files.iter().map(RefCell::borrow) {
        if let Some(Registered { cluster, job_id }) = file.registered() {
            let message = format!("{} is job {job_id} of {cluster} already", file.name());
            let name = file.path.display();
            return Err(Failure::text(exit_code::BAD_JOB, message).with_hint(format!(
                "`teraslice tjm update {name}` replaces the job, `teraslice tjm reset {name}` makes the file new"
            )));
        }
    }
    let is_started = *start || watching.watch > 0;
    each(&site, "job_id", &files, |file| {
        let mut file = file.borrow_mut();
        let answer = client.submit(&file.job(), is_started).map_err(of_client)?;
        let job_id = show::cell(&answer, "job_id");
        let registered = Registered { cluster: client.address().to_owned(), job_id: job_id.clone() };
        file.register(&registered, &now()).map_err(|failure| {
            failure.with_hint(format!("the job is there: {job_id} of {}", client.address()))
        })?;
        let target = Target { client: client.clone(), job_id, file: Some(file.name()) };
        if is_started {
            return target.begun(&site, &answer, watching.watch, *waiting);
        }
        warn(&site, &answer);
        Ok(target.outcome("registered"))
    })
}

fn update(common: &Common, arguments: &UpdateFiles) -> Result<u8, Failure> {
    let UpdateFiles { files, start, watching, waiting } = arguments;
    let site = Site::new(common, &files.access)?;
    let files: Vec<_> = read(files)?.into_iter().map(RefCell::new).collect();
    each(&site, "job_id", &files, |file| {
        let mut file = file.borrow_mut();
        let registered = file.require_registered()?;
        let target = target(&site, &file)?;
        let answer = target.client.put(&["jobs", &target.job_id], &file.job()).map_err(of_client)?;
        warn(&site, &answer);
        file.register(&registered, &now())?;
        if *start || watching.watch > 0 {
            return target.start(&site, watching.watch, *waiting);
        }
        Ok(target.outcome("updated"))
    })
}

fn view(common: &Common, ViewFiles { files, diff: is_diff }: &ViewFiles) -> Result<u8, Failure> {
    let (site, targets) = open(common, files)?;
    if !is_diff {
        return show_records(&site, &targets);
    }
    let mut rows = Vec::new();
    for (file, target) in read(files)?.iter().zip(&targets) {
        let there = Value::Object(content(&target.record()?));
        for difference in differences(&file.job(), &there) {
            let mut row = difference.json();
            if let Some(row) = row.as_object_mut() {
                row.insert("path".to_owned(), json!(file.name()));
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        site.screen.say("file and cluster agree");
    }
    let columns = [("path", "path"), ("place", "place"), ("file", "file"), ("cluster", "cluster")];
    let code = if rows.is_empty() { exit_code::DONE } else { exit_code::FAILED };
    if code != exit_code::DONE || site.output == crate::args::Output::Json {
        site.list(&Value::Array(rows), "place", &columns)?;
    }
    Ok(code)
}

fn delete(common: &Common, DeleteFiles { files, yes }: &DeleteFiles) -> Result<u8, Failure> {
    let (site, targets) = open(common, files)?;
    let count = targets.len();
    let noun = if count == 1 { "job" } else { "jobs" };
    site.confirm(&format!("delete {count} {noun} of {count} files?"), *yes)?;
    let pairs: Vec<_> = read(files)?.into_iter().map(RefCell::new).zip(targets).collect();
    each(&site, "job_id", &pairs, |(file, target)| {
        let outcome = target.delete()?;
        file.borrow_mut().reset()?;
        Ok(outcome)
    })
}

fn init(common: &Common, NewFiles { files, src_dir }: &NewFiles) -> Result<u8, Failure> {
    let site = Site::new(common, &nowhere(src_dir))?;
    each(&site, "file", files, |file| {
        let name =
            file.file_stem().map_or_else(|| "example".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let made = JobFile::create(src_dir, file, example(&name))?;
        Ok(Outcome::new("made").with("file", made.name()))
    })
}

/// Rewrites files without asking any cluster.
fn rewrite(
    common: &Common,
    NewFiles { files, src_dir }: &NewFiles,
    word: &str,
    act: impl Fn(&mut JobFile, &str) -> Result<bool, Failure>,
) -> Result<u8, Failure> {
    let site = Site::new(common, &nowhere(src_dir))?;
    each(&site, "file", files, |file| {
        let mut file = JobFile::read(src_dir, file)?;
        let is_changed = act(&mut file, &now())?;
        Ok(Outcome::new(if is_changed { word } else { "unchanged" }).with("file", file.name()))
    })
}

/// Returns access to no cluster: no alias is looked up.
fn nowhere(folder: &Path) -> Access {
    Access { config_dir: Some(folder.to_owned()), ..Access::default() }
}

/// Returns a job to begin with; the program of the original wants `assets` to be there.
fn example(name: &str) -> Map<String, Value> {
    let job = json!({
        "name": name,
        "lifecycle": "once",
        "workers": 1,
        "assets": [],
        "operations": [{"_op": "data_generator", "size": 10_000}, {"_op": "noop"}],
    });
    match job {
        Value::Object(job) => job,
        _ => Map::new(),
    }
}
