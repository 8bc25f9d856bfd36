//! The vocabulary of captures: what is stored, in the words of memray and of CPython.
//!
//! Plain data without behaviour beyond its own consistency; everything above (`ingest`, `store`, `analysis`,
//! `report`) speaks in these types and none of them knows the others' inner forms.

pub mod capture;
pub mod rows;

pub use capture::{CaptureError, CaptureMetadata, CaptureSource, SiteFigures, View};
pub use memray_ebpf::allocator::{Allocator, AllocatorKind};
pub use rows::{
    Batch, FrameKind, FrameRow, FreedRow, LiveRow, LossRow, MappedBytes, MappingKind, MappingRow,
    MappingTotalsRow, ProcessOrigin, ProcessRow, Resident, SiteRow, SiteTimelineRow, SizeHistogramRow,
    StackRow, StateRow, ThreadRow, TimelineRow,
};

/// Number of a process in one capture, from 1.
pub type ProcessId = u32;
/// Number of a thread in one capture, from 1; not the kernel's.
pub type ThreadId = u32;
/// Number of a frame (function, file, line) in one capture, from 1.
pub type FrameId = u32;
/// Number of a node in the capture's prefix tree of stacks, from 1; a parent's is smaller than its children's.
pub type StackId = u32;
/// Number of a site: one stack, thread and allocator; from 1.
pub type SiteId = u32;
/// Number of an allocation in one capture, from 1, in the order of events.
pub type AllocationId = u64;
/// Number of a mapping beside the heap, or of a piece of one, in one capture, from 1, in the order of events.
pub type MappingId = u64;
