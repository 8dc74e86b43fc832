//! The log file that all roles of a cluster on one machine share: a line of JSON for each event.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

/// The file, in the folder that the configuration names.
const NAME: &str = "teraslice.log";

/// Appends lines that say which process they come from. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    file: Arc<File>,
    /// What each line begins with behind its brace.
    stamp: Arc<str>,
}

impl LogFile {
    /// Opens the file of a folder, which has to be there; returns its path with the error.
    pub(super) fn open(folder: &Path, assignment: &str) -> Result<Self, (PathBuf, io::Error)> {
        let path = folder.join(NAME);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(|error| (path, error))?;
        let stamp = json!({"assignment": assignment, "pid": std::process::id()}).to_string();
        let stamp = format!("{},", stamp.trim_start_matches('{').trim_end_matches('}'));
        Ok(Self { file: Arc::new(file), stamp: stamp.into() })
    }
}

impl Write for LogFile {
    /// Writes a whole line at once, so that those of several processes do not mix.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = &*self.file;
        match line.strip_prefix(b"{") {
            Some(rest) => file.write_all(&[b"{", self.stamp.as_bytes(), rest].concat())?,
            None => file.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    #[test]
    fn says_which_process_a_line_comes_from_and_keeps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "before\n").unwrap();
        for assignment in ["worker", "node_master"] {
            let mut file = LogFile::open(folder.path(), assignment).unwrap();
            file.write_all(b"{\"message\":\"hello\"}\n").unwrap();
        }
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "before");
        let line: Value = serde_json::from_str(lines[1]).unwrap();
        let expected = json!({"assignment": "worker", "pid": std::process::id(), "message": "hello"});
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Value>(lines[2]).unwrap()["assignment"], "node_master");
    }

    #[test]
    fn names_the_file_that_cannot_be_written() {
        let (path, error) = LogFile::open(Path::new("/nowhere"), "worker").unwrap_err();
        assert_eq!((path, error.kind()), (PathBuf::from("/nowhere/teraslice.log"), io::ErrorKind::NotFound));
    }
}
