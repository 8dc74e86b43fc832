//! The master's knowledge, moment by moment, without nodes.

use std::time::Duration;

use serde_json::json;
use teraslice_core::backend::{DesiredExecution, Retire};
use teraslice_model::job::{CheckEnvironment, RawJob};

use super::{
    super::message::{ProcessReport, ReportedStage},
    *,
};
use crate::limits::Enforced;

const GRACE: Duration = Duration::from_secs(30);

fn moment() -> Moment {
    Moment { now: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) }
}

fn ex(number: u8) -> ExId {
    ExId::from_random([number; 16])
}

fn desired(number: u8, workers: u32) -> DesiredExecution {
    let job = json!({"operations": [{"_op": "test-reader"}, {"_op": "noop"}], "env_vars": {"A": "1"}});
    let environment =
        CheckEnvironment { known_connections: None, cpus: 2, is_kubernetes: false, overrides_enabled: false };
    let (job, _) = serde_json::from_value::<RawJob>(job).unwrap().check(&environment).unwrap();
    DesiredExecution {
        ex_id: ex(number),
        job_id: JobId::from_random([number; 16]),
        generation: Generation(1),
        revision: 1,
        job: Arc::new(job),
        controller: true,
        workers,
    }
}

fn hello(node: &str, slots: u32, processes: Vec<ProcessReport>) -> Hello {
    Hello {
        node_id: node.to_owned(),
        hostname: node.to_owned(),
        host: node.to_owned(),
        pid: 1,
        version: "1".to_owned(),
        slots,
        limits: Enforced::default(),
        processes,
    }
}

/// A cluster, and nodes that do at once as they are told.
struct Bench {
    cluster: Cluster,
    connection: u64,
    running: BTreeMap<ProcessKey, ProcessReport>,
}

impl Bench {
    fn new(nodes: &[(&str, u32)]) -> Self {
        let mut bench = Self { cluster: Cluster::default(), connection: 0, running: BTreeMap::new() };
        for (node, slots) in nodes {
            bench.connect(node, *slots, Vec::new());
        }
        bench
    }

    fn connect(&mut self, node: &str, slots: u32, processes: Vec<ProcessReport>) {
        self.connection += 1;
        let wake = Arc::new(Notify::new());
        self.cluster.connect(hello(node, slots, processes), self.connection, &wake, moment());
        self.cluster.place(moment());
    }

    fn ensure(&mut self, number: u8, workers: u32) {
        self.cluster.ensure(&desired(number, workers), GRACE, moment());
        self.cluster.place(moment());
    }

    fn told(&mut self, node: &str) -> Vec<ToNode> {
        let now = Instant::now();
        std::iter::from_fn(|| self.cluster.next_message(node, now, |_| {})).collect()
    }

    /// Starts what a node is told to start, and reports it.
    fn run(&mut self, node: &str) -> Vec<ProcessReport> {
        let mut started = Vec::new();
        for message in self.told(node) {
            let ToNode::Start(spec) = message else { panic!("{message:?} instead of a start") };
            let report = ProcessReport {
                key: spec.key,
                job_id: spec.job_id,
                pid: Some(7),
                stage: ReportedStage::Running,
                since: moment().wall,
            };
            self.cluster.reported(node, report.clone(), moment());
            self.running.insert(spec.key, report.clone());
            started.push(report);
        }
        started
    }

    fn end(&mut self, node: &str, report: &ProcessReport, reason: ExitReason) {
        let stage = ReportedStage::Exited(reason);
        self.cluster.reported(node, ProcessReport { stage, ..report.clone() }, moment());
        self.cluster.place(moment());
    }

    fn phases(&self, number: u8) -> Vec<Phase> {
        self.cluster.instances(Some(ex(number))).into_iter().map(|instance| instance.phase).collect()
    }
}

#[test]
fn starts_an_execution_with_its_job_and_environment() {
    let mut bench = Bench::new(&[("a", 3)]);
    bench.ensure(1, 2);
    assert_eq!(bench.phases(1), vec![Phase::Starting; 3]);
    let told = bench.told("a");
    let ToNode::Start(first) = &told[0] else { panic!("{told:?}") };
    assert_eq!((told.len(), first.key.role), (3, Role::Controller));
    assert_eq!(first.env.get("A").map(String::as_str), Some("1"));
    assert!(first.job.contains_key("operations"));
}

