//! The folder of aliases and saved jobs, shared with the program of the original: `~/.teraslice`.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value, json, ser::PrettyFormatter};
use teraslice_api::client::normalize;
use teraslice_model::job::Format;
use teraslice_node::exit_code;

use crate::failure::Failure;

/// The folder; what is not there yet is made when something is written.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    folder: PathBuf,
}

/// The named clusters, with everything else that the file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aliases {
    document: Map<String, Value>,
    clusters: Vec<(String, Alias)>,
}

/// A named cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alias {
    /// The address.
    pub(crate) host: String,
    /// The token to send.
    pub(crate) token: Option<String>,
    /// The certificates to trust.
    pub(crate) ca: Option<PathBuf>,
}

impl Home {
    /// Finds the folder: the named one, else `~/.teraslice`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let home = || env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None => home().map(|home| home.join(".teraslice")).ok_or_else(|| {
                Failure::text(exit_code::BAD_CONFIG, "there is no home folder to keep aliases in")
                    .with_hint("name one: --config-dir FOLDER")
            })?,
        };
        Ok(Self { folder })
    }

    /// Returns the file of aliases.
    fn aliases_file(&self) -> PathBuf {
        self.folder.join("aliases.yaml")
    }

    /// Reads the aliases; at first there is `localhost`.
    pub(crate) fn aliases(&self) -> Result<Aliases, Failure> {
        let path = self.aliases_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Aliases::first()),
            Err(error) => return Err(failed("read", &path, error)),
        };
        let document = Format::Yaml.parse(&text).map_err(|error| failed("read", &path, error))?;
        Aliases::of(document).map_err(|reason| {
            Failure::text(exit_code::BAD_CONFIG, format!("{} is wrong: {reason}", path.display()))
        })
    }

    /// Writes the aliases; they may hold tokens, so that nobody else can read them.
    pub(crate) fn write_aliases(&self, aliases: &Aliases) -> Result<(), Failure> {
        let path = self.aliases_file();
        let text =
            serde_saphyr::to_string(&aliases.to_document()).map_err(|error| failed("write", &path, error))?;
        write(&path, text.as_bytes())
    }

    /// Returns the folder of fetched assets.
    pub(crate) fn assets(&self) -> PathBuf {
        self.folder.join("assets")
    }

    fn jobs_file(&self, alias: &str) -> PathBuf {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name: String = alias.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        self.folder.join("job_state_files").join(format!("{name}.json"))
    }

    /// Writes down jobs of a cluster.
    pub(crate) fn save_jobs(&self, alias: &str, jobs: &[Value]) -> Result<PathBuf, Failure> {
        let path = self.jobs_file(alias);
        write(&path, &pretty(&jobs))?;
        Ok(path)
    }

    /// Returns the ids of the jobs that were written down.
    pub(crate) fn saved_jobs(&self, alias: &str) -> Result<Vec<String>, Failure> {
        let path = self.jobs_file(alias);
        let text = fs::read_to_string(&path).map_err(|error| {
            failed("read", &path, error)
                .with_hint(format!("`teraslice jobs save {alias} all` writes down what is running"))
        })?;
        let document = Format::Json.parse(&text).map_err(|error| failed("read", &path, error))?;
        let mut ids = Vec::new();
        collect_ids(&document, &mut ids);
        if ids.is_empty() {
            return Err(Failure::text(exit_code::BAD_JOB, format!("no job is saved in {}", path.display())));
        }
        Ok(ids)
    }
}

impl Alias {
    /// Names an address.
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), ..Self::default() }
    }
}

impl Aliases {
    fn first() -> Self {
        let localhost = ("localhost".to_owned(), Alias::new("http://localhost:5678"));
        Self { document: Map::new(), clusters: vec![localhost] }
    }

    fn of(document: Value) -> Result<Self, String> {
        let document = match document {
            Value::Object(document) => document,
            Value::Null => Map::new(),
            _ => return Err("it is no mapping".to_owned()),
        };
        let mut clusters = Vec::new();
        let found = document.get("clusters").and_then(Value::as_object).into_iter().flatten();
        for (name, about) in found {
            let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
            let host = text("host").ok_or_else(|| format!("cluster {name:?} has no host"))?;
            let ca = text("ca").map(PathBuf::from);
            clusters.push((name.clone(), Alias { host, token: text("token"), ca }));
        }
        Ok(Self { document, clusters })
    }

    fn to_document(&self) -> Value {
        let mut document = self.document.clone();
        let old = document.get("clusters").cloned().unwrap_or_default();
        let clusters = self.clusters.iter().map(|(name, alias)| {
            // Keys of other programs stay.
            let mut about = old.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
            about.insert("host".to_owned(), json!(alias.host));
            let mut set = |key: &str, value: Option<String>| match value {
                Some(value) => drop(about.insert(key.to_owned(), value.into())),
                None => drop(about.shift_remove(key)),
            };
            set("token", alias.token.clone());
            set("ca", alias.ca.as_ref().map(|path| path.display().to_string()));
            (name.clone(), Value::Object(about))
        });
        document.insert("clusters".to_owned(), Value::Object(clusters.collect()));
        Value::Object(document)
    }

    /// Returns a named cluster.
    pub(crate) fn get(&self, name: &str) -> Option<&Alias> {
        self.clusters.iter().find(|(known, _)| known == name).map(|(_, alias)| alias)
    }

