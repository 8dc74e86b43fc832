//! Databases of older versions are read and brought up to date.

use rusqlite::Connection;
use teraslice_core::store::Sort;
use teraslice_model::{access::AccessRole, id::JobId, status::Status, timestamp::Timestamp};

use super::*;
use crate::sqlite::schema::{self, migrate, user_version, version};

/// A database of each version, as it was first written by that version.
const SAMPLES: &[&str] = &[
    include_str!("../schema/version-1.sql"),
    include_str!("../schema/version-2.sql"),
    include_str!("../schema/version-3.sql"),
];

fn from_sample(sql: &str) -> TempDir {
    let directory = tempdir().unwrap();
    Connection::open(directory.path().join(FILE)).unwrap().execute_batch(sql).unwrap();
    directory
}

#[tokio::test]
async fn reads_a_sample_of_every_version() {
    assert_eq!(SAMPLES.len(), usize::try_from(version(schema::STEPS)).unwrap(), "a version has no sample");
    for sample in SAMPLES {
        let directory = from_sample(sample);
        let store = open(&directory);
        let all = store.executions(ExecutionQuery::page(ALL)).await.unwrap();
        assert_eq!(all.len(), 1);
        let (id, run) = (all[0].ex_id, &all[0]);
        assert_eq!(id.to_string(), "01010101-0101-4101-8101-010101010101");
        assert_eq!((run.status, run.epoch, run.failure.as_deref()), (Status::Failing, Epoch(2), Some("why")));
        assert_eq!(run.stats.processed, 2);
        let job_id: JobId = "c8c8c8c8-c8c8-48c8-88c8-c8c8c8c8c8c8".parse().unwrap();
        assert_eq!(store.job(job_id).await.unwrap().unwrap().job["name"], "law");
        check_lists(&store, &all[0], job_id).await;
        let ledger = store.ledger(id).await.unwrap();
        assert_eq!(ledger.unfinished, [record(id, 0, 2, SliceState::Pending)]);
        let position = ledger.checkpoints[0].position.as_ref().unwrap();
        assert_eq!((ledger.checkpoints[0].order, position.json()), (3, "{\"at\":3}"));
        assert_eq!((ledger.totals.completed, ledger.totals.operations[0].created), (1, 3));
        let failed = store.slices(id, SliceState::Error, ALL).await.unwrap();
        assert_eq!((failed[0].error.as_deref(), failed[0].deaths), (Some("broken"), 3));
        let counts = store.slice_counts(id).await.unwrap();
        assert_eq!((counts.pending, counts.completed, counts.error), (1, 1, 1));
        let letters = store.dead_letters(id, teraslice_core::store::Letters::Open, ALL).await.unwrap();
        assert_eq!(letters[0].letter.reason, "refused");
        let writer = Writer { generation: Generation(1), epoch: Epoch(2) };
        store.append(id, writer, flush(id, 4, 5)).await.unwrap();
    }
}

/// Checks that what a migration fills in is what a store would have written.
async fn check_lists(store: &SqliteStore, run: &Execution, job_id: JobId) {
    let made = Timestamp::from_millis(1_600_000_000_000);
    let changed = Timestamp::from_millis(1_600_000_005_000);
    assert_eq!((run.job_id, run.created, run.updated, run.deleted), (job_id, made, changed, None));
    for field in ["_created", "_updated", "name"] {
        let sort = Some(Sort { field: field.to_owned(), is_descending: true });
        let (is_active, is_deleted) = (Some(true), Some(false));
        let jobs = JobQuery { is_active, is_deleted, sort: sort.clone(), ..JobQuery::default() };
        assert_eq!(store.jobs(jobs).await.unwrap().len(), 1);
        let statuses = vec![Status::Failing];
        let runs = ExecutionQuery { statuses, is_deleted, sort, ..ExecutionQuery::latest_of(job_id) };
        assert_eq!(store.executions(runs).await.unwrap(), std::slice::from_ref(run));
    }
    let errors = store.errors(ErrorQuery::default()).await.unwrap();
    assert_eq!((errors.len(), errors[0].updated), (1, changed));
    let sums = store.sums().await.unwrap();
    assert_eq!((sums.processed, sums.failed), (2, 1));
}

