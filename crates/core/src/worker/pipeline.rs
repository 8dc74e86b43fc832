//! The pipeline of one worker: runs a slice through every operation of the job.

use std::sync::Arc;

use futures::{
    future::{join, maybe_done},
    poll,
};
use teraslice_model::{
    batch::Batch,
    counts::{Counts, check_balance},
    dead_letter::DeadLetter,
};

use super::{
    DeadLetterLimits,
    chains::{Chains, Out, Phase},
    failure::{Failure, Place},
    letters::Letters,
    sinks::SinkStage,
};
use crate::{
    context::Context,
    operation::{Fetched, Fetcher, RecordStream, SliceContext},
    plan::{self, Plan},
    registry::WorkerContext,
};

/// The operations of a job, made for one worker.
///
/// ```text
/// open -> begin every sink -> fetch, chains, sinks ...       the next batch is fetched while one is at work
///      -> end the chains, in order, each through the later stages
///      -> counts balance? -> commit the sinks, in order, then the letter boxes
/// ```
///
/// After an error, or when its future is dropped, [`abort`](Self::abort) has to follow.
pub(super) struct Pipeline {
    context: Context,
    places: Vec<Place>,
    fetcher: Box<dyn Fetcher>,
    stages: Vec<Stage>,
    letters: Letters,
    counts: Vec<Counts>,
}

enum Stage {
    Chains(Chains),
    Sink(SinkStage),
}

/// What a slice left behind.
#[derive(Debug, PartialEq)]
pub(super) struct Done {
    pub(super) operations: Vec<Counts>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

/// The records of a slice as they come in.
struct Input<'a> {
    context: &'a Context,
    place: &'a Place,
    stream: Box<dyn RecordStream>,
    micros: u64,
}

/// What batches flow through behind the reader.
struct Flow<'a> {
    places: &'a [Place],
    stages: &'a mut [Stage],
    letters: &'a mut Letters,
    counts: &'a mut [Counts],
    slice: &'a Arc<SliceContext>,
}

impl Pipeline {
    /// Connects every operation.
    pub(super) async fn make(
        plan: &Plan,
        worker: &WorkerContext,
        limits: DeadLetterLimits,
    ) -> Result<Self, Failure> {
        let name = |operation: usize| plan.operations()[operation].name.clone();
        let place = |operation: usize| Place { operation, op: name(operation) };
        let places: Vec<_> = (0..plan.operations().len()).map(place).collect();
        let context = worker.context.clone();
        let fetcher = places[0].run(plan.reader().fetcher(worker.clone())).await?;
        let mut stages = Vec::with_capacity(plan.stages().len());
        for stage in plan.stages() {
            stages.push(match stage {
                plan::Stage::Chains(chains) => {
                    Stage::Chains(Chains::new(context.clone(), chains.clone(), name))
                }
                plan::Stage::Sink { operation, sink } => {
                    let place = places[*operation].clone();
                    let sink = place.run(sink.sink(worker.clone())).await?;
                    Stage::Sink(SinkStage::new(context.clone(), place, sink))
                }
            });
        }
        let letters = Letters::new(plan.clone(), worker.clone(), limits);
        let counts = vec![Counts::default(); places.len()];
        Ok(Self { context, places, fetcher, stages, letters, counts })
    }

    /// Runs one slice from its first record to the commit.
    pub(super) async fn run(&mut self, slice: &Arc<SliceContext>) -> Result<Done, Failure> {
        self.counts.fill(Counts::default());
        self.letters.begin();
        let start = self.context.now();
        let stream = self.places[0].run(self.fetcher.open(slice)).await?;
        for stage in &mut self.stages {
            match stage {
                Stage::Chains(chains) => chains.begin(),
                Stage::Sink(sink) => sink.begin(slice).await?,
            }
        }
        let micros = micros_since(&self.context, start);
        let mut input = Input { context: &self.context, place: &self.places[0], stream, micros };
        let mut flow = Flow {
            places: &self.places,
            stages: &mut self.stages,
            letters: &mut self.letters,
            counts: &mut self.counts,
            slice,
        };
        flow.run(&mut input).await?;
        flow.counts[0].micros += input.micros;
        self.letters.flush().await?;
        self.check()?;
        self.commit().await?;
        Ok(Done { operations: self.counts.clone(), dead_letters: self.letters.stored() })
    }

