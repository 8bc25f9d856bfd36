//! The thread that writes: batches in, transactions out.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use crate::{
    model::{Batch, LossRow},
    store::{CaptureWriter, StoreError},
};

/// Batches that may wait. More would only hide that the disk is too slow; the collector then waits, and the ring
/// after it.
const WAITING_BATCHES: usize = 4;

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct WriterThread {
    batches: SyncSender<Batch>,
    thread: JoinHandle<(CaptureWriter, Option<StoreError>)>,
}

impl WriterThread {
    pub(super) fn start(mut writer: CaptureWriter) -> Self {
        let (batches, received) = sync_channel::<Batch>(WAITING_BATCHES);
        let thread = thread::spawn(move || {
            let mut problem = None;
            let mut without_row = 0;
            for batch in received {
                if let Err(error) = write(&mut writer, batch, &mut without_row) {
                    problem.get_or_insert(error);
                }
            }
            (writer, problem)
        });
        Self { batches, thread }
    }

    /// Waits while too many batches wait.
    pub(super) fn send(&self, batch: Batch) {
        // The thread ends before us only by a panic, which ends the process.
        let _ended = self.batches.send(batch);
    }

    /// Writes what waits and finishes the capture; says why it is not whole if it is not.
    pub(super) fn finish(self) -> Option<StoreError> {
        let (writer, problem) = self.join();
        let finished = writer.finish();
        problem.or(finished.err())
    }

    /// Removes the capture.
    pub(super) fn discard(self) -> Result<(), StoreError> {
        self.join().0.discard()
    }

    fn join(self) -> (CaptureWriter, Option<StoreError>) {
        let Self { batches, thread } = self;
        drop(batches);
        thread.join().expect("a panic ends the process before")
    }
}

/// Without room for single allocations, totals, names and counters still fit: every report lives on them. How many
/// allocations are without a row is kept in `without_row` and in the capture.
fn write(writer: &mut CaptureWriter, mut batch: Batch, without_row: &mut u64) -> Result<(), StoreError> {
    if *without_row > 0 {
        leave_rows_out(&mut batch, without_row);
        return writer.write(&batch);
    }
    let result = writer.write(&batch);
    if matches!(result, Err(StoreError::Full { .. })) {
        leave_rows_out(&mut batch, without_row);
        let _also_full = writer.write(&batch);
    }
    result
}

fn leave_rows_out(batch: &mut Batch, without_row: &mut u64) {
    let rows = batch.freed.len() + batch.live_added.len() + batch.mappings.len();
    // One at least, so that what was left out shows even if it is only of the timelines.
    *without_row += u64::try_from(rows).unwrap_or(u64::MAX).max(1);
    batch.freed.clear();
    batch.live_added.clear();
    batch.mappings.clear();
    batch.timeline.clear();
    batch.site_timeline.clear();
    batch.losses.push(LossRow {
        process_id: None,
        reason: "disk_full".to_owned(),
        kind: "degraded".to_owned(),
        events: *without_row,
        bytes: 0,
        description: "rows of single allocations that found no room on the disk; the totals count them"
            .to_owned(),
    });
}
