//! Writes a capture: creates the file before the target starts, then adds one batch after the other.
//!
//! Each batch is one transaction in a write-ahead log, so that a reader in another process never waits and a
//! killed recorder leaves a sound file. `synchronous=OFF` risks the last seconds at a power failure or a kernel
//! panic only: what SIGKILL leaves in the page cache is complete.

mod create;
mod insert;
mod reserve;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::Flock;
use rusqlite::{Connection, ErrorCode};

pub use self::create::Overwrite;
use self::reserve::Reserve;
use super::{error::StoreError, meta_key};
use crate::model::Batch;

/// How long a commit waits for a reader that holds the file; only without a write-ahead log do readers hold it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a recording waits for readers, so that it can fold the log into the file.
const FINISH_BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// On a full disk: folds the log into the file while there is room for it, and then after every few pages, so that
/// the space it has is used over again.
const SPARING_LOG: &str = "PRAGMA wal_autocheckpoint=16; PRAGMA wal_checkpoint(PASSIVE);";

/// A capture that is being written. Dropped without [`finish`](Self::finish), it is a cut-off capture: readable
/// up to its last batch, and not marked as finished.
#[derive(Debug)]
pub struct CaptureWriter {
    connection: Connection,
    /// As given, for messages.
    path: PathBuf,
    /// The file itself, with a directory that has no symbolic links.
    file: PathBuf,
    /// Given back when the disk is full, so that the recording can still be closed in order.
    reserve: Reserve,
    /// Says to other recordings that the file is taken. Closed after the connection, whose own locks would go with it.
    _lock: Option<Flock<File>>,
}

impl CaptureWriter {
    /// Where the capture is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds all of the batch, or, on any error, nothing of it.
    ///
    /// After the first [`StoreError::Full`] there is a little room that was kept back: for the same batch without
    /// its rows (`freed`, `live_added`, `timeline`, `site_timeline`, `mappings`), for more of such batches, and for the end.
    /// The totals, names and counters that stay are small, and every report lives on them.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let result =
            insert::write_batch(&mut self.connection, batch).map_err(|source| self.write_error(source));
        if matches!(result, Err(StoreError::Full { .. })) {
            self.reserve.release();
            // Where this fails the log stays as it is, and the next batch shows whether there is room.
            self.connection.execute_batch(SPARING_LOG).unwrap_or_default();
        }
        result
    }

    /// Marks the recording as finished and leaves one file that any SQLite reads, without log or shared memory.
    ///
    /// Where another process still has the capture open, the log stays beside it, emptied into the file.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let mark = Batch {
            meta: vec![(meta_key::FINISHED.to_owned(), "1".to_owned())],
            ..Batch::default()
        };
        match self.write(&mark) {
            Err(StoreError::Full { .. }) => self.write(&mark)?,
            other => other?,
        }
        self.reserve.release();
        // A convenience for walks from the root in SQL; where it finds no room or no turn the capture is whole.
        let index = self
            .connection
            .execute_batch("CREATE INDEX stacks_parent ON stacks(parent_id)");
        tolerate(index, &[ErrorCode::DiskFull, ErrorCode::DatabaseBusy])
            .map_err(|source| self.write_error(source))?;
        self.leave_log().map_err(|source| self.write_error(source))
    }

    /// Removes the file and all that belongs to it: for a target that could not be started.
    pub fn discard(self) -> Result<(), StoreError> {
        let Self {
            connection,
            path,
            file,
            reserve: _,
            _lock: lock,
        } = self;
        drop(connection);
        drop(lock);
        create::remove_capture(&file).map_err(|source| StoreError::Create { path, source })
    }

    /// In WAL mode a cleanly closed file cannot be opened by a reader who may not write to its directory; a
    /// rollback-journal file can.
    fn leave_log(&self) -> rusqlite::Result<()> {
        const TAKEN: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
        self.connection.busy_timeout(FINISH_BUSY_TIMEOUT)?;
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        tolerate(checkpoint.map(drop), &TAKEN)?;
        self.connection.busy_timeout(Duration::ZERO)?;
        let mode = self
            .connection
            .query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
        tolerate(mode.map(drop), &TAKEN)
    }

    fn write_error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::from_write(self.path.clone(), source)
    }
}

fn tolerate(result: rusqlite::Result<()>, codes: &[ErrorCode]) -> rusqlite::Result<()> {
    match result {
        Err(error)
            if error
                .sqlite_error_code()
                .is_some_and(|code| codes.contains(&code)) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