#[tokio::test]
async fn reads_what_version_3_has_added() {
    let directory = from_sample(SAMPLES[2]);
    let store = open(&directory);
    let run = store.executions(ExecutionQuery::default()).await.unwrap().remove(0);
    assert_eq!((run.workers_wanted, run.slicer_hostname.as_deref()), (Some(7), Some("node-1")));
    assert_eq!((run.slicer_port, &run.metadata["note"]), (Some(45_680), &1.into()));
    assert_eq!(store.assets().await.unwrap()[0].name, "standard");
    assert_eq!(store.tokens().await.unwrap()[0].role, AccessRole::Operate);
    assert_eq!(store.audit(ALL).await.unwrap()[0].action, "POST /v1/jobs");
}

#[test]
fn dates_what_it_migrates_to_the_millisecond() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(SAMPLES[1]).unwrap();
    let change = "UPDATE jobs SET record = json_set(record, '$._created', '2024-02-29T23:59:59.999Z',
        '$._updated', '1969-12-31T23:59:59.001Z', '$.job.active', json('false'))";
    connection.execute_batch(change).unwrap();
    migrate(&connection, schema::STEPS).unwrap();
    let sql = "SELECT created, updated, is_active FROM jobs";
    let found: (i64, i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(found, (1_709_251_199_999, -999, 0));
}

#[test]
fn makes_afresh_what_it_migrates_to() {
    let objects = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        // A column that was added later is set apart by other blanks.
        let squeeze = |sql: String| {
            let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            words.replace(" ,", ",").replace(" )", ")")
        };
        statement.query_map([], |row| row.get(0)).unwrap().map(|sql| squeeze(sql.unwrap())).collect()
    };
    let fresh = Connection::open_in_memory().unwrap();
    schema::make(&fresh).unwrap();
    for sample in SAMPLES {
        let directory = from_sample(sample);
        drop(open(&directory));
        let migrated = Connection::open(directory.path().join(FILE)).unwrap();
        assert_eq!(objects(&migrated), objects(&fresh));
    }
}

#[test]
fn takes_every_step_that_is_missing() {
    let connection = Connection::open_in_memory().unwrap();
    schema::make(&connection).unwrap();
    let steps = ["CREATE TABLE two (a)", "ALTER TABLE two ADD COLUMN b"];
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
    assert_eq!(migrate(&connection, &steps[..1]).unwrap(), 1);
    assert_eq!(user_version(&connection).unwrap(), 2);
    assert_eq!(migrate(&connection, &steps).unwrap(), 2);
    assert_eq!(user_version(&connection).unwrap(), 3);
    connection.execute_batch("INSERT INTO two (a, b) VALUES (1, 2)").unwrap();
    assert_eq!(migrate(&connection, &steps).unwrap(), 3, "nothing is left to do");
}

#[test]
fn takes_all_steps_or_none() {
    let connection = Connection::open_in_memory().unwrap();
    schema::make(&connection).unwrap();
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
    migrate(&connection, &["CREATE TABLE two (a)", "this is no SQL"]).unwrap_err();
    assert_eq!(user_version(&connection).unwrap(), 1);
    connection.prepare("SELECT * FROM two").unwrap_err();
}

#[test]
fn asks_for_a_migration_before_it_reads_an_older_version() {
    let path = Path::new("/state").join(FILE);
    let error = OpenError::Older { path, found: 1, known: 2 };
    let wanted = "/state/state.sqlite has the old schema version 1, reading needs version 2";
    assert_eq!(error.to_string(), wanted);
    assert_eq!(error.hint(), "run or resume a job once: that brings the state store up to date");
}
