//! A job file that says which job it is: `__metadata.cli`, as the program of the original writes it.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use teraslice_model::job::Format;
use teraslice_node::exit_code;

use crate::{
    command::{cluster::home::pretty, jobs},
    failure::Failure,
};

/// Where a file says which job it is.
const KEY: &str = "__metadata";
/// Where it was said before.
const OLD_KEY: &str = "tjm";

/// A job file.
#[derive(Debug)]
pub(crate) struct JobFile {
    /// The file.
    pub(crate) path: PathBuf,
    document: Map<String, Value>,
}

/// Which job a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    /// The cluster: its address, or an alias.
    pub(crate) cluster: String,
    /// The job.
    pub(crate) job_id: String,
}

impl JobFile {
    /// Reads a file.
    pub(crate) fn read(folder: &Path, file: &Path) -> Result<Self, Failure> {
        let path = folder.join(file);
        let bad = |error: anyhow::Error| {
            let context = format!("failed to read the job file {}", path.display());
            Failure::new(exit_code::BAD_JOB, error.context(context))
        };
        if Format::of(&path) == Format::Yaml {
            let message =
                format!("the job file {} is YAML; it must be JSON to keep which job it is", path.display());
            return Err(Failure::text(exit_code::BAD_JOB, message));
        }
        let text = fs::read_to_string(&path).map_err(|error| bad(error.into()))?;
        match Format::Json.parse(&text).map_err(|error| bad(error.into()))? {
            Value::Object(document) => Ok(Self { path, document }),
            _ => Err(bad(anyhow::Error::msg("it is no JSON object"))),
        }
    }

    /// Makes a file that is not there yet.
    pub(crate) fn create(folder: &Path, file: &Path, job: Map<String, Value>) -> Result<Self, Failure> {
        let path = folder.join(file);
        if path.exists() {
            let message = format!("there is a file {} already", path.display());
            return Err(Failure::text(exit_code::BAD_JOB, message));
        }
        let file = Self { path, document: job };
        file.write()?;
        Ok(file)
    }

    /// Returns the name for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns the job without what is said about it.
    pub(crate) fn job(&self) -> Value {
        let is_job = |key: &str| key != KEY && key != OLD_KEY;
        let fields = self.document.iter().filter(|(key, _)| is_job(key));
        Value::Object(fields.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Tells which job the file is, if it is one.
    pub(crate) fn registered(&self) -> Option<Registered> {
        let about = self.document.get(KEY)?.get("cli")?;
        let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Registered { cluster: text("cluster")?, job_id: text("job_id")? })
    }

    /// Tells which job the file is.
    pub(crate) fn require_registered(&self) -> Result<Registered, Failure> {
        self.registered().ok_or_else(|| {
            let failure = Failure::text(exit_code::BAD_JOB, format!("{} belongs to no job yet", self.name()));
            let file = self.path.display();
            failure.with_hint(match self.document.contains_key(OLD_KEY) {
                true => format!("`teraslice tjm convert {file}` rewrites what it says in the old way"),
                false => format!("`teraslice tjm register ALIAS {file}` submits it"),
            })
        })
    }

    /// Writes down which job the file is, and saves it. What else is said about it stays.
    pub(crate) fn register(&mut self, registered: &Registered, now: &str) -> Result<(), Failure> {
        let Registered { cluster, job_id } = registered;
        let new = jobs::metadata(cluster, job_id, now);
        let kept = self.document.entry(KEY).or_insert_with(|| Value::Object(Map::new()));
        match (kept.as_object_mut(), new) {
            (Some(kept), Value::Object(new)) => kept.extend(new),
            (_, new) => *kept = new,
        }
        self.write()
    }

    /// Takes out which job the file is, and saves it; tells whether there was something.
    pub(crate) fn reset(&mut self) -> Result<bool, Failure> {
        let has_new = self.document.shift_remove(KEY).is_some();
        let has_old = self.document.shift_remove(OLD_KEY).is_some();
        if has_new || has_old {
            self.write()?;
        }
        Ok(has_new || has_old)
    }

    /// Rewrites what is said in the old way, and saves the file; tells whether there was something.
    pub(crate) fn convert(&mut self, now: &str) -> Result<bool, Failure> {
        let Some(old) = self.document.get(OLD_KEY) else { return Ok(false) };
        let text = |key: &str| old.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(cluster), Some(job_id)) = (text("cluster"), text("job_id")) else {
            let message = format!("{} does not say of which cluster its job is", self.name());
            return Err(Failure::text(exit_code::BAD_JOB, message));
        };
        self.document.shift_remove(OLD_KEY);
        self.register(&Registered { cluster, job_id }, now)?;
        Ok(true)
    }

