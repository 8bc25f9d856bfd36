//! Reads a capture: finished, cut off, or still being written.
//!
//! A file is read as it is, through its tables alone (a damaged or hostile file may redefine views), each table
//! once from its first row to its last. Rowids must ascend, so that no arrangement of pages makes a scan longer
//! than the file. What the rows hold is checked by [`Fields`].

mod agreement;
mod failure;
mod foreign;
mod metadata;
pub(super) mod open;
mod sites;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::tables::{Damage, Fields, Table, loss_rank, selected_columns};
use crate::model::{
    CaptureError, CaptureMetadata, CaptureSource, FrameRow, LossRow, MappingTotalsRow, ProcessId,
    SiteFigures, SizeHistogramRow, StackId, StackRow, StateRow, ThreadId, ThreadRow, TimelineRow, View,
};

/// A capture at one moment: all answers agree with each other, also while a recording goes on. Only a recording on
/// a file system without shared memory gives each answer at its own moment, so as not to be held up by readers.
///
/// A reader keeps the log of a running recording from being used over again, so a view that lives long asks for
/// the next moment with [`refresh`](Self::refresh). Ids in rows may name rows that a damaged file does not have,
/// but for `parent_id`, which always names an earlier stack.
#[derive(Debug)]
pub struct CaptureReader {
    connection: Connection,
    schema_version: u32,
    /// As given, for messages.
    path: PathBuf,
    lacks_log: bool,
}

