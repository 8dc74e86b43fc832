//! The database's schema, its version, and how older versions are brought up to it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks a SQLite file as ours (`TSLC`).
pub(super) const APPLICATION_ID: i32 = 0x5453_4C43;

/// What brings version 1 to 2, 2 to 3 and so on.
///
/// To change the schema: change `schema.sql`, add a step here, and keep a sample of the version left behind beside
/// `schema/version-1.sql`.
pub(super) const STEPS: &[&str] = &[
    "
ALTER TABLE dead_letters ADD COLUMN encoding INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN replayed_in BLOB;
",
    include_str!("schema/to-version-3.sql"),
];

/// The schema as it is made afresh.
const CURRENT: &str = include_str!("schema.sql");

const TABLES: [&str; 10] = [
    "jobs",
    "executions",
    "ledgers",
    "checkpoints",
    "slices",
    "dead_letters",
    "statistics",
    "assets",
    "tokens",
    "audit",
];

/// Returns the version that `steps` lead to.
pub(super) fn version(steps: &[&str]) -> i32 {
    i32::try_from(steps.len()).expect("steps are few") + 1
}

/// Makes the schema in an empty database.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(CURRENT)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version(STEPS))?;
    transaction.commit()
}

/// Brings an older database up to date, all steps or none. Returns the version found.
pub(super) fn migrate(connection: &Connection, steps: &[&str]) -> rusqlite::Result<i32> {
    let found = user_version(connection)?;
    if found == version(steps) {
        return Ok(found);
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let done = usize::try_from(found - 1).unwrap_or(0);
    for step in steps.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", version(steps))?;
    transaction.commit()?;
    Ok(found)
}

/// Returns the version a database says it has.
pub(super) fn user_version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Returns the number of the program that a database says it belongs to.
pub(super) fn application_id(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Returns a table that should be there and is not.
pub(super) fn missing_table(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(TABLES.into_iter().find(|table| !found.iter().any(|name| name == table)))
}