    /// Writes the file aside and puts it in place, so that it is never half written; a link stays a link.
    fn write(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            let context = format!("failed to write the job file {}", self.path.display());
            Failure::new(exit_code::BAD_JOB, anyhow::Error::new(error).context(context))
        };
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            let mut file = fs::File::create(&aside)?;
            if let Ok(old) = fs::metadata(&path) {
                file.set_permissions(old.permissions())?;
            }
            file.write_all(&pretty(&self.document))?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        write().map_err(|error| {
            // What was written aside is of no use.
            drop(fs::remove_file(&aside));
            failed(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as the program of the original leaves it.
    const ORIGINAL: &str = r#"{
    "name": "é",
    "lifecycle": "once",
    "workers": 2,
    "slicers": "1",
    "assets": [],
    "operations": [
        {
            "_op": "data_generator",
            "size": 1.5
        },
        {
            "_op": "noop",
            "empty": {}
        }
    ],
    "__metadata": {
        "cli": {
            "cluster": "http://localhost:5678",
            "version": "2.12.2",
            "job_id": "46231225-6bff-46fc-ab2a-5f3f25e72690",
            "updated": "2025-03-01T12:00:00.000Z"
        }
    }
}
"#;

    fn place(text: &str) -> (tempfile::TempDir, JobFile) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.json"), text).unwrap();
        let file = JobFile::read(folder.path(), Path::new("job.json")).unwrap();
        (folder, file)
    }

    fn text(file: &JobFile) -> String {
        fs::read_to_string(&file.path).unwrap()
    }

    #[test]
    fn writes_a_file_of_the_original_byte_by_byte_as_it_was() {
        let (_folder, file) = place(ORIGINAL);
        file.write().unwrap();
        assert_eq!(text(&file), ORIGINAL);
        assert!(file.job().get(KEY).is_none());
    }

    #[test]
    fn changes_only_what_is_said_of_the_job() {
        let (folder, mut file) = place(ORIGINAL);
        let registered = file.registered().unwrap();
        assert_eq!(registered.cluster, "http://localhost:5678");
        file.register(&registered, "2026-01-01T00:00:00.000Z").unwrap();
        let expected = ORIGINAL
            .replace("2.12.2", env!("CARGO_PKG_VERSION"))
            .replace("2025-03-01T12:00:00.000Z", "2026-01-01T00:00:00.000Z");
        assert_eq!(text(&file), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn resets_and_converts() {
        let (_folder, mut file) =
            place(r#"{"name":"a","tjm":{"cluster":"http://c","version":"1","job_id":"j"},"workers":1}"#);
        let failure = file.require_registered().unwrap_err().render();
        assert!(failure.contains("tjm convert"), "{failure}");
        assert!(file.convert("now").unwrap());
        assert_eq!(
            file.registered(),
            Some(Registered { cluster: "http://c".to_owned(), job_id: "j".to_owned() })
        );
        assert!(!file.convert("now").unwrap());
        assert!(file.reset().unwrap());
        assert_eq!(text(&file), "{\n    \"name\": \"a\",\n    \"workers\": 1\n}\n");
        assert!(!file.reset().unwrap());
        assert!(file.require_registered().unwrap_err().render().contains("tjm register"));
    }

    #[test]
    fn refuses_what_is_no_job_file() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.json", "[]"), ("b.json", "{"), ("c.yaml", "name: a")] {
            fs::write(folder.path().join(name), text).unwrap();
            let failure = JobFile::read(folder.path(), Path::new(name)).unwrap_err();
            assert_eq!(failure.code, exit_code::BAD_JOB, "{name}");
        }
        assert!(JobFile::read(folder.path(), Path::new("missing.json")).is_err());
        assert!(JobFile::create(folder.path(), Path::new("a.json"), Map::new()).is_err());
    }

    #[test]
    fn follows_a_link() {
        let (folder, _file) = place(ORIGINAL);
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink("job.json", &link).unwrap();
        JobFile::read(folder.path(), Path::new("link.json")).unwrap().reset().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(!fs::read_to_string(folder.path().join("job.json")).unwrap().contains(KEY));
    }
}
