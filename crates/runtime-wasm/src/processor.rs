//! Chains of operations, run in an instance per attempt of a slice.

use std::{fmt, sync::Arc};

use serde_json::Value;
use teraslice_core::operation::{
    OperationError, Processed, Processor as CoreProcessor, ProcessorFactory, SliceContext,
};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem};

use crate::{
    asset::Guest,
    bindings::teraslice::asset::types,
    instance::{CallError, Instance},
    output,
};

/// Neighbouring operations of one asset, with their settings.
pub(crate) struct Chain {
    guest: Guest,
    steps: Vec<types::Step>,
    /// For messages: `filter, set_field`.
    names: Arc<str>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Chain {
    pub(crate) fn new(guest: Guest, configs: &[OperationConfig]) -> Self {
        let step = |config: &OperationConfig| types::Step {
            operation: config.op.clone(),
            config: Value::Object(config.settings.clone()).to_string(),
        };
        let names: Vec<_> = configs.iter().map(|config| config.op.as_str()).collect();
        Self { guest, steps: configs.iter().map(step).collect(), names: names.join(", ").into() }
    }

    /// Opens the chain once, to see whether its settings are right.
    pub(crate) fn try_open(&self) -> Result<(), CallError> {
        Instance::new(&self.guest, None)?.open(&self.steps)
    }
}

impl ProcessorFactory for Chain {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn open(&self, slice: &SliceContext) -> Result<Box<dyn CoreProcessor>, OperationError> {
        let opened = Instance::new(&self.guest, Some(slice)).and_then(|mut instance| {
            instance.open(&self.steps)?;
            Ok(instance)
        });
        let instance = opened.map_err(|error| operation_error(error, &self.names))?;
        let (names, steps) = (Arc::clone(&self.names), self.steps.len());
        Ok(Box::new(WasmProcessor {
            instance,
            names,
            steps,
            input: types::Batch { data: Vec::new(), metadata: None },
        }))
    }
}

/// Runs batches through an instance.
struct WasmProcessor {
    instance: Instance,
    names: Arc<str>,
    steps: usize,
    /// Kept between calls for its memory.
    input: types::Batch,
}

impl CoreProcessor for WasmProcessor {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        self.input.data.clear();
        batch.records().encode(&mut self.input.data);
        self.input.metadata = batch.metadata().map(|metadata| {
            let mut bytes = self.input.metadata.take().unwrap_or_default();
            bytes.clear();
            metadata.encode(&mut bytes);
            bytes
        });
        let output = self.instance.process(&self.input);
        let output = output.map_err(|error| operation_error(error, &self.names))?;
        self.check(output, Some(batch))
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        let output = self.instance.finish().map_err(|error| operation_error(error, &self.names))?;
        self.instance.report();
        self.check(output, None)
    }
}

impl WasmProcessor {
    fn check(&self, output: types::Output, input: Option<&Batch>) -> Result<Processed, OperationError> {
        output::check(output, input, self.steps)
            .map_err(|error| OperationError::retry(format!("bad output of {}: {error}", self.names)))
    }
}

fn operation_error(error: CallError, names: &str) -> OperationError {
    match error {
        CallError::Config { step, field, message } => {
            OperationError::job(Problem::new(format!("/{step}/{field}"), message))
        }
        CallError::RetryLater(message) => OperationError::retry(message),
        CallError::Fatal(message) => OperationError::slice(message),
        CallError::Fault(fault) => OperationError::retry(format!("{names} broke off: {fault}")),
        error @ CallError::NoSlot(_) => OperationError::retry(error.to_string()),
    }
}
