//! `teraslice jobs export`: jobs of a cluster as files.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;
use teraslice_core::context::Context;

use super::{content, label, metadata};
use crate::{
    args::{Common, cluster::ExportJobs},
    command::cluster::{
        Site,
        home::{failed, pretty},
        outcome::{Outcome, each},
        select::{All, select},
    },
    failure::Failure,
};

/// Files of one name that are tried.
const NAMES_MAX: u32 = 10_000;

/// Writes each job into a file of its name; returns the exit code.
pub(super) fn execute(common: &Common, arguments: &ExportJobs) -> Result<u8, Failure> {
    let ExportJobs { jobs, outdir } = arguments;
    let site = Site::new(common, &jobs.access)?;
    let targets = select(&site, jobs, All::Every, None)?;
    fs::create_dir_all(outdir).map_err(|error| failed("make", outdir, error))?;
    let now = Context::system().wall().to_string();
    each(&site, "job_id", &targets, |target| {
        let record = target.record()?;
        let mut job = content(&record);
        job.insert("__metadata".to_owned(), metadata(target.client.address(), &target.job_id, &now));
        let path = write(outdir, &label(&record), &pretty(&Value::Object(job)))?;
        let outcome = Outcome::new("exported").with("job_id", target.job_id.as_str());
        Ok(outcome.with_fields(&record, &["name"]).with("path", path.display().to_string()))
    })
}

/// Writes a file of this name, with a number if there is one already.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    let name = if name.is_empty() { "job" } else { name };
    for number in 0..NAMES_MAX {
        let file = if number == 0 { format!("{name}.json") } else { format!("{name}-{number}.json") };
        let path = folder.join(file);
        match File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(bytes).map_err(|error| failed("write", &path, error))?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("write", &path, error)),
        }
    }
    Err(failed("write", &folder.join(name), io::Error::from(io::ErrorKind::AlreadyExists)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwrites_nothing_and_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a b", "a b", "../x", "..", ""].map(|name| {
            let path = write(folder.path(), name, b"{}").unwrap();
            path.strip_prefix(folder.path()).unwrap().display().to_string()
        });
        assert_eq!(names, ["a b.json", "a b-1.json", "_x.json", "job.json", "job-1.json"]);
    }
}
