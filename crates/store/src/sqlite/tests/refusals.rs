//! What cannot be opened: each case has its own words, and everything stays as it was.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};

use rusqlite::Connection;

use super::*;

/// Every file of a directory with its content, the lock apart.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| !path.ends_with(LOCK_FILE))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Tries to open for writing and for reading; both must refuse in the same way and leave all as it was.
fn refusal(directory: &TempDir) -> OpenError {
    let before = content(directory.path());
    let error = SqliteStore::open(directory.path(), options()).unwrap_err();
    let reading = SqliteStore::open_read_only(directory.path(), options()).unwrap_err();
    assert_eq!(error.to_string(), reading.to_string());
    let after = content(directory.path());
    // SQLite may leave an empty log behind.
    let is_kept = before.iter().all(|(path, bytes)| after.get(path) == Some(bytes));
    assert!(is_kept, "a refused file was changed");
    error
}

/// Returns the message with the directory's name taken out.
fn message(directory: &TempDir, error: &OpenError) -> String {
    error.to_string().replace(&directory.path().display().to_string(), "DIR")
}

fn with_file(bytes: &[u8]) -> TempDir {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join(FILE), bytes).unwrap();
    directory
}

/// A used store, changed by SQL.
async fn changed(sql: &str) -> TempDir {
    let (directory, _id) = used().await;
    let connection = Connection::open(directory.path().join(FILE)).unwrap();
    connection.execute_batch(sql).unwrap();
    directory
}

#[test]
fn refuses_a_second_process_and_names_the_first() {
    let directory = tempdir().unwrap();
    let first = open(&directory);
    let error = SqliteStore::open(directory.path(), options()).unwrap_err();
    let pid = std::process::id();
    assert_eq!(message(&directory, &error), format!("state directory DIR is in use by process {pid}"));
    let hint = format!(
        "wait until process {pid} ends, stop it with `kill {pid}`, or choose another state directory"
    );
    assert_eq!(error.hint(), hint);
    drop(first);
    drop(open(&directory));
}

#[test]
fn refuses_a_file_that_is_no_database() {
    let directory = with_file(b"name,value\nnot a database at all\n");
    let error = refusal(&directory);
    assert_eq!(message(&directory, &error), "DIR/state.sqlite is no SQLite database");
    assert!(error.hint().ends_with("if it is not needed here, or choose another state directory"));
}

#[test]
fn refuses_an_empty_file() {
    let directory = with_file(b"");
    let error = refusal(&directory);
    assert_eq!(message(&directory, &error), "the state store DIR/state.sqlite is damaged: it is empty");
}

#[tokio::test]
async fn refuses_a_database_of_another_program() {
    let directory = changed("PRAGMA application_id = 0x12345678").await;
    let error = refusal(&directory);
    let wanted = "DIR/state.sqlite is a database of another program (application id 0x12345678)";
    assert_eq!(message(&directory, &error), wanted);
}

#[tokio::test]
async fn refuses_a_newer_schema() {
    let directory = changed("PRAGMA user_version = 99").await;
    let error = refusal(&directory);
    let wanted = "DIR/state.sqlite has schema version 99, this program knows versions up to 3";
    assert_eq!(message(&directory, &error), wanted);
    assert_eq!(error.hint(), "use the newer version of the program, or choose another state directory");
}

#[tokio::test]
async fn refuses_a_newer_schema_that_is_still_in_the_log() {
    let (directory, _id) = used().await;
    let copy = tempdir().unwrap();
    let connection = Connection::open(directory.path().join(FILE)).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    for name in [FILE, "state.sqlite-wal"] {
        fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = fs::read(copy.path().join(FILE)).unwrap();
    let error = SqliteStore::open(copy.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 3, .. }), "{error:?}");
    assert!(fs::read(copy.path().join(FILE)).unwrap() == before, "the log was written back");
}

