//! Every bound of the recording, with its reason.

/// Bytes of the one ring between kernel and collector, unless asked for otherwise: a power of two. At 48 bytes an event
/// (56 in the ring) and 80 % fill, 900,000 events wait before the probes begin to hold the target back.
pub const RING_BYTES: u32 = 64 << 20;

/// The smallest ring: its reserve still has room for the names of a few code objects.
pub const MIN_RING_BYTES: u32 = 256 << 10;

/// The largest ring. What a gigabyte cannot level out, no ring will.
pub const MAX_RING_BYTES: u32 = 1 << 30;

/// Fill of a ring above which a probe waits for the collector instead of filling it further.
pub const fn ring_high_water_bytes(ring_bytes: u64) -> u64 {
    ring_bytes / 5 * 4
}

/// Fill of a ring above which no allocation and no free is sent. The rest is for what must not be missing, because it
/// says what the others mean: threads, children, programs, mappings, the names under way.
pub const fn ring_event_mark_bytes(ring_bytes: u64) -> u64 {
    ring_bytes / 8 * 7
}

/// How long one event waits for room in the ring when the wait begins; twice as long for each step in which the ring
/// has filled further, [`THROTTLE_STEPS`] of them to the mark above which nothing more is sent. Who only lags is waited
/// for briefly; a stopped collector is outlasted in a small ring too.
pub const THROTTLE_NS: u64 = 100_000;

/// The last step waits for 51 ms.
pub const THROTTLE_STEPS: u64 = 10;

/// Turns of the waiting loop, each over 30 ns, that certainly outlast the longest wait.
pub const MAX_THROTTLE_SPINS: u32 = 1 << 21;

/// How long an event waits when the ring has filled to `fill_bytes`.
pub const fn throttle_ns(fill_bytes: u64, ring_bytes: u64) -> u64 {
    let zone_bytes = ring_event_mark_bytes(ring_bytes).wrapping_sub(ring_high_water_bytes(ring_bytes));
    let above_bytes = fill_bytes.saturating_sub(ring_high_water_bytes(ring_bytes));
    let last = THROTTLE_STEPS - 1;
    // A program cannot panic, so not even the division by a size that is never 0 may.
    match above_bytes.wrapping_mul(THROTTLE_STEPS).checked_div(zone_bytes) {
        Some(step) if step < last => THROTTLE_NS << step,
        _ => THROTTLE_NS << last,
    }
}

/// Frees without a record whose addresses can wait for the collector at one time, where the target waits for the
/// collector and none are expected: 1 MiB, and 96 bytes for each that is there.
pub const MAX_LOST_FREES_LOSSLESS: u32 = 1 << 16;

/// The same where nobody waits: 16 MiB, and 96 bytes for each that is there.
pub const MAX_LOST_FREES_LOSSY: u32 = 1 << 20;

/// How often an insertion into a table is tried whose memory the kernel brings from an interrupt of its own
/// (kernel/bpf/memalloc.c): the first of many at once can come before it.
pub const INSERT_TRIES: u32 = 8;

/// How long a thread that `threading` started waits at most, once, until its name has been read: a thread that goes on
/// can end and leave its memory to the next. The collector is woken for it and needs some ten microseconds; where it
/// gets no CPU, the wait ends without it, and the name is read later or not at all, but never that of another thread.
pub const NAME_WAIT_NS: u64 = 500_000;

/// Turns of that waiting loop, each over 30 ns, that certainly outlast [`NAME_WAIT_NS`].
pub const MAX_NAME_WAIT_SPINS: u32 = 1 << 15;

/// Python frames that one walk keeps, counted from the innermost; CPython's default recursion limit is 1,000.
pub const MAX_PYTHON_FRAMES: u32 = 4096;

/// Bytes that one read of the frame walk copies at most: one page, so that a copy that ends inside a page and
/// begins with it touches mapped memory only.
pub const WINDOW_BYTES: usize = 4096;

/// Room behind the window, so that a field read at a masked offset stays inside the buffer.
pub const WINDOW_SLACK_BYTES: usize = 256;

/// Bytes of a `PyThreadState` that a walk reads at once: to the end of `thread_id` (184 in 3.15), with room.
pub const THREAD_STATE_BYTES: usize = 256;

/// Largest frame header that a walk parses; bounds the field offsets in a `FrameOffsets`.
pub const MAX_FRAME_HEADER_BYTES: u32 = 128;

/// Smallest frame header of a CPython whose frames are contiguous (3.11: 72 bytes to `localsplus`).
pub const MIN_FRAME_HEADER_BYTES: u32 = 72;

