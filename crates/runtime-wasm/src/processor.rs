//! One instance of a guest, for one attempt of a slice.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;
use teraslice_core::operation::{
    OperationError, Processed, Processor as CoreProcessor, ProcessorFactory, SliceContext,
};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::{
    asset::Guest,
    bindings::{Processor, teraslice::asset::types},
    engine::{Tier, ticks},
    host::{State, cut},
    limits::{Account, Denied},
    output,
    slots::Slot,
};

/// Frames of a backtrace that are shown.
const FRAMES_MAX: usize = 8;
/// Bytes of a guest's own message that are kept.
const MESSAGE_MAX: usize = 512;

/// Neighbouring operations of one asset, with their settings.
pub(crate) struct Chain {
    guest: Guest,
    steps: Vec<types::Step>,
    /// For messages: `filter, set_field`.
    names: Arc<str>,
}

/// Why a guest could not be opened or called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{message}")]
    Config { step: u32, field: String, message: String },
    #[error("{0}")]
    RetryLater(String),
    #[error("{0}")]
    Fatal(String),
    #[error("{0}")]
    Trap(String),
    #[error("no free instance of the asset within {} seconds", .0.as_secs())]
    NoSlot(Duration),
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
    pub(crate) fn try_open(&self) -> Result<(), OpenError> {
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
        self.instance.store.data().report();
        self.check(output, None)
    }
}

impl WasmProcessor {
    fn check(&self, output: types::Output, input: Option<&Batch>) -> Result<Processed, OperationError> {
        output::check(output, input, self.steps)
            .map_err(|error| OperationError::retry(format!("bad output of {}: {error}", self.names)))
    }
}

/// One live guest and the place it takes.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Processor,
    guest: Guest,
    input_bytes: usize,
    _slot: Slot,
}

impl Instance {
    /// Makes an instance, once there is a place for it.
    pub(crate) fn new(guest: &Guest, slice: Option<&SliceContext>) -> Result<Self, OpenError> {
        let limits = guest.runtime.limits();
        let slot = guest.runtime.slots().take(limits.slot_wait).ok_or(OpenError::NoSlot(limits.slot_wait))?;
        let mut store = Store::new(guest.runtime.engine(), State::new(limits, slice));
        store.limiter(|state| &mut state.account);
        prepare(&mut store, guest, limits.other_calls, 0);
        let exports = guest.pre.instantiate(&mut store);
        let exports = exports.map_err(|error| explain(&error, &store.data().account, limits.other_calls))?;
        Ok(Self { store, exports, guest: guest.clone(), input_bytes: 0, _slot: slot })
    }

    pub(crate) fn describe(&mut self) -> Result<Vec<types::Operation>, OpenError> {
        let limit = self.prepare_other();
        let described = self.exports.call_describe(&mut self.store);
        described.map_err(|error| explain(&error, &self.store.data().account, limit))
    }

    pub(crate) fn open(&mut self, steps: &[types::Step]) -> Result<(), OpenError> {
        let limit = self.prepare_other();
        let opened = self.exports.call_open(&mut self.store, steps);
        let opened = opened.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        opened.map_err(problem)
    }

    fn process(&mut self, input: &types::Batch) -> Result<types::Output, OpenError> {
        let bytes = input.data.len() + input.metadata.as_ref().map_or(0, Vec::len);
        self.input_bytes = self.input_bytes.saturating_add(bytes);
        let limits = self.guest.runtime.limits();
        let limit = limits.process_time(bytes);
        prepare(&mut self.store, &self.guest, limit, bytes);
        let output = self.exports.call_process(&mut self.store, input);
        let output = output.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        output.map_err(problem)
    }

    /// Ends the slice; what was held back may come out, so all input so far counts for the output's bound.
    fn finish(&mut self) -> Result<types::Output, OpenError> {
        let limit = self.guest.runtime.limits().other_calls;
        prepare(&mut self.store, &self.guest, limit, self.input_bytes);
        let output = self.exports.call_finish(&mut self.store);
        let output = output.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        output.map_err(problem)
    }

    fn prepare_other(&mut self) -> Duration {
        let limit = self.guest.runtime.limits().other_calls;
        prepare(&mut self.store, &self.guest, limit, 0);
        limit
    }
}

/// Sets the limits of the next call.
fn prepare(store: &mut Store<State>, guest: &Guest, limit: Duration, input_bytes: usize) {
    if guest.runtime.tier() == Tier::Default {
        store.set_epoch_deadline(ticks(limit));
    }
    store.set_hostcall_fuel(guest.runtime.limits().output_bytes(input_bytes));
}

fn problem(problem: types::Problem) -> OpenError {
    match problem {
        types::Problem::BadConfig(types::ConfigProblem { step, field, message }) => {
            OpenError::Config { step, field, message: cut(&message, MESSAGE_MAX).to_owned() }
        }
        types::Problem::RetryLater(message) => OpenError::RetryLater(cut(&message, MESSAGE_MAX).to_owned()),
        types::Problem::Fatal(message) => OpenError::Fatal(cut(&message, MESSAGE_MAX).to_owned()),
    }
}

/// Says why a call was broken off. A guest that was denied memory mostly just hits `unreachable`: the account knows better.
fn explain(error: &wasmtime::Error, account: &Account, limit: Duration) -> OpenError {
    let cause = match (account.denied, error.downcast_ref::<Trap>()) {
        (Some(Denied::Memory), _) => "out of memory: it asked for more than its limit".to_owned(),
        (Some(Denied::Table), _) => "out of table elements: it asked for more than its limit".to_owned(),
        (None, Some(Trap::Interrupt)) => format!("timeout: it ran longer than {} ms", limit.as_millis()),
        (None, Some(trap)) => format!("trap: {trap}"),
        (None, None) if is_hostcall_fuel(error) => "output too large".to_owned(),
        (None, None) => format!("{:#}", error.root_cause()),
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
    OpenError::Trap(match frames {
        Some(frames) => format!("{cause} (in {frames})"),
        None => cause,
    })
}

fn is_hostcall_fuel(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("hostcalls has been exhausted"))
}

fn frames(backtrace: &WasmBacktrace) -> String {
    let named = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    named.take(FRAMES_MAX).map(|name| cut(name, 80)).collect::<Vec<_>>().join(" < ")
}

fn operation_error(error: OpenError, names: &str) -> OperationError {
    match error {
        OpenError::Config { step, field, message } => {
            OperationError::job(Problem::new(format!("/{step}/{field}"), message))
        }
        OpenError::RetryLater(message) => OperationError::retry(message),
        OpenError::Fatal(message) => OperationError::slice(message),
        OpenError::Trap(reason) => OperationError::retry(format!("{names} broke off: {reason}")),
        error @ OpenError::NoSlot(_) => OperationError::retry(error.to_string()),
    }
}
