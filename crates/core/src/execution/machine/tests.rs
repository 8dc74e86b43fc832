use std::collections::BTreeSet;

use teraslice_model::{
    checkpoint::Checkpoint,
    counts::Counts,
    id::{SliceId, WorkerId},
    slice::Request,
};

use super::*;
use crate::{
    execution::event::Command,
    operation::Sliced,
    store::{Flush, Ledger},
};

const MS: Duration = Duration::from_millis(1);

/// A machine, its clock, and all it wanted so far.
struct Bench {
    machine: Machine,
    now: Duration,
    effects: Vec<Effect>,
}

fn setup(slicers: u32, lifecycle: Lifecycle) -> Setup {
    Setup {
        ex_id: ExId::from_random([1; 16]),
        status: Status::Initializing,
        lifecycle,
        probation_window: Duration::from_secs(60),
        checkpoints: (0..slicers).map(Checkpoint::start).collect(),
        ledger: Ledger::default(),
        started: Timestamp::default(),
    }
}

impl Bench {
    fn new(setup: Setup) -> Self {
        let machine = Machine::new(setup, Limits::default());
        let mut bench = Self { machine, now: Duration::ZERO, effects: Vec::new() };
        bench.event(Event::Tick);
        bench
    }

    fn once() -> Self {
        Self::new(setup(1, Lifecycle::Once))
    }

    fn event(&mut self, event: Event) {
        self.effects.extend(self.machine.handle(self.now, event));
    }

    fn after(&mut self, pause: Duration) {
        self.now += pause;
        self.event(Event::Tick);
    }

    /// The slicer makes `count` slices and, if so, is done.
    fn slice(&mut self, count: u64, is_exhausted: bool) {
        let request = |n| Request::new(&n).unwrap();
        let requests = (0..count).map(request).collect();
        let sliced = Sliced { requests, position: request(count), is_exhausted };
        self.event(Event::Sliced { slicer_id: 0, sliced, wall: Timestamp::default() });
    }

    fn join(&mut self, session: u64, credit: u32) {
        let session = Session(session);
        self.event(Event::Link(LinkEvent::Opened { session }));
        let hello = FromWorker::Hello { worker: WorkerId::new(format!("w{}", session.0)) };
        self.say(session.0, hello);
        self.say(session.0, FromWorker::Credit(credit));
    }

    fn say(&mut self, session: u64, message: FromWorker) {
        self.event(Event::Link(LinkEvent::Message { session: Session(session), message }));
    }

    fn lose(&mut self, session: u64) {
        self.event(Event::Link(LinkEvent::Closed { session: Session(session), is_dead: true }));
    }

    /// Takes the leases that `session` was sent since the last time.
    fn leases(&mut self, session: u64) -> Vec<Lease> {
        let mut taken = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Send(to, ToWorker::Leases(leases)) if to.0 == session => {
                taken.extend(leases.clone());
                false
            }
            _ => true,
        });
        taken
    }

    fn answer(&mut self, session: u64, lease: &Lease, outcome: Outcome) {
        let result = SliceResult {
            slice_id: lease.slice.id,
            attempt: lease.attempt,
            outcome,
            retry_count: 0,
            operations: vec![Counts { created: 1, emitted: 1, ..Counts::default() }],
            dead_letters: Vec::new(),
        };
        self.say(session, FromWorker::Results(vec![result]));
    }

    fn complete(&mut self, session: u64, lease: &Lease) {
        self.answer(session, lease, Outcome::Completed);
    }

    fn fail(&mut self, session: u64, lease: &Lease) {
        self.answer(session, lease, Outcome::Failed { error: "no".to_owned() });
    }

    /// Confirms flushes until there is none; returns what was written.
    fn flush(&mut self) -> Vec<Flush> {
        self.after(Limits::default().flush_delay);
        let mut written = Vec::new();
        loop {
            let at = self.effects.iter().position(|effect| matches!(effect, Effect::Flush(_)));
            let Some(at) = at else { return written };
            if let Effect::Flush(flush) = self.effects.remove(at) {
                written.push(flush);
            }
            self.event(Event::Flushed);
            self.after(Limits::default().flush_delay);
        }
    }

    fn statuses(&self) -> Vec<Status> {
        let statuses = self.effects.iter().filter_map(|effect| match effect {
            Effect::Status(status) => Some(*status),
            _ => None,
        });
        statuses.collect()
    }

    fn end(&self) -> Option<&End> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::End(end) => Some(end),
            _ => None,
        })
    }
}

