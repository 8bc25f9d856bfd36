//! Every map, with who writes and who reads it; and the constants that the loader fills in.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use memray_ebpf::{
    config::TargetConfig,
    event::StackFramesRecord,
    follow::{PidNamespace, TaskOffsets},
    limits::{
        MAX_KNOWN_CODES, MAX_KNOWN_STACKS, MAX_LOST_FREES_LOSSLESS, MAX_PROCESSES, MAX_THREADS, RING_BYTES,
    },
    lost_free::LostFreeKey,
    pending::PendingCalls,
    python::walk::Walk,
    stat::StatId,
};

/// What the programs keep for a thread: its calls under way, and the memory that its walks need. Per thread and
/// not per CPU, because a program can be preempted by another thread's.
#[repr(C)]
pub(super) struct Thread {
    pub(super) pending: PendingCalls,
    /// Bits of `Thread::*_ANNOUNCED`.
    pub(super) announced: u32,
    /// Not 0: the stack is not to be remembered, because it could not be read to its end, or a code object of it could die
    /// unseen.
    pub(super) is_unsure: u32,
    /// The end of the program's data when a brk(2) was entered; 0 while none is under way.
    pub(super) old_break: u64,
    /// When the reallocation under way began, if the record of its free found no room; else 0.
    pub(super) lost_free_ns: u64,
    pub(super) walk: Walk,
    pub(super) record: StackFramesRecord,
}

impl Thread {
    /// The kernel's name was sent.
    pub(super) const NAME_ANNOUNCED: u32 = 1;
    /// The first local of the outermost Python frame was sent.
    pub(super) const SELF_ANNOUNCED: u32 = 2;
}

/// A code object of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CodeKey {
    pub(super) pid: u32,
    pub(super) life: u32,
    pub(super) code: u64,
}

/// Traced processes by pid. Written by user space before probes are attached.
#[map]
pub(super) static TARGETS: HashMap<u32, TargetConfig> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Threads of traced processes by tid; an entry ends with its thread. Each takes 8 KiB, so only those that are there do.
#[map]
pub(super) static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(MAX_THREADS, BPF_F_NO_PREALLOC);

/// Processes whose forks, programs and libraries are of interest: bits of `follow::followed`, by pid. A child comes in
/// by the fork of its parent; user space takes out what has ended.
#[map]
pub(super) static FOLLOWED: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Threads that are held, by tid. User space lets one go by taking it out.
#[map]
pub(super) static HOLDS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// When the collector was last at work, `CLOCK_MONOTONIC`. Written by user space.
#[map]
static HEARTBEAT: Array<u64> = Array::with_max_entries(1, 0);

/// One zeroed thread, from which new entries are made: too large for the stack of a program.
#[map]
pub(super) static EMPTY_THREAD: Array<Thread> = Array::with_max_entries(1, 0);

/// Hash of a stack to the number under which it was sent.
#[map]
pub(super) static KNOWN_STACKS: HashMap<[u64; 2], u64> =
    HashMap::with_max_entries(MAX_KNOWN_STACKS, BPF_F_NO_PREALLOC);

/// Serials of the code objects whose names were sent, with [`CodeRecord::IS_SENT`](memray_ebpf::event::CodeRecord). An
/// entry ends with its code object.
#[map]
pub(super) static KNOWN_CODES: HashMap<CodeKey, u64> =
    HashMap::with_max_entries(MAX_KNOWN_CODES, BPF_F_NO_PREALLOC);

/// Blocks whose frees found no room in the ring, with the time of the last of them. User space takes them out.
#[map]
pub(super) static LOST_FREES: HashMap<LostFreeKey, u64> =
    HashMap::with_max_entries(MAX_LOST_FREES_LOSSLESS, BPF_F_NO_PREALLOC);

/// All records, in the order of events. Read by user space.
#[map]
pub(super) static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// One counter for each [`StatId`]. Read by user space.
#[map]
static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(StatId::COUNT as u32, 0);

/// Offset of `thread.fsbase` in `task_struct`, from the kernel's BTF. Constant to the verifier.
#[unsafe(no_mangle)]
static TASK_FSBASE_OFFSET: u64 = 0;

/// Not 0: a probe waits while the ring is nearly full, so that nothing is lost.
#[unsafe(no_mangle)]
static LOSSLESS: u32 = 1;

/// Size of the ring.
#[unsafe(no_mangle)]
static RING_SIZE_BYTES: u64 = RING_BYTES as u64;

/// Offsets that forks and brk(2) need.
#[unsafe(no_mangle)]
static TASK_OFFSETS: TaskOffsets = TaskOffsets {
    pid: 0,
    tgid: 0,
    mm: 0,
    exit_code: 0,
    signal: 0,
    signal_flags: 0,
    brk: 0,
    thread_pid: 0,
    level: 0,
    numbers: 0,
    namespace_inode: 0,
};

/// Whose numbers the records carry.
#[unsafe(no_mangle)]
static PID_NAMESPACE: PidNamespace = PidNamespace { device: 0, inode: 0 };

/// Not 0: children of followed processes are followed too.
#[unsafe(no_mangle)]
static FOLLOW_CHILDREN: u32 = 0;

#[inline(always)]
pub(super) fn task_offsets() -> TaskOffsets {
    // SAFETY: a constant of this object; volatile because the loader replaces its value.
    unsafe { core::ptr::read_volatile(&raw const TASK_OFFSETS) }
}

#[inline(always)]
pub(super) fn pid_namespace() -> PidNamespace {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const PID_NAMESPACE) }
}

/// When the collector was last at work.
#[inline(always)]
pub(super) fn last_heartbeat_ns() -> u64 {
    // SAFETY: a map value that user space writes as a whole.
    HEARTBEAT.get_ptr(0).map_or(0, |heartbeat| unsafe { *heartbeat })
}

pub(super) fn follows_children() -> bool {
    // SAFETY: as above.
    (unsafe { core::ptr::read_volatile(&raw const FOLLOW_CHILDREN) }) != 0
}

pub(super) fn task_fsbase_offset() -> usize {
    // SAFETY: a constant of this object; volatile because the loader replaces its value.
    (unsafe { core::ptr::read_volatile(&raw const TASK_FSBASE_OFFSET) }) as usize
}

#[inline(always)]
pub(super) fn ring_size_bytes() -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const RING_SIZE_BYTES) }
}

pub(super) fn is_lossless() -> bool {
    // SAFETY: as above.
    (unsafe { core::ptr::read_volatile(&raw const LOSSLESS) }) != 0
}

#[inline(always)]
pub(super) fn count(stat: StatId) {
    count_n(stat, 1);
}

#[inline(always)]
pub(super) fn count_n(stat: StatId, n: u64) {
    if let Some(counter) = STATS.get_ptr_mut(stat as u32) {
        // Per CPU, but two programs can preempt each other on one.
        add(counter, n);
    }
}

/// Adds to a map value in one instruction. `AtomicU64` has no `fetch_add` on this target, which lacks
/// compare-and-swap.
#[inline(always)]
pub(super) fn add(counter: *mut u64, n: u64) {
    // SAFETY: callers pass a pointer to a map value; the instruction touches these eight bytes only.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) n, options(nostack))
    };
}
