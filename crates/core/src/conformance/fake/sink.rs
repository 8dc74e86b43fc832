//! A sink that keeps records in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use teraslice_model::{
    batch::Batch,
    id::SliceId,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::{
    operation::{OperationError, OperationInfo, OperationKind, Rejected, Sink, SliceContext, Written},
    registry::{SinkKind, WorkerContext},
};

/// What [`MemorySink`]s have committed, and what was asked of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Commits(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    slices: BTreeMap<(String, SliceId), Vec<String>>,
    calls: Vec<String>,
    commits_failed: u32,
}

impl Commits {
    /// Returns the records of a slice, as committed under the setting `target`.
    #[must_use]
    pub fn of(&self, target: &str, slice: SliceId) -> Option<Vec<String>> {
        self.with(|inner| inner.slices.get(&(target.to_owned(), slice)).cloned())
    }

    /// Returns the number of slices committed under `target`.
    #[must_use]
    pub fn len(&self, target: &str) -> usize {
        self.with(|inner| inner.slices.keys().filter(|(one, _)| one == target).count())
    }

    /// Returns every call but `write`, as in `main begin`, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.with(|inner| inner.calls.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps records in memory, by slice: a slice committed again replaces itself.
#[derive(Clone, Debug)]
pub struct MemorySink(pub Commits);

/// The settings of [`MemorySink`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct MemorySinkConfig {
    /// Where the records go.
    pub target: String,
    /// A record that is refused.
    pub refuse: Option<String>,
    /// Commits that fail before one succeeds.
    pub fail_commits: u32,
    /// Whether `write` panics.
    pub panics: bool,
}

impl Default for MemorySinkConfig {
    fn default() -> Self {
        Self { target: "main".to_owned(), refuse: None, fail_commits: 0, panics: false }
    }
}

#[async_trait]
impl SinkKind for MemorySink {
    type Config = MemorySinkConfig;

    fn info(&self) -> OperationInfo {
        let schema = json!({"properties": {"target": {}, "refuse": {}, "fail_commits": {}, "panics": {}}});
        OperationInfo::built_in("memory_sink", OperationKind::Sink, "Keeps records in memory.", schema)
    }

    fn api(&self) -> Option<&'static str> {
        Some("memory_sender_api")
    }

    fn check(&self, config: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        let problem = Problem::new("/target", "no target").with_hint("any text");
        if config.target.is_empty() { vec![problem] } else { Vec::new() }
    }

    async fn sink(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        Ok(Box::new(Memory { commits: self.0.clone(), config, open: None }))
    }
}

struct Memory {
    commits: Commits,
    config: MemorySinkConfig,
    open: Option<(SliceId, Vec<String>)>,
}

impl Memory {
    fn note(&self, call: &str) {
        self.commits.with(|inner| inner.calls.push(format!("{} {call}", self.config.target)));
    }
}

#[async_trait]
impl Sink for Memory {
    async fn begin(&mut self, slice: &SliceContext) -> Result<(), OperationError> {
        self.note("begin");
        let before = self.open.replace((slice.slice.id, Vec::new()));
        if before.is_some() { Err(OperationError::slice("the slice before is still open")) } else { Ok(()) }
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        assert!(!self.config.panics, "the sink panics on purpose");
        let Some((_, records)) = &mut self.open else {
            return Err(OperationError::slice("no slice is open"));
        };
        let mut rejected = Vec::new();
        for at in 0..batch.len() {
            let record = String::from_utf8_lossy(batch.record(at)).into_owned();
            if self.config.refuse.as_ref() == Some(&record) {
                let reason = "not here".to_owned();
                rejected.push(Rejected {
                    step: 0,
                    reason,
                    record: record.into_bytes(),
                    metadata: None,
                    is_fault: false,
                });
            } else {
                records.push(record);
            }
        }
        Ok(Written { bytes: batch.bytes() as u64, rejected })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        self.note("commit");
        let fails = self.commits.with(|inner| {
            inner.commits_failed += 1;
            inner.commits_failed <= self.config.fail_commits
        });
        if fails {
            return Err(OperationError::retry("not committed"));
        }
        let Some((slice, records)) = self.open.take() else {
            return Err(OperationError::slice("no slice is open"));
        };
        let _earlier =
            self.commits.with(|inner| inner.slices.insert((self.config.target.clone(), slice), records));
        Ok(())
    }

    async fn abort(&mut self) {
        self.note("abort");
        self.open = None;
    }

    async fn close(&mut self) -> Result<(), OperationError> {
        self.note("close");
        Ok(())
    }
}