#[test]
fn runs_every_slice_and_completes() {
    let mut bench = Bench::once();
    bench.slice(3, true);
    bench.join(1, 8);
    let mut seen = BTreeSet::new();
    loop {
        let leases = bench.leases(1);
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            assert!(seen.insert(lease.slice.id));
            bench.complete(1, &lease);
        }
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(bench.end(), None, "not before the ledger has it");
    let written: usize = bench.flush().iter().map(|flush| flush.slices.len()).sum();
    assert_eq!(written, 3, "a slice made and finished within one flush is written once");
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Completed, None)));
}

#[test]
fn writes_checkpoint_and_slices_together() {
    let mut bench = Bench::once();
    bench.slice(2, false);
    let flush = bench.flush().remove(0);
    assert_eq!(flush.slices.len(), 2);
    assert_eq!(flush.checkpoints[0].order, 2);
    assert_eq!(flush.checkpoints[0].position, Some(Request::from_json("2")));
}

#[test]
fn shares_few_slices_between_all_workers() {
    let mut bench = Bench::once();
    bench.join(1, 64);
    bench.join(2, 64);
    bench.slice(2, true);
    assert_eq!((bench.leases(1).len(), bench.leases(2).len()), (1, 1));
}

#[test]
fn hands_out_no_more_than_the_credit() {
    let mut bench = Bench::once();
    bench.join(1, 1);
    bench.slice(10, true);
    assert_eq!(bench.leases(1).len(), 1);
}

#[test]
fn counts_a_result_once() {
    let mut bench = Bench::once();
    bench.slice(2, true);
    bench.join(1, 8);
    let leases = bench.leases(1);
    bench.complete(1, &leases[0]);
    bench.complete(1, &leases[0]);
    assert_eq!(bench.machine.stats().processed, 1);
}

#[test]
fn ignores_the_late_result_of_a_lost_worker() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    bench.join(1, 8);
    let late = bench.leases(1).remove(0);
    bench.after(Duration::from_secs(16));
    assert!(bench.effects.contains(&Effect::Close(Session(1))));
    bench.join(2, 8);
    let again = bench.leases(2).remove(0);
    assert_eq!((again.slice.id, again.attempt), (late.slice.id, 1));
    bench.complete(1, &late);
    bench.complete(2, &late);
    assert_eq!(bench.machine.stats().processed, 0);
    bench.complete(2, &again);
    assert_eq!(bench.machine.stats().processed, 1);
}

#[test]
fn keeps_a_worker_that_sends_heartbeats() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    bench.join(1, 8);
    for _ in 0..4 {
        bench.after(Duration::from_secs(10));
        bench.say(1, FromWorker::Heartbeat);
    }
    assert!(!bench.effects.contains(&Effect::Close(Session(1))));
}

#[test]
fn gives_up_the_slice_that_kills_its_workers_and_only_it() {
    let mut bench = Bench::once();
    bench.slice(2, true);
    let poison = SliceId::derive(ExId::from_random([1; 16]), 0, 1);
    let mut workers = 0;
    let mut completed = 0;
    while completed == 0 || bench.machine.stats().failed == 0 {
        workers += 1;
        assert!(workers < 20, "comes to an end");
        bench.join(workers, 8);
        loop {
            let leases = bench.leases(workers);
            if leases.is_empty() {
                break;
            }
            if leases.iter().any(|lease| lease.slice.id == poison) {
                bench.lose(workers);
                break;
            }
            for lease in leases {
                completed += 1;
                bench.complete(workers, &lease);
            }
        }
    }
    let written: Vec<_> = bench.flush().into_iter().flat_map(|flush| flush.slices).collect();
    let given_up: Vec<_> = written.iter().filter(|s| s.state == SliceState::Error).collect();
    assert_eq!((given_up.len(), given_up[0].slice.id), (1, poison));
    assert_eq!(given_up[0].error.as_deref(), Some("3 workers were lost while they ran this slice"));
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Failed, Some("1 slice failed".to_owned()))));
}

#[test]
fn does_not_count_a_released_slice_against_it() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    for session in 1..=5 {
        bench.join(session, 8);
        let lease = bench.leases(session).remove(0);
        bench.answer(session, &lease, Outcome::Released);
        bench.say(session, FromWorker::Goodbye);
    }
    assert_eq!(bench.machine.stats().failed, 0);
}

