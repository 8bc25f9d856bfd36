//! What records of pages do: mapped, unmapped, moved, made usable.
//!
//! Pages are heap or beside it (`maps::accounting`); the two sets never overlap, since whatever is mapped first ends
//! what it is laid over in both.

use memray_ebpf::event::{MapRecord, UnmapRecord};

use super::{End, Process};
use crate::{
    ingest::{
        counters::{Counter, EventKind},
        live::STARTUP_SITE,
        mapped::{self, MappedOwner},
        maps::{Accounting, PendingUnmap, accounting, gives_access, is_arena_of_glibc, keeps_old_range},
        ranges::{Owner, PAGE_BYTES},
        shared::Shared,
        stacks::KnownStack,
        window::{Home, Survivor},
    },
    model::{Allocator, MappingKind, MappingRow, ThreadId},
};

impl Process {
    pub fn map(&mut self, record: &MapRecord, allocator: Allocator, ts: u64, shared: &mut Shared) {
        let MapRecord {
            header,
            address,
            size_bytes,
            stack_id: _,
            protection,
            map_flags,
        } = *record;
        let accounting = match allocator {
            Allocator::Mprotect => {
                self.settle(header.tid, ts, shared);
                if gives_access(protection) {
                    self.commit(record, ts, shared);
                }
                return;
            }
            Allocator::Mremap => {
                let old = self.pending_unmaps.take(header.tid);
                self.settle(header.tid, ts, shared);
                if let Some(old) = old.filter(|old| !old.applied && !keeps_old_range(map_flags)) {
                    self.end_range(old.address, old.size_bytes, ts, shared);
                }
                old.and_then(|old| old.accounting)
            }
            _ => {
                self.settle(header.tid, ts, shared);
                Some(accounting(protection, map_flags))
            }
        };
        while let Some((old_address, old_bytes)) = self.pending_unmaps.apply_overlapping(address, size_bytes)
        {
            self.end_range(old_address, old_bytes, ts, shared);
        }
        self.end_range(address, size_bytes, ts, shared);
        let Some(accounting) = accounting.filter(|_| size_bytes > 0) else {
            return;
        };
        if !shared.reserve(self.index, EventKind::Map, size_bytes) {
            return;
        }
        let stack = self.stack(&header, record.stack_id, shared);
        let thread_id = self.threads.id(header.tid, &mut shared.threads);
        let can_be_arena = header.tid != self.row.pid && !shared.threads.has_allocated(thread_id);
        if can_be_arena && is_arena_of_glibc(size_bytes, protection, map_flags) {
            shared.counters.add(self.index, Counter::ArenaOfFree, size_bytes);
            return;
        }
        match accounting {
            Accounting::Heap => {
                self.add_heap((address, size_bytes), (stack, thread_id), allocator, ts, shared);
            }
            Accounting::Beside(kind) => {
                self.add_beside((address, size_bytes), (stack, thread_id), kind, ts, shared);
            }
        }
    }

    pub fn unmap(&mut self, record: &UnmapRecord, allocator: Allocator, ts: u64, shared: &mut Shared) {
        let UnmapRecord {
            header,
            address,
            size_bytes,
        } = *record;
        self.settle(header.tid, ts, shared);
        if allocator == Allocator::Mremap {
            let heap = self.ranges.first_owner(address, size_bytes);
            let beside = self.mapped.ranges.first_owner(address, size_bytes);
            let accounting = heap
                .map(|_| Accounting::Heap)
                .or(beside.map(|owner| Accounting::Beside(owner.kind)));
            let pending = PendingUnmap {
                address,
                size_bytes,
                accounting,
                applied: false,
            };
            self.pending_unmaps.begin(header.tid, pending);
        } else if allocator == Allocator::Brk || address.is_multiple_of(PAGE_BYTES) {
            // At any other address munmap fails (mm/mmap.c, `do_vmi_munmap`), and only its beginning is recorded. The end
            // of the data can be anywhere, and what it leaves behind in its page was the program's no longer.
            self.end_range(address, size_bytes, ts, shared);
        }
    }

    pub fn unmap_undone(&mut self, record: &UnmapRecord, shared: &mut Shared) {
        if self.pending_unmaps.take(record.header.tid).is_none() {
            shared.counters.add(self.index, Counter::UndoneUnknown, 0);
        }
    }

    /// The row of a mapping beside the heap that is there.
    pub fn mapping_row(&self, survivor: &Survivor) -> Option<MappingRow> {
        let piece = self.mapped.ranges.piece(survivor.address)?;
        let range = (piece.address, piece.size_bytes);
        (piece.id == survivor.id)
            .then(|| mapped::row(self.row.process_id, piece.id, range, piece.owner, None))
    }

