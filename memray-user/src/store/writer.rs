//! Writes a capture: creates the file before the target starts, then adds one batch after the other.
//!
//! Each batch is one transaction in a write-ahead log, so that a reader in another process never waits and a
//! killed recorder leaves a sound file. `synchronous=OFF` risks the last seconds at a power failure or a kernel
//! panic only: what SIGKILL leaves in the page cache is complete.

mod create;
mod insert;

use std::{path::PathBuf, time::Duration};

use rusqlite::Connection;

pub use self::create::Overwrite;
use super::{error::StoreError, meta_key};
use crate::model::Batch;

/// How long a commit waits for a reader that holds the file; only without a write-ahead log do readers hold it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a recording waits for readers, so that it can fold the log into the file.
const FINISH_BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// A capture that is being written. Dropped without [`finish`](Self::finish), it is a cut-off capture: readable
/// up to its last batch, and not marked as finished.
#[derive(Debug)]
pub struct CaptureWriter {
    connection: Connection,
    /// As given, for messages.
    path: PathBuf,
    /// The file itself, with a directory that has no symbolic links.
    file: PathBuf,
}

impl CaptureWriter {
    /// Where the capture is, as it was given.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Adds all of the batch, or, on any error, nothing of it.
    ///
    /// After [`StoreError::Full`] the same batch may fit without its rows (`freed`, `live_added`, `timeline`,
    /// `site_timeline`); the totals, names and counters that stay are small, and every report lives on them.
    pub fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        insert::write_batch(&mut self.connection, batch).map_err(|source| self.write_error(source))
    }

    /// Marks the recording as finished and leaves one file that any SQLite reads, without log or shared memory.
    ///
    /// Where another process still has the capture open, the log stays beside it, emptied into the file.
    pub fn finish(self) -> Result<(), StoreError> {
        let connection = &self.connection;
        let mark = "INSERT OR REPLACE INTO meta(key, value) VALUES (?, '1')";
        connection
            .execute(mark, [meta_key::FINISHED])
            .map_err(|source| self.write_error(source))?;
        // Only a convenience for walks from the root in SQL; where it finds no room the capture is whole without.
        tolerate(
            connection.execute_batch("CREATE INDEX stacks_parent ON stacks(parent_id)"),
            &[rusqlite::ErrorCode::DiskFull],
        )
        .map_err(|source| self.write_error(source))?;
        self.leave_log().map_err(|source| self.write_error(source))
    }

    /// Removes the file and all that belongs to it: for a target that could not be started.
    pub fn discard(self) -> Result<(), StoreError> {
        let Self {
            connection,
            path,
            file,
        } = self;
        drop(connection);
        create::remove_capture(&file).map_err(|source| StoreError::Create { path, source })
    }

    /// In WAL mode a cleanly closed file cannot be opened by a reader who may not write to its directory; a
    /// rollback-journal file can.
    fn leave_log(&self) -> rusqlite::Result<()> {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        self.connection.busy_timeout(FINISH_BUSY_TIMEOUT)?;
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        tolerate(checkpoint.map(drop), &[DatabaseBusy, DatabaseLocked])?;
        self.connection.busy_timeout(Duration::ZERO)?;
        let mode = self
            .connection
            .query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
        tolerate(mode.map(drop), &[DatabaseBusy, DatabaseLocked])
    }

    fn write_error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::from_write(self.path.clone(), source)
    }
}

fn tolerate(result: rusqlite::Result<()>, codes: &[rusqlite::ErrorCode]) -> rusqlite::Result<()> {
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
