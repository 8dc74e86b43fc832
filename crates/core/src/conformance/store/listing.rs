//! The laws of lists: what passes, in which order, which part; and of what changes in an execution beside its ledger.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use teraslice_model::{
    execution::{Execution, JobRecord, Stats},
    filter::Filter,
    id::{ExId, JobId},
    slice::SliceState,
    status::Status,
    timestamp::Timestamp,
};

use super::{ALL, append, create, execution, flush_of, record, stored};
use crate::store::{
    ErrorQuery, ExecutionQuery, ExecutionUpdate, JobQuery, Page, Sort, StateStore, StatusChange, StoreError,
    Sums,
};

/// Checks every law, each on an empty store.
pub(super) async fn run(make: &impl AsyncFn() -> Arc<dyn StateStore>) {
    lists_jobs_newest_first(&*make().await).await;
    tells_deleted_and_inactive_jobs_apart(&*make().await).await;
    filters_jobs(&*make().await).await;
    sorts_jobs_by_time(&*make().await).await;
    sorts_jobs_by_any_field(&*make().await).await;
    pages_every_list_alike(&*make().await).await;
    lists_executions_of_a_job(&*make().await).await;
    lists_executions_by_status(&*make().await).await;
    tells_deleted_executions_apart(&*make().await).await;
    filters_and_sorts_executions(&*make().await).await;
    updates_executions(&*make().await).await;
    adds_up_statistics(&*make().await).await;
    lists_errors_of_an_execution(&*make().await).await;
    lists_errors_of_all_executions(&*make().await).await;
    filters_and_sorts_errors(&*make().await).await;
}

const BASE: i64 = 1_600_000_000_000;

fn filter(text: &str) -> Option<Filter> {
    Some(Filter::parse(text).expect("the law's filter is right"))
}

fn sort(field: &str, is_descending: bool) -> Option<Sort> {
    Some(Sort { field: field.to_owned(), is_descending })
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("the literal is an object").clone()
}

/// Stores a job named `name`, changed `updated` milliseconds after all were made.
async fn put(store: &dyn StateStore, number: u8, updated: i64, job: Value) -> JobRecord {
    let job = JobRecord {
        job_id: JobId::from_random([number; 16]),
        job: object(job),
        deleted: None,
        created: Timestamp::from_millis(BASE + i64::from(number)),
        updated: Timestamp::from_millis(BASE + updated),
    };
    store.put_job(job.clone()).await.expect("a job is stored");
    job
}

async fn job_names(store: &dyn StateStore, query: JobQuery) -> String {
    let jobs = store.jobs(query).await.expect("jobs can be listed");
    jobs.iter().map(|job| job.job["name"].as_str().expect("it has a name")).collect()
}

fn all_jobs() -> JobQuery {
    JobQuery { page: ALL, ..JobQuery::default() }
}

fn all_executions() -> ExecutionQuery {
    ExecutionQuery::page(ALL)
}

/// Lists executions by the numbers that they were made with.
async fn numbers(store: &dyn StateStore, query: ExecutionQuery) -> Vec<u8> {
    let executions = store.executions(query).await.expect("executions can be listed");
    executions.iter().map(|execution| execution.ex_id.uuid().as_bytes()[0]).collect()
}

async fn lists_jobs_newest_first(store: &dyn StateStore) {
    assert!(store.jobs(all_jobs()).await.expect("lists").is_empty());
    for (number, name) in [(3, "a"), (1, "b"), (2, "c")] {
        put(store, number, 0, json!({"name": name})).await;
    }
    assert_eq!(job_names(store, all_jobs()).await, "cba");
    let changed = put(store, 3, 9, json!({"name": "A"})).await;
    assert_eq!(job_names(store, all_jobs()).await, "cbA", "a change is no creation");
    assert_eq!(store.jobs(all_jobs()).await.expect("lists")[2], changed);
}

