//! Opens a capture for reading, in whatever state its recorder left it.
//!
//! The file is not opened by other means than SQLite while it may be a sound capture: to close a second
//! descriptor drops the locks of this process on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2),
//! and a recording in the same process would lose its own.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{failure, foreign};
use crate::{
    model::CaptureError,
    store::{APPLICATION_ID, SCHEMA_VERSION, tables::TABLES, writer::beside},
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Of a database, whose first page is written whole. SQLite takes a shorter file for an empty database.
const SMALLEST_PAGE_BYTES: u64 = 512;

/// A file that is a capture and can be read.
pub(super) struct Opened {
    /// Prepared by [`begin`].
    pub(super) connection: Connection,
    pub(super) schema_version: u32,
    /// It was written with a log, which is not beside it: it may have been copied without.
    pub(super) lacks_log: bool,
}

pub(super) fn open(path: &Path) -> Result<Opened, CaptureError> {
    let file = locate(path)?;
    let connection = connect(&file).map_err(|error| describe(path, &file, error))?;
    let schema_version = identify(&connection, path, &file)?;
    let mode: String = connection
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .map_err(|error| failure::query(path, error))?;
    Ok(Opened {
        lacks_log: mode == "wal" && !has_content(&file, "-wal"),
        connection,
        schema_version,
    })
}

/// The same of a file with damage, as far as SQLite gets with it.
pub(in crate::store) fn open_damaged(file: &Path) -> rusqlite::Result<(Connection, u32)> {
    let connection = connect(file)?;
    let number =
        |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, u32>(0));
    if number("application_id")? != APPLICATION_ID {
        let not_ours = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(rusqlite::Error::SqliteFailure(not_ours, None));
    }
    let schema_version = number("user_version")?.clamp(1, SCHEMA_VERSION);
    Ok((connection, schema_version))
}

/// Begins a read transaction and fixes its moment, which SQLite does at the first read.
///
/// Without a write-ahead log a transaction would keep a recorder from committing. There each question is answered
/// by itself, from a file that in general nobody writes.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_count| Ok(()))?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode == "wal" { Ok(()) } else { end(connection) }
}

/// Ends the read transaction, if there is one.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() {
        Ok(())
    } else {
        connection.execute_batch("COMMIT")
    }
}

/// The file without symbolic links, beside which SQLite puts its log.
pub(in crate::store) fn locate(path: &Path) -> Result<std::path::PathBuf, CaptureError> {
    let not_there = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => failure::missing(path),
        _ => failure::unreadable(path, error),
    };
    let file = fs::canonicalize(path).map_err(not_there)?;
    let metadata = fs::metadata(&file).map_err(not_there)?;
    if metadata.is_dir() {
        return Err(failure::directory(path));
    }
    if !metadata.is_file() {
        return Err(failure::not_regular(path));
    }
    match metadata.len() {
        0 => Err(failure::empty(path)),
        1..SMALLEST_PAGE_BYTES => Err(describe_fragment(path, &file)),
        _ => Ok(file),
    }
}

/// What a killed recorder left is taken up by a short writing connection, where that is allowed. A log that
/// nobody wrote to since the file was closed says nothing, and the file alone is the capture.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let error = match connect_as(file, Access::ReadOnly) {
        Err(error) if failure::asks_for_recovery(&error) => error,
        other => return other,
    };
    if !has_content(file, "-wal") && !has_content(file, "-journal") {
        return connect_as(file, Access::Immutable);
    }
    // Without the right to write this does nothing, and beside another reader half of it; both show now.
    recover(file).unwrap_or_default();
    connect_as(file, Access::ReadOnly).map_err(|_same| error)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    /// Without locks or log: for a file that nobody writes.
    Immutable,
}

fn connect_as(file: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(file, access), flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch("PRAGMA query_only=ON; PRAGMA cell_size_check=ON;")?;
    begin(&connection)?;
    Ok(connection)
}

/// Opening to write replays the log or rolls the journal back; the file is then one that everybody reads.
pub(in crate::store) fn recover(file: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let application_id: u32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application_id != APPLICATION_ID {
        return Ok(());
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_answer| Ok(()))?;
    connection.query_row("PRAGMA journal_mode=DELETE", [], |_answer| Ok(()))
}

