//! One run of a cluster under one seed, and whether its laws held.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tempfile::TempDir;
use teraslice_core::{
    context::Context,
    store::{SliceCounts, StateStore},
};
use teraslice_model::{
    execution::Execution,
    id::{Epoch, Term},
    status::Status,
};
use teraslice_store::MemoryStore;
use tokio::time::{Instant, sleep};

use crate::{
    laws::Laws,
    master::Masters,
    network::Network,
    node::{Launch, SimNode},
    operations::{Output, SimSink},
    process::{Controllers, Parts},
    scenario::{BackendLife, Scenario},
    store::FaultyStore,
    storm::Storm,
    switchboard::Switchboard,
    trace::{Keep, Short, Trace},
    users::User,
    weather::Weather,
    witness::Witness,
};

/// After the calm every execution has to end within this much simulated time.
const END_MAX: Duration = Duration::from_hours(2);
/// After the end of all executions nothing may run any more after this: a sweep, the time of suspects, and a drain.
const LEAVE_MAX: Duration = Duration::from_mins(15);
/// It is looked this often whether all is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A run that is to be.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    keep: Keep,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Replays the run.
    pub seed: u64,
    /// The first law that did not hold; absent: all held.
    pub broken: Option<String>,
    /// The hash of all that happened, and how many events that were.
    pub trace: (u64, u64),
    /// The lines of the trace, if they were to be kept.
    pub lines: Vec<String>,
    /// The executions, as they ended.
    pub ends: Vec<End>,
    /// How many masters there were.
    pub terms: Term,
    /// Simulated time.
    pub elapsed: Duration,
    /// Simulated time from the calm to the end of the last execution, and from there to the end of the last process.
    pub settled: (Duration, Duration),
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The status at the end.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<String>,
    /// Slices by state.
    pub counts: SliceCounts,
    /// Controller processes that it took.
    pub epochs: Epoch,
}

/// There is no scenario of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scenario \"{name}\"")]
pub struct UnknownScenario {
    /// The name.
    pub name: String,
}

impl Simulation {
    /// Prepares the run of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, keep: Keep::Hash }
    }

    /// Keeps the lines of the trace.
    #[must_use]
    pub const fn with_lines(self) -> Self {
        Self { keep: Keep::Lines, ..self }
    }

    /// Runs a scenario by its name.
    ///
    /// # Errors
    ///
    /// When there is none of that name. A broken law is in the report.
    ///
    /// # Panics
    ///
    /// When the runtime cannot be made.
    pub fn run(&self, name: &str) -> Result<Report, UnknownScenario> {
        self.run_with(|context| {
            Scenario::draw(name, context).ok_or_else(|| UnknownScenario { name: name.to_owned() })
        })
    }

    /// Runs whatever scenario `draw` returns.
    ///
    /// # Errors
    ///
    /// Those of `draw`.
    ///
    /// # Panics
    ///
    /// When the runtime cannot be made.
    pub fn run_with<E>(&self, draw: impl FnOnce(&Context) -> Result<Scenario, E>) -> Result<Report, E> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        runtime.block_on(async {
            let context = Context::simulated(self.seed);
            let world = World::new(draw(&context)?, context, self.keep);
            Ok(world.play(self.seed).await)
        })
    }
}

/// Everything there is in a run.
struct World {
    scenario: Scenario,
    context: Context,
    weather: Weather,
    trace: Trace,
    /// The store itself, without faults.
    inner: Arc<dyn StateStore>,
    store: FaultyStore,
    witness: Witness,
    output: Output,
    nodes: Vec<SimNode>,
    masters: Arc<Mutex<Masters>>,
    controllers: Controllers,
    switchboard: Switchboard,
    /// Where backends keep what they remember, until the end of the run.
    _memory: Option<TempDir>,
}

