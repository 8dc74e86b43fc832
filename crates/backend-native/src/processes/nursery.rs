//! The children of this process: one thread that starts them, one place that knows how they ended.

use std::{
    collections::BTreeMap,
    io,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use teraslice_core::backend::ExitReason;
use tokio::sync::oneshot;

use super::system::ProcessId;

/// A process is started, and what has to know of it before anybody asks is told.
pub(crate) type Birth = Box<dyn FnOnce(io::Result<ProcessId>) + Send>;

/// How the children of this process ended, until somebody forgets them. Their exit status can be had once only, and more
/// than one backend may ask.
static ENDS: Mutex<BTreeMap<ProcessId, Option<ExitReason>>> = Mutex::new(BTreeMap::new());

/// Starts a child; `birth` is told even when nobody waits for the answer any more.
pub(crate) async fn spawn(command: Command, birth: Birth) -> io::Result<()> {
    let (done, answer) = oneshot::channel();
    let birth: Birth = Box::new(move |born| {
        birth(born);
        let _nobody_waits = done.send(());
    });
    nursery()?
        .send((command, birth))
        .map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
    answer.await.map_err(|_| io::Error::other("the thread that starts processes has ended"))
}

/// Returns the way to the thread that starts processes.
///
/// It lives as long as this process: a child's death signal comes when the *thread* that started it ends, and the threads
/// of a runtime come and go.
fn nursery() -> io::Result<mpsc::Sender<(Command, Birth)>> {
    static NURSERY: OnceLock<mpsc::Sender<(Command, Birth)>> = OnceLock::new();
    if let Some(known) = NURSERY.get() {
        return Ok(known.clone());
    }
    let (sender, orders) = mpsc::channel::<(Command, Birth)>();
    thread::Builder::new().name("nursery".to_owned()).spawn(move || {
        for (command, birth) in orders {
            birth(start(command));
        }
    })?;
    // Of two threads that were first the loser's ends at once, without children.
    Ok(NURSERY.get_or_init(|| sender).clone())
}

fn start(mut command: Command) -> io::Result<ProcessId> {
    // Whoever finds it in the system waits here until it is known to be a child.
    let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.stdin(Stdio::null()).spawn()?;
    let process = ProcessId::of(Pid::from_child(&child))?;
    // It is waited for by its number; dropping the child does nothing to it.
    drop(child);
    ends.insert(process, None);
    Ok(process)
}

/// Returns how a process that has ended did so; none while some of its threads are still ending. What is left of its group
/// ends with it.
pub(crate) fn reap(process: ProcessId) -> Option<ExitReason> {
    let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    match ends.get(&process) {
        Some(Some(known)) => Some(known.clone()),
        // Somebody else's child.
        None => Some(ExitReason::Unknown),
        Some(None) => {
            // As long as nobody has waited for it, its number cannot be another's.
            let _nothing_left = kill_process_group(process.pid(), Signal::KILL);
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let reason = match waitid(WaitId::Pid(process.pid()), options) {
                Ok(status) => reason(&status?),
                Err(_) => ExitReason::Unknown,
            };
            ends.insert(process, Some(reason.clone()));
            Some(reason)
        }
    }
}

fn reason(status: &WaitIdStatus) -> ExitReason {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => ExitReason::Completed,
        (Some(code), _) => ExitReason::Code(code),
        (None, Some(signal)) => ExitReason::Signal(signal),
        (None, None) => ExitReason::Unknown,
    }
}

/// Forgets how a process ended.
pub(crate) fn forget(process: ProcessId) {
    let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    if ends.get(&process).is_some_and(Option::is_some) {
        ends.remove(&process);
    }
}
