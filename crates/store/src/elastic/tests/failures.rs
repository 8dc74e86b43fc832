//! Indices that are deleted or closed to writes, and servers that do not answer.

use super::*;

fn completed(id: ExId, order: u64) -> Flush {
    Flush { slices: vec![slice(id, 0, order, SliceState::Completed)], ..Flush::default() }
}

#[tokio::test]
async fn goes_on_when_an_index_is_deleted() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let store = stage.open().await;
        store.create_execution(execution(1)).await.unwrap();
        let pending = slice(id, 1, 1, SliceState::Pending);
        store.append(id, FIRST, Flush { slices: vec![pending.clone()], ..Flush::default() }).await.unwrap();
        store.append(id, FIRST, completed(id, 1)).await.unwrap();
        assert_eq!(store.slice_counts(id).await.unwrap().completed, 1);
        for index in ["state-2020.09", "ledger", "jobs"] {
            stage.ask(Request::delete(format!("/{}__{index}", stage.name))).await;
        }
        assert!(store.jobs(JobQuery::default()).await.unwrap().is_empty());
        let Execution { job, job_id, created, .. } = execution(1);
        let job = JobRecord { job_id, job, deleted: None, created, updated: created };
        store.put_job(job.clone()).await.unwrap();
        assert_eq!(store.jobs(JobQuery::default()).await.unwrap(), [job]);
        for order in 2..=4 {
            store.append(id, FIRST, completed(id, order)).await.unwrap();
            assert_eq!(store.slice_counts(id).await.unwrap().completed, order - 1, "the first is lost");
        }
        assert_eq!(
            stage.open().await.ledger(id).await.unwrap().unfinished,
            [pending],
            "what is pending is not"
        );
        let mappings = stage.ask(Request::get(format!("/{}__*/_mapping", stage.name))).await;
        for (index, mapping) in mappings.as_object().unwrap() {
            assert_eq!(mapping["mappings"]["dynamic"], "false", "{index}");
        }
        stage.clear().await;
    }
}

#[tokio::test]
async fn says_what_would_help_when_writes_are_blocked() {
    for stage in Stage::all() {
        let id = execution(1).ex_id;
        let store = stage.open().await;
        store.create_execution(execution(1)).await.unwrap();
        store.append(id, FIRST, completed(id, 1)).await.unwrap();
        store.slice_counts(id).await.unwrap();
        let block = async |index: &str, is_on: bool| {
            let path = format!("/{}__{index}/_settings", stage.name);
            stage.ask(Request::put(path).json(&json!({"index.blocks.write": is_on}))).await;
        };
        let is_told = |refused: Result<(), StoreError>| {
            let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(matches!(refused, Err(StoreError::Broken { .. })), "{refused:?}");
            assert!(text.contains("FORBIDDEN/8") && text.contains("free some space"), "{text}");
        };
        block("ex", true).await;
        is_told(store.create_execution(execution(2)).await);
        block("ex", false).await;
        block("ledger", true).await;
        is_told(store.append(id, FIRST, completed(id, 2)).await);
        block("ledger", false).await;
        block("state-2020.09", true).await;
        store.append(id, FIRST, completed(id, 2)).await.unwrap();
        is_told(store.slice_counts(id).await.map(drop));
        is_told(store.append(id, FIRST, completed(id, 3)).await);
        block("state-2020.09", false).await;
        assert_eq!(store.slice_counts(id).await.unwrap().completed, 2, "nothing that was confirmed is lost");
        store.append(id, FIRST, completed(id, 3)).await.unwrap();
        assert_eq!(store.slice_counts(id).await.unwrap().completed, 3);
        stage.clear().await;
    }
}

#[tokio::test]
async fn says_what_it_cannot_use() {
    for stage in Stage::all() {
        let options = ElasticOptions { name: "Upper".to_owned(), ..stage.options() };
        let refused = ElasticStore::open(stage.client.clone(), &options).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("\"Upper\" cannot begin the name of an index"), "{text}");
    }
}