impl World {
    fn new(scenario: Scenario, context: Context, keep: Keep) -> Self {
        let trace = Trace::new(context.clone(), keep);
        let weather = Weather::new(context.clone(), scenario.faults.clone());
        let witness = Witness::new(trace.clone());
        let inner: Arc<dyn StateStore> = Arc::new(MemoryStore::new(context.clone()));
        let store = FaultyStore::new(Arc::clone(&inner), weather.clone(), witness.clone(), scenario.sabotage);
        let (output, controllers) = (Output::default(), Controllers::default());
        let parts = Parts {
            store: store.clone(),
            network: Network::new(context.clone(), weather.clone()),
            sink: SimSink { output: Arc::clone(&output), sabotage: scenario.sabotage },
            limits: scenario.limits,
            sabotage: scenario.sabotage,
            controllers: controllers.clone(),
        };
        let launch: Launch = Arc::new(move |start, stop| parts.clone().launch(start, stop).boxed());
        let node = |size| {
            let clock = context.skewed(scenario.faults.skew_ms(&context));
            SimNode::new(size, clock, Arc::clone(&launch), weather.clone(), trace.clone())
        };
        let nodes = scenario.nodes.iter().copied().map(node).collect();
        let switchboard = Switchboard::new(context.clone(), weather.clone());
        let memory = (scenario.backend == BackendLife::Remembered)
            .then(|| TempDir::new().expect("the directory for temporary files can be written to"));
        let masters = Masters {
            context: context.clone(),
            weather: weather.clone(),
            trace: trace.clone(),
            store: store.clone(),
            switchboard: switchboard.clone(),
            life: scenario.backend,
            memory: memory.as_ref().map(|directory| directory.path().join("nodes.json")),
            patience: scenario.patience,
            sabotage: scenario.sabotage,
            term: Term(0),
            nodes: None,
            leader: None,
            earlier: Vec::new(),
        };
        let masters = Arc::new(Mutex::new(masters));
        Self {
            scenario,
            context,
            weather,
            trace,
            inner,
            store,
            witness,
            output,
            nodes,
            masters,
            controllers,
            switchboard,
            _memory: memory,
        }
    }

    async fn play(self, seed: u64) -> Report {
        let start = self.context.now();
        self.masters.lock().unwrap_or_else(PoisonError::into_inner).begin();
        for node in &self.nodes {
            drop(self.context.spawn(node.clone().run(self.switchboard.clone())));
        }
        for work in self.scenario.executions.clone() {
            let user = User {
                context: self.context.clone(),
                trace: self.trace.clone(),
                store: self.store.clone(),
                masters: Arc::clone(&self.masters),
                controllers: self.controllers.clone(),
                work,
            };
            drop(self.context.spawn(user.run()));
        }
        let storm = Storm {
            context: self.context.clone(),
            weather: self.weather.clone(),
            trace: self.trace.clone(),
            nodes: self.nodes.clone(),
            masters: Arc::clone(&self.masters),
            succession: None,
        };
        storm.run().await;
        let calm = self.context.now();
        let (ends, settled) = self.finish(calm).await.unwrap_or_else(|law| {
            self.trace.broken(law);
            Default::default()
        });
        Report {
            seed,
            broken: self.trace.first_broken(),
            trace: self.trace.hash(),
            lines: self.trace.lines(),
            ends,
            terms: self.masters.lock().unwrap_or_else(PoisonError::into_inner).term,
            elapsed: self.context.now().duration_since(start),
            settled,
        }
    }

    /// Waits for the end of everything and checks the laws.
    async fn finish(&self, calm: Instant) -> Result<(Vec<End>, (Duration, Duration)), String> {
        let ended = self.all_ended().await?;
        let all_ended = self.context.now();
        self.trace.note(format_args!("all executions have ended"));
        self.all_left().await?;
        let settled = (all_ended.duration_since(calm), self.context.now().duration_since(all_ended));
        let laws = Laws {
            store: Arc::clone(&self.inner),
            witness: self.witness.clone(),
            output: Arc::clone(&self.output),
            promise: self.scenario.promise,
        };
        laws.check_peace(self.nodes.iter().map(SimNode::kills).sum())?;
        let mut ends = Vec::new();
        for (work, execution) in self.scenario.executions.iter().zip(ended) {
            let counts = laws.check(work, &execution).await?;
            let Execution { status, failure, epoch: epochs, .. } = execution;
            ends.push(End { status, failure, counts, epochs });
        }
        Ok((ends, settled))
    }

    async fn all_ended(&self) -> Result<Vec<Execution>, String> {
        let give_up = self.context.now() + END_MAX;
        let mut ended = Vec::new();
        for work in &self.scenario.executions {
            loop {
                let found = self.inner.execution(work.ex_id()).await.map_err(|error| error.to_string())?;
                match found {
                    Some(execution) if execution.status.is_terminal() => {
                        ended.push(execution);
                        break;
                    }
                    _ if self.trace.first_broken().is_some() => return Err("the run was given up".to_owned()),
                    found if self.context.now() > give_up => {
                        let status = found.map_or("missing".to_owned(), |it| it.status.to_string());
                        let name = Short(work.ex_id());
                        return Err(format!("{name} is {status} {END_MAX:?} after the calm"));
                    }
                    _ => sleep(LOOK_EVERY).await,
                }
            }
        }
        Ok(ended)
    }

    /// Waits until nothing runs on any node.
    async fn all_left(&self) -> Result<(), String> {
        let give_up = self.context.now() + LEAVE_MAX;
        loop {
            let Some((node, left)) = self.nodes.iter().find_map(|node| Some((node, *node.live().first()?)))
            else {
                return Ok(());
            };
            if self.context.now() > give_up {
                let place = node.place();
                return Err(format!("{left} runs on {place} {LEAVE_MAX:?} after the end of all executions"));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
