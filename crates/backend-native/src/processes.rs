//! Instances that are processes on this machine.
//!
//! What runs is read from the system each time; memory holds only what the system does not: who was asked to leave, and
//! how those that have ended did so.

mod nursery;
mod system;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{self, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Signal, getuid, kill_process_group};
use teraslice_core::{
    backend::{BackendError, BackendEvent, DesiredExecution, Instance, InstanceId, Phase, Retire, Role},
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

use self::system::{Found, ProcessId};
use crate::{
    child,
    pidfd::PidFd,
    template::{Output, ProcessTemplate},
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
        Self { context, cluster, host, events, known: Arc::default() }
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
            let is_same = (it.found.ex_id, it.found.generation) == (found.ex_id, found.generation)
                && (it.found.role, it.found.ordinal) == (found.role, found.ordinal);
            let is_replaced = is_same && !it.phase.is_live();
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
        tracing::debug!(ex_id = %it.found.ex_id, pid = process.number, ?reason, "process ended");
        it.phase = Phase::Exited(reason);
        it.since = self.context.wall();
        self.hint(it.found.ex_id);
        true
    }

    fn hint(&self, ex_id: ExId) {
        let _nobody_listens = self.events.send(BackendEvent::Changed(ex_id));
    }

    fn instance(&self, it: &Known) -> Instance {
        Instance {
            id: it.found.process.instance_id(&self.host),
            ex_id: it.found.ex_id,
            generation: it.found.generation,
            role: it.found.role,
            ordinal: it.found.ordinal,
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
            prepare(template, desired)
                .map_err(|error| unavailable("failed to write to the run directory", &error))?;
        }
        for ordinal in missing {
            self.start(desired, role, ordinal, template).await?;
        }
        let mut known = self.lock();
        let mut kept = Vec::new();
        for it in known.values_mut().filter(|it| it.found.ex_id == desired.ex_id && it.found.role == role) {
            let is_current = it.found.generation == desired.generation;
            let is_wanted = is_current && it.found.ordinal < count && !kept.contains(&it.found.ordinal);
            if is_wanted && it.phase.is_live() {
                kept.push(it.found.ordinal);
            } else if it.found.generation <= desired.generation {
                self.drain(it, grace);
            }
        }
        Ok(())
    }

    async fn start(
        &self,
        desired: &DesiredExecution,
        role: Role,
        ordinal: u32,
        template: &ProcessTemplate,
    ) -> Result<(), BackendError> {
        let command = command(&self.cluster, desired, role, ordinal, template)
            .map_err(|error| unavailable("failed to open the log file", &error))?;
        let (processes, ex_id, generation) = (self.clone(), desired.ex_id, desired.generation);
        let outcome = Arc::new(Mutex::new(Ok(())));
        let told = Arc::clone(&outcome);
        let runtime = tokio::runtime::Handle::current();
        let birth: nursery::Birth = Box::new(move |born| {
            let _runtime = runtime.enter();
            let result = born.map(|process| {
                let found = Found { process, ex_id, generation, role, ordinal };
                processes.meet(&mut processes.lock(), found);
                processes.hint(ex_id);
            });
            *told.lock().unwrap_or_else(PoisonError::into_inner) = result;
        });
        let asked = nursery::spawn(command, birth).await;
        let born = std::mem::replace(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner), Ok(()));
        asked.and(born).map_err(|error| refused(template, &error))
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
        let is_meant = |it: &Known| it.found.ex_id == ex_id && it.found.generation <= upto;
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

/// Makes the run directory and writes what processes of the execution read.
fn prepare(template: &ProcessTemplate, desired: &DesiredExecution) -> io::Result<()> {
    make_private(&template.run_directory)?;
    child::write_job(&template.run_directory, desired.ex_id, &desired.job.document)
}

/// Makes a directory that only this user can enter. One that is there already has to be this user's.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != getuid().as_raw() {
        let message = format!("{} is not a directory of this user", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

fn command(
    cluster: &str,
    desired: &DesiredExecution,
    role: Role,
    ordinal: u32,
    template: &ProcessTemplate,
) -> io::Result<Command> {
    let mut command = Command::new(&template.program);
    command.args(&template.arguments);
    // The job's own variables come first: none of them may pass for ours.
    command.envs(&desired.job.env_vars);
    command.envs(template.environment.iter().map(|(name, value)| (name, value)));
    command
        .env(child::CLUSTER, cluster)
        .env(child::EX_ID, desired.ex_id.to_string())
        .env(child::JOB_ID, desired.job_id.to_string())
        .env(child::GENERATION, desired.generation.to_string())
        .env(child::NODE_TYPE, child::node_type(role))
        .env(child::ORDINAL, ordinal.to_string())
        .env(child::PARENT, process::id().to_string())
        .env(child::RUN_DIRECTORY, &template.run_directory)
        .process_group(0);
    match &template.output {
        Output::Inherit => {}
        Output::Discard => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::Files(directory) => {
            fs::create_dir_all(directory)?;
            let name = format!("{}-{}-{ordinal}.log", desired.ex_id, child::node_type(role));
            let file = OpenOptions::new().create(true).append(true).open(directory.join(name))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
    }
    Ok(command)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_others_out_of_a_directory_that_was_open_to_them() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        make_private(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn refuses_a_link_that_somebody_laid_in_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        std::os::unix::fs::symlink("/tmp", &directory).unwrap();
        assert_eq!(make_private(&directory).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
