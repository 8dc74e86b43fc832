//! Typed factories with their configuration type erased, once, so that a plan can hold any of them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use teraslice_model::{
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use super::{NativeProcessor, Reader, SinkKind, WorkerContext, settings};
use crate::operation::{
    Fetcher, OperationError, OperationInfo, ProcessorFactory, Sink, Slicer, SlicerContext,
};

/// A reader of any configuration.
pub(crate) trait AnyReader: Send + Sync + fmt::Debug {
    fn info(&self) -> OperationInfo;

    /// Reads and checks the settings; pointers are relative to the operation.
    fn bind(
        self: Arc<Self>,
        operation: &OperationConfig,
        job: &CheckedJob,
    ) -> Result<Arc<dyn BoundReader>, Vec<Problem>>;
}

/// A reader with its settings.
#[async_trait]
pub(crate) trait BoundReader: Send + Sync + fmt::Debug {
    fn is_recoverable(&self) -> bool;

    fn queue_len_max(&self, workers: u32) -> usize;

    async fn slicers(&self, context: SlicerContext) -> Result<Vec<Box<dyn Slicer>>, OperationError>;

    async fn fetcher(&self, context: WorkerContext) -> Result<Box<dyn Fetcher>, OperationError>;
}

/// A built-in processor of any configuration.
pub(crate) trait AnyProcessor: Send + Sync + fmt::Debug {
    fn info(&self) -> OperationInfo;

    /// Reads and checks the settings; pointers are relative to the operation.
    fn bind(&self, operation: &OperationConfig) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>>;
}

/// A sink of any configuration.
pub(crate) trait AnySink: Send + Sync + fmt::Debug {
    fn info(&self) -> OperationInfo;

    fn api(&self) -> Option<&'static str>;

    /// Reads and checks the settings; pointers are relative to the operation.
    fn bind(
        self: Arc<Self>,
        operation: &OperationConfig,
        job: &CheckedJob,
    ) -> Result<Arc<dyn BoundSink>, Vec<Problem>>;
}

/// A sink with its settings.
#[async_trait]
pub(crate) trait BoundSink: Send + Sync + fmt::Debug {
    async fn sink(&self, context: WorkerContext) -> Result<Box<dyn Sink>, OperationError>;
}

/// A kind of operation, and the settings that one operation of a job gives it.
struct Bound<K, C> {
    kind: Arc<K>,
    operation: OperationConfig,
    config: C,
}

impl<K: fmt::Debug, C> fmt::Debug for Bound<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings may hold secrets.
        f.debug_struct("Bound")
            .field("kind", &self.kind)
            .field("op", &self.operation.op)
            .finish_non_exhaustive()
    }
}

impl<K, C: DeserializeOwned> Bound<K, C> {
    /// Reads the settings once more, for those that take them by value.
    fn config(&self) -> Result<C, OperationError> {
        settings::read(&self.operation.settings).map_err(OperationError::job)
    }
}

fn all_or<T>(problems: Vec<Problem>, bound: T) -> Result<T, Vec<Problem>> {
    if problems.is_empty() { Ok(bound) } else { Err(problems) }
}

impl<R: Reader> AnyReader for R {
    fn info(&self) -> OperationInfo {
        Reader::info(self)
    }

    fn bind(
        self: Arc<Self>,
        operation: &OperationConfig,
        job: &CheckedJob,
    ) -> Result<Arc<dyn BoundReader>, Vec<Problem>> {
        let config = settings::read::<R::Config>(&operation.settings).map_err(|problem| vec![problem])?;
        let problems = self.check(&config, operation, job);
        all_or(problems, Arc::new(Bound { kind: self, operation: operation.clone(), config }))
    }
}

#[async_trait]
impl<R: Reader> BoundReader for Bound<R, R::Config> {
    fn is_recoverable(&self) -> bool {
        self.kind.is_recoverable(&self.config)
    }

    fn queue_len_max(&self, workers: u32) -> usize {
        self.kind.queue_len_max(&self.config, workers)
    }

    async fn slicers(&self, context: SlicerContext) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        self.kind.slicers(self.config()?, &self.operation, context).await
    }

    async fn fetcher(&self, context: WorkerContext) -> Result<Box<dyn Fetcher>, OperationError> {
        self.kind.fetcher(self.config()?, &self.operation, context).await
    }
}

impl<P: NativeProcessor> AnyProcessor for P {
    fn info(&self) -> OperationInfo {
        NativeProcessor::info(self)
    }

    fn bind(&self, operation: &OperationConfig) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        let config = settings::read::<P::Config>(&operation.settings).map_err(|problem| vec![problem])?;
        self.factory(config, operation)
    }
}

impl<S: SinkKind> AnySink for S {
    fn info(&self) -> OperationInfo {
        SinkKind::info(self)
    }

    fn api(&self) -> Option<&'static str> {
        SinkKind::api(self)
    }

    fn bind(
        self: Arc<Self>,
        operation: &OperationConfig,
        job: &CheckedJob,
    ) -> Result<Arc<dyn BoundSink>, Vec<Problem>> {
        let config = settings::read::<S::Config>(&operation.settings).map_err(|problem| vec![problem])?;
        let problems = self.check(&config, operation, job);
        all_or(problems, Arc::new(Bound { kind: self, operation: operation.clone(), config }))
    }
}

#[async_trait]
impl<S: SinkKind> BoundSink for Bound<S, S::Config> {
    async fn sink(&self, context: WorkerContext) -> Result<Box<dyn Sink>, OperationError> {
        self.kind.sink(self.config()?, &self.operation, context).await
    }
}
