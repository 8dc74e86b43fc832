//! Much at once: what a cluster carries, and how soon it goes on after a loss. Counts are checked, times are printed.
//!
//! `TERASLICE_LOAD=full` takes the sizes that the targets name; without it they are smaller.

use std::{
    fs,
    path::Path,
    sync::{Mutex, MutexGuard},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use teraslice_tests::{
    aside, balanced, children,
    cluster::{Cluster, ClusterOptions},
    kill, open_files, tell,
};

/// Many processes start one after the other on few cores.
const MANY_MAX: Duration = Duration::from_mins(5);
/// Clients that send requests at once.
const CLIENTS: usize = 8;
/// What grows is watched this long; the loss is its longest pause.
const WATCH: Duration = Duration::from_secs(4);

/// Keeps cases from measuring each other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Returns the full size if that is asked for.
fn size(modest: usize, full: usize) -> usize {
    if std::env::var("TERASLICE_LOAD").is_ok_and(|size| size == "full") { full } else { modest }
}

#[expect(clippy::disallowed_methods, reason = "real processes are timed")]
fn now() -> Instant {
    Instant::now()
}

fn cluster(slots: usize) -> Cluster {
    Cluster::start(ClusterOptions { slots, ..ClusterOptions::default() })
}

/// Ten records, one slice.
fn tiny() -> Value {
    json!({
        "name": "tiny",
        "lifecycle": "once",
        "workers": 1,
        "operations": [{"_op": "data_generator", "size": 10}, {"_op": "noop"}],
    })
}

/// A slice a second, for ever.
fn endless(name: &str) -> Value {
    json!({
        "name": name,
        "lifecycle": "persistent",
        "workers": 1,
        "operations": [{"_op": "data_generator", "size": 10}, {"_op": "delay", "ms": 1_000}, {"_op": "noop"}],
    })
}

/// Posts one job so many times, by several clients at once; returns the answers.
fn post_many(cluster: &Cluster, path: &str, job: &Value, count: usize) -> Vec<Value> {
    scope(|scope| {
        let share = |client: usize| (client..count).step_by(CLIENTS).count();
        let client =
            |client| scope.spawn(move || (0..share(client)).map(|_| cluster.post(path, Some(job))).collect());
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients
            .into_iter()
            .flat_map(|client| -> Vec<Value> { client.join().expect("a client does not fail") })
            .collect()
    })
}

/// Returns the records of executions, for which `query` asks.
fn executions(cluster: &Cluster, query: &str) -> Vec<Value> {
    let list = cluster.get(&format!("/v1/ex?size=10000&{query}"));
    list.as_array().cloned().expect("executions are listed")
}

fn await_executions(cluster: &Cluster, status: &str, count: usize) -> Vec<Value> {
    cluster.wait(&format!("{count} executions to be {status}"), MANY_MAX, |cluster| {
        let found = executions(cluster, &format!("status={status}"));
        (found.len() == count).then_some(found)
    })
}

/// Returns the resident memory of a cluster's master, in MiB.
fn master_mib(cluster: &Cluster) -> u64 {
    let config = cluster.stage.path("master/config.json").display().to_string();
    let read = |pid: &u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let ours = children(std::process::id());
    let master = ours.iter().find(|pid| read(pid, "cmdline").contains(&config)).expect("the master runs");
    let status = read(master, "status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("memory is known");
    resident.trim().trim_end_matches(" kB").parse::<u64>().expect("memory is a number") / 1_024
}

#[test]
fn completes_many_jobs_that_are_submitted_at_once() {
    let _alone = alone();
    let jobs = size(60, 500);
    let cluster = cluster(1_100);
    let start = now();
    let answers = post_many(&cluster, "/v1/jobs", &tiny(), jobs);
    let submitted = start.elapsed();
    let ended = await_executions(&cluster, "completed", jobs);
    tell(&format!(
        "LOAD {jobs} jobs at once: submitted in {submitted:.2?}, completed in {:.2?}",
        start.elapsed()
    ));
    for answer in answers {
        let record =
            ended.iter().find(|record| record["ex_id"] == answer["ex_id"]).expect("no execution is lost");
        let stats = &record["_slicer_stats"];
        assert_eq!((stats["processed"].as_u64(), stats["failed"].as_u64()), (Some(1), Some(0)), "{stats}");
        assert_eq!(balanced(stats)[1]["received"], 10, "{stats}");
    }
    cluster.await_quiet();
}

#[test]
fn lists_jobs_while_executions_run() {
    let _alone = alone();
    let (jobs, live, asked) = (size(500, 10_000), size(10, 200), size(100, 2_000));
    let cluster = cluster(2 * live + 10);
    let start = now();
    post_many(&cluster, "/v1/jobs?start=false", &tiny(), jobs - live);
    let posted = start.elapsed();
    post_many(&cluster, "/v1/jobs", &endless("endless"), live);
    await_executions(&cluster, "running", live);
    tell(&format!(
        "LOAD {jobs} jobs kept in {posted:.2?}, {live} executions running in {:.2?}",
        start.elapsed() - posted
    ));
    cluster.wait("every execution to work", MANY_MAX, |cluster| {
        let records = executions(cluster, "status=running");
        records.iter().all(|record| record["_slicer_stats"]["processed"].as_u64() > Some(0)).then_some(())
    });
    let middle = format!("/v1/jobs?size=100&from={}", jobs / 2);
    for (path, expected) in [("/v1/jobs?size=100", 100), (&middle, 100), ("/v1/ex?size=100", live.min(100))] {
        let mut times: Vec<_> = (0..asked)
            .map(|_| {
                let begin = now();
                let list = cluster.get(path);
                let took = begin.elapsed();
                assert_eq!(list.as_array().map(Vec::len), Some(expected), "{path}");
                took
            })
            .collect();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        tell(&format!(
            "LOAD GET {path} among {jobs} jobs: p50 {:.2?}, p99 {:.2?}, max {:.2?}",
            at(50),
            at(99),
            at(100)
        ));
    }
}

#[test]
fn keeps_the_master_small() {
    let _alone = alone();
    let (known, live) = (size(60, 1_000), size(10, 100));
    let cluster = cluster(1_100);
    let empty = master_mib(&cluster);
    post_many(&cluster, "/v1/jobs", &tiny(), known - live);
    await_executions(&cluster, "completed", known - live);
    let after = master_mib(&cluster);
    post_many(&cluster, "/v1/jobs", &endless("endless"), live);
    await_executions(&cluster, "running", live);
    let resident = master_mib(&cluster);
    tell(&format!(
        "LOAD master: {empty} MiB empty, {after} MiB when all have ended, {resident} MiB with {known} known and {live} live"
    ));
    assert!((1..=150).contains(&resident), "{resident} MiB resident");
}

#[test]
fn hands_the_slices_of_a_killed_worker_on() {
    let _alone = alone();
    let cluster = Cluster::start(ClusterOptions { nodes: 2, ..ClusterOptions::default() });
    for round in 0..size(2, 10) {
        let folder = cluster.stage.path(&format!("out-{round}"));
        let job = json!({
            "name": "handover",
            "lifecycle": "once",
            "workers": 2,
            "operations": [
                {"_op": "data_generator", "size": 500_000},
                {"_op": "file_exporter", "path": folder, "format": "ldjson", "compression": "gzip", "file_per_slice": true},
            ],
        });
        let (_, ex_id) = cluster.submit(&job);
        let first = cluster.wait("a slice to run", MANY_MAX, |_| aside(&folder, None));
        let workers = cluster.await_processes(&ex_id, "worker", 2);
        let (node, holder) = workers
            .iter()
            .find(|(_, pid)| open_files(*pid).any(|held| held == first))
            .expect("a worker runs the slice");
        kill(*holder);
        let start = now();
        while aside(&folder, Some(&first)).is_none() {
            assert!(start.elapsed() < MANY_MAX, "nobody runs the slice again\n{}", cluster.logs());
            sleep(Duration::from_millis(1));
        }
        tell(&format!("LOAD worker of {node} killed, its slice runs again after {:.1?}", start.elapsed()));
        let record = cluster.await_status(&ex_id, &["completed"]);
        assert_eq!(balanced(&record["_slicer_stats"])[0]["created"], 500_000);
    }
}

#[test]
fn goes_on_soon_after_the_controller_is_killed() {
    let _alone = alone();
    // A record is a slice. One slicer is asked again only when its queue is half empty: 5,000 to 6,000 wait, never 10,000.
    let (slices, queued_min) = (16_000, 5_000);
    for _ in 0..size(2, 10) {
        let cluster = cluster(8);
        let job = json!({
            "name": "restart",
            "lifecycle": "once",
            "workers": 4,
            "operations": [
                {"_op": "data_generator", "size": slices},
                {"_op": "delay", "ms": 2},
                {"_op": "file_exporter", "path": cluster.stage.path("out"), "format": "ldjson", "size": 1},
            ],
        });
        let (_, ex_id) = cluster.submit(&job);
        // What the statistics speak of was written to the ledger before they came here. The record of the execution has
        // them later.
        let queued = cluster.wait("a long queue", MANY_MAX, |cluster| {
            let controllers = cluster.get("/v1/cluster/controllers");
            let stats =
                controllers.as_array()?.iter().find(|controller| controller["ex_id"] == ex_id.as_str())?;
            let is_at_work = stats["processed"].as_u64() >= Some(100);
            stats["queued"].as_u64().filter(|queued| is_at_work && *queued >= queued_min)
        });
        let controller = cluster.await_processes(&ex_id, "execution_controller", 1)[0].1;
        kill(controller);
        let pause = end_of_pause(&cluster.stage.path("out"));
        tell(&format!(
            "LOAD controller killed with {queued} slices queued, slices end again after {pause:.1?}"
        ));
        let record = cluster.await_status(&ex_id, &["completed"]);
        let stats = &record["_slicer_stats"];
        assert_eq!(
            (stats["processed"].as_u64(), stats["failed"].as_u64()),
            (Some(16_000), Some(0)),
            "{stats}"
        );
        assert_eq!(balanced(stats)[2]["received"], 16_000, "{stats}");
        assert_eq!(cluster.stage.lines("out").len(), slices);
        cluster.await_quiet();
    }
}

/// Watches a folder's files grow; returns when the longest pause of their growth was over.
fn end_of_pause(folder: &Path) -> Duration {
    let length = || -> u64 {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    };
    let start = now();
    let (mut last, mut grown) = (length(), start);
    let (mut longest, mut end) = (Duration::ZERO, start);
    while start.elapsed() < WATCH || now() - grown > longest {
        assert!(start.elapsed() < MANY_MAX, "no slice ended any more");
        let (found, at) = (length(), now());
        if found != last {
            if at - grown > longest {
                (longest, end) = (at - grown, at);
            }
            (last, grown) = (found, at);
        }
        sleep(Duration::from_millis(1));
    }
    end - start
}
