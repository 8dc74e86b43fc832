//! One live guest: its calls, its limits, and why a call was broken off.

use std::time::Duration;

use teraslice_core::operation::SliceContext;
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::{
    asset::Guest,
    bindings::{Processor, teraslice::asset::types},
    engine::{Tier, fuel, ticks},
    host::{State, cut},
    limits::{Account, Denied},
    slots::Slot,
};

/// Frames of a backtrace that are shown.
const FRAMES_MAX: usize = 8;
/// Batches that one instance runs at the most, where another can take over.
const BATCHES_MAX: u32 = 10_000;
/// Bytes of a guest's own message that are kept.
const MESSAGE_MAX: usize = 512;

/// Why a guest could not be opened or called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{message}")]
    Config { step: u32, field: String, message: String },
    #[error("{0}")]
    RetryLater(String),
    #[error("{0}")]
    Fatal(String),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("no free instance of the asset within {} seconds", .0.as_secs())]
    NoSlot(Duration),
}

/// How a guest broke off. Its instance is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// What happened, in words, with the backtrace.
    pub(crate) text: String,
}

/// What a fault says about the records at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It was denied memory or table elements: a smaller batch may do.
    OutOfMemory,
    /// It was interrupted.
    Timeout,
    /// It trapped.
    Trap,
    /// Its answer breaks the contract, or is too large.
    BadOutput,
}

/// One live guest and the place it takes.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Processor,
    guest: Guest,
    input_bytes: usize,
    batches: u32,
    _slot: Slot,
}

impl Instance {
    /// Makes an instance, once there is a place for it.
    pub(crate) fn new(guest: &Guest, slice: Option<&SliceContext>) -> Result<Self, CallError> {
        let limits = guest.limits();
        let slot = guest.runtime.slots().take(limits.slot_wait).ok_or(CallError::NoSlot(limits.slot_wait))?;
        let mut store = Store::new(guest.pre.engine(), State::new(limits, slice));
        store.limiter(|state| &mut state.account);
        prepare(&mut store, guest, limits.other_calls, 0);
        let exports = guest.pre.instantiate(&mut store);
        let exports = exports.map_err(|error| explain(&error, &store.data().account, limits.other_calls))?;
        Ok(Self { store, exports, guest: guest.clone(), input_bytes: 0, batches: 0, _slot: slot })
    }

    pub(crate) fn describe(&mut self) -> Result<Vec<types::Operation>, CallError> {
        let limit = self.prepare_other();
        let described = self.exports.call_describe(&mut self.store);
        described.map_err(|error| explain(&error, &self.store.data().account, limit))
    }

    pub(crate) fn open(&mut self, steps: &[types::Step]) -> Result<(), CallError> {
        let limit = self.prepare_other();
        let opened = self.exports.call_open(&mut self.store, steps);
        let opened = opened.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        opened.map_err(problem)
    }

    /// Runs a batch, in the time that the limits give it or in `limit`.
    pub(crate) fn process(
        &mut self,
        input: &types::Batch,
        limit: Option<Duration>,
    ) -> Result<types::Output, CallError> {
        let bytes = input.data.len() + input.metadata.as_ref().map_or(0, Vec::len);
        self.input_bytes = self.input_bytes.saturating_add(bytes);
        let limits = self.guest.limits();
        let limit = limit.unwrap_or_else(|| limits.process_time(bytes));
        self.batches += 1;
        prepare(&mut self.store, &self.guest, limit, bytes);
        let output = self.exports.call_process(&mut self.store, input);
        let output = output.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        output.map_err(problem)
    }

    /// Ends the slice; what was held back may come out, so all input so far counts for the output's bound.
    pub(crate) fn finish(&mut self) -> Result<types::Output, CallError> {
        let limit = self.guest.limits().other_calls;
        prepare(&mut self.store, &self.guest, limit, self.input_bytes);
        let output = self.exports.call_finish(&mut self.store);
        let output = output.map_err(|error| explain(&error, &self.store.data().account, limit))?;
        output.map_err(problem)
    }

    /// Tells whether a fresh instance would be better: this one is old, or has come near its limit of memory.
    pub(crate) fn wants_recycling(&self) -> bool {
        self.batches >= BATCHES_MAX || self.store.data().account.is_nearly_full()
    }

    /// Ends the use of the instance: writes the guest's counters to the log.
    pub(crate) fn report(&self) {
        self.store.data().report();
    }

    fn prepare_other(&mut self) -> Duration {
        let limit = self.guest.limits().other_calls;
        prepare(&mut self.store, &self.guest, limit, 0);
        limit
    }
}

/// Sets the limits of the next call.
fn prepare(store: &mut Store<State>, guest: &Guest, limit: Duration, input_bytes: usize) {
    match guest.tier {
        Tier::Default => store.set_epoch_deadline(ticks(limit)),
        Tier::Deterministic => store.set_fuel(fuel(limit)).expect("the engine of this tier counts fuel"),
        Tier::Trusted => {}
    }
    store.set_hostcall_fuel(guest.limits().output_bytes(input_bytes));
    // What it was denied before and lived with explains nothing that comes.
    store.data_mut().account.denied = None;
}

fn problem(problem: types::Problem) -> CallError {
    match problem {
        types::Problem::BadConfig(types::ConfigProblem { step, field, message }) => {
            CallError::Config { step, field, message: cut(&message, MESSAGE_MAX).to_owned() }
        }
        types::Problem::RetryLater(message) => CallError::RetryLater(cut(&message, MESSAGE_MAX).to_owned()),
        types::Problem::Fatal(message) => CallError::Fatal(cut(&message, MESSAGE_MAX).to_owned()),
    }
}

/// Says why a call was broken off. A guest that was denied memory mostly just hits `unreachable`: the account knows better.
fn explain(error: &wasmtime::Error, account: &Account, limit: Duration) -> CallError {
    let (kind, cause) = match (account.denied, error.downcast_ref::<Trap>()) {
        (Some(Denied::Memory), _) => {
            (FaultKind::OutOfMemory, "out of memory: it asked for more than its limit".to_owned())
        }
        (Some(Denied::Table), _) => {
            (FaultKind::OutOfMemory, "out of table elements: it asked for more than its limit".to_owned())
        }
        (None, Some(Trap::Interrupt)) => {
            (FaultKind::Timeout, format!("timeout: it ran longer than {} ms", limit.as_millis()))
        }
        (None, Some(Trap::OutOfFuel)) => (
            FaultKind::Timeout,
            format!("timeout: it used more fuel than {} ms stand for", limit.as_millis()),
        ),
        (None, Some(trap)) => (FaultKind::Trap, format!("trap: {trap}")),
        (None, None) if is_hostcall_fuel(error) => (FaultKind::BadOutput, "output too large".to_owned()),
        (None, None) => (FaultKind::BadOutput, format!("{:#}", error.root_cause())),
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map(frames).filter(|frames| !frames.is_empty());
    let text = match frames {
        Some(frames) => format!("{cause} (in {frames})"),
        None => cause,
    };
    CallError::Fault(Fault { kind, text })
}

fn is_hostcall_fuel(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("hostcalls has been exhausted"))
}

fn frames(backtrace: &WasmBacktrace) -> String {
    let named = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    named.take(FRAMES_MAX).map(|name| cut(name, 80)).collect::<Vec<_>>().join(" < ")
}
