//! Lists of ten thousand take no longer than they must: their keys come from an index alone.

use std::io::Write as _;

use teraslice_core::store::Sort;
use teraslice_model::{filter::Filter, status::Status, timestamp::Timestamp};
use uuid::Uuid;

use super::*;

const COUNT: u64 = 10_000;

fn orders() -> [Option<Sort>; 5] {
    let sort = |field: &str, is_descending| Some(Sort { field: field.to_owned(), is_descending });
    [None, sort("_updated", true), sort("_updated", false), sort("_created", true), sort("_created", false)]
}

/// Makes `count` jobs and as many ended executions, ten of them running.
async fn filled(store: &SqliteStore, count: u64) {
    let base = 1_600_000_000_000;
    for number in 0..count {
        let made = execution(1);
        let at = |offset: u64| Timestamp::from_millis(base + i64::try_from(offset).unwrap());
        let (created, updated) = (at(number), at(number * 7919 % count));
        let job_id = JobId::new(Uuid::from_u128(number.into()));
        let deleted = number.is_multiple_of(10).then_some(created);
        let job = JobRecord { job_id, job: made.job.clone(), deleted, created, updated };
        let status = if number.is_multiple_of(count / 10) { Status::Running } else { Status::Completed };
        let ex_id = ExId::new(Uuid::from_u128(number.into()));
        let execution = Execution { ex_id, job_id, status, deleted, created, updated, ..made };
        let (one, two) = tokio::join!(store.put_job(job), store.create_execution(execution));
        one.and(two).unwrap();
    }
}

#[tokio::test]
async fn takes_keys_from_indices_alone() {
    let directory = tempdir().unwrap();
    drop(open(&directory));
    let connection = rusqlite::Connection::open(directory.path().join(FILE)).unwrap();
    let mut questions = Vec::new();
    for sort in orders() {
        for is_deleted in [None, Some(true), Some(false)] {
            let query =
                JobQuery { is_deleted, is_active: is_deleted, sort: sort.clone(), ..JobQuery::default() };
            questions.push(list::sql_of_jobs(&query));
            for statuses in [vec![], vec![Status::Running], Status::ALL.to_vec()] {
                let query =
                    ExecutionQuery { is_deleted, statuses, sort: sort.clone(), ..ExecutionQuery::default() };
                questions.push(list::sql_of_executions(&query));
                let job_id = Some(execution(1).job_id);
                questions.push(list::sql_of_executions(&ExecutionQuery { job_id, ..query }));
            }
        }
    }
    for sql in questions {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.raw_query();
        let steps: Vec<String> = rows.mapped(|row| row.get(3)).map(Result::unwrap).collect();
        let is_covered = steps[0].contains("USING COVERING INDEX");
        let sorts_all = steps.iter().any(|step| step == "USE TEMP B-TREE FOR ORDER BY");
        let may_sort = sql.contains("job_id") || sql.contains("executions_by_status");
        assert!(is_covered && (!sorts_all || may_sort), "{sql}: {steps:?}");
    }
}

/// Says how long each of some calls took.
async fn measure<T>(what: &str, count: u32, call: impl AsyncFn() -> Result<T, StoreError>) {
    let context = Context::system();
    let start = context.now();
    for _ in 0..count {
        call().await.unwrap();
    }
    let millis = context.now().duration_since(start).as_secs_f64() * 1e3 / f64::from(count);
    writeln!(std::io::stdout(), "{millis:>9.3} ms  {what}").unwrap();
}

#[tokio::test]
#[ignore = "measures, and asserts nothing"]
async fn measures_lists() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    filled(&store, COUNT).await;
    for sort in orders() {
        for is_deleted in [None, Some(true), Some(false)] {
            let what =
                format!("{:?} {is_deleted:?}", sort.as_ref().map(|sort| (&sort.field, sort.is_descending)));
            let jobs = JobQuery { is_deleted, sort: sort.clone(), ..JobQuery::default() };
            measure(&format!("jobs {what}"), 20, async || store.jobs(jobs.clone()).await).await;
            let runs = ExecutionQuery { is_deleted, sort: sort.clone(), ..ExecutionQuery::default() };
            measure(&format!("executions {what}"), 20, async || store.executions(runs.clone()).await).await;
        }
    }
    let statuses: Vec<_> = Status::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
    let query = ExecutionQuery { statuses, ..ExecutionQuery::page(ALL) };
    measure("unfinished executions", 20, async || store.executions(query.clone()).await).await;
    let query = ExecutionQuery::latest_of(JobId::new(Uuid::from_u128(77)));
    measure("latest of a job", 20, async || store.executions(query.clone()).await).await;
    measure("sums", 20, async || store.sums().await).await;
    let filter = Some(Filter::parse("name:law AND _created:>2030").unwrap());
    let query = ExecutionQuery { filter, ..ExecutionQuery::default() };
    measure("a filter that stops all executions", 1, async || store.executions(query.clone()).await).await;
    let sort = Some(Sort { field: "name".to_owned(), is_descending: true });
    let query = JobQuery { sort, ..JobQuery::default() };
    measure("jobs by name", 1, async || store.jobs(query.clone()).await).await;
}
