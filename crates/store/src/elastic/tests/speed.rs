//! How many slices a second go in, and how many requests that takes.

use super::*;

/// What a run of appends took.
struct Taken {
    seconds: f64,
    requests: u64,
    /// Documents written and deleted, entries included.
    writes: u64,
}

/// Appends `turns` times `count` new slices that are finished in the next append.
async fn append(stage: &Stage, options: &ElasticOptions, turns: u64, count: u64) -> Taken {
    let store = ElasticStore::open(stage.client.clone(), options).await.unwrap();
    let id = execution(1).ex_id;
    store.create_execution(execution(1)).await.unwrap();
    let generation = execution(1).generation;
    let writer = Writer { generation, epoch: store.begin_epoch(id, generation).await.unwrap() };
    let indexed = async || {
        let path = format!("/{}__*/_stats/indexing", stage.name);
        let stats = stage.ask(Request::get(path)).await;
        let total = &stats["_all"]["primaries"]["indexing"];
        total["index_total"].as_u64().unwrap() + total["delete_total"].as_u64().unwrap()
    };
    let (documents, requests, began) = (indexed().await, stage.client.requests(), store.inner.context.now());
    for turn in 0..turns {
        let of =
            |turn: u64, state| (turn * count + 1..=(turn + 1) * count).map(move |it| slice(id, 0, it, state));
        let mut slices: Vec<_> = of(turn, SliceState::Pending).collect();
        if turn > 0 {
            slices.extend(of(turn - 1, SliceState::Completed));
        }
        let checkpoints = vec![Checkpoint { order: (turn + 1) * count, ..Checkpoint::start(0) }];
        let totals = Totals { completed: turn * count, ..Totals::default() };
        let flush = Flush { slices, checkpoints, dead_letters: Vec::new(), totals };
        store.append(id, writer, flush).await.unwrap();
    }
    store.close().await.unwrap();
    let taken = Taken {
        seconds: store.inner.context.now().duration_since(began).as_secs_f64(),
        requests: stage.client.requests() - requests,
        writes: indexed().await - documents,
    };
    let counts = store.slice_counts(id).await.unwrap();
    assert_eq!((counts.pending, counts.completed), (count, (turns - 1) * count));
    taken
}

#[tokio::test]
async fn needs_few_requests_and_writes_at_speed() {
    for stage in Stage::all() {
        let options = ElasticOptions { append_interval: Duration::from_millis(100), ..stage.options() };
        let (turns, count) = (50, 100);
        let Taken { seconds, requests, writes } = append(&stage, &options, turns, count).await;
        let slices = (turns * count) as f64;
        tell(&format!(
            "{:.0} slices/s, {:.4} requests and {:.3} writes per slice",
            slices / seconds,
            requests as f64 / slices,
            writes as f64 / slices
        ));
        assert!(seconds >= 4.9, "appends keep their distance");
        assert!(requests as f64 / slices <= 0.02, "{requests} requests for {slices} slices");
        assert!(writes as f64 / slices <= 1.05, "{writes} writes for {slices} slices");
        stage.clear().await;
    }
}

#[tokio::test]
#[ignore = "measures, and asserts nothing"]
async fn measures_appends() {
    for stage in Stage::all() {
        for (interval, turns, count) in
            [(0, 500, 1), (0, 200, 100), (0, 100, 1_000), (100, 100, 1_000), (100, 50, 2_000)]
        {
            let options =
                ElasticOptions { append_interval: Duration::from_millis(interval), ..stage.options() };
            let Taken { seconds, requests, writes } = append(&stage, &options, turns, count).await;
            let slices = (turns * count) as f64;
            tell(&format!(
                "{count:>5} per flush, {interval:>3} ms: {:>6.0} appends/s, {:>7.0} slices/s, {:.4} requests and {:.3} writes per slice",
                turns as f64 / seconds,
                slices / seconds,
                requests as f64 / slices,
                writes as f64 / slices
            ));
            stage.clear().await;
        }
    }
}
