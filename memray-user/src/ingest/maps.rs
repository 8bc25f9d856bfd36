//! What mappings count as, and the `mremap` calls that are under way.

use rustc_hash::FxHashMap;

use super::ranges::ranges_overlap;
use crate::model::MappingKind;

const PROT_NONE: u32 = libc::PROT_NONE.cast_unsigned();

/// What pages count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounting {
    Heap,
    Beside(MappingKind),
}

/// What a mapping made by mmap(2) counts as. Heap is anonymous memory that can be used.
///
/// `protection` holds `PROT_*`, `map_flags` holds `MAP_*`. A file's pages belong to the page cache and not to the
/// program's heap, and a reservation without access (`PROT_NONE`) has no memory behind it. The stack of a thread
/// (`MAP_STACK`) is no heap either, though glibc maps it with access from 2.42 on and without before
/// (nptl/allocatestack.c). Whatever it is, it ends what it is laid over.
pub fn accounting(protection: u32, map_flags: u32) -> Accounting {
    const MAP_ANONYMOUS: u32 = libc::MAP_ANONYMOUS.cast_unsigned();
    const MAP_STACK: u32 = libc::MAP_STACK.cast_unsigned();
    /// `MAP_SHARED` is a bit of `MAP_SHARED_VALIDATE` too.
    const MAP_SHARED: u32 = libc::MAP_SHARED.cast_unsigned();
    if map_flags & MAP_ANONYMOUS == 0 {
        return Accounting::Beside(if map_flags & MAP_SHARED == 0 {
            MappingKind::File
        } else {
            MappingKind::SharedFile
        });
    }
    if map_flags & MAP_STACK != 0 {
        return Accounting::Beside(MappingKind::Stack);
    }
    if gives_access(protection) {
        Accounting::Heap
    } else {
        Accounting::Beside(MappingKind::Reserved)
    }
}

/// Whether a mapping looks like the arena that glibc reserves for a thread (`alloc_new_heap`, malloc/arena.c): of
/// `HEAP_MAX_SIZE`, or twice as much so that a part of it is aligned.
///
/// Made inside `malloc` it is part of that call and never comes here. But the first call of a thread can be `free`, which
/// makes the arena too (`tcache_init`; the first thread has another kind), and to follow `free` to its return would cost every free another trap.
pub fn is_arena_of_glibc(size_bytes: u64, protection: u32, map_flags: u32) -> bool {
    const HEAP_MAX_SIZE: u64 = 64 << 20;
    const MAP_FLAGS: u32 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned();
    /// Up to 2.36 at least; no longer in 2.43.
    const MAP_NORESERVE: u32 = libc::MAP_NORESERVE.cast_unsigned();
    [HEAP_MAX_SIZE, 2 * HEAP_MAX_SIZE].contains(&size_bytes)
        && map_flags & !MAP_NORESERVE == MAP_FLAGS
        && !gives_access(protection)
}

/// Whether pages with this protection can be used.
pub fn gives_access(protection: u32) -> bool {
    protection != PROT_NONE
}

/// Whether an mremap(2) left the old range mapped (`MREMAP_DONTUNMAP`).
pub fn keeps_old_range(mremap_flags: u32) -> bool {
    const MREMAP_DONTUNMAP: u32 = libc::MREMAP_DONTUNMAP.cast_unsigned();
    mremap_flags & MREMAP_DONTUNMAP != 0
}

/// An `mremap` whose result is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingUnmap {
    pub address: u64,
    pub size_bytes: u64,
    /// What the old range counted as, which the new one will; None if nothing is known of it.
    pub accounting: Option<Accounting>,
    /// The old range has been ended already, because another thread mapped over it.
    pub applied: bool,
}

/// At most one for each thread.
///
/// The kernel speaks of the old range when the call begins. It is ended only when the same thread speaks again:
/// then it is known whether the call failed, and nothing ever has to be taken back.
#[derive(Debug, Default)]
pub struct PendingUnmaps {
    by_tid: FxHashMap<u32, PendingUnmap>,
}

impl PendingUnmaps {
    pub fn is_empty(&self) -> bool {
        self.by_tid.is_empty()
    }

    pub fn begin(&mut self, tid: u32, pending: PendingUnmap) {
        self.by_tid.insert(tid, pending);
    }

    pub fn take(&mut self, tid: u32) -> Option<PendingUnmap> {
        self.by_tid.remove(&tid)
    }

    pub fn first_tid(&self) -> Option<u32> {
        self.by_tid.keys().min().copied()
    }

    /// The range of one that lies in the way of a new mapping and has not been ended; marks it as ended.
    pub fn apply_overlapping(&mut self, address: u64, size_bytes: u64) -> Option<(u64, u64)> {
        let overlaps = |pending: &PendingUnmap| {
            ranges_overlap((pending.address, pending.size_bytes), (address, size_bytes))
        };
        let (_, pending) = self
            .by_tid
            .iter_mut()
            .filter(|(_, pending)| !pending.applied && overlaps(pending))
            .min_by_key(|(tid, _)| **tid)?;
        pending.applied = true;
        Some((pending.address, pending.size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const PRIVATE: i32 = libc::MAP_PRIVATE;
    const ANONYMOUS: i32 = libc::MAP_ANONYMOUS;

    #[test]
    fn heap_is_anonymous_and_usable() {
        use Accounting::{Beside, Heap};
        use MappingKind::{File, Reserved, SharedFile, Stack};
        const NONE: i32 = libc::PROT_NONE;
        for (protection, flags, expect) in [
            (READ_WRITE, PRIVATE | ANONYMOUS, Heap),
            (READ_WRITE, libc::MAP_SHARED | ANONYMOUS, Heap),
            (libc::PROT_READ, PRIVATE | ANONYMOUS, Heap),
            (READ_WRITE, PRIVATE | ANONYMOUS | libc::MAP_STACK, Beside(Stack)),
            (NONE, PRIVATE | ANONYMOUS | libc::MAP_STACK, Beside(Stack)),
            (READ_WRITE, PRIVATE | ANONYMOUS | libc::MAP_FIXED, Heap),
            (NONE, PRIVATE | ANONYMOUS, Beside(Reserved)),
            (NONE, libc::MAP_SHARED | ANONYMOUS, Beside(Reserved)),
            (NONE, PRIVATE | ANONYMOUS | libc::MAP_NORESERVE, Beside(Reserved)),
            (READ_WRITE, PRIVATE, Beside(File)),
            (NONE, PRIVATE, Beside(File)),
            (READ_WRITE, PRIVATE | libc::MAP_STACK, Beside(File)),
            (READ_WRITE, libc::MAP_SHARED, Beside(SharedFile)),
            (READ_WRITE, libc::MAP_SHARED_VALIDATE, Beside(SharedFile)),
        ] {
            let found = accounting(protection.cast_unsigned(), flags.cast_unsigned());
            assert_eq!(found, expect, "{protection:#x} {flags:#x}");
        }
    }
}
