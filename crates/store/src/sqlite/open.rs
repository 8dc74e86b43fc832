//! Opens the database: looks before it touches, makes a new one aside, refuses what it does not understand.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, MAIN_DB, OpenFlags, config::DbConfig};

use super::{Durability, FILE, SqliteOptions, error::OpenError, lock::Lock, schema};

/// Fewer, larger pages suit rows that come in by the thousand.
const PAGE_LEN: u32 = 8192;
/// The log is written back into the database at this many pages: 8 MiB.
const LOG_PAGES: u32 = 1024;
/// A log that has grown beyond this, as under a slow reader, is cut back.
const LOG_LEN_MAX: u32 = 32 << 20;
/// Memory for pages, in KiB.
const WRITER_CACHE_KIB: u32 = 8 << 10;
const READER_CACHE_KIB: u32 = 4 << 10;
/// Prepared statements kept per connection: more than there are.
const STATEMENTS: usize = 48;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_LEN: usize = 100;
/// Where a SQLite file keeps `user_version` and `application_id`.
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// A directory's database, opened for this process alone.
pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) path: PathBuf,
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) lister: Connection,
}

/// What lies where the database should be.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
}

/// Opens or makes the database of a directory and locks the directory.
pub(super) fn exclusive(directory: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    let inaccessible = |source| OpenError::Inaccessible { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(inaccessible)?;
    let lock = Lock::take(directory)?;
    let path = directory.join(FILE);
    if look(&path)? == Found::Nothing {
        make(directory, &path)?;
    }
    let failed = |source| OpenError::from_sqlite(&path, source);
    let writer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?;
    if writer.is_readonly(MAIN_DB).map_err(failed)? {
        return Err(OpenError::WriteProtected { path });
    }
    // What is refused below must not even have its log written back.
    set_log_kept(&writer, true).map_err(failed)?;
    check(&writer, &path)?;
    schema::migrate(&writer, schema::STEPS).map_err(failed)?;
    check_tables(&writer, &path)?;
    set_log_kept(&writer, false).map_err(failed)?;
    tune_writer(&writer, options).map_err(failed)?;
    let reader = another_reader(&path, options)?;
    let lister = another_reader(&path, options)?;
    Ok(Opened { lock, path, writer, reader, lister })
}

/// Opens another connection for reading to a database that was checked.
pub(super) fn another_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, options)?;
    tune_reader(&connection).map_err(|source| OpenError::from_sqlite(path, source))?;
    Ok(connection)
}

/// Opens the database of a directory for reading.
pub(super) fn read_only(
    directory: &Path,
    options: &SqliteOptions,
) -> Result<(PathBuf, Connection), OpenError> {
    let path = directory.join(FILE);
    if look(&path)? == Found::Nothing {
        return Err(OpenError::Missing { path });
    }
    let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, options)?;
    let (found, known) = (check(&connection, &path)?, schema::version(schema::STEPS));
    if found < known {
        return Err(OpenError::Older { path, found, known });
    }
    check_tables(&connection, &path)?;
    tune_reader(&connection).map_err(|source| OpenError::from_sqlite(&path, source))?;
    Ok((path, connection))
}

/// Looks at the file's first bytes without SQLite, which may write to what it opens.
fn look(path: &Path) -> Result<Found, OpenError> {
    let damaged = |what: &str| OpenError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let inaccessible = |source| OpenError::Inaccessible { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && beside(path, "-wal").exists() => {
            return Err(damaged("its log is there, the database itself is missing"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(inaccessible(source)),
    };
    let mut header = Vec::with_capacity(HEADER_LEN);
    file.take(HEADER_LEN as u64).read_to_end(&mut header).map_err(inaccessible)?;
    if header.is_empty() {
        return Err(damaged("it is empty"));
    }
    if !header.starts_with(MAGIC) {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    if header.len() < HEADER_LEN {
        return Err(damaged("it is cut off"));
    }
    accept(path, number_at(&header, APPLICATION_ID_AT), number_at(&header, USER_VERSION_AT))?;
    Ok(Found::Ours)
}

fn number_at(header: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(header[at..at + 4].try_into().expect("a header has 100 bytes"))
}

fn accept(path: &Path, application_id: i32, found: i32) -> Result<(), OpenError> {
    let (path, known) = (path.to_owned(), schema::version(schema::STEPS));
    if application_id != schema::APPLICATION_ID {
        return Err(OpenError::Foreign { path, application_id });
    }
    if found > known {
        return Err(OpenError::Newer { path, found, known });
    }
    if found < 1 {
        return Err(OpenError::Damaged {
            path,
            what: format!("it has the impossible schema version {found}"),
        });
    }
    Ok(())
}

/// Checks again what [`look`] saw: the log may hold later values.
fn check(connection: &Connection, path: &Path) -> Result<i32, OpenError> {
    let failed = |source| OpenError::from_sqlite(path, source);
    let application_id = schema::application_id(connection).map_err(failed)?;
    let version = schema::user_version(connection).map_err(failed)?;
    accept(path, application_id, version)?;
    Ok(version)
}

fn check_tables(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match schema::missing_table(connection) {
        Ok(None) => Ok(()),
        Ok(Some(table)) => {
            Err(OpenError::Damaged { path: path.to_owned(), what: format!("table {table} is missing") })
        }
        Err(source) => Err(OpenError::from_sqlite(path, source)),
    }
}

/// Makes a database under another name, then gives it its own: it is there whole or not at all.
fn make(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let aside = beside(path, ".new");
    let inaccessible = |source| OpenError::Inaccessible { path: aside.clone(), source };
    for left_over in [&aside, &beside(&aside, "-wal"), &beside(&aside, "-shm"), &beside(&aside, "-journal")] {
        match fs::remove_file(left_over) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(inaccessible(error)),
            _ => {}
        }
    }
    // Where the file is made, "cannot open" has a cause that only the system knows.
    drop(File::create_new(&aside).map_err(inaccessible)?);
    fill(&aside).map_err(|source| OpenError::from_sqlite(path, source))?;
    File::open(&aside).and_then(|file| file.sync_all()).map_err(inaccessible)?;
    fs::rename(&aside, path).map_err(inaccessible)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(inaccessible)
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_LEN}; PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;"
    ))?;
    schema::make(&connection)?;
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    connection.close().map_err(|(_connection, error)| error)
}

fn connect(path: &Path, access: OpenFlags, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::from_sqlite(path, source);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let connection = connection.map_err(failed)?;
    connection.busy_timeout(options.busy_max).map_err(failed)?;
    Ok(connection)
}

fn set_log_kept(connection: &Connection, is_kept: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_kept).map(drop)
}

fn tune_writer(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    let synchronous = match options.durability {
        Durability::Process => "NORMAL",
        Durability::Machine => "FULL",
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = {LOG_PAGES};
         PRAGMA journal_size_limit = {LOG_LEN_MAX}; PRAGMA cache_size = -{WRITER_CACHE_KIB};
         PRAGMA temp_store = MEMORY;"
    ))?;
    if let Some(size_max) = options.size_max {
        let page_len: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = size_max / u64::from(page_len);
        connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages.clamp(1, u32::MAX.into())))?;
    }
    Ok(())
}

fn tune_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(&format!(
        "PRAGMA query_only = ON; PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA temp_store = MEMORY;"
    ))
}

/// Returns the path with an ending added, as SQLite names the files beside a database.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