/// Frames that lie in one window at most.
pub const MAX_FRAMES_PER_WINDOW: u32 = WINDOW_BYTES as u32 / MIN_FRAME_HEADER_BYTES + 1;

/// Frames in one stack record; a deeper stack takes several.
pub const FRAMES_PER_RECORD: usize = 128;

/// Nested allocator calls that a thread can have open: calloc in reallocarray in `posix_memalign` is 3.
pub const MAX_PENDING_CALLS: usize = 8;

/// Threads of all traced processes that can be known at one time, unless asked for otherwise. The table takes 1 MiB, and
/// 8 KiB for each thread that lives and has allocated.
pub const MAX_THREADS: u32 = 1 << 16;

/// Processes that can be traced at one time, unless asked for otherwise: 420 bytes each in three tables, in use or not.
pub const MAX_PROCESSES: u32 = 4096;

/// The most that can be asked for of either: as many as the kernel has numbers (`PID_MAX_LIMIT`,
/// include/linux/threads.h).
pub const MOST_TASKS: u32 = 1 << 22;

/// How long a thread is held at most: many times what user space needs, also on a machine that has a hundred children to
/// do at once.
pub const HOLD_NS: u64 = 10_000_000_000;

/// Turns of that loop, each over a microsecond: the kernel's own bound for such loops (`BPF_MAX_LOOPS`).
pub const MAX_HOLD_TURNS: u32 = 1 << 23;

/// A collector that has not been seen for so long is gone, and nobody is held for it.
pub const HEARTBEAT_NS: u64 = 1_000_000_000;

/// A collector that has not been seen for so long is not waited for by those who find the ring nearly full: it is stopped
/// or gone, and the target is not to crawl for it. What finds no room is counted.
pub const COLLECTOR_PATIENCE_NS: u64 = 5_000_000_000;

/// Pid namespaces that can lie in one another (`MAX_PID_NS_LEVEL`, `include/linux/pid_namespace.h`), and the initial one.
pub const MAX_PID_NAMESPACES: u32 = 33;

/// Distinct stacks whose number the kernel remembers; a stack that finds no place is described again.
pub const MAX_KNOWN_STACKS: u32 = 1 << 19;

/// Code objects whose names the kernel remembers having sent.
pub const MAX_KNOWN_CODES: u32 = 1 << 17;

/// Bytes of a file name or a qualified name that the kernel sends; user space reads the rest.
pub const NAME_BYTES: usize = 512;

/// Bytes of a line table in one record.
pub const LINE_TABLE_CHUNK_BYTES: usize = 1024;

/// Records that one line table takes at most: 128 KiB; the standard library's largest is 84 KB (CPython 3.10).
pub const MAX_LINE_TABLE_CHUNKS: u32 = 128;

/// Bytes of a thread's name in the kernel (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_BYTES: usize = 16;

/// Instructions that the verifier may follow for each program; a kernel refuses a million. Each is about one and a half
/// times what Linux 6.18 counts, so that a change that multiplies the paths is noticed where it is made.
pub const VERIFIED_INSTRUCTIONS: [(&str, u32); 12] = [
    ("allocator_entry", 4_800),
    ("allocator_return", 187_000),
    ("brk_entry", 500),
    ("code_dealloc", 310),
    ("free_entry", 620),
    ("hold", 660),
    ("map_exit", 187_000),
    ("mremap_entry", 2_000),
    ("munmap_entry", 2_000),
    ("process_exec", 460),
    ("process_fork", 3_000),
    ("thread_exit", 730),
];

const _: () = assert!(RING_BYTES.is_power_of_two());
const _: () = assert!(THROTTLE_NS << (THROTTLE_STEPS - 1) <= 30 * MAX_THROTTLE_SPINS as u64);
const _: () = assert!(WINDOW_BYTES.is_power_of_two());
const _: () = assert!(THREAD_STATE_BYTES.is_power_of_two() && THREAD_STATE_BYTES <= WINDOW_BYTES);
const _: () = assert!(WINDOW_SLACK_BYTES >= MAX_FRAME_HEADER_BYTES as usize + 8);
const _: () = assert!(MAX_PYTHON_FRAMES >= 1024);
const _: () = assert!(MAX_PENDING_CALLS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_ring_the_longer_the_wait() {
        let check = |fill_percent: u64, expect_ns: u64| {
            let ring_bytes = u64::from(MIN_RING_BYTES);
            assert_eq!(
                throttle_ns(ring_bytes * fill_percent / 100, ring_bytes),
                expect_ns,
                "{fill_percent} %"
            );
        };
        check(0, 100_000);
        check(80, 100_000);
        check(81, 200_000);
        check(84, 3_200_000);
        check(87, 51_200_000);
        check(100, 51_200_000);
    }
}