#[tokio::test]
async fn refuses_a_database_that_is_cut_off() {
    for len in [60, 8192, 20_000] {
        let (directory, _id) = used().await;
        let file = fs::OpenOptions::new().write(true).open(directory.path().join(FILE)).unwrap();
        file.set_len(len).unwrap();
        let error = refusal(&directory);
        assert!(matches!(error, OpenError::Damaged { .. }), "{len}: {error:?}");
        assert!(error.hint().starts_with("nothing was changed: restore"), "{}", error.hint());
    }
}

#[tokio::test]
async fn refuses_a_database_without_its_tables() {
    let directory = changed("DROP TABLE checkpoints").await;
    let error = refusal(&directory);
    let wanted = "the state store DIR/state.sqlite is damaged: table checkpoints is missing";
    assert_eq!(message(&directory, &error), wanted);
}

#[test]
fn refuses_a_log_without_its_database() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("state.sqlite-wal"), b"the log of a database moved away").unwrap();
    let error = refusal(&directory);
    let wanted =
        "the state store DIR/state.sqlite is damaged: its log is there, the database itself is missing";
    assert_eq!(message(&directory, &error), wanted);
}

#[tokio::test]
async fn says_that_it_is_damaged_when_a_page_is() {
    let (directory, id) = used().await;
    let file = fs::OpenOptions::new().write(true).open(directory.path().join(FILE)).unwrap();
    let len = file.metadata().unwrap().size();
    file.write_all_at(&vec![0xFF; usize::try_from(len).unwrap() - 8192], 8192).unwrap();
    let before = fs::read(directory.path().join(FILE)).unwrap();
    let store = open(&directory);
    for error in [
        store.ledger(id).await.unwrap_err(),
        store.append(id, FIRST, flush(id, 11, 20)).await.unwrap_err(),
        store.executions(ExecutionQuery::page(ALL)).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains("state.sqlite is damaged"), "{error}");
    }
    drop(store);
    assert!(fs::read(directory.path().join(FILE)).unwrap() == before, "a damaged file was changed");
}

#[tokio::test]
async fn says_that_it_is_damaged_when_a_value_is() {
    for change in [
        "UPDATE slices SET slice_id = 'no id' WHERE slicer_order = 2",
        "UPDATE slices SET request = x'FF' WHERE slicer_order = 2",
        "UPDATE checkpoints SET slicer_id = -1",
        "UPDATE ledgers SET operations = '[{'",
    ] {
        let directory = changed(change).await;
        let store = open(&directory);
        let error = store.ledger(execution(1).ex_id).await.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }), "{change}: {error:?}");
        assert!(error.to_string().contains("is damaged"), "{change}: {error}");
    }
}

#[test]
fn has_nothing_to_read_where_nothing_is() {
    let directory = tempdir().unwrap();
    let error = SqliteStore::open_read_only(directory.path(), options()).unwrap_err();
    assert_eq!(message(&directory, &error), "there is no state store at DIR/state.sqlite");
    assert!(content(directory.path()).is_empty(), "reading makes nothing");
}

#[test]
fn refuses_a_directory_that_cannot_be_made() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("file"), b"").unwrap();
    let error = SqliteStore::open(&directory.path().join("file/state"), options()).unwrap_err();
    assert_eq!(message(&directory, &error), "failed to use the state store at DIR/file/state");
    assert!(error.hint().starts_with("make the state directory and its files readable and writable"));
}

#[test]
fn refuses_a_directory_that_cannot_be_written() {
    if rustix::process::geteuid().is_root() {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "NOT TESTED: root may write to any directory").unwrap();
        return;
    }
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let error = SqliteStore::open(directory.path(), options()).unwrap_err();
    assert_eq!(message(&directory, &error), "failed to use the state store at DIR/state.lock");
}

#[test]
fn makes_a_new_store_over_the_remains_of_one_half_made() {
    let directory = tempdir().unwrap();
    for name in ["state.sqlite.new", "state.sqlite.new-wal", "state.sqlite.new-journal"] {
        fs::write(directory.path().join(name), b"cut off by a crash").unwrap();
    }
    drop(open(&directory));
    assert_eq!(content(directory.path()).len(), 1, "the remains are gone");
}