#[test]
fn fails_at_the_end_when_a_slice_has_failed() {
    let mut bench = Bench::once();
    bench.slice(2, true);
    bench.join(1, 8);
    let leases = bench.leases(1);
    bench.fail(1, &leases[0]);
    assert_eq!(bench.statuses(), [Status::Running, Status::Failing]);
    bench.complete(1, &leases[1]);
    bench.flush();
    let reason = Some("1 slice failed".to_owned());
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Failed, reason)));
}

#[test]
fn a_persistent_job_counts_as_running_again_after_its_probation() {
    let mut bench = Bench::new(setup(1, Lifecycle::Persistent));
    bench.slice(2, false);
    bench.join(1, 8);
    let leases = bench.leases(1);
    bench.fail(1, &leases[0]);
    bench.complete(1, &leases[1]);
    for _ in 0..61 {
        bench.after(Duration::from_secs(1));
        bench.say(1, FromWorker::Heartbeat);
    }
    assert_eq!(bench.statuses(), [Status::Running, Status::Failing, Status::Running]);
}

#[test]
fn holds_slices_back_while_paused() {
    let mut bench = Bench::once();
    bench.slice(3, true);
    bench.event(Event::Command(Command::Pause));
    bench.join(1, 8);
    assert_eq!(bench.leases(1), []);
    assert_eq!(bench.machine.status(), Status::Paused);
    bench.event(Event::Command(Command::Resume));
    assert_eq!(bench.leases(1).len(), 2);
    assert_eq!(bench.machine.status(), Status::Running);
}

#[test]
fn goes_on_before_it_ends_when_nothing_was_left() {
    let mut bench = Bench::once();
    bench.slice(0, true);
    bench.event(Event::Command(Command::Pause));
    bench.event(Event::Command(Command::Resume));
    assert_eq!(bench.statuses().last(), Some(&Status::Running));
    bench.flush();
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Completed, None)));
}

#[test]
fn stays_paused_over_a_restart() {
    let mut paused = setup(1, Lifecycle::Once);
    paused.status = Status::Paused;
    let mut bench = Bench::new(paused);
    bench.join(1, 8);
    assert!(bench.effects.iter().all(|effect| !matches!(effect, Effect::Ask { .. })));
}

#[test]
fn finishes_what_is_handed_out_when_stopped() {
    let mut bench = Bench::once();
    bench.slice(9, true);
    bench.join(1, 1);
    let lease = bench.leases(1).remove(0);
    bench.event(Event::Command(Command::Stop));
    bench.flush();
    assert_eq!(bench.end(), None);
    assert!(bench.effects.contains(&Effect::Send(Session(1), ToWorker::Drain)));
    bench.complete(1, &lease);
    bench.flush();
    assert_eq!(bench.leases(1), []);
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Stopped, None)));
}

#[test]
fn waits_no_longer_than_the_drain_timeout() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    bench.join(1, 1);
    bench.event(Event::Command(Command::Release));
    bench.flush();
    for _ in 0..12 {
        bench.after(Duration::from_secs(5));
        bench.say(1, FromWorker::Heartbeat);
    }
    assert_eq!(bench.end(), Some(&End::Released));
}

#[test]
fn heeds_neither_a_pause_nor_a_resumption_while_it_ends() {
    let mut bench = Bench::once();
    assert!(bench.machine.heeds(Command::Pause));
    bench.slice(1, true);
    bench.join(1, 1);
    bench.event(Event::Command(Command::Release));
    for (command, is_heeded) in [(Command::Pause, false), (Command::Resume, false), (Command::Stop, true)] {
        assert_eq!(bench.machine.heeds(command), is_heeded, "{command:?}");
    }
}

#[test]
fn leaves_workers_to_a_later_controller_and_sends_them_home_when_all_is_over() {
    for (command, is_over) in [(Command::Release, false), (Command::Stop, true)] {
        let mut bench = Bench::once();
        bench.slice(1, true);
        bench.join(1, 0);
        bench.event(Event::Command(command));
        bench.flush();
        assert!(bench.end().is_some());
        bench.join(2, 0);
        for session in [1, 2] {
            let is_sent_home = bench.effects.contains(&Effect::Send(Session(session), ToWorker::Finished));
            assert_eq!(is_sent_home, is_over, "session {session}");
        }
    }
}

