//! Ends and what follows from them.

use teraslice_model::id::ExId;

use super::*;

const GENERATION: Generation = Generation(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn instance(role: Role, serial: u32, phase: Phase) -> Instance {
    Instance {
        id: InstanceId(format!("{role:?}-{serial}")),
        ex_id: ExId::from_random([1; 16]),
        generation: GENERATION,
        role,
        ordinal: 0,
        phase,
        address: None,
        since: at(0),
    }
}

fn killed() -> Phase {
    Phase::Exited(ExitReason::Signal(9))
}

struct Past {
    history: History,
    patience: Patience,
}

impl Past {
    fn new() -> Self {
        Self { history: History::default(), patience: Patience::default() }
    }

    fn note(&mut self, millis: i64, role: Role, serial: u32, phase: Phase) {
        let observed = [instance(role, serial, phase)];
        self.history.note(at(millis), GENERATION, &observed, &self.patience);
    }

    /// An instance that is seen once and then found ended.
    fn life(&mut self, role: Role, serial: u32, from: i64, to: i64, end: Phase) {
        self.note(from, role, serial, Phase::Running);
        self.note(to, role, serial, end);
    }
}

#[test]
fn replaces_the_first_failing_workers_at_once_and_later_ones_after_growing_pauses() {
    let mut past = Past::new();
    let mut pauses = Vec::new();
    let mut now = 0;
    for serial in 0..12 {
        past.life(Role::Worker, serial, now, now + 10, Phase::Exited(ExitReason::Code(1)));
        let due = past.history.due(Role::Worker).as_millis();
        pauses.push(due - now - 10);
        now = due;
    }
    assert_eq!(pauses, [0, 0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
}

#[test]
fn does_not_hold_it_against_a_controller_that_it_was_asked_to_leave() {
    let mut past = Past::new();
    for serial in 0..20 {
        let now = i64::from(serial) * 5_000;
        past.life(Role::Controller, serial, now, now + 10, Phase::Exited(ExitReason::INTERRUPTED));
        assert_eq!(past.history.verdict(at(now + 10), &past.patience), None);
        assert_eq!(past.history.due(Role::Controller), at(now + 1_010), "after a pause");
    }
}

#[test]
fn brings_killed_workers_back_within_a_second_however_often() {
    let mut past = Past::new();
    for serial in 0..50 {
        let now = i64::from(serial) * 1_000;
        past.life(Role::Worker, serial, now, now + 10, killed());
        assert!(past.history.due(Role::Worker) <= at(now + 510));
    }
}

#[test]
fn does_not_hold_the_end_of_a_worker_that_has_worked_against_it() {
    let mut past = Past::new();
    for serial in 0..50 {
        past.life(Role::Worker, serial, 0, 6_000, killed());
        assert!(past.history.due(Role::Worker) <= at(6_000));
    }
    assert_eq!(past.history.conditions(at(6_000), &[], &past.patience), []);
}

#[test]
fn says_so_when_workers_keep_failing() {
    let mut past = Past::new();
    for serial in 0..4 {
        past.life(Role::Worker, serial, 0, 10, killed());
    }
    let wanted = Condition::WorkersFailing { rounds: 4, last: ExitReason::Signal(9) };
    assert_eq!(past.history.conditions(at(10), &[], &past.patience), [wanted]);
}

#[test]
fn counts_one_end_once() {
    let mut past = Past::new();
    for _ in 0..10 {
        past.note(10, Role::Worker, 0, killed());
    }
    assert_eq!(past.history.workers.count, 1);
}

#[test]
fn counts_workers_that_end_together_as_one_round() {
    let mut past = Past::new();
    let observed: Vec<_> = (0..8).map(|serial| instance(Role::Worker, serial, killed())).collect();
    past.history.note(at(10), GENERATION, &observed, &past.patience);
    assert_eq!(past.history.workers.count, 1);
}

#[test]
fn gives_a_controller_up_after_its_restarts() {
    let mut past = Past::new();
    for serial in 0..3 {
        past.life(Role::Controller, serial, 0, 10, Phase::Exited(ExitReason::Code(101)));
        assert_eq!(past.history.verdict(at(1_000_000), &past.patience), None);
    }
    past.life(Role::Controller, 3, 0, 10, Phase::Exited(ExitReason::Code(101)));
    let wanted = "the execution controller ended 4 times in a row, last with a panic (exit code 101)";
    assert_eq!(past.history.verdict(at(1_000_000), &past.patience).as_deref(), Some(wanted));
}

#[test]
fn forgives_a_controller_that_has_worked_for_long() {
    let mut past = Past::new();
    for serial in 0..20 {
        past.life(Role::Controller, serial, 0, 300_000, killed());
    }
    assert_eq!(past.history.verdict(at(1_000_000), &past.patience), None);
    assert_eq!(past.history.due(Role::Controller), at(300_000));
}

#[test]
fn does_not_blame_those_that_were_asked_to_leave() {
    let mut past = Past::new();
    past.life(Role::Controller, 0, 0, 10, Phase::Draining);
    past.note(20, Role::Controller, 0, killed());
    past.life(Role::Worker, 0, 0, 10, Phase::Draining);
    past.note(20, Role::Worker, 0, killed());
    assert_eq!((past.history.controller.count, past.history.workers.count), (0, 0));
}

#[test]
fn gives_up_at_once_when_a_repetition_would_end_the_same_way() {
    for (role, code) in
        [(Role::Controller, 64), (Role::Controller, 78), (Role::Worker, 64), (Role::Worker, 78)]
    {
        let mut past = Past::new();
        past.life(role, 0, 0, 10, Phase::Exited(ExitReason::Code(code)));
        let verdict = past.history.verdict(at(1_000_000), &past.patience).unwrap_or_default();
        assert!(verdict.contains(&format!("exit code {code}")), "{role:?}: {verdict}");
    }
}

#[test]
fn starts_with_a_clean_record_in_a_new_generation() {
    let mut past = Past::new();
    past.life(Role::Controller, 0, 0, 10, killed());
    past.history.note(at(20), GENERATION.next(), &[], &past.patience);
    assert_eq!(past.history.controller, Falls::default());
}

#[test]
fn fails_an_execution_whose_controller_waits_for_too_long_only() {
    let mut past = Past::new();
    past.patience.start_max = Some(Duration::from_secs(10));
    past.note(1_000, Role::Controller, 1, Phase::Waiting("no image".to_owned()));
    past.note(9_000, Role::Controller, 1, Phase::Waiting("no room".to_owned()));
    assert_eq!(past.history.verdict(at(10_999), &past.patience), None);
    let wanted = "the execution controller could not start within 10 seconds: no room";
    assert_eq!(past.history.verdict(at(11_000), &past.patience).as_deref(), Some(wanted));
    past.note(12_000, Role::Controller, 1, Phase::Running);
    assert_eq!(past.history.verdict(at(99_000), &past.patience), None);
}

#[test]
fn fails_an_execution_whose_worker_finds_its_job_bad_however_late() {
    let mut past = Past::new();
    past.life(Role::Worker, 1, 0, 600_000, Phase::Exited(ExitReason::Code(64)));
    assert!(past.history.verdict(at(600_000), &past.patience).is_some());
}