#[test]
fn says_why_somebody_waits_and_serves_them_when_a_slot_is_free() {
    let mut bench = Bench::new(&[]);
    bench.ensure(1, 1);
    assert_eq!(bench.phases(1)[0], Phase::Waiting("no node is connected".to_owned()));
    bench.connect("a", 3, Vec::new());
    assert_eq!(bench.phases(1), vec![Phase::Starting; 2]);
    bench.ensure(2, 1);
    let reason =
        "not enough free slots: 2 of 3 slots on 1 nodes are taken, and an execution needs two to begin";
    assert_eq!(bench.phases(2)[0], Phase::Waiting(reason.to_owned()));
    bench.ensure(1, 2);
    let reason = "no free slot: 3 of 3 slots on 1 nodes are taken";
    assert_eq!(bench.phases(2)[0], Phase::Waiting(reason.to_owned()));
    let running = bench.run("a");
    for report in &running {
        bench.end("a", report, ExitReason::Completed);
    }
    assert_eq!(bench.phases(2), vec![Phase::Starting; 2]);
}

#[test]
fn replaces_what_has_ended_by_a_higher_incarnation() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    let before = bench.run("a");
    bench.end("a", &before[1], ExitReason::OutOfMemory);
    assert_eq!(bench.phases(1)[1], Phase::Exited(ExitReason::OutOfMemory));
    assert_eq!(bench.told("a"), [ToNode::Forget { process: before[1].key }]);
    bench.ensure(1, 1);
    let after = bench.run("a");
    assert!(after[0].key.incarnation > before[1].key.incarnation);
    assert!(after[0].key.is_same_place(&before[1].key));
}

#[test]
fn sends_again_what_was_lost_on_the_way() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    assert_eq!(bench.told("a").len(), 2);
    bench.connect("a", 2, Vec::new());
    assert_eq!(bench.run("a").len(), 2);
    bench.cluster.retire(ex(1), Generation(1), Retire::Drain { grace: GRACE }, moment());
    assert_eq!(bench.told("a").len(), 2);
    let listed = bench.running.values().cloned().collect();
    bench.connect("a", 2, listed);
    let told = bench.told("a");
    assert!(told.iter().all(|it| matches!(it, ToNode::Stop { .. })) && told.len() == 2, "{told:?}");
}

#[test]
fn takes_what_a_node_does_not_know_any_more_as_ended() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    bench.run("a");
    bench.connect("a", 2, Vec::new());
    assert_eq!(bench.phases(1), vec![Phase::Exited(ExitReason::Unknown); 2]);
}

#[test]
fn keeps_what_a_node_runs_that_comes_back_in_time() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    let running = bench.run("a");
    assert!(bench.cluster.disconnect("a", 1));
    assert_eq!(bench.phases(1), vec![Phase::Lost; 2]);
    assert_eq!(bench.cluster.view()[0].state, NodeState::Disconnected);
    let retired = bench.cluster.retire(ex(9), Generation(1), Retire::Kill, moment());
    assert_eq!(retired, []);
    bench.connect("a", 2, running);
    assert_eq!(bench.phases(1), vec![Phase::Running; 2]);
    bench.cluster.give_up("a", 1, moment());
    assert_eq!(bench.phases(1), vec![Phase::Running; 2], "an old alarm");
    assert_eq!(bench.told("a"), []);
}

#[test]
fn gives_up_a_node_and_kills_what_it_runs_when_it_is_back() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    let running = bench.run("a");
    bench.cluster.disconnect("a", 1);
    let unconfirmed = bench.cluster.retire(ex(1), Generation(1), Retire::Kill, moment());
    assert_eq!(unconfirmed.len(), 2, "nobody knows yet");
    bench.cluster.give_up("a", 1, moment());
    assert_eq!(bench.phases(1), vec![Phase::Exited(ExitReason::Unknown); 2]);
    assert_eq!(bench.cluster.view(), []);
    assert_eq!(bench.cluster.retire(ex(1), Generation(1), Retire::Kill, moment()), []);
    assert_eq!(bench.phases(1), []);
    bench.connect("a", 2, running.clone());
    assert_eq!(
        bench.told("a"),
        running.iter().map(|it| ToNode::Kill { process: it.key }).collect::<Vec<_>>()
    );
    assert_eq!(bench.cluster.view()[0].available, 0, "until they are gone");
    for report in &running {
        bench.end("a", report, ExitReason::Signal(9));
    }
    assert_eq!(bench.cluster.view()[0].available, 2);
    assert_eq!(bench.phases(1), []);
    assert!(bench.told("a").iter().all(|it| matches!(it, ToNode::Forget { .. })));
}