    /// Forgets the slice: nothing of it stays visible.
    pub(super) async fn abort(&mut self) {
        for stage in &mut self.stages {
            if let Stage::Sink(sink) = stage {
                sink.abort().await;
            }
        }
        self.letters.abort().await;
    }

    /// Ends every sink; with no slice open.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        let mut closed = self.letters.close().await;
        for stage in &mut self.stages {
            if let Stage::Sink(sink) = stage {
                closed = closed.and(sink.close().await);
            }
        }
        closed
    }

    fn check(&mut self) -> Result<(), Failure> {
        for stage in &self.stages {
            if let Stage::Chains(chains) = stage {
                chains.count(&mut self.counts)?;
            }
        }
        check_balance(&self.counts).map_err(|error| {
            let reason = format!("records were lost or doubled: {error}");
            Failure::Slice { reason }
        })
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        for stage in &mut self.stages {
            if let Stage::Sink(sink) = stage {
                sink.commit(&mut self.counts[sink.operation()]).await?;
            }
        }
        self.letters.commit().await
    }
}

impl Input<'_> {
    async fn next(&mut self) -> Result<Option<Fetched>, Failure> {
        let start = self.context.now();
        let next = self.place.run(self.stream.next()).await;
        self.micros += micros_since(self.context, start);
        next
    }
}

impl Flow<'_> {
    /// Runs everything that comes in, and ends the chains.
    async fn run(&mut self, input: &mut Input<'_>) -> Result<(), Failure> {
        let mut fetched = input.next().await?;
        while let Some(now) = fetched {
            let mut next = std::pin::pin!(maybe_done(input.next()));
            let _looked = poll!(next.as_mut());
            // Where the end is known already, the last batch and the end go through together.
            let phase = match next.as_mut().output_mut() {
                Some(Ok(None)) => Phase::Last,
                _ => Phase::More,
            };
            let (flowed, ()) = join(self.enter(now, phase), next.as_mut()).await;
            flowed?;
            if phase == Phase::Last {
                return Ok(());
            }
            fetched = next.take_output().expect("it was awaited")?;
        }
        self.pass(Vec::new(), Phase::Last).await
    }

    /// Takes what the reader has read.
    async fn enter(&mut self, fetched: Fetched, phase: Phase) -> Result<(), Failure> {
        let Fetched { batch, rejected } = fetched;
        let records = batch.len() as u64;
        let counts = &mut self.counts[0];
        counts.created += records + rejected.len() as u64;
        counts.emitted += records;
        counts.bytes += batch.bytes() as u64;
        if !rejected.is_empty() {
            self.letters.take(&self.places[0], rejected, &mut self.counts[0], self.slice).await?;
        }
        let batches = if batch.is_empty() { Vec::new() } else { vec![batch] };
        self.pass(batches, phase).await
    }

    /// Passes batches through all stages; in the last phase what a chain lets go of flows through the later ones.
    async fn pass(&mut self, mut batches: Vec<Batch>, phase: Phase) -> Result<(), Failure> {
        for at in 0..self.stages.len() {
            if batches.is_empty() && phase == Phase::More {
                return Ok(());
            }
            let is_last = at + 1 == self.stages.len();
            match &mut self.stages[at] {
                Stage::Chains(chains) => {
                    let out = chains.run(batches, self.slice, phase).await?;
                    batches = self.out(out).await?;
                }
                Stage::Sink(sink) => {
                    let operation = sink.operation();
                    let refused = sink.write(&batches, &mut self.counts[operation]).await?;
                    if !is_last {
                        batches = sink.remaining(batches, &refused)?;
                    }
                    let refused: Vec<_> = refused.into_iter().flatten().collect();
                    let (place, counts) = (&self.places[operation], &mut self.counts[operation]);
                    self.letters.take(place, refused, counts, self.slice).await?;
                }
            }
        }
        Ok(())
    }

    /// Puts refused records where they belong and returns the others.
    async fn out(&mut self, out: Out) -> Result<Vec<Batch>, Failure> {
        for refused in out.rejected {
            let operation = refused.step;
            let (place, counts) = (&self.places[operation], &mut self.counts[operation]);
            self.letters.take(place, vec![refused], counts, self.slice).await?;
        }
        Ok(out.batches)
    }
}

fn micros_since(context: &Context, start: tokio::time::Instant) -> u64 {
    u64::try_from(context.now().duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