#[test]
fn fails_when_no_worker_comes() {
    let mut bench = Bench::once();
    bench.after(Duration::from_secs(180));
    let reason = "no worker has connected for 180 seconds".to_owned();
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Failed, Some(reason))));
}

#[test]
fn fails_with_the_slicers_reason() {
    let mut bench = Bench::once();
    bench.event(Event::SlicerFailed { slicer_id: 0, error: "disk gone".to_owned() });
    let reason = "slicer 0 failed: disk gone".to_owned();
    assert_eq!(bench.end(), Some(&End::Terminal(Status::Failed, Some(reason))));
}

#[test]
fn goes_on_with_unfinished_slices_after_a_restart() {
    let ex_id = ExId::from_random([1; 16]);
    let slice = |order| Slice::new(ex_id, 0, order, Request::from_json("1"), Timestamp::default());
    let record = |order| SliceRecord {
        slice: slice(order),
        state: SliceState::Pending,
        error: None,
        retry_count: 0,
        deaths: 0,
    };
    let mut restart = setup(1, Lifecycle::Once);
    restart.checkpoints[0].order = 5;
    restart.ledger.unfinished = vec![record(2), record(4)];
    restart.ledger.totals.completed = 3;
    let mut bench = Bench::new(restart);
    bench.join(1, 8);
    let orders: Vec<_> = bench.leases(1).iter().map(|lease| lease.slice.slicer_order).collect();
    assert_eq!(orders, [2, 4]);
    bench.slice(1, true);
    assert_eq!(bench.machine.stats().processed, 3);
    let flush = bench.flush().remove(0);
    assert_eq!((flush.slices.len(), flush.slices[0].slice.slicer_order), (1, 6));
}

#[test]
fn is_recovering_until_the_earlier_slices_are_done() {
    let theirs = ExId::from_random([9; 16]);
    let mut recovery = setup(1, Lifecycle::Once);
    let slice = Slice::new(theirs, 0, 1, Request::from_json("1"), Timestamp::default());
    let record = SliceRecord { slice, state: SliceState::Pending, error: None, retry_count: 0, deaths: 0 };
    recovery.ledger.unfinished = vec![record];
    let mut bench = Bench::new(recovery);
    bench.join(1, 8);
    let lease = bench.leases(1).remove(0);
    bench.complete(1, &lease);
    assert_eq!(bench.statuses(), [Status::Recovering, Status::Running]);
}

#[test]
fn refuses_a_result_whose_counts_do_not_balance() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    bench.join(1, 8);
    let lease = bench.leases(1).remove(0);
    let result = SliceResult {
        slice_id: lease.slice.id,
        attempt: 0,
        outcome: Outcome::Completed,
        retry_count: 0,
        operations: vec![Counts { created: 2, emitted: 1, ..Counts::default() }],
        dead_letters: Vec::new(),
    };
    bench.say(1, FromWorker::Results(vec![result]));
    assert_eq!(bench.machine.stats().failed, 1);
    assert_eq!(bench.machine.stats().operations, []);
}

#[test]
fn replaces_the_earlier_session_of_a_worker() {
    let mut bench = Bench::once();
    bench.slice(1, true);
    bench.join(1, 8);
    bench.event(Event::Link(LinkEvent::Opened { session: Session(2) }));
    bench.say(2, FromWorker::Hello { worker: WorkerId::new("w1") });
    bench.say(2, FromWorker::Credit(8));
    assert!(bench.effects.contains(&Effect::Close(Session(1))));
    assert_eq!(bench.leases(2).len(), 1);
}

#[test]
fn sleeps_while_the_last_flush_is_under_way() {
    let mut bench = Bench::once();
    bench.slice(0, true);
    bench.after(10 * MS);
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Flush(_))));
    assert!(bench.machine.deadline(bench.now) > bench.now);
}

#[test]
fn writes_again_only_after_the_flush_under_way() {
    let mut bench = Bench::once();
    bench.slice(1, false);
    bench.after(10 * MS);
    bench.slice(1, false);
    bench.after(10 * MS);
    let flushes =
        |bench: &Bench| bench.effects.iter().filter(|effect| matches!(effect, Effect::Flush(_))).count();
    assert_eq!(flushes(&bench), 1);
    bench.event(Event::Flushed);
    assert_eq!(flushes(&bench), 2);
}
