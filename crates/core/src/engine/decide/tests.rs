//! The table of decisions.

use teraslice_model::id::{ExId, JobId};

use super::*;
use crate::backend::{ExitReason, InstanceId, Phase};

const GENERATION: Generation = Generation(2);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);
/// A name, the status, what is observed, whether a stop is asked for, and what follows.
type Case = (&'static str, Status, Vec<Instance>, bool, Vec<Action>);

const WISH: Wish = Wish { generation: GENERATION, workers: 2 };

fn execution(status: Status) -> Execution {
    Execution {
        status,
        generation: GENERATION,
        ..Execution::new(ExId::from_random([1; 16]), JobId::from_random([2; 16]), serde_json::Map::new(), NOW)
    }
}

fn instance(role: Role, ordinal: u32, phase: Phase) -> Instance {
    Instance {
        id: InstanceId(format!("{role:?}-{ordinal}")),
        ex_id: ExId::from_random([1; 16]),
        generation: GENERATION,
        role,
        ordinal,
        phase,
        address: None,
        since: NOW,
    }
}

fn everything() -> Vec<Instance> {
    let worker = |ordinal| instance(Role::Worker, ordinal, Phase::Running);
    vec![instance(Role::Controller, 0, Phase::Running), worker(0), worker(1)]
}

/// Decides for two wanted workers, after everything observed was noted.
fn decided(status: Status, observed: &[Instance], is_stop_asked: bool) -> Vec<Action> {
    let mut history = History::default();
    let patience = Patience::default();
    history.note(NOW, GENERATION, observed, &patience);
    history.applied = Some(WISH);
    decided_with(status, observed, is_stop_asked, &history)
}

fn decided_with(
    status: Status,
    observed: &[Instance],
    is_stop_asked: bool,
    history: &History,
) -> Vec<Action> {
    let execution = execution(status);
    let wanted = Wanted { workers: 2, is_stop_asked };
    let patience = Patience::default();
    decide(&Scene { execution: &execution, wanted, history, observed, patience: &patience, now: NOW })
}

fn drain() -> Action {
    let how = Retire::Drain { grace: Patience::default().drain_grace };
    Action::Retire { upto: GENERATION, how }
}

#[test]
fn follows_the_table() {
    let look = Action::Wait(LOOK_EVERY);
    let crashed = instance(Role::Worker, 1, Phase::Exited(ExitReason::Signal(9)));
    let done = instance(Role::Worker, 1, Phase::Exited(ExitReason::Completed));
    let without_worker = |exit: Instance| {
        let mut all = everything();
        all[2] = exit;
        all
    };
    let mut without_controller = everything();
    without_controller[0] = instance(Role::Controller, 0, Phase::Exited(ExitReason::Code(101)));
    let mut hopeless = everything();
    hopeless[0] = instance(Role::Controller, 0, Phase::Exited(ExitReason::Code(64)));
    let (ensure, to) = (Action::Ensure(WISH), Action::Move);
    let refusal = "the execution controller could not start: it ended with exit code 64";
    let wait = Action::Wait(Duration::from_secs(1));
    let cases: Vec<Case> = vec![
        (
            "new",
            Status::Pending,
            vec![],
            false,
            vec![to(Status::Scheduling), ensure.clone(), to(Status::Initializing)],
        ),
        ("half placed", Status::Scheduling, vec![], false, vec![ensure.clone(), to(Status::Initializing)]),
        ("starting", Status::Initializing, everything(), false, vec![look]),
        ("well", Status::Running, everything(), false, vec![]),
        ("killed run", Status::Running, vec![], false, vec![ensure.clone()]),
        ("crashed worker", Status::Running, without_worker(crashed), false, vec![ensure.clone()]),
        ("worker that left", Status::Running, without_worker(done), false, vec![wait]),
        ("crashed controller", Status::Failing, without_controller, false, vec![ensure]),
        (
            "hopeless controller",
            Status::Initializing,
            hopeless,
            false,
            vec![Action::Fail(refusal.to_owned())],
        ),
        ("ended", Status::Completed, everything(), false, vec![drain()]),
        ("stop asked before it started", Status::Pending, vec![], true, vec![to(Status::Stopped)]),
        ("stop asked", Status::Running, everything(), true, vec![to(Status::Stopping)]),
        ("stopping for us", Status::Stopping, everything(), true, vec![drain()]),
        ("stopping when an earlier master went", Status::Stopping, everything(), false, vec![drain()]),
        ("stopping, workers only", Status::Stopping, everything()[1..].to_vec(), false, vec![drain()]),
        ("stopped", Status::Stopping, vec![], false, vec![to(Status::Stopped)]),
    ];
    for (name, status, observed, is_stop_asked, wanted) in cases {
        assert_eq!(decided(status, &observed, is_stop_asked), wanted, "{name}");
    }
}

#[test]
fn kills_what_belongs_to_an_earlier_generation() {
    let mut observed = everything();
    observed[0].generation = Generation(1);
    let found = decided(Status::Running, &observed, false);
    let kill = Action::Retire { upto: Generation(1), how: Retire::Kill };
    assert_eq!(found, vec![kill, Action::Ensure(WISH)]);
}

#[test]
fn asks_again_when_other_workers_are_wanted() {
    let earlier = Wish { workers: 5, ..WISH };
    let mut history = History::default();
    history.applied = Some(earlier);
    let found = decided_with(Status::Running, &everything(), false, &history);
    assert_eq!(found, vec![Action::Ensure(WISH)]);
}
