//! The running totals of one process and the moment of its peak.
//!
//! The composition of the peak is exact in O(1) per event. `epoch` counts the maxima that are over: it goes up
//! by one at the first decrease after a new maximum. Each site keeps what it had when it was first touched in the
//! current epoch (see `sites`). At the peak itself nothing has been touched since, which the state says by an
//! epoch that no site has yet.
//!
//! As in memray, the peak moves on every allocation after which live bytes are at least the highest so far, so of
//! equal peaks the last wins.

use super::mapped::MappedTotals;
use crate::model::{MappingKind, ProcessId, StateRow};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub free_count: u64,
    pub live_count: u64,
    pub live_bytes: u64,
    pub startup_count: u64,
    pub startup_bytes: u64,
    /// What is mapped beside the heap.
    pub mapped: MappedTotals,
    peak_count: u64,
    peak_bytes: u64,
    peak_ts: u64,
    epoch: u64,
    /// Nothing has ended since the highest value was reached.
    at_peak: bool,
    min_size: u64,
    max_size: u64,
    last_ts: u64,
    changed: bool,
}

impl Totals {
    /// An allocation was made; [`Sites::grow`](super::sites::Sites::grow) goes with it, after it.
    pub fn grow(&mut self, size_bytes: u64, ts: u64) {
        self.min_size = if self.alloc_count == 0 {
            size_bytes
        } else {
            self.min_size.min(size_bytes)
        };
        self.max_size = self.max_size.max(size_bytes);
        self.alloc_count += 1;
        self.alloc_bytes = self.alloc_bytes.wrapping_add(size_bytes);
        self.live_count += 1;
        self.live_bytes = self.live_bytes.wrapping_add(size_bytes);
        if self.live_bytes >= self.peak_bytes {
            self.peak_bytes = self.live_bytes;
            self.peak_count = self.live_count;
            self.peak_ts = ts;
            self.at_peak = true;
            self.mapped.heap_is_at_peak();
        }
        self.touch(ts);
    }

    /// Bytes have ended, and `count` allocations with them: 0 where a part of a mapping lives on. To be called
    /// before the site is told, which needs the new epoch.
    pub fn shrink(&mut self, size_bytes: u64, count: u64, ts: u64) {
        if self.at_peak {
            self.at_peak = false;
            self.epoch += 1;
        }
        self.free_count += count;
        self.live_count -= count;
        self.live_bytes = self.live_bytes.wrapping_sub(size_bytes);
        self.touch(ts);
    }

    /// Pages were mapped beside the heap.
    pub fn map(&mut self, kind: MappingKind, size_bytes: u64, ts: u64) {
        self.mapped.grow(kind, size_bytes, ts);
        self.touch(ts);
    }

    /// They have ended, and `count` mappings with them.
    pub fn unmap(&mut self, kind: MappingKind, size_bytes: u64, count: u64, ts: u64) {
        self.mapped.shrink(kind, size_bytes, count);
        self.touch(ts);
    }

    pub fn start_up(&mut self, size_bytes: u64, ts: u64) {
        self.startup_count += 1;
        self.startup_bytes = self.startup_bytes.wrapping_add(size_bytes);
        self.touch(ts);
    }

    /// Bytes that have ended in all.
    pub fn free_bytes(&self) -> u64 {
        self.alloc_bytes.wrapping_sub(self.live_bytes)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The row, if it has changed since the last call.
    pub fn take_row(&mut self, process_id: ProcessId) -> Option<StateRow> {
        std::mem::take(&mut self.changed).then(|| StateRow {
            process_id,
            last_ts: self.last_ts,
            alloc_count: self.alloc_count,
            alloc_bytes: self.alloc_bytes,
            free_count: self.free_count,
            live_count: self.live_count,
            live_bytes: self.live_bytes,
            peak_bytes: self.peak_bytes,
            peak_count: self.peak_count,
            peak_ts: self.peak_ts,
            peak_epoch: self.epoch + u64::from(self.at_peak),
            min_size: self.min_size,
            max_size: self.max_size,
            startup_count: self.startup_count,
            startup_bytes: self.startup_bytes,
        })
    }

    /// Makes the next [`Totals::take_row`] give a row; for a process in which nothing has happened yet.
    pub fn touch(&mut self, ts: u64) {
        self.last_ts = self.last_ts.max(ts);
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positive numbers grow by as much, negative ones shrink; `expect`: bytes, count and time of the peak.
    fn check(sizes: &[i64], expect: (u64, u64, u64)) {
        let mut totals = Totals::default();
        for (ts, &size) in sizes.iter().enumerate() {
            if size >= 0 {
                totals.grow(size.unsigned_abs(), ts as u64);
            } else {
                totals.shrink(size.unsigned_abs(), 1, ts as u64);
            }
        }
        let row = totals.take_row(1).unwrap();
        assert_eq!((row.peak_bytes, row.peak_count, row.peak_ts), expect, "{sizes:?}");
        assert_eq!(totals.take_row(1), None);
    }

    #[test]
    fn of_equal_peaks_the_last_wins() {
        check(&[10], (10, 1, 0));
        check(&[10, -10, 10], (10, 1, 2));
        check(&[10, -10, 4, 6], (10, 2, 3));
        check(&[10, -10, 9], (10, 1, 0));
        check(&[10, 0], (10, 2, 1));
        check(&[0, 0], (0, 2, 1));
    }

    #[test]
    fn sizes_of_the_extremes() {
        let mut totals = Totals::default();
        totals.touch(5);
        let row = totals.take_row(1).unwrap();
        assert_eq!((row.min_size, row.max_size, row.last_ts), (0, 0, 5));
        for size in [30, 10, 20] {
            totals.grow(size, 6);
        }
        let row = totals.take_row(1).unwrap();
        assert_eq!((row.min_size, row.max_size), (10, 30));
    }
}
