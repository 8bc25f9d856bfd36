//! The thread that writes: batches in, transactions out.

use std::{
    mem,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use crate::{
    model::Batch,
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
            for batch in received {
                if let Err(error) = write(&mut writer, batch, problem.is_some()) {
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

/// Without room for single allocations, totals, names and counters still fit: every report lives on them.
fn write(writer: &mut CaptureWriter, mut batch: Batch, totals_only: bool) -> Result<(), StoreError> {
    let rows_left_out = |batch: &mut Batch| {
        batch.freed.clear();
        batch.live_added.clear();
        batch.timeline.clear();
        batch.site_timeline.clear();
    };
    if totals_only {
        rows_left_out(&mut batch);
        return writer.write(&batch);
    }
    let result = writer.write(&batch);
    if matches!(result, Err(StoreError::Full { .. })) {
        let mut batch = mem::take(&mut batch);
        rows_left_out(&mut batch);
        let _also_full = writer.write(&batch);
    }
    result
}
