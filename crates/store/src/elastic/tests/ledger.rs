//! Ledgers of several stores on the same indices, across months, large and fast.

use super::*;

/// Opens a store whose task does nothing for as long as a test takes.
async fn unsettled(stage: &Stage) -> ElasticStore {
    let options = ElasticOptions { settle_interval: Duration::from_secs(3_600), ..stage.options() };
    ElasticStore::open(stage.client.clone(), &options).await.unwrap()
}

fn letter(slice: &SliceRecord) -> DeadLetter {
    DeadLetter {
        slice_id: slice.slice.id,
        operation: 1,
        op: "filter".to_owned(),
        reason: "refused".to_owned(),
        record: "{}".to_owned(),
        encoding: Encoding::Text,
        metadata: None,
    }
}

/// A flush with slices in all states and a dead letter.
fn flush(id: ExId, first: u64) -> Flush {
    let states = [SliceState::Pending, SliceState::Completed, SliceState::Error];
    let slices: Vec<_> = (first..).zip(states).map(|(order, state)| slice(id, 0, order, state)).collect();
    Flush {
        dead_letters: vec![letter(&slices[1])],
        slices,
        checkpoints: vec![Checkpoint { order: first + 2, ..Checkpoint::start(0) }],
        totals: Totals { completed: first, ..Totals::default() },
    }
}

async fn begin(store: &ElasticStore, id: ExId) -> Writer {
    let generation = execution(1).generation;
    Writer { generation, epoch: store.begin_epoch(id, generation).await.unwrap() }
}

#[tokio::test]
async fn lists_what_was_written_just_before_a_sudden_end() {
    for stage in Stage::all() {
        let first = unsettled(&stage).await;
        first.create_execution(execution(1)).await.unwrap();
        drop(first);
        let second = unsettled(&stage).await;
        let listed = second.executions(ExecutionQuery::default()).await.unwrap();
        assert_eq!(listed, [execution(1)]);
    }
}

#[tokio::test]
async fn returns_the_same_ledger_after_a_sudden_end() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let first = unsettled(&stage).await;
        first.create_execution(execution(1)).await.unwrap();
        let writer = begin(&first, id).await;
        for turn in 0..5 {
            first.append(id, writer, flush(id, turn * 3 + 1)).await.unwrap();
        }
        let ledger = first.ledger(id).await.unwrap();
        assert_eq!((ledger.unfinished.len(), ledger.totals.completed), (5, 13));
        drop(first);
        let second = unsettled(&stage).await;
        assert_eq!(second.ledger(id).await.unwrap(), ledger);
        let errors = second.errors(ErrorQuery::default()).await.unwrap();
        assert_eq!(errors.len(), 5, "records that nobody has written yet are written for the list");
        let counts = SliceCounts { pending: 5, completed: 5, error: 5 };
        assert_eq!(second.slice_counts(id).await.unwrap(), counts);
        assert_eq!(second.dead_letters(id, Letters::All, ALL).await.unwrap().len(), 5);
        let third = unsettled(&stage).await;
        begin(&third, id).await;
        assert_eq!(third.ledger(id).await.unwrap(), ledger);
        assert_eq!(third.slice_counts(id).await.unwrap(), counts);
        stage.clear().await;
    }
}

#[tokio::test]
async fn fences_a_controller_that_writes_through_another_store() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let (one, two) = (stage.open().await, stage.open().await);
        one.create_execution(execution(1)).await.unwrap();
        let early = begin(&one, id).await;
        one.append(id, early, flush(id, 1)).await.unwrap();
        let late = begin(&two, id).await;
        let before = two.ledger(id).await.unwrap();
        let refused = one.append(id, early, flush(id, 4)).await;
        assert!(matches!(refused, Err(StoreError::Fenced { current, .. }) if current == late), "{refused:?}");
        assert_eq!(two.ledger(id).await.unwrap(), before, "a fenced write changes nothing");
        two.append(id, late, flush(id, 4)).await.unwrap();
        assert_eq!(one.ledger(id).await.unwrap(), two.ledger(id).await.unwrap());
        stage.clear().await;
    }
}

