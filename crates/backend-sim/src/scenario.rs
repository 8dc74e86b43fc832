//! What a run is made of: nodes, executions, faults; drawn from the seed.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use teraslice_core::{context::Context, engine::Patience};
use teraslice_model::{
    id::{ExId, SliceId},
    job::{CheckEnvironment, CheckedJob, RawJob},
};

use crate::{
    faults::Faults,
    node::Size,
    operations::{SimReaderConfig, SimRequest},
    trace::ex_id,
};

/// Slots of a node at the least: an execution needs two to begin.
const SLOTS_MIN: u32 = 2;

/// The scenarios that can be asked for by name, and what each is about.
pub const NAMES: [(&str, &str); 7] = [
    ("cluster", "5 nodes, 3 executions, every kind of fault"),
    ("calm", "5 nodes, 3 executions, no faults"),
    ("crowded", "2 small nodes, 6 executions that wait for slots, every kind of fault"),
    (
        "failover",
        "5 nodes, 3 executions; only the master and what it hears are struck: what runs is not disturbed",
    ),
    ("leaving", "5 nodes, 3 executions; nodes leave in order: no execution fails of it"),
    ("alone", "1 node, 1 execution, every kind of fault"),
    ("held", "5 nodes, 3 executions, every kind of fault; users hold executions back for a while"),
];

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What goes wrong.
    pub faults: Faults,
    /// The nodes.
    pub nodes: Vec<Size>,
    /// The executions.
    pub executions: Vec<Work>,
    /// What happens to the backend when the master dies.
    pub backend: BackendLife,
    /// How patient the engine is.
    pub patience: Patience,
    /// How patient controllers are.
    pub limits: PatienceOfProcesses,
    /// What users may expect.
    pub promise: Promise,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

/// How patient controllers and the engine are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatienceOfProcesses {
    /// As by default: an execution fails when its controller falls too often, or no worker comes for too long.
    Default,
    /// Endless: it ends only by its work, or when a user says so.
    Endless,
}

/// What users may expect of executions, whatever goes wrong around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// They end; some may fail because patience has.
    End,
    /// They end by their work, or when a user says so.
    Finish,
    /// And each takes one controller, and nothing is killed.
    Undisturbed,
}

/// What happens to the backend when the master dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendLife {
    /// It dies with it; the next master hears from the nodes what they run.
    WithMaster,
    /// It dies with it, but the next master finds in a file what ran where.
    Remembered,
    /// It is a service of its own, and two masters may talk to it at once.
    OfItsOwn,
}

/// A defect on purpose, to see that the laws notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// The cluster accepts what is wanted, and does nothing.
    LoseWishes,
    /// Processes do not end, and the cluster says that they have.
    RetireNothing,
    /// The store takes every writer for the latest.
    FenceNobody,
    /// The sink says that it has committed a slice, and has not.
    LoseSlice,
}

/// One execution.
#[derive(Clone, Debug)]
pub struct Work {
    /// Its number, from 1.
    pub number: u32,
    /// When it is submitted.
    pub after: Duration,
    /// Workers of the job.
    pub workers: u32,
    /// Slicers of the job.
    pub slicers: u32,
    /// What each slicer makes.
    pub reader: SimReaderConfig,
    /// When how many workers are wanted instead.
    pub scale: Option<(Duration, u32)>,
    /// When a user stops it.
    pub stop: Option<Duration>,
    /// When a user holds it back, and when they let it go on.
    pub hold: Option<(Duration, Duration)>,
}