#[test]
fn kills_what_was_replaced_elsewhere() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    let running = bench.run("a");
    bench.cluster.disconnect("a", 1);
    bench.cluster.give_up("a", 1, moment());
    bench.connect("b", 2, Vec::new());
    bench.ensure(1, 1);
    assert_eq!(bench.run("b").len(), 2);
    bench.connect("a", 2, running);
    assert!(bench.told("a").iter().all(|it| matches!(it, ToNode::Kill { .. })));
    assert_eq!(bench.phases(1), vec![Phase::Running; 2]);
}

#[test]
fn forgets_a_node_that_had_nothing_to_do() {
    let mut bench = Bench::new(&[("a", 2)]);
    assert!(!bench.cluster.disconnect("a", 1));
    assert_eq!(bench.cluster.view(), []);
}

#[test]
fn does_not_take_the_end_of_a_replaced_connection_for_the_nodes() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.connect("a", 2, Vec::new());
    assert!(!bench.cluster.disconnect("a", 1));
    assert_eq!(bench.cluster.view()[0].state, NodeState::Connected);
}

#[test]
fn takes_in_what_another_master_has_started() {
    let mut first = Bench::new(&[("a", 2)]);
    first.ensure(1, 1);
    let running = first.run("a");
    let mut second = Bench::new(&[]);
    second.connect("a", 2, running);
    assert_eq!(second.phases(1), vec![Phase::Running; 2]);
    second.ensure(1, 1);
    assert_eq!(second.told("a"), [], "all that is wanted is there");
    second.ensure(1, 0);
    assert!(matches!(second.told("a")[..], [ToNode::Stop { .. }]));
}

#[test]
fn hears_how_something_ended_while_there_was_no_master() {
    let mut first = Bench::new(&[("a", 2)]);
    first.ensure(1, 1);
    let running = first.run("a");
    let ended = |report: &ProcessReport| ProcessReport {
        stage: ReportedStage::Exited(ExitReason::Code(64)),
        ..report.clone()
    };
    let mut second = Bench::new(&[]);
    let later = Timestamp::from_millis(moment().wall.as_millis() + 1);
    second.cluster.begin(Moment { wall: later, ..moment() });
    second.connect("a", 2, vec![ended(&running[0])]);
    assert_eq!(second.phases(1), [Phase::Exited(ExitReason::Code(64))]);
    assert_eq!(second.told("a"), [ToNode::Forget { process: running[0].key }]);
    second.cluster.retire(ex(1), Generation(1), Retire::Kill, moment());
    second.ensure(1, 1);
    let own = second.run("a");
    for report in &own {
        second.end("a", report, ExitReason::Completed);
    }
    second.cluster.retire(ex(1), Generation(1), Retire::Kill, moment());
    second.connect("a", 2, own.iter().map(ended).collect());
    assert_eq!(second.phases(1), [], "it was retired");
}

#[test]
fn remembers_over_a_restart_what_may_run_where() {
    let mut first = Bench::new(&[("a", 3)]);
    first.ensure(1, 1);
    let running = first.run("a");
    let text = serde_json::to_string(&first.cluster.save()).unwrap();
    let saved: Saved = serde_json::from_str(&text).unwrap();
    assert_eq!(saved, first.cluster.save());
    let mut second = Bench { cluster: Cluster::restore(saved), connection: 9, running: BTreeMap::new() };
    assert_eq!(second.phases(1), vec![Phase::Lost; 2]);
    assert_eq!(second.cluster.absent(), [("a".to_owned(), 0)]);
    second.ensure(1, 2);
    assert_eq!(second.phases(1)[..2], vec![Phase::Lost; 2], "nothing is started twice");
    second.connect("a", 3, running.clone());
    assert_eq!(second.phases(1), [Phase::Running, Phase::Running, Phase::Starting]);
    let later = second.run("a");
    assert!(later[0].key.incarnation > running[1].key.incarnation);
}

#[test]
fn gives_no_place_before_the_nodes_of_an_earlier_master_are_back() {
    let mut bench = Bench::new(&[("a", 3)]);
    let settled = moment().now + GRACE;
    bench.cluster.settle(settled);
    bench.ensure(1, 1);
    assert!(bench.phases(1).iter().all(|phase| matches!(phase, Phase::Waiting(_))));
    bench.cluster.place(Moment { now: settled, ..moment() });
    assert_eq!(bench.phases(1), [Phase::Starting, Phase::Starting]);
}

