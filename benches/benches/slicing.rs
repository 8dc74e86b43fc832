//! How many slices a second does the execution controller's state machine handle alone, on one core?

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use teraslice_core::{
    execution::{
        Limits,
        event::{Effect, Event},
        machine::Machine,
        setup::Setup,
    },
    link::{FromWorker, LinkEvent, Outcome, Session, SliceResult, ToWorker},
    operation::Sliced,
    store::Ledger,
};
use teraslice_model::{
    checkpoint::Checkpoint,
    id::{ExId, SliceId, WorkerId},
    job::Lifecycle,
    slice::Request,
    status::Status,
    timestamp::Timestamp,
};

const SLICES: u64 = 100_000;

fn machine() -> Machine {
    let setup = Setup {
        ex_id: ExId::from_random([1; 16]),
        status: Status::Initializing,
        lifecycle: Lifecycle::Once,
        probation_window: Duration::from_secs(300),
        checkpoints: vec![Checkpoint::start(0)],
        ledger: Ledger::default(),
        started: Timestamp::default(),
    };
    Machine::new(setup, Limits::default())
}

/// Plays slicer, worker and store until the machine ends; returns how many slices it took.
fn run_to_end(slices: u64) -> u64 {
    let mut machine = machine();
    let (mut made, mut now) = (0, Duration::ZERO);
    let message = |message| Event::Link(LinkEvent::Message { session: Session(1), message });
    let mut effects = machine.handle(now, Event::Tick);
    effects.extend(machine.handle(now, Event::Link(LinkEvent::Opened { session: Session(1) })));
    effects.extend(machine.handle(now, message(FromWorker::Hello { worker: WorkerId::new("w") })));
    effects.extend(machine.handle(now, message(FromWorker::Credit(128))));
    while !effects.is_empty() {
        now += Duration::from_micros(20);
        let mut next = Vec::new();
        for effect in effects {
            let event = match effect {
                Effect::Ask { slicer_id, max } => {
                    let until = slices.min(made + max as u64);
                    let requests =
                        (made..until).map(|n| Request::from_json(format!("{{\"n\":{n}}}"))).collect();
                    made = until;
                    let position = Request::from_json(until.to_string());
                    let sliced = Sliced { requests, position, is_exhausted: until == slices };
                    Event::Sliced { slicer_id, sliced, wall: Timestamp::default() }
                }
                Effect::Send(_, ToWorker::Leases(leases)) => {
                    let result = |lease: teraslice_core::link::Lease| SliceResult {
                        slice_id: lease.slice.id,
                        attempt: lease.attempt,
                        outcome: Outcome::Completed,
                        retry_count: 0,
                        operations: Vec::new(),
                        dead_letters: Vec::new(),
                    };
                    message(FromWorker::Results(leases.into_iter().map(result).collect()))
                }
                Effect::Flush(flush) => {
                    drop(black_box(flush));
                    Event::Flushed
                }
                Effect::End(_) => return machine.stats().processed,
                Effect::Send(..) | Effect::Close(_) | Effect::Status(_) => continue,
            };
            next.extend(machine.handle(now, event));
        }
        effects = next;
    }
    0
}

fn slicing(criterion: &mut Criterion) {
    assert_eq!(run_to_end(1_000), 1_000, "the machine completes every slice");
    let mut group = criterion.benchmark_group("slicing");
    group.throughput(Throughput::Elements(SLICES)).sample_size(20);
    group.bench_function("machine", |bencher| bencher.iter(|| run_to_end(black_box(SLICES))));
    // What every engine has to do: make the requests and name the slices.
    group.bench_function("baseline", |bencher| {
        let ex_id = ExId::from_random([1; 16]);
        bencher.iter(|| {
            for n in 0..SLICES {
                black_box((SliceId::derive(ex_id, 0, n), Request::from_json(format!("{{\"n\":{n}}}"))));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, slicing);
criterion_main!(benches);
