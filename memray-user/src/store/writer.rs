//! Writes a capture: creates the file before the target starts, then adds one batch after the other.
//!
//! Each batch is one transaction in a write-ahead log, so that a reader in another process never waits and a
//! killed recorder leaves a sound file. `synchronous=OFF` risks the last seconds at a power failure or a kernel
//! panic only: what SIGKILL leaves in the page cache is complete.

mod create;
mod insert;
mod place;
mod reserve;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, ErrorCode};

pub use self::create::Overwrite;
pub(in crate::store) use self::create::{beside, is_in_use, remove_capture};
use self::{
    place::{Fate, Place},
    reserve::Reserve,
};
use super::{error::StoreError, meta_key};
use crate::model::Batch;

/// How long a commit waits for a reader that holds the file; only without a write-ahead log do readers hold it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a recording waits for readers, so that it can fold the log into the file.
const FINISH_BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// By somebody else who has the file open.
const TAKEN: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];

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
    place: Place,
}

impl CaptureWriter {
    /// Where the capture is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file still is what and where it was made; an error if somebody has deleted, moved or cut it. A log
    /// that is gone is made anew, so that readers find what is written from here on.
    pub fn look(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        match self.place.look(&self.file) {
            Fate::AsItWas => Ok(()),
            Fate::LogGone => {
                self.renew_log();
                Ok(())
            }
            Fate::Deleted => Err(StoreError::Deleted { path }),
            Fate::Moved { to } => Err(StoreError::Moved { path, to }),
            Fate::CutOff {
                bytes,
                expected_bytes,
            } => Err(StoreError::CutOff {
                path,
                bytes,
                expected_bytes,
            }),
        }
    }

    /// Folds the log that only we see into the file and begins another. While a reader has the file open this does not
    /// go, and is tried again at the next look; nothing is lost meanwhile.
    fn renew_log(&mut self) {
        let renewed = self
            .fold_log(Duration::ZERO)
            .and_then(|()| create::set_pragma(&self.connection, "journal_mode", "DELETE"))
            .and_then(|()| create::enable_log(&self.connection));
        self.connection.busy_timeout(BUSY_TIMEOUT).unwrap_or_default();
        if renewed.is_ok() {
            self.place.note_log(&self.file);
        }
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
        let displaced = self.look().err();
        if displaced.as_ref().is_some_and(StoreError::is_final) {
            return displaced.map_or(Ok(()), Err);
        }
        let mark = Batch {
            meta: vec![(meta_key::FINISHED.to_owned(), "1".to_owned())],
            ..Batch::default()
        };
        match self.write(&mark) {
            Err(StoreError::Full { .. }) => self.write(&mark)?,
            other => other?,
        }
        self.reserve.release();
        if let Some(error) = displaced {
            // What SQLite does to end its log it does by name, and the name may be another's by now.
            self.fold_log(FINISH_BUSY_TIMEOUT)
                .map_err(|source| self.write_error(source))?;
            self.place.remove_log(&self.file);
            return Err(error);
        }
        // A convenience for walks from the root in SQL; where it finds no room or no turn the capture is whole.
        let index = self
            .connection
            .execute_batch("CREATE INDEX stacks_parent ON stacks(parent_id)");
        tolerate(index, &[ErrorCode::DiskFull, ErrorCode::DatabaseBusy])
            .map_err(|source| self.write_error(source))?;
        self.leave_log().map_err(|source| self.write_error(source))
    }

    /// Closes the capture as one that is as whole as it gets, and never was finished.
    pub(in crate::store) fn close_unfinished(mut self) -> Result<(), StoreError> {
        self.reserve.release();
        self.leave_log().map_err(|source| self.write_error(source))
    }

    /// Removes the file and all that belongs to it: for a target that could not be started.
    pub fn discard(self) -> Result<(), StoreError> {
        let Self {
            connection,
            path,
            file,
            reserve: _,
            mut place,
        } = self;
        // What is at its place now is not ours to remove.
        let is_ours = matches!(
            place.look(&file),
            Fate::AsItWas | Fate::LogGone | Fate::CutOff { .. }
        );
        drop(connection);
        drop(place);
        if !is_ours {
            return Ok(());
        }
        remove_capture(&file).map_err(|source| StoreError::Create { path, source })
    }

    /// In WAL mode a cleanly closed file cannot be opened by a reader who may not write to its directory; a
    /// rollback-journal file can.
    fn leave_log(&self) -> rusqlite::Result<()> {
        self.fold_log(FINISH_BUSY_TIMEOUT)?;
        self.connection.busy_timeout(Duration::ZERO)?;
        let mode = self
            .connection
            .query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
        tolerate(mode.map(drop), &TAKEN)
    }

    /// Moves all of the log into the file, or as much as readers leave to be moved in that time.
    fn fold_log(&self, patience: Duration) -> rusqlite::Result<()> {
        self.connection.busy_timeout(patience)?;
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        tolerate(checkpoint.map(drop), &TAKEN)
    }

    fn write_error(&self, source: rusqlite::Error) -> StoreError {
        match StoreError::from_write(self.path.clone(), source) {
            // That memory could not be shared in a file can be for want of room, and for other reasons.
            StoreError::Full { path, source } if !is_out_of_room(&source) && self.has_room() => {
                StoreError::Write { path, source }
            }
            error => error,
        }
    }

    fn has_room(&self) -> bool {
        const ROOM_BYTES: u64 = 1 << 20;
        statvfs(&self.file).is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() > ROOM_BYTES)
    }
}

fn is_out_of_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
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
