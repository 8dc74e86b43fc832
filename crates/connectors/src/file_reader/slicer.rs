//! Cuts the files of a folder into slices.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use teraslice_core::{
    context::Context,
    operation::{OperationError, Sliced, Slicer, SlicerContext},
};
use teraslice_model::{problem::Problem, slice::Request};

use super::{FileReaderConfig, FileSlice};

/// Walks a folder in the order of its paths.
pub(super) struct FileSlicer {
    walk: Walk,
    context: Context,
}

/// Where the walk stands; the slicer's checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// The last file that was looked at.
    path: Option<PathBuf>,
    /// How many of its slices were made; absent: all.
    made: Option<u64>,
}

#[derive(Clone)]
struct Walk {
    config: FileReaderConfig,
    position: Position,
    /// Paths to look at, the next one last; absent before the first look.
    ahead: Option<Vec<PathBuf>>,
}

impl FileSlicer {
    pub(super) fn new(config: FileReaderConfig, context: &SlicerContext) -> Result<Self, OperationError> {
        let stored = context.checkpoint(0).position;
        let position = stored.map_or_else(|| Ok(Position::default()), |stored| stored.parse());
        let position = position.map_err(|error| {
            OperationError::slice(format!("the checkpoint is not of file_reader: {error}"))
        })?;
        let walk = Walk { config, position, ahead: None };
        Ok(Self { walk, context: context.context.clone() })
    }
}

#[async_trait]
impl Slicer for FileSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        // A copy, so that a call that is dropped leaves the walk where it was.
        let mut walk = self.walk.clone();
        let work = move || walk.slices(max).map(|sliced| (walk, sliced));
        let (walk, sliced) = self.context.compute(work).await?;
        self.walk = walk;
        Ok(sliced)
    }
}

impl Walk {
    fn slices(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let mut requests = Vec::new();
        while requests.len() < max {
            let Some(path) = self.current()? else { break };
            let made = self.position.made.unwrap_or_default();
            let cut = self.cut(&path)?;
            let until = cut.count().min(made.saturating_add((max - requests.len()) as u64));
            for number in made..until {
                let slice = cut.slice(number);
                let request = Request::new(&slice);
                requests.push(request.map_err(|error| OperationError::slice(error.to_string()))?);
            }
            let now_made = until.max(made);
            let is_done = now_made >= cut.count();
            self.position = Position { path: Some(path.clone()), made: (!is_done).then_some(now_made) };
            if is_done {
                self.ahead.get_or_insert_default().pop();
            }
        }
        let is_exhausted = self.current()?.is_none();
        let position =
            Request::new(&self.position).map_err(|error| OperationError::slice(error.to_string()))?;
        if is_exhausted {
            // A persistent job looks again from the top; what it has seen is before the position.
            self.ahead = None;
        }
        Ok(Sliced { requests, position, is_exhausted })
    }

    /// Returns the file at hand: folders before it are opened, files that were done are passed over.
    fn current(&mut self) -> Result<Option<PathBuf>, OperationError> {
        if self.ahead.is_none() {
            fs::metadata(&self.config.path).map_err(|error| missing(&self.config.path, &error))?;
            self.ahead = Some(vec![self.config.path.clone()]);
        }
        let ahead = self.ahead.get_or_insert_default();
        while let Some(path) = ahead.last() {
            let kind = match fs::symlink_metadata(path) {
                Ok(found) => found.file_type(),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), "file vanished before it was read");
                    ahead.pop();
                    continue;
                }
                Err(error) => return Err(failed("look at", path, &error)),
            };
            let is_root = *path == self.config.path;
            if kind.is_dir() || (is_root && fs::metadata(path).is_ok_and(|found| found.is_dir())) {
                let folder = path.clone();
                ahead.pop();
                ahead.extend(listed(&folder, &self.position)?);
            } else if kind.is_file() || is_root {
                let is_done = self.position.path.as_ref() == Some(path) && self.position.made.is_none();
                if !is_done {
                    return Ok(Some(path.clone()));
                }
                ahead.pop();
            } else {
                tracing::warn!(path = %path.display(), "not a regular file, skipped");
                ahead.pop();
            }
        }
        Ok(None)
    }

    /// Looks how a file is to be cut.
    fn cut<'a>(&self, path: &'a Path) -> Result<Cut<'a>, OperationError> {
        let total = fs::metadata(path).map_err(|error| failed("look at", path, &error))?.len();
        let size = if self.config.is_whole() { u64::MAX } else { self.config.size };
        Ok(Cut { path, total, size, delimiter: self.config.line_delimiter.len() as u64 })
    }
}

/// How a file is cut.
///
/// With d the delimiter's length and S the slice's size: `{0, S}`, then `{k*S - d, S + d}`, the last one up to the end. The
/// d bytes before a slice tell it whether its first line begins right there.
struct Cut<'a> {
    path: &'a Path,
    total: u64,
    size: u64,
    delimiter: u64,
}

impl Cut<'_> {
    fn count(&self) -> u64 {
        self.total.div_ceil(self.size)
    }

    fn slice(&self, number: u64) -> FileSlice {
        let start = number * self.size;
        let offset = if number == 0 { 0 } else { start.saturating_sub(self.delimiter) };
        let end = start.saturating_add(self.size).min(self.total);
        FileSlice { path: self.path.to_owned(), offset, length: end - offset, total: self.total }
    }
}

/// Lists what is in a folder, the last first, without what lies before the position.
fn listed(folder: &Path, position: &Position) -> Result<Vec<PathBuf>, OperationError> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut paths = entries.map_err(|error| failed("list", folder, &error))?;
    paths.retain(|path| {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_behind = position.path.as_ref().is_some_and(|at| path < at && !at.starts_with(path));
        !is_hidden && !is_behind
    });
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

fn missing(path: &Path, error: &io::Error) -> OperationError {
    let message = format!("path {} cannot be read: {error}", path.display());
    OperationError::job(Problem::new("/path", message).with_hint("name a file or a folder that exists"))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> OperationError {
    OperationError::slice(format!("failed to {what} {}: {error}", path.display()))
}
