//! Databases of older versions are read and brought up to date.

use rusqlite::Connection;
use teraslice_model::{id::JobId, status::Status};

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
