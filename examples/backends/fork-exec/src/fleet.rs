//! The processes of a cluster on this machine.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use teraslice_plugin_sdk::{
    BackendError, Host,
    message::{DesiredExecution, ExitReason, Gone, Instance, Phase, Retire, RetireParams, Role, Snapshot},
};

use crate::system::{self, Key, ProcessId, now_ms};

/// The processes of a cluster on this machine.
pub struct Fleet {
    cluster: String,
    logs: PathBuf,
    host: Host,
    known: Mutex<BTreeMap<ProcessId, Known>>,
}

/// What is known of a process beyond what the system says.
struct Known {
    key: Key,
    phase: Phase,
    since_ms: i64,
    /// When it is killed, once it was asked to leave.
    kill_at_ms: Option<i64>,
    /// Absent: another process has started it.
    child: Option<Child>,
}

impl Fleet {
    /// Makes a fleet of which nothing is known yet.
    #[must_use]
    pub fn new(cluster: String, logs: PathBuf, host: Host) -> Self {
        Self { cluster, logs, host, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down who has ended, and kills those whose time is over.
    pub fn look(&self) {
        self.look_at(&mut self.lock());
    }

    fn look_at(&self, known: &mut BTreeMap<ProcessId, Known>) {
        for (process, it) in known.iter_mut().filter(|(_, it)| it.phase.is_live()) {
            let ended = match it.child.as_mut().map(Child::try_wait) {
                Some(Ok(status)) => status.map(reason),
                Some(Err(_)) | None => (!process.is_live()).then_some(ExitReason::Unknown),
            };
            if let Some(reason) = ended {
                it.phase = Phase::Exited(reason);
                it.since_ms = now_ms();
                self.host.changed(&it.key.ex_id);
            } else if it.kill_at_ms.is_some_and(|at| at <= now_ms()) {
                signal(*process, Signal::KILL);
            }
        }
    }

    /// Looks at everything, also at what others have started.
    fn survey(&self) -> Result<MutexGuard<'_, BTreeMap<ProcessId, Known>>, BackendError> {
        let mut known = self.lock();
        for (process, key) in system::scan(&self.cluster).map_err(BackendError::unavailable)? {
            known.entry(process).or_insert_with(|| Known::new(key, None));
        }
        self.look_at(&mut known);
        Ok(known)
    }

    /// Starts what is missing, and asks the rest to leave.
    ///
    /// # Errors
    ///
    /// When a process cannot be started.
    pub fn ensure(&self, desired: &DesiredExecution) -> Result<(), BackendError> {
        let mut known = self.survey()?;
        for role in Role::ALL {
            for ordinal in 0..desired.count(role) {
                let key = Key { ex_id: desired.ex_id.clone(), generation: desired.generation, role, ordinal };
                if known.values().any(|it| it.key == key && it.phase.is_live()) {
                    continue;
                }
                let child = self.start(desired, &key)?;
                known.retain(|_, it| it.key != key);
                let process = ProcessId::of(child.id()).map_err(BackendError::unavailable)?;
                known.insert(process, Known::new(key, Some(child)));
                self.host.changed(&desired.ex_id);
            }
        }
        let kill_at_ms = after(desired.drain_grace_ms);
        for (process, it) in known.iter_mut().filter(|(_, it)| it.key.ex_id == desired.ex_id) {
            let is_surplus = it.key.ordinal >= desired.count(it.key.role);
            let is_old = it.key.generation < desired.generation;
            if is_old || (is_surplus && it.key.generation == desired.generation) {
                it.drain(*process, kill_at_ms);
            }
        }
        Ok(())
    }

    fn start(&self, desired: &DesiredExecution, key: &Key) -> Result<Child, BackendError> {
        let template = desired.process(key.role);
        let spawn = || {
            fs::create_dir_all(&self.logs)?;
            let log = self.logs.join(format!("{}-{}-{}.log", key.ex_id, key.role_name(), key.ordinal));
            let log = OpenOptions::new().create(true).append(true).open(log)?;
            Command::new(&template.program)
                .args(&template.arguments)
                .envs(&template.environment)
                .env(system::ORDINAL, key.ordinal.to_string())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0)
                .spawn()
        };
        spawn().map_err(|error| {
            let reason = format!("failed to start {}: {error}", template.program);
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => BackendError::refused(reason),
                _ => BackendError::unavailable(reason),
            }
        })
    }

    /// Ends the processes of an execution; with none left they are forgotten.
    ///
    /// # Errors
    ///
    /// When the system does not say what runs.
    pub fn retire(&self, params: &RetireParams) -> Result<Gone, BackendError> {
        let mut known = self.survey()?;
        let is_meant =
            |it: &Known| it.key.ex_id == params.ex_id && it.key.generation <= params.generation_max;
        let mut unconfirmed = Vec::new();
        for (process, it) in known.iter_mut().filter(|(_, it)| is_meant(it) && it.phase.is_live()) {
            match params.how {
                Retire::Drain => it.drain(*process, after(params.grace_ms)),
                Retire::Kill => signal(*process, Signal::KILL),
            }
            unconfirmed.push(process.name());
        }
        if unconfirmed.is_empty() {
            known.retain(|_, it| !is_meant(it));
        }
        Ok(Gone { unconfirmed })
    }

    /// Lists the processes.
    ///
    /// # Errors
    ///
    /// When the system does not say what runs.
    pub fn observe(&self, ex_id: Option<&str>) -> Result<Snapshot, BackendError> {
        let as_of_ms = Some(now_ms());
        let known = self.survey()?;
        let wanted = known.iter().filter(|(_, it)| ex_id.is_none_or(|ex_id| it.key.ex_id == ex_id));
        let instances = wanted.map(|(process, it)| Instance {
            id: process.name(),
            ex_id: it.key.ex_id.clone(),
            generation: it.key.generation,
            role: it.key.role,
            ordinal: it.key.ordinal,
            phase: it.phase.clone(),
            since_ms: Some(it.since_ms),
        });
        Ok(Snapshot { as_of_ms, instances: instances.collect() })
    }

    /// Kills everything; tells whether something still runs.
    ///
    /// # Errors
    ///
    /// When the system does not say what runs.
    pub fn kill_all(&self) -> Result<bool, BackendError> {
        let known = self.survey()?;
        let live = known.iter().filter(|(_, it)| it.phase.is_live());
        Ok(live.inspect(|(process, _)| signal(**process, Signal::KILL)).count() > 0)
    }
}