impl Scenario {
    /// Draws a scenario; none of that name: nothing.
    #[must_use]
    pub fn draw(name: &str, context: &Context) -> Option<Self> {
        let drawn = Faults::draw(context);
        let (faults, nodes, executions, promise) = match name {
            "cluster" | "held" => (drawn, 5, 3, Promise::End),
            "calm" => (Faults::none(), 5, 3, Promise::Undisturbed),
            "crowded" => (drawn, 2, 6, Promise::End),
            "failover" => (drawn.of_the_master(), 5, 3, Promise::Undisturbed),
            "leaving" => (drawn.of_leaving(), 5, 3, Promise::Finish),
            "alone" => (drawn, 1, 1, Promise::End),
            _ => return None,
        };
        let lives = if promise == Promise::Undisturbed {
            [BackendLife::OfItsOwn, BackendLife::OfItsOwn, BackendLife::Remembered]
        } else {
            [BackendLife::OfItsOwn, BackendLife::WithMaster, BackendLife::Remembered]
        };
        let backend = context.random(|random| lives[random.usize(..lives.len())]);
        let is_endless = promise == Promise::End && context.random(|random| random.bool());
        let mut patience = Patience::default();
        let (limits, promise) = if is_endless {
            patience.controller_restarts_max = u32::MAX;
            (PatienceOfProcesses::Endless, Promise::Finish)
        } else {
            (PatienceOfProcesses::Default, promise)
        };
        let until = faults.calm_after;
        let executions = (1..=executions).map(|number| Work::draw(number, until, context));
        let executions =
            executions.map(|work| if promise == Promise::Undisturbed { work.left_alone() } else { work });
        let executions = executions.map(|work| if name == "held" { work.held(until, context) } else { work });
        let executions = executions.collect();
        let slots = if name == "crowded" { 2 } else { 4 };
        let nodes = (1..=nodes).map(|number| {
            let more = context.random(|random| random.u32(0..=slots));
            Size { number, slots: SLOTS_MIN + more }
        });
        let nodes = nodes.collect();
        Some(Self { faults, nodes, executions, backend, patience, limits, promise, sabotage: Sabotage::None })
    }
}

impl Work {
    fn draw(number: u32, until: Duration, context: &Context) -> Self {
        let moment = || until.mul_f64(context.random(|random| random.f64()));
        let (after, later, latest) = (moment().mul_f64(0.5), moment(), moment());
        context.random(|random| Self {
            number,
            after,
            workers: random.u32(1..=4),
            slicers: random.u32(1..=3),
            reader: SimReaderConfig {
                slices: random.u64(0..60),
                bad_every: *random.choice(&[0, 0, 10]).unwrap_or(&0),
                flaky_every: *random.choice(&[0, 3]).unwrap_or(&0),
            },
            scale: (random.u32(..3) == 0).then(|| (later, random.u32(1..=6))),
            stop: (random.u32(..6) == 0).then_some(latest),
            hold: None,
        })
    }

    /// Returns the same, without users that want something else later.
    fn left_alone(self) -> Self {
        Self { scale: None, stop: None, ..self }
    }

    /// Returns the same with more slices, and a user that holds them back for a while.
    fn held(mut self, until: Duration, context: &Context) -> Self {
        let moment = || until.mul_f64(context.random(|random| random.f64()));
        let (one, other) = (moment(), moment());
        self.hold = Some((one.min(other), one.max(other)));
        self.reader.slices *= 4;
        self
    }

    /// Returns the id of the execution.
    #[must_use]
    pub fn ex_id(&self) -> ExId {
        ex_id(self.number)
    }

    /// Returns the job as a user writes it.
    ///
    /// # Panics
    ///
    /// Never: what it is made of is an object.
    #[must_use]
    pub fn job(&self) -> RawJob {
        let SimReaderConfig { slices, bad_every, flaky_every } = self.reader;
        let reader = json!({
            "_op": "sim_reader", "slices": slices, "bad_every": bad_every, "flaky_every": flaky_every,
        });
        let job = json!({
            "name": "simulated",
            "lifecycle": "once",
            "workers": self.workers,
            "slicers": self.slicers,
            "max_retries": 30,
            "operations": [reader, {"_op": "sim_sink"}],
        });
        serde_json::from_value(job).expect("an object is a job as users write it")
    }

    /// Returns every slice that can be read, with its records.
    #[must_use]
    pub fn expected(&self) -> Vec<(SliceId, Vec<String>)> {
        let all =
            (0..self.slicers).flat_map(|slicer| (0..self.reader.slices).map(move |number| (slicer, number)));
        let good = all.filter(|(_, number)| !self.reader.is_bad(*number));
        let slice = |(slicer, number)| {
            (SliceId::derive(self.ex_id(), slicer, number + 1), SimRequest { slicer, number }.records())
        };
        good.map(slice).collect()
    }

    /// Returns how many slices there are, readable or not.
    #[must_use]
    pub fn slices(&self) -> u64 {
        u64::from(self.slicers) * self.reader.slices
    }
}

/// Checks a job against what simulated clusters offer.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(job: &RawJob) -> Result<Arc<CheckedJob>, String> {
    let checked = RawJob(job.0.clone()).check(&environment());
    checked.map(|(job, _)| Arc::new(job)).map_err(|problems| format!("{problems:?}"))
}

/// What jobs are checked against.
#[must_use]
pub const fn environment() -> CheckEnvironment {
    CheckEnvironment { known_connections: None, cpus: 64, is_kubernetes: false, overrides_enabled: false }
}