#[test]
fn goes_on_with_what_runs_where_a_later_wish_waits() {
    let mut first = Bench::new(&[("a", 3)]);
    first.ensure(1, 1);
    let running = first.run("a");
    let mut second = Bench::new(&[]);
    second.ensure(1, 1);
    second.connect("a", 3, running.clone());
    assert_eq!(second.phases(1), [Phase::Running, Phase::Running]);
    let known = second.cluster.instances(None);
    assert!(known.iter().zip(&running).all(|(known, report)| known.id.0 == report.key.to_string()));
}

#[test]
fn reads_an_old_sample_of_its_memory() {
    let sample = json!({
        "version": 1, "term": 3, "incarnation": 111_411_200_000_000_001_u64,
        "nodes": [{
            "node_id": "a", "hostname": "a", "host": "10.0.0.1", "pid": 1, "version": "0.1.0", "slots": 8,
            "limits": {"memory": "cgroup_v2", "cpu": "none"},
            "processes": [{
                "ex_id": "01010101-0101-4101-8101-010101010101", "generation": 1, "role": "worker", "ordinal": 0,
                "incarnation": 111_411_200_000_000_001_u64, "job_id": "02020202-0202-4202-8202-020202020202",
                "pid": 7, "stage": "running", "since": "2026-01-01T00:00:00.000Z",
            }],
        }],
        "unwanted": [], "fences": {"b": 5},
    });
    let saved: Saved = serde_json::from_str(&sample.to_string()).unwrap();
    assert!(saved.is_readable());
    let cluster = Cluster::restore(saved);
    assert_eq!(cluster.instances(None).len(), 1);
    assert_eq!(cluster.revisions.term, teraslice_model::id::Term(3));
}

#[test]
fn finds_processes_as_if_it_had_looked_at_all() {
    let mut bench = Bench::new(&[("a", 3), ("b", 2)]);
    let check = |cluster: &Cluster| {
        let mut afresh = Index::default();
        for (place, process) in &cluster.processes {
            afresh.note(*place, None, Some(process));
        }
        assert_eq!(cluster.index, afresh);
    };
    for workers in [2, 6] {
        bench.ensure(1, workers);
        check(&bench.cluster);
    }
    let running = bench.run("b");
    bench.ensure(1, 1);
    check(&bench.cluster);
    bench.connect("a", 3, Vec::new());
    check(&bench.cluster);
    bench.cluster.disconnect("b", 2);
    bench.cluster.give_up("b", 2, moment());
    check(&bench.cluster);
    bench.connect("b", 2, running);
    check(&bench.cluster);
    bench.cluster.retire(ex(1), Generation(1), Retire::Kill, moment());
    check(&bench.cluster);
    assert_eq!(Cluster::restore(bench.cluster.save()).index.waiting().count(), 0);
}

#[test]
fn counts_up_whatever_the_clock_does() {
    let mut cluster = Cluster::default();
    let first = cluster.next_incarnation(Timestamp::from_millis(1_700_000_000_000));
    let second = cluster.next_incarnation(Timestamp::from_millis(1_600_000_000_000));
    let third = cluster.next_incarnation(Timestamp::from_millis(1_700_000_000_001));
    assert!(first < second && second < third);
}

#[test]
fn gives_a_leaving_node_nothing_more() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.cluster.leaving("a");
    bench.ensure(1, 1);
    assert_eq!(bench.phases(1)[0], Phase::Waiting("no node is connected".to_owned()));
    assert_eq!(bench.cluster.view()[0].available, 0);
}

#[test]
fn stops_with_what_is_left_of_the_grace_and_then_kills() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.ensure(1, 1);
    bench.run("a");
    bench.cluster.retire(ex(1), Generation(1), Retire::Drain { grace: GRACE }, moment());
    assert_eq!(bench.phases(1), vec![Phase::Draining; 2]);
    assert!(bench.told("a").iter().all(|it| matches!(it, ToNode::Stop { grace, .. } if *grace <= GRACE)));
    bench.cluster.retire(ex(1), Generation(1), Retire::Kill, moment());
    assert!(bench.told("a").iter().all(|it| matches!(it, ToNode::Kill { .. })));
}
