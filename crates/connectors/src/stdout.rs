//! `stdout`: prints records as lines and hands them on.

use std::io::{self, Write};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use teraslice_core::{
    operation::{OperationError, OperationInfo, OperationKind, Sink, SliceContext, Written},
    registry::{SinkKind, WorkerContext},
};
use teraslice_model::{
    batch::Batch,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::json::write_line;

/// Prints the records of a slice, one line each, when the slice is committed.
///
/// A repeat prints again: a terminal or pipe cannot take back what it was given.
#[derive(Clone, Copy, Debug)]
pub struct Stdout;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct StdoutConfig {
    /// Records to print per slice; 0: all.
    #[serde(default)]
    pub limit: usize,
}

#[async_trait]
impl SinkKind for Stdout {
    type Config = StdoutConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({"properties": {
            "limit": {"type": "integer", "default": 0, "description": "records to print per slice; 0: all"},
        }});
        OperationInfo::built_in("stdout", OperationKind::Sink, "Prints records as lines.", settings)
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
    }

    async fn sink(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError> {
        let limit = if config.limit == 0 { usize::MAX } else { config.limit };
        Ok(Box::new(Printer { limit, left: limit, lines: Vec::new() }))
    }
}

struct Printer {
    limit: usize,
    left: usize,
    lines: Vec<u8>,
}

#[async_trait]
impl Sink for Printer {
    async fn begin(&mut self, _: &SliceContext) -> Result<(), OperationError> {
        self.left = self.limit;
        self.lines.clear();
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, OperationError> {
        let before = self.lines.len();
        for index in 0..batch.len().min(self.left) {
            write_line(&mut self.lines, batch.record(index));
            self.lines.push(b'\n');
        }
        self.left = self.left.saturating_sub(batch.len());
        Ok(Written { bytes: (self.lines.len() - before) as u64, rejected: Vec::new() })
    }

    async fn commit(&mut self) -> Result<(), OperationError> {
        let mut out = io::stdout().lock();
        let printed = out.write_all(&self.lines).and_then(|()| out.flush());
        self.lines.clear();
        printed.map_err(|error| OperationError::slice(format!("failed to print: {error}")))
    }

    async fn abort(&mut self) {
        self.lines.clear();
    }
}
