//! Real processes, killed.

use std::{ffi::OsString, fs, process::Command, sync::Arc};

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use teraslice_backend_native::{
    Mode, NativeBackend, NativeOptions,
    socket::{self, SECRET, Secret, SocketOptions},
};
use teraslice_core::{
    backend::{
        BackendError, BackendEvent, ClusterBackend, ExitReason, Instance, Phase, Retire, Retired, StopBackend,
    },
    context::Context,
    link::{ControllerLink, FromWorker, LinkEvent},
};
use teraslice_model::id::{Generation, Term};
use tokio::time::timeout;

use crate::support::{Idle, PATIENCE, Place, desired, ex_id, observe, pid, processes_of, ready, until};

fn phases(instances: &[Instance]) -> Vec<&Phase> {
    instances.iter().map(|instance| &instance.phase).collect()
}

#[tokio::test]
async fn sees_a_killed_worker_as_ended_by_that_signal_and_replaces_it() {
    let place = Place::new();
    let backend = place.backend(None);
    backend.ensure(desired(1, 1)).await.unwrap();
    let before = observe(&backend).await;
    let mut events = backend.events();
    assert_eq!(events.next().await, Some(BackendEvent::Resync));
    kill_process(pid(&before[0]), Signal::KILL).unwrap();
    let hint = timeout(PATIENCE, events.next()).await.unwrap();
    assert_eq!(hint, Some(BackendEvent::Changed(ex_id())));
    let ended = observe(&backend).await;
    assert_eq!(phases(&ended), [&Phase::Exited(ExitReason::Signal(9))]);
    assert_eq!(ended[0].id, before[0].id);
    backend.ensure(desired(1, 1)).await.unwrap();
    let after = observe(&backend).await;
    assert_eq!(phases(&after), [&Phase::Running]);
    assert_ne!(after[0].id, before[0].id);
    backend.stop(StopBackend::Terminate).await.unwrap();
}

#[tokio::test]
async fn tells_the_exit_code() {
    let place = Place::new();
    let backend = place.backend(Some("fail"));
    backend.ensure(desired(1, 1)).await.unwrap();
    until("it has ended", async || phases(&observe(&backend).await) == [&Phase::Exited(ExitReason::Code(3))])
        .await;
}

#[tokio::test]
async fn drains_with_the_signal_that_programs_heed() {
    let place = Place::new();
    let backend = place.backend(None);
    backend.ensure(desired(1, 1)).await.unwrap();
    ready(&place.run_directory(), &observe(&backend).await).await;
    backend.ensure(desired(2, 0)).await.unwrap();
    until("it has left", async || {
        phases(&observe(&backend).await) == [&Phase::Exited(ExitReason::Completed)]
    })
    .await;
}

#[tokio::test]
async fn leaves_nothing_of_a_group_behind() {
    let place = Place::new();
    let backend = place.backend(Some("family"));
    backend.ensure(desired(1, 1)).await.unwrap();
    ready(&place.run_directory(), &observe(&backend).await).await;
    assert_eq!(processes_of(&place.cluster()).len(), 2, "the worker and its own process");
    assert_eq!(observe(&backend).await.len(), 1, "of which one is an instance");
    kill_process(pid(&observe(&backend).await[0]), Signal::KILL).unwrap();
    until("all are gone", async || processes_of(&place.cluster()).is_empty()).await;
}

#[tokio::test]
async fn goes_on_with_the_processes_of_an_earlier_backend() {
    let place = Place::new();
    let earlier = place.backend(None);
    earlier.ensure(desired(1, 2)).await.unwrap();
    let before = observe(&earlier).await;
    earlier.stop(StopBackend::Detach).await.unwrap();
    drop(earlier);
    let later = place.backend(None);
    let mut adopted = later.adopt(Term(2)).await.unwrap().instances;
    adopted.sort_by_key(|instance| instance.ordinal);
    assert_eq!(
        adopted.iter().map(|it| (&it.id, it.ordinal, it.generation)).collect::<Vec<_>>(),
        before.iter().map(|it| (&it.id, it.ordinal, it.generation)).collect::<Vec<_>>()
    );
    kill_process(pid(&adopted[0]), Signal::KILL).unwrap();
    until("the later one knows how it ended", async || {
        phases(&observe(&later).await).contains(&&Phase::Exited(ExitReason::Signal(9)))
    })
    .await;
    later.stop(StopBackend::Terminate).await.unwrap();
}

