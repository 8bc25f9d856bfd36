//! What one process maps beside its heap: reservations, files, stacks.
//!
//! None of it is in a figure of the heap, but address space that is told apart by kind explains what the heap does not:
//! resident pages of files, and room that is asked for and not used. Pieces are cut as those of the heap are (see
//! `ranges`), and each is a row.

use super::ranges::{Changes, EndedPart, Ranges};
use crate::model::{
    MappedBytes, MappingId, MappingKind, MappingRow, MappingTotalsRow, ProcessId, StackId, ThreadId,
};

/// What the parts of one mapping have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedOwner {
    pub kind: MappingKind,
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub mapped_ts: u64,
    /// Made by the program's own code, and not before that began.
    pub is_counted: bool,
}

/// The mappings of one process.
#[derive(Debug, Default)]
pub struct Mapped {
    pub ranges: Ranges<MappedOwner>,
    pub changes: Changes<MappedOwner>,
}

/// The row of a piece; `end` where it has ended, whole or as far as it now goes.
pub fn row(
    process_id: ProcessId,
    mapping_id: MappingId,
    (address, size): (u64, u64),
    owner: MappedOwner,
    end: Option<u64>,
) -> MappingRow {
    MappingRow {
        mapping_id,
        process_id,
        thread_id: owner.thread_id,
        stack_id: owner.stack_id,
        kind: owner.kind,
        address,
        size,
        mapped_ts: owner.mapped_ts,
        unmapped_ts: end,
    }
}

/// Parts that lie side by side, as ranges.
pub fn joined(parts: &[EndedPart<MappedOwner>]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for part in parts {
        match ranges.last_mut() {
            Some((address, size_bytes)) if *address + *size_bytes == part.address => {
                *size_bytes += part.size_bytes;
            }
            _ => ranges.push((part.address, part.size_bytes)),
        }
    }
    ranges
}

#[derive(Clone, Copy, Debug, Default)]
struct OfKind {
    map_count: u64,
    map_bytes: u64,
    live_count: u64,
    highest_bytes: u64,
    highest_ts: u64,
}

/// Running totals of one process by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct MappedTotals {
    of_kind: [OfKind; MappingKind::COUNT],
    live_bytes: MappedBytes,
    heap_peak_bytes: MappedBytes,
}

impl MappedTotals {
    pub fn grow(&mut self, kind: MappingKind, size_bytes: u64, ts: u64) {
        let live_bytes = &mut self.live_bytes[kind as usize];
        *live_bytes = live_bytes.wrapping_add(size_bytes);
        let of_kind = &mut self.of_kind[kind as usize];
        of_kind.map_count += 1;
        of_kind.map_bytes = of_kind.map_bytes.wrapping_add(size_bytes);
        of_kind.live_count += 1;
        if *live_bytes >= of_kind.highest_bytes {
            of_kind.highest_bytes = *live_bytes;
            of_kind.highest_ts = ts;
        }
    }

    /// Bytes have ended, and `count` mappings with them: 0 where a part lives on.
    pub fn shrink(&mut self, kind: MappingKind, size_bytes: u64, count: u64) {
        let live_bytes = &mut self.live_bytes[kind as usize];
        *live_bytes = live_bytes.wrapping_sub(size_bytes);
        self.of_kind[kind as usize].live_count -= count;
    }

    /// The heap is as large as never before.
    pub fn heap_is_at_peak(&mut self) {
        self.heap_peak_bytes = self.live_bytes;
    }

    pub fn live_bytes(&self) -> MappedBytes {
        self.live_bytes
    }

    /// Of the kinds that the process has mapped.
    pub fn rows(&self, process_id: ProcessId) -> impl Iterator<Item = MappingTotalsRow> + '_ {
        MappingKind::ALL
            .into_iter()
            .filter(|&kind| self.of_kind[kind as usize].map_count > 0)
            .map(move |kind| {
                let OfKind {
                    map_count,
                    map_bytes,
                    live_count,
                    highest_bytes,
                    highest_ts,
                } = self.of_kind[kind as usize];
                MappingTotalsRow {
                    process_id,
                    kind,
                    map_count,
                    map_bytes,
                    live_count,
                    live_bytes: self.live_bytes[kind as usize],
                    highest_bytes,
                    highest_ts,
                    heap_peak_bytes: self.heap_peak_bytes[kind as usize],
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_side_by_side_are_one() {
        let owner = MappedOwner {
            kind: MappingKind::Reserved,
            stack_id: 1,
            thread_id: 1,
            mapped_ts: 0,
            is_counted: true,
        };
        let part = |address, size_bytes| EndedPart {
            id: 1,
            address,
            size_bytes,
            owner,
            mapping_ended: false,
            whole: false,
        };
        let parts = [part(10, 5), part(15, 1), part(20, 2), part(22, 3)];
        assert_eq!(joined(&parts), [(10, 6), (20, 5)]);
        assert_eq!(joined(&[]), []);
    }

    #[test]
    fn the_highest_and_what_was_there_at_the_peak_of_the_heap() {
        let mut totals = MappedTotals::default();
        totals.grow(MappingKind::File, 30, 1);
        totals.grow(MappingKind::File, 20, 2);
        totals.shrink(MappingKind::File, 30, 1);
        totals.heap_is_at_peak();
        totals.shrink(MappingKind::File, 5, 0);
        let rows: Vec<_> = totals.rows(7).collect();
        let expect = MappingTotalsRow {
            process_id: 7,
            kind: MappingKind::File,
            map_count: 2,
            map_bytes: 50,
            live_count: 1,
            live_bytes: 15,
            highest_bytes: 50,
            highest_ts: 2,
            heap_peak_bytes: 20,
        };
        assert_eq!(rows, [expect]);
    }
}
