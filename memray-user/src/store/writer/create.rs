//! Creates the file of a capture, so that all that can be wrong with it shows before the target starts.
//!
//! The recorder is root more often than not and the directory belongs to somebody else, so nothing here follows
//! a symbolic link at the file's own name, and only a regular file is ever replaced.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{BUSY_TIMEOUT, CaptureWriter, place::Place, reserve::Reserve};
use crate::{
    model::Allocator,
    store::{APPLICATION_ID, SCHEMA_VERSION, error::StoreError, meta_key, tables},
};

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    Refuse,
    Replace,
}

/// What SQLite puts beside the file.
const SIDECAR_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Prepared statements: two sizes for each table, and those that delete.
const STATEMENT_CACHE: usize = 64;

impl CaptureWriter {
    /// Creates the capture, complete with tables and views, before anything is recorded.
    ///
    /// `owner` is the (user, group) to give the file to, as behind sudo; SQLite gives the files beside it to the
    /// same owner (`robustFchown` in `os_unix.c`). On an error nothing new is left behind.
    pub fn create(path: &Path, overwrite: Overwrite, owner: Option<(u32, u32)>) -> Result<Self, StoreError> {
        Self::create_with_vfs(path, overwrite, owner, None)
    }

    pub(in crate::store) fn create_with_vfs(
        path: &Path,
        overwrite: Overwrite,
        owner: Option<(u32, u32)>,
        vfs: Option<&str>,
    ) -> Result<Self, StoreError> {
        let create_error = |source| StoreError::Create {
            path: path.to_owned(),
            source,
        };
        let file = resolve_directory(path).map_err(create_error)?;
        if overwrite == Overwrite::Replace {
            remove_existing(path, &file)?;
        }
        let created = create_file(&file, owner).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists {
                path: path.to_owned(),
            },
            _ => create_error(source),
        })?;
        let mut place = Place::new(created);
        match set_up(&file, vfs) {
            Ok(connection) => {
                let reserve = Reserve::take(file.parent().unwrap_or(Path::new("/")));
                place.note_log(&file);
                Ok(Self {
                    connection,
                    path: path.to_owned(),
                    file,
                    reserve,
                    place,
                })
            }
            Err(source) => {
                // The first error is the one to tell.
                remove_capture(&file).unwrap_or_default();
                Err(set_up_error(path, source))
            }
        }
    }
}

/// Removes the file and those beside it, where they are there. The file goes first: if it must stay, its log does.
pub(in crate::store) fn remove_capture(file: &Path) -> io::Result<()> {
    remove_if_there(file)?;
    remove_sidecars(file)
}

pub(super) fn set_up_error(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Create {
            path,
            source: io::Error::new(io::ErrorKind::StorageFull, source),
        },
        _ => StoreError::SetUp { path, source },
    }
}

/// The same file with its directory free of symbolic links, which SQLite is told not to follow.
fn resolve_directory(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(fs::canonicalize(directory)?.join(name))
}

fn remove_existing(path: &Path, file: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_file() && is_in_use(file) => {
            return Err(StoreError::InUse {
                path: path.to_owned(),
            });
        }
        Ok(metadata) if metadata.is_file() || metadata.is_symlink() => {}
        Ok(_other) => {
            return Err(StoreError::NotRegular {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(StoreError::Create {
                path: path.to_owned(),
                source,
            });
        }
    }
    remove_capture(file).map_err(|source| StoreError::Create {
        path: path.to_owned(),
        source,
    })
}

/// Another recording has the file. One of our own process would lose its locks by this; there is none.
pub(in crate::store) fn is_in_use(file: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(file);
    opened.is_ok_and(|file| {
        let lock = Flock::lock(file, FlockArg::LockSharedNonblock);
        lock.is_err_and(|(_file, errno)| errno == Errno::EWOULDBLOCK)
    })
}

/// An empty file of our own. What SQLite left beside an earlier one of this name would be taken for its log.
fn create_file(file: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(file)?;
    let prepared = match owner {
        Some((user, group)) => fchown(&created, Some(user), Some(group)),
        None => Ok(()),
    };
    if let Err(error) = prepared.and_then(|()| remove_sidecars(file)) {
        remove_if_there(file).unwrap_or_default();
        return Err(error);
    }
    Ok(created)
}

fn remove_sidecars(file: &Path) -> io::Result<()> {
    SIDECAR_SUFFIXES
        .iter()
        .try_for_each(|suffix| remove_if_there(&beside(file, suffix)))
}

/// The name of what SQLite puts beside a file.
pub(in crate::store) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn set_up(file: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file, flags, vfs)?,
        None => Connection::open_with_flags(file, flags)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // Larger pages cost more CPU and save nothing; the cache is for deletes from `live_allocations`.
    connection.execute_batch(
        "PRAGMA page_size=4096; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;
         PRAGMA wal_autocheckpoint=1000;",
    )?;
    set_pragma(&connection, "journal_size_limit", "67108864")?;
    set_up_schema(&mut connection)?;
    enable_log(&connection)?;
    Ok(connection)
}

/// Before the log is switched on, so that the file itself says from the first moment what it is.
fn set_up_schema(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.execute_batch(include_str!("../schema.sql"))?;
    transaction.execute_batch(include_str!("../views.sql"))?;
    let insert = "INSERT INTO allocators(allocator_id, name, kind) VALUES (?, ?, ?)";
    for allocator in Allocator::ALL {
        let kind = tables::allocator_kind_name(allocator.kind());
        transaction.execute(insert, (allocator as u8, allocator.name(), kind))?;
    }
    let insert = "INSERT INTO meta(key, value) VALUES (?, ?)";
    transaction.execute(insert, (meta_key::SCHEMA_VERSION, SCHEMA_VERSION.to_string()))?;
    transaction.commit()
}

/// A write-ahead log needs shared memory, which network and 9p file systems lack. There the rollback journal
/// stays: as safe against SIGKILL, but a reader and a commit wait for each other.
pub(super) fn enable_log(connection: &Connection) -> rusqlite::Result<()> {
    let Err(error) = set_pragma(connection, "journal_mode", "WAL") else {
        // The first read makes the log, and what is beside it.
        return connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_count| Ok(()));
    };
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return Err(error);
    }
    set_pragma(connection, "journal_mode", "DELETE")
}

/// Sets a pragma that answers with a row.
pub(super) fn set_pragma(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA {name}={value}"), [], |_answer| Ok(()))
}
