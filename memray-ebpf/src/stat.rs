//! What the programs count: every event seen, and each way in which data can be lost or degraded.
//!
//! The identities that hold when a recording has been drained, checked by user space and stored:
//! `*Seen = *Sent + *RingFull` for allocations, frees, maps and unmaps; every return of an allocating function is
//! seen, nested, failed or without entry. Of the frees in `FreeRingFull` those in `FreeForgotten` have not even ended
//! their blocks.

/// Index into the per-CPU array of counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatId {
    AllocationSeen,
    AllocationRingFull,
    FreeSeen,
    FreeRingFull,
    MapSeen,
    MapRingFull,
    UnmapSeen,
    UnmapRingFull,
    NestedCall,
    FailedCall,
    ReturnWithoutEntry,
    PendingOverflow,
    AbandonedCall,
    ThreadTableFull,
    StackRingFull,
    StackFault,
    StackTruncated,
    ThreadStateInvalid,
    CodeRingFull,
    CodeFault,
    ThreadRingFull,
    ThrottleWaits,
    ThrottleWaitNs,
    NotFollowed,
    HoldWaits,
    HoldWaitNs,
    HoldExpired,
    ProcessTableFull,
    AllocationRingFullBytes,
    FreeNoted,
    FreeForgotten,
    UndoRingFull,
}

/// What a counter means for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// Counts what happened; nothing is wrong.
    Neutral,
    /// Events are missing from the capture.
    Lost,
    /// Events are there, but something about them is not known.
    Degraded,
}

impl StatId {
    pub const ALL: [Self; 32] = [
        Self::AllocationSeen,
        Self::AllocationRingFull,
        Self::FreeSeen,
        Self::FreeRingFull,
        Self::MapSeen,
        Self::MapRingFull,
        Self::UnmapSeen,
        Self::UnmapRingFull,
        Self::NestedCall,
        Self::FailedCall,
        Self::ReturnWithoutEntry,
        Self::PendingOverflow,
        Self::AbandonedCall,
        Self::ThreadTableFull,
        Self::StackRingFull,
        Self::StackFault,
        Self::StackTruncated,
        Self::ThreadStateInvalid,
        Self::CodeRingFull,
        Self::CodeFault,
        Self::ThreadRingFull,
        Self::ThrottleWaits,
        Self::ThrottleWaitNs,
        Self::NotFollowed,
        Self::HoldWaits,
        Self::HoldWaitNs,
        Self::HoldExpired,
        Self::ProcessTableFull,
        Self::AllocationRingFullBytes,
        Self::FreeNoted,
        Self::FreeForgotten,
        Self::UndoRingFull,
    ];

    pub const COUNT: usize = Self::ALL.len();

