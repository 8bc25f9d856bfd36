//! One struct for each table of the capture, and the batch in which `ingest` hands them to `store`.
//!
//! Times are nanoseconds since the capture's clock base (`meta.clock_base_ns`), sizes are bytes. The columns of
//! `store/schema.sql` have the same names in the same order.

use super::{AllocationId, Allocator, FrameId, MappingId, ProcessId, SiteId, StackId, ThreadId};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    Python,
    Native,
    /// Not a frame of the program but a word about the stack: no Python frame, outer frames cut, stack lost.
    Marker,
}

impl FrameKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Native => "native",
            Self::Marker => "marker",
        }
    }
}

/// How a process came into the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProcessOrigin {
    /// The recording ran it, and saw all of it.
    #[default]
    Launched,
    /// It ran already when the recording came to it; what it had before is not known.
    Attached,
    /// A recorded process forked it.
    Forked,
    /// A recorded process became this program by exec: the same pid, with an empty heap.
    Executed,
}

impl ProcessOrigin {
    pub const ALL: [Self; 4] = [Self::Launched, Self::Attached, Self::Forked, Self::Executed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::Attached => "attached",
            Self::Forked => "forked",
            Self::Executed => "executed",
        }
    }
}

/// What pages are that a program maps beside its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MappingKind {
    /// Anonymous memory without access (`PROT_NONE`): addresses, and nothing behind them.
    Reserved,
    /// A file, private: what is written to it stays in the process.
    File,
    /// A file, shared: what is written to it is written to the file.
    SharedFile,
    /// Memory mapped as a stack (`MAP_STACK`), as those of threads are.
    Stack,
}

impl MappingKind {
    pub const COUNT: usize = 4;
    pub const ALL: [Self; Self::COUNT] = [Self::Reserved, Self::File, Self::SharedFile, Self::Stack];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::File => "file",
            Self::SharedFile => "shared_file",
            Self::Stack => "stack",
        }
    }
}

/// Bytes of each [`MappingKind`], in the order of `ALL`.
pub type MappedBytes = [u64; MappingKind::COUNT];

/// One life of a process: from start, or attach, to exit or exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessRow {
    pub process_id: ProcessId,
    pub pid: u32,
    /// The process of the capture that forked this one, or for [`ProcessOrigin::Executed`] the life before of the
    /// same pid.
    pub parent_process_id: Option<ProcessId>,
    pub command_line: String,
    pub executable: String,
    /// Such as `3.12.1`; empty where no interpreter was found.
    pub python_version: String,
    /// `pymalloc`, `pymalloc_debug`, `malloc`, `malloc_debug`, `mimalloc`, or empty.
    pub python_allocator: String,
    pub started_ns: u64,
    pub ended_ns: Option<u64>,
    /// As a shell shows it: the exit code, or 128 plus the signal's number.
    pub exit_status: Option<i32>,
    /// When the program's own code began; earlier allocations are not in the figures unless asked for.
    pub script_started_ns: Option<u64>,
    pub origin: ProcessOrigin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadRow {
    pub thread_id: ThreadId,
    pub process_id: ProcessId,
    /// The kernel's thread id.
    pub tid: u32,
    /// Python's name where it has one, else the kernel's; may be empty.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameRow {
    pub frame_id: FrameId,
    pub function: String,
    pub file: String,
    /// 0 where there is none.
    pub line: u32,
    pub kind: FrameKind,
}

/// A node of the prefix tree: the stack that ends in `frame_id` and goes on outwards at `parent_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRow {
    pub stack_id: StackId,
    /// None for an outermost frame.
    pub parent_id: Option<StackId>,
    pub frame_id: FrameId,
    /// Frames from the outermost to this one: 1 for an outermost frame.
    pub depth: u32,
}

/// Running totals of one (stack, thread, allocator).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteRow {
    pub site_id: SiteId,
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub live_count: u64,
    pub live_bytes: u64,
    /// Freed while among the last two allocations of the allocating thread (memray's threshold 1).
    pub temp_count: u64,
    pub temp_bytes: u64,
    /// Live at the peak, valid if `peak_epoch` equals that of the process's state; else what is live now was
    /// live then too.
    pub peak_count: u64,
    pub peak_bytes: u64,
    pub peak_epoch: u64,
}

/// An allocation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreedRow {
    pub alloc_ts: u64,
    pub free_ts: u64,
    pub size: u64,
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
    /// Allocations that the allocating thread made between this one and its end.
    pub allocations_between: u64,
}

/// An allocation that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRow {
    pub allocation_id: AllocationId,
    pub alloc_ts: u64,
    pub size: u64,
    pub stack_id: StackId,
    pub thread_id: ThreadId,
    pub allocator: Allocator,
    pub address: u64,
}

