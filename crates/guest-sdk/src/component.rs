//! The exports of a component, put to work by a chain.

use std::cell::RefCell;

use crate::{
    bindings::{Batch, Output, Problem, Step, teraslice::asset::types},
    chain::{self, Chain, Done},
    host::{self, Level},
    operation::{Entry, Scope},
};

thread_local! {
    /// An instance serves one chain.
    static CHAIN: RefCell<Option<Chain>> = const { RefCell::new(None) };
}

/// Lists the operations of the asset.
#[must_use]
pub fn describe(known: &[Entry]) -> Vec<types::Operation> {
    let describe = |entry: &Entry| types::Operation {
        name: entry.info.name.to_owned(),
        description: entry.info.description.to_owned(),
        config_schema: entry.info.schema.to_owned(),
        scope: match entry.info.scope {
            Scope::Record => types::Scope::Record,
            Scope::Slice => types::Scope::Slice,
        },
        capabilities: Vec::new(),
    };
    known.iter().map(describe).collect()
}

/// Returns the length of [`names`].
#[must_use]
pub const fn names_len(known: &[Entry]) -> usize {
    let (mut len, mut at) = (0, 0);
    while at < known.len() {
        len += known[at].info.name.len() + 1;
        at += 1;
    }
    len
}

/// Returns the names of the operations, each with a line feed behind it: a section of the module, for who packs it.
#[must_use]
pub const fn names<const LEN: usize>(known: &[Entry]) -> [u8; LEN] {
    let (mut names, mut len, mut at) = ([b'\n'; LEN], 0, 0);
    while at < known.len() {
        let name = known[at].info.name.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            names[len + byte] = name[byte];
            byte += 1;
        }
        len += name.len() + 1;
        at += 1;
    }
    names
}

/// Prepares a chain of operations.
///
/// # Errors
///
/// When a setting cannot be worked with.
pub fn open(known: &[Entry], steps: &[Step]) -> Result<(), Problem> {
    let steps: Vec<_> = steps.iter().map(|step| (step.operation.as_str(), step.config.as_str())).collect();
    // All the host sees of a panic is a trap; why is in the log.
    std::panic::set_hook(Box::new(|panic| host::log(Level::Error, &panic.to_string())));
    let chain = Chain::open(known, &steps).map_err(problem)?;
    CHAIN.set(Some(chain));
    Ok(())
}

/// Runs a batch through the chain.
///
/// # Errors
///
/// When the batch as a whole fails.
pub fn process(input: &Batch) -> Result<Output, Problem> {
    with_chain(|chain| chain.process(&input.data, input.metadata.as_deref()))
}

/// Ends the slice.
///
/// # Errors
///
/// When the slice as a whole fails.
pub fn finish() -> Result<Output, Problem> {
    with_chain(Chain::finish)
}

fn with_chain(call: impl FnOnce(&mut Chain) -> Result<Done, chain::Problem>) -> Result<Output, Problem> {
    CHAIN.with_borrow_mut(|chain| {
        let chain = chain.as_mut().ok_or_else(|| Problem::Fatal("the chain is not open".to_owned()))?;
        call(chain).map(output).map_err(problem)
    })
}

fn output(done: Done) -> Output {
    let failure = |failure: chain::Failure| types::Failure {
        index: failure.index,
        step: failure.step,
        message: failure.message,
        data: failure.data,
    };
    let count = |counts: chain::Counts| types::StepCount {
        received: counts.received,
        emitted: counts.emitted,
        dropped: counts.dropped,
        failed: counts.failed,
        created: counts.created,
    };
    Output {
        batch: Batch { data: done.data, metadata: done.metadata },
        origin: done.origin,
        failed: done.failed.into_iter().map(failure).collect(),
        counts: done.counts.into_iter().map(count).collect(),
    }
}

fn problem(problem: chain::Problem) -> Problem {
    match problem {
        chain::Problem::BadConfig { step, error } => {
            Problem::BadConfig(types::ConfigProblem { step, field: error.field, message: error.message })
        }
        chain::Problem::RetryLater(message) => Problem::RetryLater(message),
        chain::Problem::Fatal(message) => Problem::Fatal(message),
    }
}
