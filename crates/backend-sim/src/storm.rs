//! What goes wrong from outside, second by second, until the calm.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use teraslice_core::context::Context;
use tokio::time::{Instant, sleep};

use crate::{
    master::Masters,
    node::SimNode,
    trace::Trace,
    weather::{Answers, Place, Weather},
};

/// Something may go wrong this often, on average.
const EVERY: Duration = Duration::from_secs(1);
/// What goes wrong lasts this long at the most, in milliseconds; one time in ten it is the longer one.
const LAST_MAX_MS: u64 = 40_000;
const LAST_LONG_MAX_MS: u64 = 400_000;

/// The storm over a cluster.
pub(crate) struct Storm {
    pub(crate) context: Context,
    pub(crate) weather: Weather,
    pub(crate) trace: Trace,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) masters: Arc<Mutex<Masters>>,
    /// When a master begins, where none leads.
    pub(crate) succession: Option<Instant>,
}

impl Storm {
    /// Lets things go wrong until the calm; then everything is as it should be.
    pub(crate) async fn run(mut self) {
        while !self.weather.is_calm() {
            self.strike_nodes();
            self.strike_services();
            self.succeed();
            sleep((EVERY * 2).mul_f64(self.context.random(|random| random.f64()))).await;
        }
        self.trace.note(format_args!("calm"));
        self.weather.clear();
        for node in &self.nodes {
            node.boot();
        }
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        if !masters.is_led() {
            masters.begin();
        }
    }

    fn strike_nodes(&self) {
        let faults = self.weather.faults();
        for (chance, harm) in [
            (faults.process_crash, Harm::Kill),
            (faults.node_crash, Harm::Crash),
            (faults.node_leave, Harm::Leave),
        ] {
            if !self.weather.strikes(chance) {
                continue;
            }
            let node = self.some_node().clone();
            let (context, last) = (self.context.clone(), self.last());
            match harm {
                Harm::Kill => node.kill_some(),
                Harm::Crash => {
                    node.crash();
                    self.later(last, move || node.boot());
                }
                Harm::Leave => drop(context.spawn(async move {
                    node.leave().await;
                    sleep(last).await;
                    node.boot();
                })),
            }
        }
    }

    fn strike_services(&self) {
        let faults = self.weather.faults();
        if self.weather.strikes(faults.cut) {
            self.cut();
        }
        if self.weather.strikes(faults.store_outage) {
            let answers =
                self.choose(&[Answers::Slowly, Answers::Unavailable, Answers::Full, Answers::Never]);
            self.trace.note(format_args!("the store answers: {answers:?}"));
            self.weather.set_store(answers);
            let (weather, trace) = (self.weather.clone(), self.trace.clone());
            self.later(self.last(), move || {
                trace.note(format_args!("the store answers well"));
                weather.set_store(Answers::Well);
            });
        }
        if self.weather.strikes(faults.api_outage) {
            let answers = self.choose(&[Answers::Slowly, Answers::Unavailable, Answers::Never]);
            self.trace.note(format_args!("the cluster answers: {answers:?}"));
            self.weather.set_api(answers);
            let (weather, trace) = (self.weather.clone(), self.trace.clone());
            self.later(self.last(), move || {
                trace.note(format_args!("the cluster answers well"));
                weather.set_api(Answers::Well);
            });
        }
        if self.weather.strikes(faults.master_crash) {
            self.strike_master();
        }
    }

    fn cut(&self) {
        let place = match self.context.random(|random| random.u32(..4)) {
            0 => Place::Master,
            1 => Place::Store,
            _ => self.some_node().place(),
        };
        self.trace.note(format_args!("{place} is cut off"));
        self.weather.cut(place);
        let (weather, trace) = (self.weather.clone(), self.trace.clone());
        self.later(self.last(), move || {
            trace.note(format_args!("{place} is back"));
            weather.heal(place);
        });
    }

    fn strike_master(&self) {
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        if self.context.random(|random| random.u32(..3) == 0) {
            return masters.begin();
        }
        masters.crash();
    }

    /// Lets a master begin, some time after the last one has ended.
    fn succeed(&mut self) {
        let now = self.context.now();
        let last = self.last();
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        if masters.is_led() {
            self.succession = None;
        } else if *self.succession.get_or_insert(now + last) <= now {
            masters.begin();
        }
    }

    fn some_node(&self) -> &SimNode {
        &self.nodes[self.context.random(|random| random.usize(..self.nodes.len()))]
    }

    fn choose<T: Copy>(&self, among: &[T]) -> T {
        among[self.context.random(|random| random.usize(..among.len()))]
    }

    fn last(&self) -> Duration {
        let most =
            if self.context.random(|random| random.u32(..10) == 0) { LAST_LONG_MAX_MS } else { LAST_MAX_MS };
        Duration::from_millis(self.context.random(|random| random.u64(100..most)))
    }

    fn later(&self, after: Duration, act: impl FnOnce() + Send + 'static) {
        drop(self.context.spawn(async move {
            sleep(after).await;
            act();
        }));
    }
}

/// What is done to a node.
#[derive(Clone, Copy)]
enum Harm {
    /// One of its processes is killed.
    Kill,
    /// It is lost, and comes back.
    Crash,
    /// It leaves in order, and comes back.
    Leave,
}