async fn tells_deleted_and_inactive_jobs_apart(store: &dyn StateStore) {
    put(store, 1, 0, json!({"name": "a"})).await;
    put(store, 2, 0, json!({"name": "b", "active": true})).await;
    put(store, 3, 0, json!({"name": "c", "active": false})).await;
    let mut job = put(store, 4, 0, json!({"name": "d", "active": true})).await;
    job.deleted = Some(Timestamp::from_millis(BASE + 5));
    store.put_job(job.clone()).await.expect("a job is replaced");
    assert_eq!(store.job(job.job_id).await.expect("reads"), Some(job), "the record stays");
    let cases = [
        (None, None, "dcba"),
        (Some(false), None, "cba"),
        (Some(true), None, "d"),
        (None, Some(true), "ba"),
        (None, Some(false), "dc"),
        (Some(false), Some(true), "ba"),
        (Some(false), Some(false), "c"),
        (Some(true), Some(true), ""),
    ];
    for (is_deleted, is_active, wanted) in cases {
        for sort in [None, sort("_updated", true), sort("_created", true), sort("job_id", true)] {
            let query = JobQuery { is_deleted, is_active, sort, ..all_jobs() };
            assert_eq!(job_names(store, query.clone()).await, wanted, "{query:?}");
        }
    }
    put(store, 3, 0, json!({"name": "c", "active": true})).await;
    let query = JobQuery { is_active: Some(true), ..all_jobs() };
    assert_eq!(job_names(store, query).await, "cba", "a job can become active again");
}

async fn filters_jobs(store: &dyn StateStore) {
    for (number, name) in (1..).zip(["a", "b", "c", "d", "e"]) {
        let job = json!({"name": name, "workers": number, "operations": [{"_op": "noop"}]});
        put(store, number, 0, job).await;
    }
    let cases = [
        ("name:b", "b"),
        ("workers:[2 TO 4}", "cb"),
        ("operations._op:noop AND NOT name:(a OR e)", "dcb"),
        ("_context:job", "edcba"),
        ("_created:>2020-09-13T12:26:40.003Z", "ed"),
        ("job_id:03030303*", "c"),
        ("name:none", ""),
    ];
    for (text, wanted) in cases {
        let query = JobQuery { filter: filter(text), ..all_jobs() };
        assert_eq!(job_names(store, query).await, wanted, "{text}");
    }
    let page = Page { from: 1, size: 2 };
    let query = JobQuery { filter: filter("NOT name:d"), page, ..JobQuery::default() };
    assert_eq!(job_names(store, query).await, "cb", "pages are cut after the filter");
}

async fn sorts_jobs_by_time(store: &dyn StateStore) {
    for (number, name, updated) in [(3, "a", 10), (1, "b", 30), (4, "c", 10), (2, "d", 20)] {
        put(store, number, updated, json!({"name": name})).await;
    }
    let cases = [
        (sort("_updated", true), "bdca"),
        (sort("_updated", false), "cadb"),
        (sort("_created", true), "cadb"),
        (sort("_created", false), "bdac"),
    ];
    for (sort, wanted) in cases {
        let query = JobQuery { sort: sort.clone(), ..all_jobs() };
        assert_eq!(job_names(store, query).await, wanted, "{sort:?}");
        let filter = filter("NOT name:d");
        let query = JobQuery { sort, filter, page: Page { from: 1, size: 1 }, ..JobQuery::default() };
        let wanted = wanted.replace('d', "");
        assert_eq!(job_names(store, query.clone()).await, wanted[1..2], "{query:?}");
    }
    put(store, 3, 40, json!({"name": "a"})).await;
    let query = JobQuery { sort: sort("_updated", true), ..all_jobs() };
    assert_eq!(job_names(store, query).await, "abdc", "a change moves it");
}