#[tokio::test]
async fn fences_a_backend_whose_term_is_over() {
    let place = Place::new();
    let (earlier, later) = (place.backend(None), place.backend(None));
    earlier.adopt(Term(1)).await.unwrap();
    later.adopt(Term(2)).await.unwrap();
    let refused = earlier.ensure(desired(1, 1)).await;
    assert!(matches!(refused, Err(BackendError::Fenced { term: Term(1) })), "{refused:?}");
    let refused = earlier.retire(ex_id(), Generation(1), Retire::Kill).await;
    assert!(matches!(refused, Err(BackendError::Fenced { .. })), "{refused:?}");
    assert_eq!(observe(&later).await, []);
}

#[tokio::test]
async fn refuses_a_job_whose_program_is_not_there() {
    let place = Place::new();
    let mut template = place.template(None);
    template.program = "/nowhere/teraslice".into();
    let worker = Mode::Process(template);
    let controller = Mode::Task(Arc::new(Idle));
    let options = NativeOptions::new(place.cluster(), controller, worker);
    let backend = NativeBackend::new(options, Context::system());
    let refused = backend.ensure(desired(1, 1)).await.unwrap_err().to_string();
    assert!(refused.contains("/nowhere/teraslice"), "{refused}");
}

#[tokio::test]
async fn removes_the_job_file_with_the_last_process() {
    let place = Place::new();
    let backend = place.backend(None);
    backend.ensure(desired(1, 1)).await.unwrap();
    let file = place.run_directory().join(format!("{}.job.json", ex_id()));
    assert!(file.exists());
    until("everything is gone", async || {
        backend.retire(ex_id(), Generation(1), Retire::Kill).await.unwrap() == Retired::Gone
    })
    .await;
    assert!(!file.exists());
}

#[tokio::test]
async fn leaves_nothing_in_the_run_directory_when_it_ends() {
    let place = Place::new();
    let backend = place.backend(None);
    backend.adopt(Term(1)).await.unwrap();
    backend.ensure(desired(1, 1)).await.unwrap();
    ready(&place.run_directory(), &observe(&backend).await).await;
    backend.stop(StopBackend::Terminate).await.unwrap();
    let left = fs::read_dir(place.run_directory()).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| !name.to_string_lossy().starts_with("ready-")).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn takes_the_children_of_a_killed_parent_along() {
    let place = Place::new();
    let mut parent = Command::new(env!("CARGO_BIN_EXE_native-probe"));
    let mut parent = parent.arg("lead").arg(place.run_directory()).spawn().unwrap();
    let marks = || fs::read_dir(place.run_directory()).into_iter().flatten().flatten();
    let is_mark = |name: &OsString| name.to_string_lossy().starts_with("ready-");
    until("both workers are there", async || {
        marks().map(|entry| entry.file_name()).filter(is_mark).count() == 2
    })
    .await;
    let workers: Vec<i32> = marks()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("ready-")?.parse().ok())
        .collect();
    let is_alive = |number: &i32| processes_of("led").contains(number);
    assert!(workers.iter().all(is_alive));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the workers are gone too", async || !workers.iter().any(is_alive)).await;
}

#[tokio::test]
async fn knows_that_a_worker_is_dead_when_its_connection_closes() {
    let place = Place::new();
    let secret = Secret::draw().unwrap();
    let context = Context::system();
    let path = socket::path(&place.run_directory(), ex_id());
    let mut controller = socket::listen(&path, SocketOptions::new(secret.clone()), &context).unwrap();
    let template = place.template(Some("work")).variable(SECRET, secret.expose());
    let worker = Mode::Process(template);
    let idle = Mode::Task(Arc::new(Idle));
    let options = NativeOptions::new(place.cluster(), idle, worker);
    let backend = NativeBackend::new(options, context);
    backend.ensure(desired(1, 1)).await.unwrap();
    let mut next = async || timeout(PATIENCE, controller.next()).await.unwrap().unwrap();
    let LinkEvent::Opened { session } = next().await else { panic!("a session first") };
    let LinkEvent::Message { message: FromWorker::Hello { worker }, .. } = next().await else {
        panic!("then a word")
    };
    let number = Pid::from_raw(worker.as_str().parse().unwrap()).unwrap();
    kill_process(number, Signal::KILL).unwrap();
    assert_eq!(next().await, LinkEvent::Closed { session, is_dead: true });
    backend.stop(StopBackend::Terminate).await.unwrap();
}
