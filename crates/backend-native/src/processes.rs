//! Instances that are processes on this machine.
//!
//! What runs is read from the system each time; memory holds only what the system does not: who was asked to leave, and
//! how those that have ended did so.

mod keyed;
mod launch;
mod nursery;
mod system;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Signal, kill_process_group};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, DesiredExecution, ExitReason, Instance, InstanceId, Phase, Retire, Role,
    },
    context::Context,
};
use teraslice_model::{
    id::{ExId, Generation},
    timestamp::Timestamp,
};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep, sleep_until},
};

pub(crate) use self::launch::{Life, Order, make_private};
use self::system::{Found, ProcessId};
use crate::{
    child,
    limits::{Allowance, Limiter},
    nodes::message::{Place, ProcessKey},
    pidfd::PidFd,
    template::ProcessTemplate,
};

/// Where the system does not tell of the end of a process, it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    context: Context,
    cluster: Arc<str>,
    host: Arc<str>,
    events: broadcast::Sender<BackendEvent>,
    /// Enforces limits, where somebody has asked for that.
    limiter: Option<Arc<Limiter>>,
    known: Arc<Mutex<BTreeMap<ProcessId, Known>>>,
}

/// What is known of a process beyond what the system says.
#[derive(Debug)]
struct Known {
    found: Found,
    phase: Phase,
    since: Timestamp,
    /// When it is killed, once it was asked to leave.
    kill_at: Option<Instant>,
}

impl Processes {
    pub(crate) fn new(context: Context, cluster: &str, events: broadcast::Sender<BackendEvent>) -> Self {
        let (cluster, host) = (cluster.into(), system::host().into());
        Self { context, cluster, host, events, limiter: None, known: Arc::default() }
    }

