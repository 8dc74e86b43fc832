//! Every cause, from a scene that has it.

use teraslice_core::{backend::ExitReason, conformance::store::execution};

use super::*;

fn scene(status: Status) -> Scene {
    let execution = Execution { status, ..execution(1) };
    let view = View {
        ex_id: execution.ex_id,
        status,
        failure: None,
        is_controller_live: true,
        workers_live: 2,
        workers_wanted: 2,
        conditions: Vec::new(),
        is_settled: false,
    };
    let stats = Stats {
        workers_available: 1,
        workers_active: 1,
        queued: 4,
        leased: 1,
        processed: 50,
        started: Some(Timestamp::from_millis(0)),
        ..Stats::default()
    };
    let nodes = Some(NodeCount { connected: 1, known: 1, free_slots: Some(3) });
    let now = Timestamp::from_millis(10_000);
    Scene { execution, view: Some(view), stats: Some(stats), nodes, trouble: None, now }
}

fn with(status: Status, change: impl FnOnce(&mut Scene)) -> Finding {
    let mut scene = scene(status);
    change(&mut scene);
    find(&scene)
}

fn view(scene: &mut Scene) -> &mut View {
    scene.view.as_mut().unwrap()
}

fn nodes(scene: &mut Scene) -> &mut NodeCount {
    scene.nodes.as_mut().unwrap()
}

#[test]
fn tells_of_a_degraded_backend_before_anything_else() {
    let found = with(Status::Running, |it| {
        let since = Timestamp::from_millis(5_000);
        it.trouble = Some(Trouble { reason: "the library is missing".to_owned(), since });
        it.view = None;
    });
    assert_eq!((found.cause, &*found.message), (Cause::BackendUnavailable, "the library is missing"));
}

#[test]
fn finds_every_cause() {
    let cases = [
        (Cause::Nothing, with(Status::Running, |_| ())),
        (Cause::Ended, with(Status::Completed, |_| ())),
        (Cause::Failed, with(Status::Failed, |it| it.execution.failure = Some("disk full".to_owned()))),
        (Cause::Paused, with(Status::Paused, |_| ())),
        (Cause::Stopping, with(Status::Stopping, |_| ())),
        (Cause::NotLookedAfter, with(Status::Pending, |it| it.view = None)),
        (
            Cause::BackendUnavailable,
            with(Status::Running, |it| {
                view(it).conditions = vec![Condition::Unavailable("no answer".to_owned())];
            }),
        ),
        (
            Cause::NoNode,
            with(Status::Pending, |it| {
                (it.stats, view(it).is_controller_live, nodes(it).connected) = (None, false, 0);
            }),
        ),
        (
            Cause::NoFreeSlot,
            with(Status::Pending, |it| {
                (it.stats, view(it).is_controller_live, nodes(it).free_slots) = (None, false, Some(0));
            }),
        ),
        (
            Cause::Waiting,
            with(Status::Scheduling, |it| {
                (it.stats, view(it).is_controller_live) = (None, false);
                view(it).conditions = vec![Condition::Waiting("pulling the image".to_owned())];
            }),
        ),
        (
            Cause::ControllerFailing,
            with(Status::Initializing, |it| {
                let last = ExitReason::Code(1);
                view(it).conditions = vec![Condition::ControllerFailing { exits: 2, last }];
            }),
        ),
        (Cause::Initializing, with(Status::Initializing, |it| it.stats = None)),
        (Cause::ControllerNotConnected, with(Status::Running, |it| it.stats = None)),
        (
            Cause::NoWorker,
            with(Status::Running, |it| {
                let stats = it.stats.as_mut().unwrap();
                (stats.workers_available, stats.workers_active) = (0, 0);
            }),
        ),
        (
            Cause::WorkersFailing,
            with(Status::Running, |it| {
                let stats = it.stats.as_mut().unwrap();
                (stats.workers_available, stats.workers_active) = (0, 0);
                let last = ExitReason::OutOfMemory;
                view(it).conditions = vec![Condition::WorkersFailing { rounds: 4, last }];
            }),
        ),
        (
            Cause::SlicerIdle,
            with(Status::Running, |it| {
                let stats = it.stats.as_mut().unwrap();
                (stats.workers_active, stats.queued, stats.leased) = (0, 0, 0);
            }),
        ),
    ];
    for (cause, found) in &cases {
        assert_eq!(found.cause, *cause, "{}", found.message);
    }
    let found: std::collections::BTreeSet<_> = cases.iter().map(|(cause, _)| cause.as_str()).collect();
    assert_eq!(found.len(), Cause::ALL.len(), "every cause has a case");
}

#[test]
fn says_why_an_execution_failed() {
    let found = with(Status::Failed, |it| it.execution.failure = Some("disk full".to_owned()));
    assert_eq!(found.message, "it has failed: disk full");
    assert!(found.hint.is_some());
}

#[test]
fn says_how_workers_end() {
    let found = with(Status::Running, |it| {
        let stats = it.stats.as_mut().unwrap();
        (stats.workers_available, stats.workers_active) = (0, 0);
        let last = ExitReason::OutOfMemory;
        view(it).conditions = vec![Condition::WorkersFailing { rounds: 4, last }];
    });
    assert!(
        found.message.ends_with("4 times in a row, the last one for lack of memory"),
        "{}",
        found.message
    );
}

#[test]
fn shows_the_rate_of_one_that_goes_on() {
    let found = with(Status::Running, |_| ());
    assert_eq!(found.evidence["slices_per_second"], 5.0);
    assert_eq!(found.message, "nothing blocks it: 1 workers are busy, 1 wait");
}

#[test]
fn says_what_the_pod_of_a_controller_waits_for() {
    // It counts as live before it runs.
    let found = with(Status::Initializing, |it| {
        (it.stats, it.nodes) = (None, None);
        view(it).conditions = vec![Condition::Waiting("no such claim".to_owned())];
    });
    assert_eq!((found.cause, found.message.as_str()), (Cause::Waiting, "no such claim"));
}