/// The state of the heap at the end of one interval of the timeline in which something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineRow {
    pub process_id: ProcessId,
    /// Beginning of the interval.
    pub ts: u64,
    pub live_bytes: u64,
    pub live_count: u64,
    /// Highest live bytes inside the interval.
    pub max_bytes: u64,
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub free_count: u64,
    pub free_bytes: u64,
    /// Resident set, where it was sampled.
    pub rss_bytes: Option<u64>,
    /// Its parts.
    pub rss_anon_bytes: Option<u64>,
    pub rss_file_bytes: Option<u64>,
    pub rss_shmem_bytes: Option<u64>,
    /// Mapped beside the heap at the interval's end, by kind; None in captures that do not know.
    pub mapped_reserved_bytes: Option<u64>,
    pub mapped_file_bytes: Option<u64>,
    pub mapped_shared_file_bytes: Option<u64>,
    pub mapped_stack_bytes: Option<u64>,
}

/// What of a process was resident at one time: read in one go, so that the parts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    pub rss_bytes: u64,
    /// Anonymous memory, what is written to private files included.
    pub anon_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory: tmpfs, System V, and what is mapped shared and anonymous.
    pub shmem_bytes: u64,
}

/// Pages that were mapped beside the heap, as far as they had one fate: a mapping that is cut has several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingRow {
    pub mapping_id: MappingId,
    pub process_id: ProcessId,
    pub thread_id: ThreadId,
    pub stack_id: StackId,
    pub kind: MappingKind,
    pub address: u64,
    pub size: u64,
    pub mapped_ts: u64,
    /// When it was unmapped, mapped over or made usable; None while it is there.
    pub unmapped_ts: Option<u64>,
}

/// What a process maps beside its heap, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingTotalsRow {
    pub process_id: ProcessId,
    pub kind: MappingKind,
    /// Mappings made.
    pub map_count: u64,
    pub map_bytes: u64,
    /// Of them there at the last commit.
    pub live_count: u64,
    pub live_bytes: u64,
    /// Highest live bytes; of equal ones the last.
    pub highest_bytes: u64,
    pub highest_ts: u64,
    /// What was there when the heap was at its peak.
    pub heap_peak_bytes: u64,
}

/// What one site did in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteTimelineRow {
    pub ts: u64,
    pub site_id: SiteId,
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub free_count: u64,
    pub free_bytes: u64,
}

/// Allocations of `size_from..=size_to` bytes by one allocator. Bounds are exact below 128 bytes, and 64 to
/// each power of two above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeHistogramRow {
    pub process_id: ProcessId,
    pub size_from: u64,
    pub size_to: u64,
    pub allocator: Allocator,
    pub alloc_count: u64,
    pub alloc_bytes: u64,
}

/// The totals of one process at the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateRow {
    pub process_id: ProcessId,
    pub last_ts: u64,
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub free_count: u64,
    pub live_count: u64,
    pub live_bytes: u64,
    pub peak_bytes: u64,
    pub peak_count: u64,
    pub peak_ts: u64,
    pub peak_epoch: u64,
    /// Smallest and largest allocation; both 0 while there is none.
    pub min_size: u64,
    pub max_size: u64,
    /// Made before the program's own code began and left out of all the figures.
    pub startup_count: u64,
    pub startup_bytes: u64,
}

/// One counter of the recording (`StatId`, or one of the collector's own).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRow {
    /// None where the counter is not kept per process.
    pub process_id: Option<ProcessId>,
    pub reason: String,
    /// `lost`, `degraded` or `neutral`.
    pub kind: String,
    pub events: u64,
    pub bytes: u64,
    pub description: String,
}

/// All that changed since the batch before: one transaction of the store.
///
/// `processes`, `threads`, `sites`, `histogram`, `losses`, `states`, `mappings`, `mapping_totals` and `meta` replace the rows of the same key;
/// `frames`, `stacks`, `freed`, `live_added`, `timeline` and `site_timeline` are new; `live_removed` names
/// allocations of earlier batches that have ended since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub processes: Vec<ProcessRow>,
    pub threads: Vec<ThreadRow>,
    pub frames: Vec<FrameRow>,
    pub stacks: Vec<StackRow>,
    pub sites: Vec<SiteRow>,
    pub freed: Vec<FreedRow>,
    pub live_added: Vec<LiveRow>,
    pub live_removed: Vec<AllocationId>,
    pub timeline: Vec<TimelineRow>,
    pub site_timeline: Vec<SiteTimelineRow>,
    pub histogram: Vec<SizeHistogramRow>,
    pub losses: Vec<LossRow>,
    pub states: Vec<StateRow>,
    /// New ones, and those that have ended.
    pub mappings: Vec<MappingRow>,
    pub mapping_totals: Vec<MappingTotalsRow>,
    pub meta: Vec<(String, String)>,
}