async fn sorts_jobs_by_any_field(store: &dyn StateStore) {
    put(store, 1, 0, json!({"name": "a", "workers": 10, "tag": "x", "nested": {"at": [5, 1]}})).await;
    put(store, 2, 0, json!({"name": "b", "workers": 9, "nested": {"at": 3}})).await;
    put(store, 3, 0, json!({"name": "c", "tag": "y", "nested": {"at": null}})).await;
    put(store, 4, 0, json!({"name": "d", "workers": 9.5, "tag": "X"})).await;
    put(store, 5, 0, json!({"name": "e", "workers": 10, "tag": "", "nested": {"at": 2}})).await;
    let cases = [
        (sort("workers", false), "bdeac"),
        (sort("workers", true), "eadbc"),
        (sort("tag", false), "edacb"),
        (sort("tag", true), "cadeb"),
        (sort("nested.at", false), "aebdc"),
        (sort("nested.at", true), "abedc"),
        (sort("unheard_of", false), "edcba"),
        (sort("name", false), "abcde"),
    ];
    for (sort, wanted) in cases {
        let query = JobQuery { sort: sort.clone(), ..all_jobs() };
        assert_eq!(job_names(store, query).await, wanted, "{sort:?}");
        for (from, size) in [(0, 2), (2, 2), (4, 2), (5, 2), (1, 0)] {
            let page = Page { from: from as u64, size: size as u64 };
            let query = JobQuery { sort: sort.clone(), page, ..JobQuery::default() };
            let wanted: String = wanted.chars().skip(from).take(size).collect();
            assert_eq!(job_names(store, query).await, wanted, "{sort:?} {page:?}");
        }
    }
}

async fn pages_every_list_alike(store: &dyn StateStore) {
    for number in 1..=25 {
        create(store, number).await;
        put(store, number, i64::from(number % 4), json!({"name": "x", "workers": number % 3})).await;
    }
    let orders = [None, sort("_updated", true), sort("_created", false), sort("workers", false)];
    for (sort, filter) in
        orders.into_iter().flat_map(|sort| [(sort.clone(), None), (sort, filter("_created:*"))])
    {
        let whole = JobQuery { sort: sort.clone(), filter: filter.clone(), ..all_jobs() };
        let whole = store.jobs(whole).await.expect("lists");
        let mut paged = Vec::new();
        while paged.len() < 25 {
            let page = Page { from: paged.len() as u64, size: 7 };
            let query = JobQuery { sort: sort.clone(), filter: filter.clone(), page, ..JobQuery::default() };
            let found = store.jobs(query).await.expect("lists");
            assert!(!found.is_empty() && found.len() <= 7, "a page has what there is");
            paged.extend(found);
        }
        assert_eq!(paged, whole, "{sort:?} {filter:?}");
        for page in
            [Page { from: 25, size: 7 }, Page { from: 3, size: 0 }, Page { from: u64::MAX, size: u64::MAX }]
        {
            let jobs = JobQuery { sort: sort.clone(), filter: filter.clone(), page, ..JobQuery::default() };
            assert!(store.jobs(jobs).await.expect("lists").is_empty(), "{page:?}");
            let runs =
                ExecutionQuery { sort: sort.clone(), filter: filter.clone(), ..ExecutionQuery::page(page) };
            assert!(store.executions(runs).await.expect("lists").is_empty(), "{page:?}");
        }
    }
    let query = ExecutionQuery::page(Page { from: 3, size: 2 });
    assert_eq!(numbers(store, query).await, [22, 21]);
}

async fn lists_executions_of_a_job(store: &dyn StateStore) {
    let (one, other) = (JobId::from_random([1; 16]), JobId::from_random([2; 16]));
    for (number, job_id) in [(4, one), (3, other), (2, one), (1, other)] {
        let made = Execution { job_id, ..execution(number) };
        store.create_execution(made).await.expect("a free id is accepted");
    }
    let of = |job_id| ExecutionQuery { job_id: Some(job_id), ..all_executions() };
    assert_eq!(numbers(store, of(one)).await, [2, 4]);
    assert_eq!(numbers(store, of(other)).await, [1, 3]);
    assert!(numbers(store, of(JobId::from_random([3; 16]))).await.is_empty());
    assert_eq!(numbers(store, ExecutionQuery::latest_of(one)).await, [2]);
    let query = ExecutionQuery { sort: sort("_created", false), ..of(other) };
    assert_eq!(numbers(store, query).await, [1, 3], "of equals the newest comes first");
}