    /// The name in captures: stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllocationSeen => "allocation_seen",
            Self::AllocationRingFull => "allocation_ring_full",
            Self::FreeSeen => "free_seen",
            Self::FreeRingFull => "free_ring_full",
            Self::MapSeen => "map_seen",
            Self::MapRingFull => "map_ring_full",
            Self::UnmapSeen => "unmap_seen",
            Self::UnmapRingFull => "unmap_ring_full",
            Self::NestedCall => "nested_call",
            Self::FailedCall => "failed_call",
            Self::ReturnWithoutEntry => "return_without_entry",
            Self::PendingOverflow => "pending_overflow",
            Self::AbandonedCall => "abandoned_call",
            Self::ThreadTableFull => "thread_table_full",
            Self::StackRingFull => "stack_ring_full",
            Self::StackFault => "stack_fault",
            Self::StackTruncated => "stack_truncated",
            Self::ThreadStateInvalid => "thread_state_invalid",
            Self::CodeRingFull => "code_ring_full",
            Self::CodeFault => "code_fault",
            Self::ThreadRingFull => "thread_ring_full",
            Self::ThrottleWaits => "throttle_waits",
            Self::ThrottleWaitNs => "throttle_wait_ns",
            Self::NotFollowed => "not_followed",
            Self::HoldWaits => "hold_waits",
            Self::HoldWaitNs => "hold_wait_ns",
            Self::HoldExpired => "hold_expired",
            Self::ProcessTableFull => "process_table_full",
            Self::AllocationRingFullBytes => "allocation_ring_full_bytes",
            Self::FreeNoted => "free_noted",
            Self::FreeForgotten => "free_forgotten",
            Self::UndoRingFull => "undo_ring_full",
        }
    }

    /// One sentence for a report.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AllocationSeen => "successful outermost calls of an allocating function",
            Self::AllocationRingFull => "allocations that found the ring full and are missing",
            Self::FreeSeen => "blocks given back",
            Self::MapSeen => {
                "successful mmap, mremap and mprotect calls, and brk calls that grow, made outside an allocator"
            }
            Self::FreeRingFull => {
                "frees that found the ring full; their blocks are known to have ended, the time of it may be that of a later one"
            }
            Self::MapRingFull => "mappings that found the ring full and are missing",
            Self::UnmapSeen => {
                "munmap and mremap calls, and brk calls that shrink, made outside an allocator"
            }
            Self::UnmapRingFull => "unmappings that found the ring full; their pages look alive",
            Self::NestedCall => "calls made by another allocating function, counted with that one",
            Self::FailedCall => "calls that returned no memory",
            Self::ReturnWithoutEntry => "calls whose entry was not seen, missing",
            Self::PendingOverflow => "calls nested too deeply to be followed, missing",
            Self::AbandonedCall => "calls that never returned (longjmp, end of thread)",
            Self::ThreadTableFull => {
                "calls of threads beyond the largest number that can be followed, missing"
            }
            Self::StackRingFull => "new stacks that found the ring full; their events have no stack",
            Self::StackFault => "stacks that could not be read to their end",
            Self::StackTruncated => "stacks deeper than the bound, cut at the outer end",
            Self::ThreadStateInvalid => {
                "events whose thread state was not that of the thread, kept without stack"
            }
            Self::CodeRingFull => "code objects whose names found the ring full",
            Self::CodeFault => "code objects whose names could not be read by the kernel",
            Self::ThreadRingFull => "threads whose names found the ring full",
            Self::ThrottleWaits => "times that the target was held back so that nothing was lost",
            Self::ThrottleWaitNs => "nanoseconds that the target was held back in all",
            Self::NotFollowed => {
                "allocations of a program that the process became by exec, which is not followed"
            }
            Self::HoldWaits => "times that a thread was held at the start of a child, a program or a library",
            Self::HoldWaitNs => "nanoseconds that threads were held there in all",
            Self::HoldExpired => {
                "threads that were held and went on before all probes were in; what came then may be missing"
            }
            Self::ProcessTableFull => {
                "children that found no room in the table of followed processes, or in the ring, missing"
            }
            Self::AllocationRingFullBytes => "bytes of the allocations that found the ring full",
            Self::FreeNoted => "frees without a record of which the address was kept",
            Self::FreeForgotten => {
                "frees that found no room at all; their blocks look alive, so what looks like a leak need not be one"
            }
            Self::UndoRingFull => {
                "failed realloc and mremap calls whose failure found the ring full; a block or mapping that lives looks freed"
            }
        }
    }

    pub const fn kind(self) -> StatKind {
        match self {
            Self::AllocationRingFull
            | Self::MapRingFull
            | Self::UnmapRingFull
            | Self::ReturnWithoutEntry
            | Self::PendingOverflow
            | Self::ThreadTableFull
            | Self::NotFollowed
            | Self::ProcessTableFull
            | Self::FreeForgotten
            | Self::UndoRingFull => StatKind::Lost,
            Self::FreeRingFull
            | Self::StackRingFull
            | Self::StackFault
            | Self::StackTruncated
            | Self::ThreadStateInvalid
            | Self::CodeRingFull
            | Self::CodeFault
            | Self::ThreadRingFull
            | Self::HoldExpired => StatKind::Degraded,
            Self::AllocationSeen
            | Self::FreeSeen
            | Self::MapSeen
            | Self::UnmapSeen
            | Self::NestedCall
            | Self::FailedCall
            | Self::AbandonedCall
            | Self::ThrottleWaits
            | Self::ThrottleWaitNs
            | Self::HoldWaits
            | Self::HoldWaitNs
            | Self::AllocationRingFullBytes
            | Self::FreeNoted => StatKind::Neutral,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_order_and_names_are_distinct() {
        for (index, stat) in StatId::ALL.into_iter().enumerate() {
            assert_eq!(stat as usize, index);
            assert_eq!(
                StatId::ALL
                    .iter()
                    .filter(|other| other.name() == stat.name())
                    .count(),
                1
            );
        }
    }
}
