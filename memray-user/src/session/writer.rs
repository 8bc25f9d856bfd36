//! The thread that writes: batches in, transactions out.
//!
//! What cannot be written is told at once, when it still can be mended, and waits for the next batch. The program that
//! is recorded never has to know.

use std::{
    mem::{Discriminant, discriminant},
    sync::mpsc::{Sender, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use super::{carried, supervisor::Notice};
use crate::{
    model::{AllocationId, Batch, LossRow},
    store::{CaptureWriter, StoreError},
};

/// Batches that may wait. More would only hide that the disk is too slow; the collector then waits, and the ring
/// after it.
const WAITING_BATCHES: usize = 4;

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct WriterThread {
    batches: SyncSender<Batch>,
    thread: JoinHandle<Sink>,
}

impl WriterThread {
    /// `notices` gets each kind of trouble once, when it comes.
    pub(super) fn start(writer: CaptureWriter, notices: Sender<Notice>) -> Self {
        let (batches, received) = sync_channel::<Batch>(WAITING_BATCHES);
        let thread = thread::spawn(move || {
            let mut sink = Sink {
                file: Some(writer),
                carried: None,
                newest_written: 0,
                without_row: 0,
                told: Vec::new(),
                notices,
            };
            for batch in received {
                sink.take(batch);
            }
            sink
        });
        Self { batches, thread }
    }

    /// Waits while too many batches wait.
    pub(super) fn send(&self, batch: Batch) {
        // The thread ends before us only by a panic, which ends the process.
        let _ended = self.batches.send(batch);
    }

    /// Writes what waits and finishes the capture. Returns whether it is whole, and where it was to be; if it is not,
    /// the reason has been told.
    pub(super) fn finish(self) -> bool {
        self.join().finish()
    }

    /// Removes the capture.
    pub(super) fn discard(self) -> Result<(), StoreError> {
        self.join().file.map_or(Ok(()), CaptureWriter::discard)
    }

    fn join(self) -> Sink {
        let Self { batches, thread } = self;
        drop(batches);
        thread.join().expect("a panic ends the process before")
    }
}

/// The file, and what it could not take.
#[derive(Debug)]
struct Sink {
    /// None when nobody would ever see what is written.
    file: Option<CaptureWriter>,
    /// Not written yet.
    carried: Option<Batch>,
    /// Of the allocations with a row in the file.
    newest_written: AllocationId,
    /// Allocations that were left without a row, which is for good: the rows that follow would not add up.
    without_row: u64,
    told: Vec<Discriminant<StoreError>>,
    notices: Sender<Notice>,
}

impl Sink {
    fn take(&mut self, batch: Batch) {
        let Some(mut file) = self.file.take() else { return };
        if let Err(error) = file.look() {
            let is_final = error.is_final();
            self.tell(error);
            if is_final {
                return;
            }
        }
        let mut batch = match self.carried.take() {
            Some(older) => carried::join(older, batch),
            None => batch,
        };
        if self.without_row > 0 {
            self.leave_rows_out(&mut batch);
        }
        self.write(&mut file, batch);
        self.file = Some(file);
    }

    /// Without room for single allocations, totals, names and counters may still fit: every report lives on them.
    fn write(&mut self, file: &mut CaptureWriter, mut batch: Batch) {
        let Err(error) = self.try_to_write(file, &batch) else {
            return;
        };
        let is_full = matches!(error, StoreError::Full { .. });
        self.tell(error);
        if is_full || carried::is_too_much(&batch) {
            self.leave_rows_out(&mut batch);
        }
        if is_full && self.try_to_write(file, &batch).is_ok() {
            return;
        }
        self.carried = Some(batch);
    }

    fn try_to_write(&mut self, file: &mut CaptureWriter, batch: &Batch) -> Result<(), StoreError> {
        file.write(batch)?;
        let newest = batch.live_added.iter().map(|row| row.allocation_id).max();
        self.newest_written = self.newest_written.max(newest.unwrap_or_default());
        Ok(())
    }

    fn finish(mut self) -> bool {
        // Once more, for what waits.
        self.take(Batch::default());
        let Some(file) = self.file.take() else {
            return false;
        };
        if self.carried.is_some() {
            // Without its end the capture is one that was cut off, which it is.
            return false;
        }
        if let Err(error) = file.finish() {
            self.tell(error);
        }
        self.told.is_empty() && self.without_row == 0
    }

    /// Each kind once: a full disk is full for every batch.
    fn tell(&mut self, error: StoreError) {
        let kind = discriminant(&error);
        if !self.told.contains(&kind) {
            self.told.push(kind);
            let _session_gone = self.notices.send(Notice::Trouble(error));
        }
    }

    fn leave_rows_out(&mut self, batch: &mut Batch) {
        let rows = batch.freed.len() + batch.live_added.len() + batch.mappings.len();
        // One at least, so that what was left out shows even if it is only of the timelines.
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.without_row += if self.without_row == 0 { rows.max(1) } else { rows };
        batch.freed.clear();
        batch.live_added.clear();
        batch.mappings.clear();
        batch.timeline.clear();
        batch.site_timeline.clear();
        batch.live_removed.retain(|id| *id <= self.newest_written);
        batch.losses.retain(|loss| loss.reason != ROWS_LEFT_OUT);
        batch.losses.push(LossRow {
            process_id: None,
            reason: ROWS_LEFT_OUT.to_owned(),
            kind: "degraded".to_owned(),
            events: self.without_row,
            bytes: 0,
            description: "rows of single allocations that the disk did not take; the totals count them"
                .to_owned(),
        });
    }
}

/// The counter's name in captures.
const ROWS_LEFT_OUT: &str = "disk_full";