async fn lists_executions_by_status(store: &dyn StateStore) {
    let statuses = [Status::Pending, Status::Running, Status::Completed, Status::Running, Status::Failed];
    for (number, status) in (1..).zip(statuses) {
        let made = Execution { status, ..execution(number) };
        store.create_execution(made).await.expect("a free id is accepted");
    }
    let having = |statuses: &[Status]| ExecutionQuery { statuses: statuses.to_vec(), ..all_executions() };
    assert_eq!(numbers(store, having(&[Status::Running])).await, [4, 2]);
    assert_eq!(numbers(store, having(&[Status::Failed, Status::Pending, Status::Failed])).await, [5, 1]);
    assert_eq!(numbers(store, having(&Status::ALL)).await, [5, 4, 3, 2, 1]);
    assert!(numbers(store, having(&[Status::Stopped])).await.is_empty());
    for sort in [sort("_created", true), sort("_updated", true), sort("ex_id", true)] {
        let page = Page { from: 1, size: 2 };
        let query = ExecutionQuery { sort, page, ..having(&[Status::Running, Status::Pending]) };
        assert_eq!(numbers(store, query).await, [2, 1]);
    }
    let change = StatusChange::new(Status::Running, Status::Failed);
    store.set_status(execution(4).ex_id, change).await.expect("the expected status is there");
    assert_eq!(numbers(store, having(&[Status::Running])).await, [2]);
    let query = ExecutionQuery { job_id: Some(execution(4).job_id), ..having(&[Status::Failed]) };
    assert_eq!(numbers(store, query).await, [5, 4]);
}

async fn tells_deleted_executions_apart(store: &dyn StateStore) {
    for number in 1..=4 {
        create(store, number).await;
    }
    let deleted = Some(Timestamp::from_millis(BASE + 7));
    for number in [1, 3] {
        let update = ExecutionUpdate { deleted, ..ExecutionUpdate::default() };
        let id = execution(number).ex_id;
        store.update_execution(id, update).await.expect("it is there");
        assert_eq!(stored(store, id).await.deleted, deleted, "the record stays");
    }
    let orders = [None, sort("_created", true), sort("ex_id", true)];
    for (is_deleted, wanted) in
        [(None, vec![4, 3, 2, 1]), (Some(true), vec![3, 1]), (Some(false), vec![4, 2])]
    {
        for sort in orders.clone() {
            let query = ExecutionQuery { is_deleted, sort, ..all_executions() };
            assert_eq!(numbers(store, query.clone()).await, wanted);
            let query = ExecutionQuery { statuses: vec![Status::Pending], ..query };
            assert_eq!(numbers(store, query.clone()).await, wanted);
            let query = ExecutionQuery { job_id: Some(execution(1).job_id), ..query };
            assert_eq!(numbers(store, query).await, wanted);
        }
    }
    let query = ExecutionQuery { filter: filter("_deleted:true"), ..all_executions() };
    assert_eq!(numbers(store, query).await, [3, 1]);
}

async fn filters_and_sorts_executions(store: &dyn StateStore) {
    for (number, processed, updated) in [(1, 5, 30), (2, 7, 10), (3, 5, 20)] {
        let updated = Timestamp::from_millis(BASE + updated);
        let stats = Stats { processed, ..Stats::default() };
        let made = Execution { updated, stats, ..execution(number) };
        store.create_execution(made).await.expect("a free id is accepted");
    }
    let cases = [
        (None, sort("_updated", true), vec![1, 3, 2]),
        (None, sort("_updated", false), vec![2, 3, 1]),
        (None, sort("_slicer_stats.processed", false), vec![3, 1, 2]),
        (filter("_slicer_stats.processed:5"), None, vec![3, 1]),
        (filter("_slicer_stats.processed:5"), sort("_updated", true), vec![1, 3]),
        (filter("_slicer_stats.processed:>5 AND _status:pending"), sort("ex_id", false), vec![2]),
        (filter("_status:running"), None, vec![]),
    ];
    for (filter, sort, wanted) in cases {
        let query = ExecutionQuery { filter, sort, ..all_executions() };
        assert_eq!(numbers(store, query.clone()).await, wanted, "{query:?}");
    }
}