#[tokio::test]
async fn lets_one_controller_write_through_several_stores() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let stores = [stage.open().await, stage.open().await, stage.open().await];
        stores[0].create_execution(execution(1)).await.unwrap();
        let writer = begin(&stores[0], id).await;
        let writers = [0, 0, 0, 1, 1, 2].into_iter().cycle();
        for (turn, (writes, reads)) in (0..30).zip(writers.zip([1, 2, 0].into_iter().cycle())) {
            stores[writes].append(id, writer, flush(id, turn * 3 + 1)).await.unwrap();
            let counts = SliceCounts { pending: turn + 1, completed: turn + 1, error: turn + 1 };
            assert_eq!(stores[reads].slice_counts(id).await.unwrap(), counts);
        }
        let ledger = stores[1].ledger(id).await.unwrap();
        assert_eq!(ledger.unfinished.len(), 30);
        for store in &stores {
            assert_eq!(store.ledger(id).await.unwrap(), ledger);
            assert_eq!(store.dead_letters(id, Letters::All, ALL).await.unwrap().len(), 30);
        }
        stage.clear().await;
    }
}

#[tokio::test]
async fn lets_stores_contend_without_loss() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let (one, two) = (stage.open().await, stage.open().await);
        one.create_execution(execution(1)).await.unwrap();
        let append = async |store: &ElasticStore, slicer| {
            let mut written = 0;
            while written < 20 {
                let slices = vec![slice(id, slicer, written + 1, SliceState::Completed)];
                match store.append(id, FIRST, Flush { slices, ..Flush::default() }).await {
                    Ok(()) => written += 1,
                    Err(StoreError::Unavailable { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::join!(append(&one, 0), append(&two, 1));
        for store in [one, two] {
            assert_eq!(store.slice_counts(id).await.unwrap().completed, 40);
        }
        stage.clear().await;
    }
}

#[tokio::test]
async fn keeps_slices_in_the_month_in_which_they_were_made() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let store = stage.open().await;
        store.create_execution(execution(1)).await.unwrap();
        let made = |order, time: &str| {
            let mut made = slice(id, 0, order, SliceState::Completed);
            made.slice.created = time.parse().unwrap();
            made
        };
        let slices = vec![made(1, "2020-08-31T23:59:59.999Z"), made(2, "2020-09-01T00:00:00.000Z")];
        store.append(id, FIRST, Flush { slices: slices.clone(), ..Flush::default() }).await.unwrap();
        assert_eq!(store.slices(id, SliceState::Completed, ALL).await.unwrap(), slices);
        for (month, slice) in ["2020.08", "2020.09"].into_iter().zip(slices) {
            let path = format!("/{}__state-{month}/_doc/{}", stage.name, slice.slice.id);
            assert_eq!(stage.ask(Request::get(path)).await["found"], true);
        }
        stage.clear().await;
    }
}

#[tokio::test]
async fn takes_a_flush_of_many_slices() {
    const COUNT: u64 = 25_000;
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let store = stage.open().await;
        store.create_execution(execution(1)).await.unwrap();
        let slices: Vec<_> = (1..=COUNT).map(|order| slice(id, 0, order, SliceState::Error)).collect();
        store.append(id, FIRST, Flush { slices: slices.clone(), ..Flush::default() }).await.unwrap();
        let page = Page { from: COUNT - 10, size: 20 };
        assert_eq!(store.slices(id, SliceState::Error, page).await.unwrap(), slices[slices.len() - 10..]);
        let page = Page { from: 9_995, size: 10 };
        assert_eq!(store.slices(id, SliceState::Error, page).await.unwrap(), slices[9_995..10_005]);
        assert_eq!(store.slice_counts(id).await.unwrap().error, COUNT);
        stage.clear().await;
    }
}

#[tokio::test]
async fn settles_and_shortens_journals_by_itself() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let options = ElasticOptions { settle_interval: Duration::from_millis(500), ..stage.options() };
        let store = ElasticStore::open(stage.client.clone(), &options).await.unwrap();
        store.create_execution(execution(1)).await.unwrap();
        let writer = begin(&store, id).await;
        for turn in 0..5 {
            store.append(id, writer, flush(id, turn * 3 + 1)).await.unwrap();
        }
        let count = async |index: &str| {
            let _seen = stage.ask(Request::post(format!("/{}__{index}/_refresh", stage.name))).await;
            let path = format!("/{}__{index}/_count?ignore_unavailable=true", stage.name);
            stage.ask(Request::get(path)).await["count"].as_u64().unwrap()
        };
        let deadline = store.inner.context.now() + Duration::from_secs(60);
        while count("state-*").await < 10 || count("ledger").await > 2 {
            assert!(store.inner.context.now() < deadline, "it takes too long");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(store.ledger(id).await.unwrap().unfinished.len(), 5);
        let second = stage.open().await;
        assert_eq!(second.ledger(id).await.unwrap(), store.ledger(id).await.unwrap());
        stage.clear().await;
    }
}