    pub(super) fn end_range(&mut self, address: u64, size_bytes: u64, ts: u64, shared: &mut Shared) {
        let mut changes = std::mem::take(&mut self.changes);
        let (window, process) = (&mut shared.window, self.index);
        let next_id = |owner: Owner, address| {
            if owner.site == STARTUP_SITE {
                0
            } else {
                window.add(process, address, Home::Ranges)
            }
        };
        self.ranges.remove(address, size_bytes, next_id, &mut changes);
        for part in &changes.ended {
            let end = End {
                id: part.id,
                size_bytes: part.size_bytes,
                owner: part.owner,
                ended: part.mapping_ended,
                whole: part.whole,
            };
            self.end(&end, ts, shared);
        }
        self.changes = changes;
        self.end_beside(|_| true, (address, size_bytes), ts, shared);
    }

    /// mprotect(2) gives access: what was reserved is heap from here on, made by this call. Each range of it that has no
    /// gap is one allocation. Access that is taken away again changes nothing: the pages keep what is in them.
    fn commit(&mut self, record: &MapRecord, ts: u64, shared: &mut Shared) {
        let MapRecord {
            header,
            address,
            size_bytes,
            stack_id,
            ..
        } = *record;
        let is_reserved = |owner: MappedOwner| owner.kind == MappingKind::Reserved;
        self.end_beside(is_reserved, (address, size_bytes), ts, shared);
        let committed = mapped::joined(&self.mapped.changes.ended);
        let committed_bytes = committed.iter().map(|(_, size_bytes)| size_bytes).sum();
        if committed.is_empty() || !shared.reserve(self.index, EventKind::Map, committed_bytes) {
            return;
        }
        let stack = self.stack(&header, stack_id, shared);
        let thread_id = self.threads.id(header.tid, &mut shared.threads);
        for range in committed {
            self.add_heap(range, (stack, thread_id), Allocator::Mprotect, ts, shared);
        }
    }

    fn add_heap(
        &mut self,
        (address, size_bytes): (u64, u64),
        (stack, thread_id): (KnownStack, ThreadId),
        allocator: Allocator,
        ts: u64,
        shared: &mut Shared,
    ) {
        let owner = self.owner(stack, thread_id, allocator, ts, shared);
        let id = self.new_id(owner.site, address, Home::Ranges, shared);
        self.ranges.insert(address, size_bytes, id, owner);
        shared.threads.allocated(thread_id);
        self.count(owner, allocator, size_bytes, shared);
    }

    fn add_beside(
        &mut self,
        (address, size_bytes): (u64, u64),
        (stack, thread_id): (KnownStack, ThreadId),
        kind: MappingKind,
        ts: u64,
        shared: &mut Shared,
    ) {
        let is_counted = self.has_started(stack, ts);
        let stack_id = if is_counted {
            shared.tree.publish(stack.node, &mut shared.frames)
        } else {
            0
        };
        let owner = MappedOwner {
            kind,
            stack_id,
            thread_id,
            mapped_ts: ts,
            is_counted,
        };
        let id = if is_counted {
            shared.mapped_window.add(self.index, address, Home::Ranges)
        } else {
            0
        };
        self.mapped.ranges.insert(address, size_bytes, id, owner);
        if is_counted {
            self.timeline.before_change(ts, self.row.process_id, &self.totals);
            self.totals.map(kind, size_bytes, ts);
        }
    }

    /// Leaves what has ended in `mapped.changes`.
    fn end_beside(
        &mut self,
        is_wanted: impl Fn(MappedOwner) -> bool,
        (address, size_bytes): (u64, u64),
        ts: u64,
        shared: &mut Shared,
    ) {
        let (window, process) = (&mut shared.mapped_window, self.index);
        let next_id = |owner: MappedOwner, address| {
            if owner.is_counted {
                window.add(process, address, Home::Ranges)
            } else {
                0
            }
        };
        let mapped::Mapped { ranges, changes } = &mut self.mapped;
        ranges.remove_of(is_wanted, address, size_bytes, next_id, changes);
        for part in changes.ended.iter().filter(|part| part.owner.is_counted) {
            self.timeline.before_change(ts, self.row.process_id, &self.totals);
            let count = u64::from(part.mapping_ended);
            self.totals.unmap(part.owner.kind, part.size_bytes, count, ts);
            shared.mapped_window.end(part.id);
            let range = (part.address, part.size_bytes);
            let row = mapped::row(self.row.process_id, part.id, range, part.owner, Some(ts));
            shared.mappings.push(row);
        }
    }
}
