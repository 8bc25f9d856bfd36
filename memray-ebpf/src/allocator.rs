//! The functions that hand out or take back memory, as memray names and numbers them.

/// Which function made or ended an allocation.
///
/// Values 1 to 15 are those of memray 1.20 (`hooks.h`), so that captures, documents and people's memory agree;
/// ours come after them.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Allocator {
    PymallocFree = 1,
    PymallocMalloc = 2,
    PymallocCalloc = 3,
    PymallocRealloc = 4,
    Free = 5,
    Malloc = 6,
    Realloc = 7,
    Calloc = 8,
    PosixMemalign = 9,
    AlignedAlloc = 10,
    Memalign = 11,
    Valloc = 12,
    Pvalloc = 13,
    Mmap = 14,
    Munmap = 15,
    Reallocarray = 16,
    FreeSized = 17,
    FreeAlignedSized = 18,
    Mremap = 19,
    /// The end of the program's data moved up: brk(2), sbrk(3).
    Brk = 20,
    /// A reservation of pages became usable.
    Mprotect = 21,
}

/// How a block of memory is named when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocatorKind {
    /// Hands out a block that is later freed by its address.
    SimpleAllocator,
    /// Takes back a block by its address.
    SimpleDeallocator,
    /// Hands out a range of pages, of which any part can be taken back.
    RangedAllocator,
    /// Takes back a range of pages.
    RangedDeallocator,
}

impl Allocator {
    pub const ALL: [Self; 21] = [
        Self::PymallocFree,
        Self::PymallocMalloc,
        Self::PymallocCalloc,
        Self::PymallocRealloc,
        Self::Free,
        Self::Malloc,
        Self::Realloc,
        Self::Calloc,
        Self::PosixMemalign,
        Self::AlignedAlloc,
        Self::Memalign,
        Self::Valloc,
        Self::Pvalloc,
        Self::Mmap,
        Self::Munmap,
        Self::Reallocarray,
        Self::FreeSized,
        Self::FreeAlignedSized,
        Self::Mremap,
        Self::Brk,
        Self::Mprotect,
    ];

    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw).checked_sub(1)?).copied()
    }

    /// The name in captures and reports: that of the C function, or memray's for pymalloc.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PymallocFree => "pymalloc_free",
            Self::PymallocMalloc => "pymalloc_malloc",
            Self::PymallocCalloc => "pymalloc_calloc",
            Self::PymallocRealloc => "pymalloc_realloc",
            Self::Free => "free",
            Self::Malloc => "malloc",
            Self::Realloc => "realloc",
            Self::Calloc => "calloc",
            Self::PosixMemalign => "posix_memalign",
            Self::AlignedAlloc => "aligned_alloc",
            Self::Memalign => "memalign",
            Self::Valloc => "valloc",
            Self::Pvalloc => "pvalloc",
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Reallocarray => "reallocarray",
            Self::FreeSized => "free_sized",
            Self::FreeAlignedSized => "free_aligned_sized",
            Self::Mremap => "mremap",
            Self::Brk => "brk",
            Self::Mprotect => "mprotect",
        }
    }

    pub const fn kind(self) -> AllocatorKind {
        match self {
            Self::PymallocFree | Self::Free | Self::FreeSized | Self::FreeAlignedSized => {
                AllocatorKind::SimpleDeallocator
            }
            Self::Mmap | Self::Mremap | Self::Brk | Self::Mprotect => AllocatorKind::RangedAllocator,
            Self::Munmap => AllocatorKind::RangedDeallocator,
            _ => AllocatorKind::SimpleAllocator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_are_memrays_and_round_trip() {
        assert_eq!(Allocator::Malloc as u8, 6);
        assert_eq!(Allocator::Munmap as u8, 15);
        for allocator in Allocator::ALL {
            assert_eq!(Allocator::from_raw(allocator as u8), Some(allocator));
        }
        assert_eq!(Allocator::from_raw(0), None);
        assert_eq!(Allocator::from_raw(22), None);
    }
}