async fn updates_executions(store: &dyn StateStore) {
    let mut made = execution(1);
    made.metadata = object(json!({"kept": 1, "changed": 1}));
    let id = made.ex_id;
    store.create_execution(made.clone()).await.expect("a free id is accepted");
    let now = store.update_execution(id, ExecutionUpdate::default()).await.expect("it is there");
    assert!(now.updated > made.updated, "a change is dated");
    assert_eq!(Execution { updated: made.updated, ..now }, made, "what is absent stays");
    let update = ExecutionUpdate {
        slicer: Some(("node-1".to_owned(), 45_680)),
        workers_wanted: Some(7),
        deleted: None,
        metadata: object(json!({"changed": {"deep": [null]}, "new": "x"})),
        stats: Some(Stats { processed: 9, ..Stats::default() }),
    };
    let answer = store.update_execution(id, update).await.expect("it is there");
    let wanted = Execution {
        slicer_hostname: Some("node-1".to_owned()),
        slicer_port: Some(45_680),
        workers_wanted: Some(7),
        metadata: object(json!({"kept": 1, "changed": {"deep": [null]}, "new": "x"})),
        stats: Stats { processed: 9, ..Stats::default() },
        updated: answer.updated,
        ..made
    };
    assert_eq!(answer, wanted, "the answer is what it is now");
    assert_eq!(stored(store, id).await, wanted);
    let change = StatusChange::new(Status::Pending, Status::Running);
    store.set_status(id, change).await.expect("the expected status is there");
    let deleted = Some(Timestamp::from_millis(BASE));
    let update = ExecutionUpdate { deleted, workers_wanted: Some(0), ..ExecutionUpdate::default() };
    let now = store.update_execution(id, update).await.expect("it is there");
    let wanted = Execution {
        status: Status::Running,
        workers_wanted: Some(0),
        deleted,
        updated: now.updated,
        ..wanted
    };
    assert_eq!(now, wanted);
    let refused = store.update_execution(ExId::from_random([9; 16]), ExecutionUpdate::default()).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

async fn adds_up_statistics(store: &dyn StateStore) {
    let sums = async || store.sums().await.expect("sums can be read");
    assert_eq!(sums().await, Sums::default());
    let stats = |processed| Stats {
        processed,
        failed: 1,
        queued: 2,
        job_duration: 3,
        workers_joined: 4,
        workers_disconnected: 5,
        workers_reconnected: 6,
        ..Stats::default()
    };
    let made = Execution { stats: stats(10), ..execution(1) };
    store.create_execution(made).await.expect("a free id is accepted");
    let id = create(store, 2).await;
    let change =
        StatusChange { stats: Some(stats(20)), ..StatusChange::new(Status::Pending, Status::Running) };
    store.set_status(id, change).await.expect("the expected status is there");
    let wanted = Sums {
        processed: 30,
        failed: 2,
        queued: 4,
        job_duration: 6,
        workers_joined: 8,
        workers_disconnected: 10,
        workers_reconnected: 12,
    };
    assert_eq!(sums().await, wanted);
    let deleted = Some(Timestamp::from_millis(BASE));
    let update = ExecutionUpdate { stats: Some(stats(25)), deleted, ..ExecutionUpdate::default() };
    store.update_execution(id, update).await.expect("it is there");
    let wanted = Sums { processed: 35, ..wanted };
    assert_eq!(sums().await, wanted, "later statistics replace earlier ones; deleted executions count");
    let refused = store.create_execution(Execution { stats: stats(9), ..execution(1) }).await;
    assert!(refused.is_err());
    assert_eq!(sums().await, wanted);
}

/// Lists given up slices as the number of their execution and their order.
async fn errors(store: &dyn StateStore, query: ErrorQuery) -> Vec<(u8, u64)> {
    let errors = store.errors(query).await.expect("errors can be listed");
    errors.iter().map(|error| (error.ex_id.uuid().as_bytes()[0], error.slice.slice.slicer_order)).collect()
}

fn all_errors() -> ErrorQuery {
    ErrorQuery { page: ALL, ..ErrorQuery::default() }
}

async fn lists_errors_of_an_execution(store: &dyn StateStore) {
    let (id, other) = (create(store, 1).await, create(store, 2).await);
    let mut first = record(id, 1, 1, SliceState::Error);
    first.error = Some("broken".into());
    first.retry_count = 2;
    let made = vec![
        first.clone(),
        record(id, 0, 7, SliceState::Error),
        record(id, 0, 5, SliceState::Error),
        record(id, 0, 6, SliceState::Pending),
        record(id, 0, 8, SliceState::Completed),
    ];
    append(store, id, flush_of(made)).await;
    append(store, other, flush_of(vec![record(other, 0, 1, SliceState::Error)])).await;
    let of = |ex_id| ErrorQuery { ex_id: Some(ex_id), ..all_errors() };
    assert_eq!(errors(store, of(id)).await, [(1, 5), (1, 7), (1, 1)]);
    let listed = store.errors(of(id)).await.expect("lists");
    assert_eq!((listed[2].ex_id, &listed[2].slice), (id, &first));
    assert!(listed.iter().all(|error| error.updated > error.slice.slice.created), "it is dated");
    let page = Page { from: 1, size: 1 };
    assert_eq!(errors(store, ErrorQuery { page, ..of(id) }).await, [(1, 7)]);
    append(store, id, flush_of(vec![record(id, 0, 7, SliceState::Completed)])).await;
    assert_eq!(errors(store, of(id)).await, [(1, 5), (1, 1)], "what is completed after all is no error");
    assert!(errors(store, of(execution(3).ex_id)).await.is_empty());
}

async fn lists_errors_of_all_executions(store: &dyn StateStore) {
    for number in 1..=4 {
        let id = create(store, number).await;
        if number != 2 {
            let made = [2, 1].map(|order| record(id, 0, order, SliceState::Error));
            append(store, id, flush_of(made.into())).await;
        }
    }
    assert_eq!(errors(store, all_errors()).await, [(4, 1), (4, 2), (3, 1), (3, 2), (1, 1), (1, 2)]);
    let update =
        ExecutionUpdate { deleted: Some(Timestamp::from_millis(BASE)), ..ExecutionUpdate::default() };
    let id = execution(3).ex_id;
    store.update_execution(id, update).await.expect("it is there");
    assert_eq!(errors(store, all_errors()).await, [(4, 1), (4, 2), (1, 1), (1, 2)]);
    assert_eq!(errors(store, ErrorQuery { ex_id: Some(id), ..all_errors() }).await, [(3, 1), (3, 2)]);
    let page = Page { from: 1, size: 2 };
    assert_eq!(errors(store, ErrorQuery { page, ..ErrorQuery::default() }).await, [(4, 2), (1, 1)]);
}

async fn filters_and_sorts_errors(store: &dyn StateStore) {
    let id = create(store, 1).await;
    let made = (1..=5).map(|order| record(id, 0, order, SliceState::Error)).collect();
    append(store, id, flush_of(made)).await;
    let other = create(store, 2).await;
    append(store, other, flush_of(vec![record(other, 0, 3, SliceState::Error)])).await;
    let of_one = ErrorQuery { ex_id: Some(id), ..all_errors() };
    let cases = [
        (sort("slicer_order", true), None, vec![5, 4, 3, 2, 1]),
        (sort("slicer_order", true), filter("slicer_order:(2 OR 4)"), vec![4, 2]),
        (sort("_updated", true), None, vec![1, 2, 3, 4, 5]),
        (sort("_updated", false), filter("state:error"), vec![1, 2, 3, 4, 5]),
        (None, filter("slicer_order:>3"), vec![4, 5]),
        (None, filter("state:pending"), vec![]),
    ];
    for (sort, filter, wanted) in cases {
        let query = ErrorQuery { sort, filter, ..of_one.clone() };
        let wanted: Vec<_> = wanted.into_iter().map(|order| (1, order)).collect();
        assert_eq!(errors(store, query.clone()).await, wanted, "{query:?}");
        let query = ErrorQuery { page: Page { from: 1, size: 2 }, ..query };
        let wanted: Vec<_> = wanted.into_iter().skip(1).take(2).collect();
        assert_eq!(errors(store, query.clone()).await, wanted, "{query:?}");
    }
    let query =
        ErrorQuery { sort: sort("slicer_order", true), filter: filter("slicer_order:3"), ..all_errors() };
    assert_eq!(errors(store, query).await, [(2, 3), (1, 3)], "of equals the newest execution comes first");
}