    /// Returns the cluster with this address, if it has a name.
    pub(crate) fn of_address(&self, address: &str) -> Option<Alias> {
        let address = normalize(address).ok()?;
        let is_there = |alias: &&Alias| normalize(&alias.host).is_ok_and(|host| host == address);
        self.clusters.iter().map(|(_, alias)| alias).find(is_there).cloned()
    }

    /// Returns all of them, in the order of the file.
    pub(crate) fn all(&self) -> &[(String, Alias)] {
        &self.clusters
    }

    /// Returns all names, in the order of the file.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.clusters.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Names a cluster, or changes what is known of it.
    pub(crate) fn set(&mut self, name: &str, alias: Alias) {
        match self.clusters.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = alias,
            None => self.clusters.push((name.to_owned(), alias)),
        }
    }

    /// Forgets a cluster; tells whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let count = self.clusters.len();
        self.clusters.retain(|(known, _)| known != name);
        self.clusters.len() < count
    }
}

/// Finds the ids of jobs in a state file, whoever wrote it: a list of ids or of jobs, or either within an object.
fn collect_ids(document: &Value, ids: &mut Vec<String>) {
    match document {
        Value::String(id) => ids.push(id.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_ids(item, ids)),
        Value::Object(fields) => match fields.get("job_id").and_then(Value::as_str) {
            Some(id) => ids.push(id.to_owned()),
            None => {
                let nested = |value: &&Value| value.is_array() || value.is_object();
                fields.values().filter(nested).for_each(|value| collect_ids(value, ids));
            }
        },
        _ => {}
    }
}

/// Writes JSON as the program of the original does: four spaces, and a line feed at the end.
pub(crate) fn pretty(document: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    document.serialize(&mut serializer).expect("documents of JSON can be written to memory");
    text.push(b'\n');
    text
}

/// Writes a file of the folder as a whole, readable by the user alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|error: io::Error| {
        // What was written aside is of no use.
        drop(fs::remove_file(&aside));
        failed("write", path, error)
    })
}

/// Says that a file could not be read or written.
pub(crate) fn failed(
    what: &str,
    path: &Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Failure {
    let error = anyhow::Error::new(error).context(format!("failed to {what} {}", path.display()));
    Failure::new(exit_code::BAD_CONFIG, error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home(folder: &tempfile::TempDir) -> Home {
        Home::find(Some(&folder.path().join("a/b"))).unwrap()
    }

    #[test]
    fn begins_with_localhost() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(home(&folder).aliases().unwrap().names(), ["localhost"]);
        assert!(!folder.path().join("a").exists(), "reading makes nothing");
    }

    #[test]
    fn keeps_what_other_programs_have_written() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        fs::create_dir_all(&home.folder).unwrap();
        let text = "clusters:\n    localhost:\n        host: 'http://localhost:5678'\n    prod:\n        host: 'http://prod:80'\n        colour: red\nversion: 2\n";
        fs::write(home.aliases_file(), text).unwrap();
        let mut aliases = home.aliases().unwrap();
        assert_eq!(aliases.get("prod"), Some(&Alias::new("http://prod:80")));
        let kept = Alias { token: Some("t".to_owned()), ..Alias::new("https://new") };
        aliases.set("prod", kept.clone());
        aliases.remove("localhost");
        home.write_aliases(&aliases).unwrap();
        let text = fs::read_to_string(home.aliases_file()).unwrap();
        let document = Format::Yaml.parse(&text).unwrap();
        assert_eq!(
            document,
            json!({"clusters": {"prod": {"host": "https://new", "colour": "red", "token": "t"}}, "version": 2})
        );
        assert_eq!(home.aliases().unwrap().get("prod"), Some(&kept));
        let mode = fs::metadata(home.aliases_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&home.folder).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn refuses_a_file_of_aliases_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        fs::create_dir_all(&home.folder).unwrap();
        for text in ["- a", "clusters: {a: {}}", "clusters: [", "clusters:\n  a: b"] {
            fs::write(home.aliases_file(), text).unwrap();
            assert_eq!(home.aliases().unwrap_err().code, exit_code::BAD_CONFIG, "{text}");
        }
    }

    #[test]
    fn reads_back_which_jobs_were_saved() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        assert!(home.saved_jobs("x").unwrap_err().render().contains("jobs save x all"));
        let path =
            home.save_jobs("a/b", &[json!({"job_id": "1", "name": "é"}), json!({"job_id": "2"})]).unwrap();
        assert!(path.ends_with("a/b/job_state_files/a_b.json"), "{path:?}");
        assert_eq!(home.saved_jobs("a/b").unwrap(), ["1", "2"]);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("[\n    {\n        \"job_id\": \"1\",\n"), "{text}");
    }

    #[test]
    fn takes_state_files_of_several_shapes() {
        let cases = [
            json!(["1", "2"]),
            json!({"jobs": [{"job_id": "1"}, {"job_id": "2"}]}),
            json!({"a": {"job_id": "1", "ex": {"ex_id": "9"}}, "b": {"job_id": "2"}, "saved": "today"}),
        ];
        for document in cases {
            let mut ids = Vec::new();
            collect_ids(&document, &mut ids);
            assert_eq!(ids, ["1", "2"], "{document}");
        }
    }
}
