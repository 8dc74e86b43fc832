//! Neighbouring chains of processors, run in one go on a compute thread.

use std::sync::Arc;

use teraslice_model::{batch::Batch, counts::Counts};
use tracing::Span;

use super::failure::{Failure, Place};
use crate::{
    context::Context,
    operation::{OperationError, Processed, Processor, Rejected, SliceContext, StepCounts},
    plan::Chain,
};

/// Neighbouring chains, one stage of a pipeline.
///
/// Of each chain the time is noted at its first operation, and the bytes at its last: nobody outside sees what happens
/// between its steps.
pub(super) struct Chains {
    context: Context,
    /// For messages: the first operation of each chain.
    places: Vec<Place>,
    chains: Vec<Chain>,
    is_pass_through: bool,
    /// Of the current attempt; empty while a compute thread has them.
    open: Vec<Open>,
}

/// What comes out of chains.
#[derive(Default)]
pub(super) struct Out {
    pub(super) batches: Vec<Batch>,
    /// Refused records; `step` is the place in the job.
    pub(super) rejected: Vec<Rejected>,
}

/// One chain in one attempt of a slice.
struct Open {
    chain: Chain,
    /// Made with the first batch, on a compute thread.
    processor: Option<Box<dyn Processor>>,
    steps: Vec<StepCounts>,
    /// Refused records per step, as listed.
    refused: Vec<u64>,
    received: u64,
    emitted: u64,
    bytes: u64,
    micros: u64,
}

/// Whether more batches of the slice follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Perhaps.
    More,
    /// None does: steps that hold records let go of them.
    Last,
}

impl Chains {
    pub(super) fn new(context: Context, chains: Vec<Chain>, ops: impl Fn(usize) -> String) -> Self {
        let place = |chain: &Chain| Place { operation: chain.first, op: ops(chain.first) };
        let places = chains.iter().map(place).collect();
        let is_pass_through = chains.iter().all(|chain| chain.factory.is_pass_through());
        Self { context, places, chains, is_pass_through, open: Vec::new() }
    }

    /// Starts an attempt.
    pub(super) fn begin(&mut self) {
        self.open.clear();
        self.open.extend(self.chains.iter().cloned().map(Open::new));
    }

    /// Adds the counts of the attempt to those of the pipeline; refused records are counted where they are put.
    pub(super) fn count(&self, pipeline: &mut [Counts]) -> Result<(), Failure> {
        for (open, place) in self.open.iter().zip(&self.places) {
            open.check(place)?;
            let first = open.chain.first;
            for (counts, step) in pipeline[first..].iter_mut().zip(&open.steps) {
                counts.received += step.received;
                counts.emitted += step.emitted;
                counts.dropped += step.dropped;
                counts.created += step.created;
            }
            pipeline[first].micros += open.micros;
            pipeline[first + open.steps.len() - 1].bytes += open.bytes;
        }
        Ok(())
    }

    /// Runs batches through all chains.
    pub(super) async fn run(
        &mut self,
        batches: Vec<Batch>,
        slice: &Arc<SliceContext>,
        phase: Phase,
    ) -> Result<Out, Failure> {
        if self.is_pass_through {
            self.open.iter_mut().for_each(|open| open.pass(&batches));
            return Ok(Out { batches, rejected: Vec::new() });
        }
        let mut open = std::mem::take(&mut self.open);
        let (slice, clock) = (Arc::clone(slice), self.context.clone());
        let places = &self.places;
        let work = async {
            let span = Span::current();
            let compute = self.context.compute(move || {
                let done = span.in_scope(|| run_all(&mut open, batches, &slice, phase, &clock));
                (open, done)
            });
            Ok(compute.await)
        };
        let (open, done) = places[0].run(work).await?;
        self.open = open;
        done.map_err(|(at, error)| failed(places, &self.chains, at, error))
    }
}

