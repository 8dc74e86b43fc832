//! The registry: from the names in a job to the operations behind them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use teraslice_model::{
    id::WorkerId,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::{
    context::Context,
    operation::{Fetcher, OperationError, OperationInfo, ProcessorFactory, Sink, Slicer, SlicerContext},
};

/// What operations of a worker are made with.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// Clock and randomness.
    pub context: Context,
    /// The execution.
    pub ex_id: teraslice_model::id::ExId,
    /// The worker; unique among the live workers of the execution.
    pub worker: WorkerId,
}

/// A reader, typed by its configuration. Registered by name in the registry.
///
/// The configuration is read from the operation's settings (its API's, overlaid with its own); a setting of the wrong type
/// is reported with its name before any method here is called.
#[async_trait]
pub trait Reader: Send + Sync + fmt::Debug + 'static {
    /// Its settings.
    type Config: DeserializeOwned + Send + Sync;

    /// Says what the reader is.
    fn info(&self) -> OperationInfo;

    /// Checks values and their combination; pointers are relative to the operation, as in `/size`.
    fn check(&self, config: &Self::Config, operation: &OperationConfig, job: &CheckedJob) -> Vec<Problem>;

    /// Tells whether a later execution can go on where an earlier one ended.
    fn is_recoverable(&self, config: &Self::Config) -> bool;

    /// Returns how many slices may wait.
    fn queue_len_max(&self, config: &Self::Config, workers: u32) -> usize {
        let _any = (config, workers);
        10_000
    }

    /// Makes the slicers, each from its checkpoint.
    ///
    /// # Errors
    ///
    /// When the input cannot be looked at.
    async fn slicers(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError>;

    /// Makes the fetcher of one worker.
    ///
    /// # Errors
    ///
    /// When its connection cannot be made.
    async fn fetcher(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError>;
}

/// A built-in processor, typed by its configuration. Registered by name in the registry.
pub trait NativeProcessor: Send + Sync + fmt::Debug + 'static {
    /// Its settings.
    type Config: DeserializeOwned + Send + Sync;

    /// Says what the processor is.
    fn info(&self) -> OperationInfo;

    /// Makes the factory of a one-step chain.
    ///
    /// # Errors
    ///
    /// Every problem of the settings; pointers are relative to the operation.
    fn factory(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
    ) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>>;
}

/// A sink, typed by its configuration. Registered by name in the registry.
#[async_trait]
pub trait SinkKind: Send + Sync + fmt::Debug + 'static {
    /// Its settings.
    type Config: DeserializeOwned + Send + Sync;

    /// Says what the sink is.
    fn info(&self) -> OperationInfo;

    /// The name under which a job's `apis` offer it as a place for dead letters, if it can be one.
    fn api(&self) -> Option<&'static str> {
        None
    }

    /// Checks values and their combination; pointers are relative to the operation.
    fn check(&self, config: &Self::Config, operation: &OperationConfig, job: &CheckedJob) -> Vec<Problem>;

    /// Makes the sink of one worker.
    ///
    /// # Errors
    ///
    /// When its target cannot be reached.
    async fn sink(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Sink>, OperationError>;
}

/// A loaded asset: operations that run in a sandbox.
pub trait Asset: Send + Sync + fmt::Debug + 'static {
    /// Its name and version.
    fn name(&self) -> (&str, &str);

    /// What it offers.
    fn operations(&self) -> &[OperationInfo];

    /// Makes the factory of a chain of its operations; may compile, so it runs on a compute thread.
    ///
    /// # Errors
    ///
    /// Every problem of the settings; pointers begin with the step's place, as in `/2/field`.
    fn chain(&self, steps: &[OperationConfig]) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>>;
}
