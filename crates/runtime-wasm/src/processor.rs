//! Chains of operations, and what makes and calls their instances for one attempt of a slice.

use std::{fmt, sync::Arc, thread, time::Duration};

use serde_json::Value;
use teraslice_core::operation::{
    OperationError, Processed, Processor as CoreProcessor, ProcessorFactory, SliceContext, StepCounts,
};
use teraslice_model::{batch::Batch, job::OperationConfig, problem::Problem};

use crate::{
    asset::Guest,
    bindings::teraslice::asset::types,
    instance::{CallError, Fault, FaultKind, Instance},
    isolate::PerRecord,
    output,
    replay::PerSlice,
};

/// The first pause after a guest has asked for time; each further one is twice as long.
const LATER_FIRST: Duration = Duration::from_millis(50);
/// The longest such pause.
const LATER_MAX: Duration = Duration::from_secs(1);

/// Neighbouring operations of one asset, with their settings.
pub(crate) struct Chain {
    guest: Guest,
    steps: Arc<[types::Step]>,
    /// For messages: `filter, set_field`.
    names: Arc<str>,
    /// Whether a step keeps something from one record to the next.
    has_state: bool,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Chain {
    pub(crate) fn new(guest: Guest, configs: &[OperationConfig], has_state: bool) -> Self {
        let step = |config: &OperationConfig| types::Step {
            operation: config.op.clone(),
            config: Value::Object(config.settings.clone()).to_string(),
        };
        let names: Vec<_> = configs.iter().map(|config| config.op.as_str()).collect();
        Self { guest, steps: configs.iter().map(step).collect(), names: names.join(", ").into(), has_state }
    }

    /// Opens the chain once, to see whether its settings are right.
    pub(crate) fn try_open(&self) -> Result<(), CallError> {
        Instance::new(&self.guest, None)?.open(&self.steps)
    }

    pub(crate) fn attempt(&self, slice: &SliceContext) -> Attempt {
        Attempt {
            guest: self.guest.clone(),
            steps: Arc::clone(&self.steps),
            names: Arc::clone(&self.names),
            slice: slice.clone(),
            input: types::Batch { data: Vec::new(), metadata: None },
            calls: 0,
            faults: 0,
        }
    }
}

impl ProcessorFactory for Chain {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn open(&self, slice: &SliceContext) -> Result<Box<dyn CoreProcessor>, OperationError> {
        let attempt = self.attempt(slice);
        match self.has_state {
            true => Ok(Box::new(PerSlice::open(attempt)?)),
            false => Ok(Box::new(PerRecord::open(attempt)?)),
        }
    }
}

/// What the instances of one attempt of a slice have in common.
pub(crate) struct Attempt {
    guest: Guest,
    steps: Arc<[types::Step]>,
    names: Arc<str>,
    slice: SliceContext,
    /// Kept between calls for its memory.
    input: types::Batch,
    /// Batches that were run so far.
    calls: u32,
    /// Records that the chain broke on so far.
    faults: usize,
}

/// A call's answer: what came of it, or how the guest broke off. Anything else ends the attempt.
pub(crate) type Answer = Result<Result<Processed, Fault>, OperationError>;

impl Attempt {
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Makes an instance of the chain, or of its first steps; a guest that breaks off at this gets a second chance.
    pub(crate) fn open(&self, steps: usize) -> Result<Instance, OperationError> {
        let once = || {
            let mut instance = Instance::new(&self.guest, Some(&self.slice))?;
            later(self.later_max(), || instance.open(&self.steps[..steps]))?;
            Ok(instance)
        };
        let opened = match once() {
            Err(CallError::Fault(_)) => once(),
            opened => opened,
        };
        opened.map_err(|error| self.ended(error))
    }

    /// Runs a batch, in the time that the limits give it or in less.
    pub(crate) fn process(
        &mut self,
        instance: &mut Instance,
        batch: &Batch,
        steps: usize,
        limit: Option<Duration>,
    ) -> Answer {
        self.calls += 1;
        self.input.data.clear();
        batch.records().encode(&mut self.input.data);
        self.input.metadata = batch.metadata().map(|metadata| {
            let mut bytes = self.input.metadata.take().unwrap_or_default();
            bytes.clear();
            metadata.encode(&mut bytes);
            bytes
        });
        let output = later(self.later_max(), || instance.process(&self.input, limit));
        self.answer(output, Some(batch), steps)
    }