/// A path as SQLite's URI filenames spell it (<https://www.sqlite.org/uri.html>).
fn uri(file: &Path, access: Access) -> String {
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            write!(uri, "%{byte:02X}").expect("a String takes all that is written to it");
        }
    }
    uri.push_str(match access {
        Access::ReadOnly => "?mode=ro",
        Access::Immutable => "?mode=ro&immutable=1",
    });
    uri
}

pub(in crate::store) fn has_content(file: &Path, suffix: &str) -> bool {
    fs::metadata(beside(file, suffix)).is_ok_and(|metadata| metadata.len() > 0)
}

/// The schema version of a file that is a capture, if it is one that can be read.
fn identify(connection: &Connection, path: &Path, file: &Path) -> Result<u32, CaptureError> {
    let number = |pragma: &str| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|error| failure::query(path, error))
    };
    if number("application_id")? != i64::from(APPLICATION_ID) {
        return Err(failure::other_database(path));
    }
    let version = number("user_version")?;
    if version > i64::from(SCHEMA_VERSION) {
        return Err(failure::newer(path, version));
    }
    let schema_version = match u32::try_from(version) {
        Ok(version) if version >= 1 => version,
        _ => return Err(failure::invalid_version(path, version)),
    };
    // SQLite reads the missing end of a last page as zeros.
    let page_size = u64::try_from(number("page_size")?).unwrap_or(SMALLEST_PAGE_BYTES);
    let bytes = fs::metadata(file)
        .map_err(|error| failure::unreadable(path, error))?
        .len();
    if !bytes.is_multiple_of(page_size) {
        return Err(failure::cut_off(path, bytes, bytes.next_multiple_of(page_size)));
    }
    for (table, _) in TABLES.into_iter().filter(|&(_, since)| since <= schema_version) {
        check_table(connection, path, table)?;
    }
    Ok(schema_version)
}

/// A view or a virtual table under the name of a table, or a computed column, could run for ever.
fn check_table(connection: &Connection, path: &Path, table: &str) -> Result<(), CaptureError> {
    let ordinary = "SELECT EXISTS (SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = ?1
             AND type = 'table' AND wr = 0)
         AND NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE hidden <> 0)";
    match connection.query_row(ordinary, [table], |row| row.get::<_, bool>(0)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failure::altered_table(path, table)),
        Err(error) => Err(failure::query(path, error)),
    }
}

/// Why SQLite could not open it. Only here, where no recording of this process can be, is the file looked into.
fn describe(path: &Path, file: &Path, error: rusqlite::Error) -> CaptureError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => match first_bytes(file, foreign::SNIFFED_BYTES) {
            Ok(start) => failure::foreign(path, foreign::Kind::of(&start)),
            Err(error) => failure::unreadable(path, error),
        },
        Some(ErrorCode::DatabaseCorrupt) => match missing_bytes(file) {
            Some((bytes, expected_bytes)) => failure::cut_off(path, bytes, expected_bytes),
            None => failure::query(path, error),
        },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            match first_bytes(file, 1) {
                Ok(_start) => failure::needs_recovery(path, error),
                Err(error) => failure::unreadable(path, error),
            }
        }
        _ => failure::query(path, error),
    }
}

fn describe_fragment(path: &Path, file: &Path) -> CaptureError {
    match first_bytes(file, SMALLEST_PAGE_BYTES) {
        Ok(start) if start.starts_with(b"SQLite format 3\0") => failure::fragment(path, start.len()),
        Ok(start) => failure::foreign(path, foreign::Kind::of(&start)),
        Err(error) => failure::unreadable(path, error),
    }
}

fn first_bytes(file: &Path, count: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file)?.take(count).read_to_end(&mut start)?;
    Ok(start)
}

/// Bytes that the file has and those that its header promises, if these are more. Page size and page count are
/// at bytes 16 and 28 (<https://www.sqlite.org/fileformat2.html>, section 1.3).
fn missing_bytes(file: &Path) -> Option<(u64, u64)> {
    let header = first_bytes(file, 32).ok()?;
    let page_size = match u16::from_be_bytes(*header.get(16..)?.first_chunk()?) {
        1 => 65_536,
        size => u64::from(size),
    };
    let expected = u64::from(u32::from_be_bytes(*header.get(28..)?.first_chunk()?)) * page_size;
    let bytes = fs::metadata(file).ok()?.len();
    (bytes < expected).then_some((bytes, expected))
}