    /// Puts processes under limits from now on.
    pub(crate) fn limited(self, limiter: Arc<Limiter>) -> Self {
        Self { limiter: Some(limiter), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the processes: what the system shows, and what has ended and was not retired.
    pub(crate) async fn observe(&self) -> Result<Vec<Instance>, BackendError> {
        let cluster = Arc::clone(&self.cluster);
        let scanned = self.context.compute(move || system::scan(&cluster)).await;
        let scanned = scanned.map_err(|error| unavailable("failed to list the processes", &error))?;
        let mut known = self.lock();
        for found in scanned {
            self.meet(&mut known, found);
        }
        for (process, it) in known.iter_mut().filter(|(_, it)| it.phase.is_live()) {
            if !process.is_live() {
                let _is_over = self.note_end(*process, it);
            }
        }
        Ok(known.values().map(|it| self.instance(it)).collect())
    }

    /// Takes in a process that runs, and waits for its end.
    fn meet(&self, known: &mut BTreeMap<ProcessId, Known>, found: Found) {
        let process = found.process;
        if known.contains_key(&process) {
            return;
        }
        let age = i64::try_from(process.age().unwrap_or_default().as_millis()).unwrap_or_default();
        let since = Timestamp::from_millis(self.context.wall().as_millis() - age);
        // Whoever replaces one that has ended takes its place.
        known.retain(|old, it| {
            let is_replaced = it.found.key.is_same_place(&found.key) && !it.phase.is_live();
            if is_replaced {
                nursery::forget(*old);
            }
            !is_replaced
        });
        known.insert(process, Known { found, phase: Phase::Running, since, kill_at: None });
        let processes = self.clone();
        drop(self.context.spawn(async move { processes.await_end(process).await }));
    }

    async fn await_end(&self, process: ProcessId) {
        let held = PidFd::open(process.pid());
        loop {
            let waited = match &held {
                Ok(held) if process.is_live() => held.ended().await.is_ok(),
                _ => false,
            };
            let is_noted = match self.lock().get_mut(&process) {
                Some(it) if it.phase.is_live() => !process.is_live() && self.note_end(process, it),
                _ => true,
            };
            if is_noted {
                return;
            }
            if !waited {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Takes down that a process has ended; tells whether it has, down to its last thread.
    fn note_end(&self, process: ProcessId, it: &mut Known) -> bool {
        let Some(reason) = nursery::reap(process) else { return false };
        let is_out_of_memory =
            self.limiter.as_ref().is_some_and(|limiter| limiter.release(&it.found.key.to_string()));
        let is_in_order = reason == ExitReason::Completed;
        let reason = if is_out_of_memory && !is_in_order { ExitReason::OutOfMemory } else { reason };
        tracing::debug!(process = %it.found.key, pid = process.number, ?reason, "process ended");
        it.phase = Phase::Exited(reason);
        it.since = self.context.wall();
        self.hint(it.found.key.ex_id);
        true
    }

    fn hint(&self, ex_id: ExId) {
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
    }

    fn instance(&self, it: &Known) -> Instance {
        Instance {
            id: it.found.process.instance_id(&self.host),
            ex_id: it.found.key.ex_id,
            generation: it.found.key.generation,
            role: it.found.key.role,
            ordinal: it.found.key.ordinal,
            phase: it.phase.clone(),
            address: None,
            since: it.since,
        }
    }

    /// Starts what is missing of a role, and asks the rest to leave.
    pub(crate) async fn ensure(
        &self,
        desired: &DesiredExecution,
        role: Role,
        count: u32,
        template: &ProcessTemplate,
        grace: Duration,
    ) -> Result<(), BackendError> {
        let observed = self.observe().await?;
        let place = |it: &Instance| (it.generation == desired.generation).then_some(it.ordinal);
        let ours =
            observed.iter().filter(|it| it.ex_id == desired.ex_id && it.role == role && it.phase.is_live());
        let live: Vec<u32> = ours.filter_map(place).collect();
        let missing: Vec<u32> = (0..count).filter(|ordinal| !live.contains(ordinal)).collect();
        if !missing.is_empty() {
            make_private(&template.run_directory)
                .and_then(|()| {
                    child::write_job(&template.run_directory, desired.ex_id, &desired.job.document)
                })
                .map_err(|error| unavailable("failed to write to the run directory", &error))?;
        }
        let place = Place { ex_id: desired.ex_id, generation: desired.generation, role, ordinal: 0 };
        for ordinal in missing {
            let key = Place { ordinal, ..place }.with(0);
            let (job_id, environment) = (desired.job_id, &desired.job.env_vars);
            let allowance = Allowance::default();
            self.start(Order { key, job_id, environment, allowance, life: Life::Bound }, template).await?;
        }
        let mut known = self.lock();
        let mut kept = Vec::new();
        let is_of_role = |key: &ProcessKey| key.ex_id == desired.ex_id && key.role == role;
        for it in known.values_mut().filter(|it| is_of_role(&it.found.key)) {
            let key = it.found.key;
            let is_current = key.generation == desired.generation;
            let is_wanted = is_current && key.ordinal < count && !kept.contains(&key.ordinal);
            if is_wanted && it.phase.is_live() {
                kept.push(key.ordinal);
            } else if key.generation <= desired.generation {
                self.drain(it, grace);
            }
        }
        Ok(())
    }

    /// Starts a process; whoever looks after that finds it.
    pub(crate) async fn start(
        &self,
        order: Order<'_>,
        template: &ProcessTemplate,
    ) -> Result<(), BackendError> {
        let command = launch::command(&self.cluster, &order, template)
            .map_err(|error| unavailable("failed to open the log file", &error))?;
        let (processes, key, job_id, allowance) = (self.clone(), order.key, order.job_id, order.allowance);
        let outcome = Arc::new(Mutex::new(Ok(())));
        let told = Arc::clone(&outcome);
        let runtime = tokio::runtime::Handle::current();
        let birth: nursery::Birth = Box::new(move |born| {
            let _runtime = runtime.enter();
            let result = born.map(|process| {
                processes.enclose(process, &key, allowance);
                processes.meet(&mut processes.lock(), Found { process, key, job_id });
                processes.hint(key.ex_id);
            });
            *told.lock().unwrap_or_else(PoisonError::into_inner) = result;
        });
        let asked = nursery::spawn(command, birth).await;
        let born = std::mem::replace(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner), Ok(()));
        asked.and(born).map_err(|error| refused(template, &error))
    }

    fn enclose(&self, process: ProcessId, key: &ProcessKey, allowance: Allowance) {
        let Some(limiter) = self.limiter.as_ref().filter(|_| allowance.is_limited()) else { return };
        if let Err(error) = limiter.enclose(process.pid(), &key.to_string(), allowance) {
            tracing::warn!(process = %key, %error, "process runs without its limits");
        }
    }

    /// Asks a process to leave; after the grace it is killed. Asked again, the shorter grace counts.
    fn drain(&self, it: &mut Known, grace: Duration) {
        let kill_at = self.context.now() + grace;
        if !it.phase.is_live() || it.kill_at.is_some_and(|earlier| earlier <= kill_at) {
            return;
        }
        let process = it.found.process;
        if it.kill_at.replace(kill_at).is_none() {
            it.phase = Phase::Draining;
            it.since = self.context.wall();
            signal(process, Signal::TERM);
        }
        drop(self.context.spawn(async move {
            sleep_until(kill_at).await;
            signal(process, Signal::KILL);
        }));
    }

    /// Ends the processes of an execution; returns those that still run. With none left they are forgotten.
    pub(crate) async fn retire(
        &self,
        ex_id: ExId,
        upto: Generation,
        how: Retire,
    ) -> Result<Vec<InstanceId>, BackendError> {
        self.observe().await?;
        let mut known = self.lock();
        let is_meant = |it: &Known| it.found.key.ex_id == ex_id && it.found.key.generation <= upto;
        let mut live = Vec::new();
        for it in known.values_mut().filter(|it| is_meant(it) && it.phase.is_live()) {
            match how {
                Retire::Drain { grace } => self.drain(it, grace),
                Retire::Kill => signal(it.found.process, Signal::KILL),
            }
            live.push(it.found.process.instance_id(&self.host));
        }
        if live.is_empty() {
            for (process, _) in known.extract_if(.., |_, it| is_meant(it)) {
                nursery::forget(process);
            }
        }
        Ok(live)
    }

    /// Kills everything; returns whether something still runs.
    pub(crate) async fn kill_all(&self) -> Result<bool, BackendError> {
        self.observe().await?;
        let known = self.lock();
        let live = known.values().filter(|it| it.phase.is_live());
        Ok(live.inspect(|it| signal(it.found.process, Signal::KILL)).count() > 0)
    }
}

/// Signals the whole group of a process, if it is still the one that is meant.
fn signal(process: ProcessId, signal: Signal) {
    if process.is_live() {
        let _ended_meanwhile = kill_process_group(process.pid(), signal);
    }
}

fn unavailable(what: &str, error: &io::Error) -> BackendError {
    BackendError::Unavailable { reason: format!("{what}: {error}"), retry_after: None }
}

fn refused(template: &ProcessTemplate, error: &io::Error) -> BackendError {
    let reason = format!("failed to start {}: {error}", template.program.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
            BackendError::Refused { reason }
        }
        _ => BackendError::Unavailable { reason, retry_after: None },
    }
}