    /// Ends the slice.
    pub(crate) fn finish(&self, instance: &mut Instance) -> Answer {
        let output = later(self.later_max(), || instance.finish());
        instance.report();
        self.answer(output, None, self.steps.len())
    }

    fn answer(
        &self,
        output: Result<types::Output, CallError>,
        input: Option<&Batch>,
        steps: usize,
    ) -> Answer {
        match output {
            Ok(output) => Ok(output::check(output, input, steps)
                .map_err(|error| Fault { kind: FaultKind::BadOutput, text: format!("bad output: {error}") })),
            Err(CallError::Fault(fault)) => Ok(Err(fault)),
            Err(error) => Err(self.ended(error)),
        }
    }

    pub(crate) const fn calls(&self) -> u32 {
        self.calls
    }

    /// Returns the time that a batch may take.
    pub(crate) fn time(&self, batch: &Batch) -> Duration {
        self.guest.limits().process_time(batch.bytes())
    }

    fn later_max(&self) -> Duration {
        self.guest.limits().later_max
    }

    /// Returns how many bytes of input and output may be held to run a slice again.
    pub(crate) fn held_max(&self) -> usize {
        self.guest.limits().replay_bytes
    }

    /// Counts a record that the chain breaks on; with too many of them it is the asset that is broken.
    pub(crate) fn blame(&mut self, fault: &Fault) -> Result<(), OperationError> {
        self.faults += 1;
        let max = self.guest.limits().faults_max;
        if self.faults <= max {
            return Ok(());
        }
        Err(self.broken(&format!("it broke on more than {max} records of the slice, on the last: {fault}")))
    }

    /// Makes the end of a slice that the asset is to blame for.
    pub(crate) fn broken(&self, what: &str) -> OperationError {
        OperationError::slice(format!("asset fault in {}: {what}", self.names))
    }

    /// Says why a record was taken out.
    pub(crate) fn reason(&self, fault: &Fault) -> String {
        match fault.kind {
            FaultKind::OutOfMemory => {
                let mebibytes = self.guest.limits().memory >> 20;
                format!("needs more memory than its {mebibytes} MiB (wasm_memory): {fault}")
            }
            _ => fault.to_string(),
        }
    }

    fn ended(&self, error: CallError) -> OperationError {
        match error {
            CallError::Config { step, field, message } => {
                OperationError::job(Problem::new(format!("/{step}/{field}"), message))
            }
            CallError::RetryLater(message) => OperationError::retry(message),
            CallError::Fatal(message) => OperationError::slice(message),
            CallError::Fault(fault) => self.broken(&format!("it broke off as it was opened: {fault}")),
            error @ CallError::NoSlot(_) => OperationError::retry(error.to_string()),
        }
    }
}

/// Calls a guest that may ask for time: its instance stays, and the call is made again.
///
/// The pauses are on the thread of the call: a compute thread, which has nothing else to do.
fn later<T>(max: Duration, mut call: impl FnMut() -> Result<T, CallError>) -> Result<T, CallError> {
    let (mut pause, mut sum) = (LATER_FIRST, Duration::ZERO);
    loop {
        match call() {
            Err(CallError::RetryLater(message)) => {
                if sum >= max {
                    return Err(CallError::RetryLater(message));
                }
                thread::sleep(pause);
                sum += pause;
                pause = (pause * 2).min(LATER_MAX);
            }
            answered => return answered,
        }
    }
}

/// Adds up what came of a part of a batch or slice.
pub(crate) fn add(sum: &mut Processed, more: Processed) {
    sum.batches.extend(more.batches);
    sum.rejected.extend(more.rejected);
    for (sum, more) in sum.counts.iter_mut().zip(more.counts) {
        sum.received += more.received;
        sum.emitted += more.emitted;
        sum.dropped += more.dropped;
        sum.failed += more.failed;
        sum.created += more.created;
    }
}

/// Returns what came of nothing.
pub(crate) fn nothing(steps: usize) -> Processed {
    Processed { counts: vec![StepCounts::default(); steps], ..Processed::default() }
}
