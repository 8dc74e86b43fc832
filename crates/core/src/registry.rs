//! The registry: from the names in a job to the operations behind them.

pub(crate) mod erased;
mod planning;
mod resolve;
mod settings;

use std::{collections::BTreeMap, fmt, sync::Arc};

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
    plan::Plan,
};

use erased::{AnyProcessor, AnyReader, AnySink};

/// Every operation that a job can name: the built-in ones and those of loaded assets.
///
/// An asset's operation hides a built-in one of the same name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    built_in: BTreeMap<String, BuiltIn>,
    assets: Vec<Arc<dyn Asset>>,
}

/// A built-in operation.
#[derive(Clone, Debug)]
pub(crate) enum BuiltIn {
    Reader(Arc<dyn AnyReader>),
    Processor(Arc<dyn AnyProcessor>),
    Sink(Arc<dyn AnySink>),
}

impl Registry {
    /// Adds a reader under its name; an operation that had the name before is replaced.
    pub fn reader(&mut self, reader: impl Reader) {
        self.add(BuiltIn::Reader(Arc::new(reader)));
    }

    /// Adds a processor under its name; an operation that had the name before is replaced.
    pub fn processor(&mut self, processor: impl NativeProcessor) {
        self.add(BuiltIn::Processor(Arc::new(processor)));
    }

    /// Adds a sink under its name; an operation that had the name before is replaced.
    pub fn sink(&mut self, sink: impl SinkKind) {
        self.add(BuiltIn::Sink(Arc::new(sink)));
    }

    /// Adds the operations of an asset.
    pub fn asset(&mut self, asset: Arc<dyn Asset>) {
        self.assets.push(asset);
    }

    /// Returns what every operation says of itself: built-in ones by name, then each asset's in its order.
    #[must_use]
    pub fn operations(&self) -> Vec<OperationInfo> {
        let built_in = self.built_in.values().map(BuiltIn::info);
        built_in.chain(self.assets.iter().flat_map(|asset| asset.operations().iter().cloned())).collect()
    }

    /// Binds a job to its operations. May take long, as assets compile: not for an async thread.
    ///
    /// # Errors
    ///
    /// Every problem there is; pointers are into the job, as in `/operations/2/size`.
    pub fn plan(&self, job: Arc<CheckedJob>) -> Result<Plan, Vec<Problem>> {
        planning::plan(self, job)
    }

    fn add(&mut self, operation: BuiltIn) {
        let _replaced = self.built_in.insert(operation.info().name, operation);
    }
}

impl BuiltIn {
    pub(crate) fn info(&self) -> OperationInfo {
        match self {
            Self::Reader(reader) => reader.info(),
            Self::Processor(processor) => processor.info(),
            Self::Sink(sink) => sink.info(),
        }
    }
}

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

    /// Its id, by which a job may name it too; absent: it has none.
    fn id(&self) -> Option<&str> {
        None
    }

    /// What it offers.
    fn operations(&self) -> &[OperationInfo];

    /// Makes the factory of a chain of its operations; may compile, so it runs on a compute thread.
    ///
    /// # Errors
    ///
    /// Every problem of the settings; pointers begin with the step's place, as in `/2/field`.
    fn chain(&self, steps: &[OperationConfig]) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>>;
}

#[cfg(test)]
mod tests;