impl CaptureReader {
    /// Opens a capture and fixes the moment that is read. One without an end, which may have been copied while it was
    /// written, must agree with itself.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let open::Opened {
            connection,
            schema_version,
            lacks_log,
        } = open::open(path)?;
        let reader = Self {
            connection,
            schema_version,
            path: path.to_owned(),
            lacks_log,
        };
        agreement::check(&reader)?;
        Ok(reader)
    }

    /// Goes on to the newest moment.
    pub fn refresh(&mut self) -> Result<(), CaptureError> {
        open::end(&self.connection)
            .and_then(|()| open::begin(&self.connection))
            .map_err(|error| failure::query(&self.path, error))
    }

    /// Has SQLite look at every page; the first fault that it finds is the error.
    pub(super) fn check_pages(&self) -> Result<(), CaptureError> {
        let found: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(|error| failure::query(&self.path, error))?;
        if found == "ok" {
            return Ok(());
        }
        Err(failure::damaged_pages(&self.path, &found))
    }

    /// The file is one that a log may complete.
    pub(super) fn has_log(&self) -> Result<bool, CaptureError> {
        let mode: String = self
            .connection
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .map_err(|error| failure::query(&self.path, error))?;
        Ok(mode == "wal")
    }

    fn rows<T: Table>(&self) -> Result<Vec<T>, CaptureError> {
        let mut rows = Vec::new();
        if self.schema_version < T::SINCE_VERSION {
            return Ok(rows);
        }
        self.scan(|row: T, _fields| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Visits each row of a table once.
    fn scan<T: Table>(
        &self,
        mut visit: impl FnMut(T, &Fields<'_>) -> Result<(), Damage>,
    ) -> Result<(), CaptureError> {
        let query_error = |error| failure::query(&self.path, error);
        let sql = format!(
            "SELECT rowid, {} FROM {} NOT INDEXED",
            selected_columns::<T>(self.schema_version),
            T::NAME
        );
        let mut statement = self.connection.prepare(&sql).map_err(query_error)?;
        let mut rows = statement.query([]).map_err(query_error)?;
        let mut last = None;
        while let Some(row) = rows.next().map_err(query_error)? {
            let rowid: i64 = row.get(0).map_err(query_error)?;
            if last.replace(rowid).is_some_and(|last| last >= rowid) {
                return Err(failure::unordered(&self.path, T::NAME, rowid));
            }
            let mut fields = Fields::new::<T>(row);
            T::read(&mut fields)
                .and_then(|row| visit(row, &fields))
                .map_err(|damage| failure::damaged(&self.path, damage))?;
        }
        Ok(())
    }

    fn process_of_thread(&self) -> Result<FxHashMap<ThreadId, ProcessId>, CaptureError> {
        Ok(self
            .rows::<ThreadRow>()?
            .into_iter()
            .map(|thread| (thread.thread_id, thread.process_id))
            .collect())
    }

    fn peak_epochs(&self) -> Result<FxHashMap<ProcessId, u64>, CaptureError> {
        Ok(self
            .rows::<StateRow>()?
            .into_iter()
            .map(|state| (state.process_id, state.peak_epoch))
            .collect())
    }
}

impl CaptureSource for CaptureReader {
    fn metadata(&self) -> Result<CaptureMetadata, CaptureError> {
        let mut metadata = metadata::assemble(self.rows()?, self.rows()?, self.rows()?, self.rows()?);
        metadata.may_lack_log = self.lacks_log && !metadata.finished;
        Ok(metadata)
    }

    fn frames(&self) -> Result<Vec<FrameRow>, CaptureError> {
        self.rows()
    }

    /// A parent that is not there or not earlier is an error; `depth` is counted anew from the parents.
    fn stacks(&self) -> Result<Vec<StackRow>, CaptureError> {
        let mut stacks: Vec<StackRow> = Vec::new();
        self.scan(|mut stack: StackRow, fields| {
            stack.depth = match stack.parent_id {
                None => 1,
                Some(parent_id) => match find_stack(&stacks, parent_id) {
                    Some(parent) => parent.depth.saturating_add(1),
                    None => return Err(fields.damage_in("parent_id", parent_id.to_string())),
                },
            };
            stacks.push(stack);
            Ok(())
        })?;
        Ok(stacks)
    }

    fn sites(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError> {
        match view {
            View::HighWaterMark => self.sites_at_peak(),
            View::Temporary { threshold } if threshold != sites::COUNTED_THRESHOLD => {
                self.sites_from_rows(threshold)
            }
            View::Leaks | View::Temporary { .. } | View::All => self.sites_from_totals(view),
        }
    }

    fn timeline(&self) -> Result<Vec<TimelineRow>, CaptureError> {
        let mut rows = self.rows::<TimelineRow>()?;
        rows.sort_by_key(|row| (row.ts, row.process_id));
        Ok(rows)
    }

    /// In order of process and kind.
    fn mapping_totals(&self) -> Result<Vec<MappingTotalsRow>, CaptureError> {
        let mut rows = self.rows::<MappingTotalsRow>()?;
        rows.sort_by_key(|row| (row.process_id, row.kind));
        Ok(rows)
    }

    /// In order of process, size and allocator.
    fn size_histogram(&self) -> Result<Vec<SizeHistogramRow>, CaptureError> {
        let mut rows = self.rows::<SizeHistogramRow>()?;
        rows.sort_by_key(|row| (row.process_id, row.size_from, row.allocator));
        Ok(rows)
    }

    fn losses(&self) -> Result<Vec<LossRow>, CaptureError> {
        let mut rows = self.rows::<LossRow>()?;
        rows.retain(|loss| loss.events > 0 || loss.bytes > 0);
        rows.sort_by(|a, b| {
            let key = |loss: &LossRow| (loss_rank(&loss.kind), loss.process_id);
            key(a).cmp(&key(b)).then_with(|| a.reason.cmp(&b.reason))
        });
        Ok(rows)
    }
}

/// Looks first where the stack is while no number is left out, as the recorder leaves none.
fn find_stack(stacks: &[StackRow], stack_id: StackId) -> Option<&StackRow> {
    let dense = usize::try_from(stack_id)
        .ok()
        .and_then(|id| stacks.get(id.checked_sub(1)?));
    if let Some(stack) = dense.filter(|stack| stack.stack_id == stack_id) {
        return Some(stack);
    }
    let index = stacks
        .binary_search_by_key(&stack_id, |stack| stack.stack_id)
        .ok()?;
    stacks.get(index)
}

#[cfg(test)]
mod tests;