impl Known {
    fn new(key: Key, child: Option<Child>) -> Self {
        Self { key, phase: Phase::Running, since_ms: now_ms(), kill_at_ms: None, child }
    }

    /// Asks a process to leave. Asked again, the shorter grace counts.
    fn drain(&mut self, process: ProcessId, kill_at_ms: i64) {
        if !self.phase.is_live() {
            return;
        }
        if self.kill_at_ms.is_none() {
            self.phase = Phase::Draining;
            self.since_ms = now_ms();
            signal(process, Signal::TERM);
        }
        self.kill_at_ms = Some(self.kill_at_ms.map_or(kill_at_ms, |earlier| earlier.min(kill_at_ms)));
    }
}

fn after(millis: u64) -> i64 {
    now_ms().saturating_add(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Signals the whole group of a process, if it is still the one that is meant.
fn signal(process: ProcessId, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.number).filter(|_| process.is_live()) {
        let _ended_meanwhile = kill_process_group(pid, signal);
    }
}

fn reason(status: ExitStatus) -> ExitReason {
    match (status.code(), status.signal()) {
        (Some(0), _) => ExitReason::Completed,
        (Some(code), _) => ExitReason::Code(code),
        (None, Some(signal)) => ExitReason::Signal(signal),
        (None, None) => ExitReason::Unknown,
    }
}