/// Names the operation at fault; a chain points at the step that a job's problem is about.
fn failed(places: &[Place], chains: &[Chain], at: usize, error: OperationError) -> Failure {
    let place = &places[at];
    let OperationError::Job { problems } = error else { return place.failed(error) };
    let on_the_job = |mut problem: teraslice_model::problem::Problem| {
        let path = problem.pointer.strip_prefix('/').unwrap_or_default();
        let (step, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
        let step = step.parse::<usize>().ok().filter(|step| *step < chains[at].factory.steps());
        problem.pointer = match step {
            Some(step) => format!("/operations/{}{rest}", place.operation + step),
            None => format!("/operations/{}{}", place.operation, problem.pointer),
        };
        problem
    };
    let problems = problems.into_iter().map(on_the_job).collect();
    Failure::Job { reason: format!("{}: {}", place.text(), OperationError::Job { problems }) }
}

/// Runs batches through one chain after the other; an error comes with the place of its chain.
fn run_all(
    open: &mut [Open],
    batches: Vec<Batch>,
    slice: &SliceContext,
    phase: Phase,
    clock: &Context,
) -> Result<Out, (usize, OperationError)> {
    let mut out = Out { batches, rejected: Vec::new() };
    for (at, chain) in open.iter_mut().enumerate() {
        let start = clock.now();
        let batches = std::mem::take(&mut out.batches);
        chain.run(batches, slice, phase, &mut out).map_err(|error| (at, error))?;
        chain.micros += u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
    Ok(out)
}

impl Open {
    fn new(chain: Chain) -> Self {
        let steps = chain.factory.steps();
        Self {
            chain,
            processor: None,
            steps: vec![StepCounts::default(); steps],
            refused: vec![0; steps],
            received: 0,
            emitted: 0,
            bytes: 0,
            micros: 0,
        }
    }

    /// Hands batches on as they are.
    fn pass(&mut self, batches: &[Batch]) {
        for batch in batches {
            let records = batch.len() as u64;
            for step in &mut self.steps {
                step.received += records;
                step.emitted += records;
            }
            self.received += records;
            self.emitted += records;
            self.bytes += batch.bytes() as u64;
        }
    }

    fn run(
        &mut self,
        batches: Vec<Batch>,
        slice: &SliceContext,
        phase: Phase,
        out: &mut Out,
    ) -> Result<(), OperationError> {
        if self.chain.factory.is_pass_through() {
            self.pass(&batches);
            out.batches.extend(batches);
            return Ok(());
        }
        if batches.is_empty() && phase == Phase::More {
            return Ok(());
        }
        let mut processor = match self.processor.take() {
            Some(processor) => processor,
            None => self.chain.factory.open(slice)?,
        };
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            self.received += batch.len() as u64;
            let processed = processor.process(batch)?;
            self.take(processed, out)?;
        }
        if phase == Phase::Last {
            let processed = processor.finish()?;
            return self.take(processed, out);
        }
        self.processor = Some(processor);
        Ok(())
    }

    /// Counts what came out of the processor.
    fn take(&mut self, processed: Processed, out: &mut Out) -> Result<(), OperationError> {
        let Processed { batches, rejected, counts } = processed;
        if counts.len() != self.steps.len() {
            let reason = format!("a chain of {} steps counted {}", self.steps.len(), counts.len());
            return Err(OperationError::slice(reason));
        }
        for (total, step) in self.steps.iter_mut().zip(&counts) {
            total.received += step.received;
            total.emitted += step.emitted;
            total.dropped += step.dropped;
            total.failed += step.failed;
            total.created += step.created;
        }
        for mut refused in rejected {
            let Some(count) = self.refused.get_mut(refused.step) else {
                return Err(OperationError::slice(format!("a record was refused by step {}", refused.step)));
            };
            *count += 1;
            refused.step += self.chain.first;
            out.rejected.push(refused);
        }
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            self.emitted += batch.len() as u64;
            self.bytes += batch.bytes() as u64;
            out.batches.push(batch);
        }
        Ok(())
    }

    /// Checks that the chain's counts are those of the records that went in and came out.
    fn check(&self, place: &Place) -> Result<(), Failure> {
        let refused = self.steps.iter().zip(&self.refused).position(|(step, listed)| step.failed != *listed);
        if let Some(step) = refused {
            let (failed, listed) = (self.steps[step].failed, self.refused[step]);
            let what = format!("step {step} counted {failed} refused records and listed {listed}");
            return Err(place.broken(what));
        }
        let (first, last) = (&self.steps[0], &self.steps[self.steps.len() - 1]);
        if first.received != self.received {
            let (got, counted) = (self.received, first.received);
            return Err(place.broken(format!("received {got} records and counted {counted}")));
        }
        if last.emitted != self.emitted {
            let (gave, counted) = (self.emitted, last.emitted);
            return Err(place.broken(format!("emitted {gave} records and counted {counted}")));
        }
        Ok(())
    }
}
