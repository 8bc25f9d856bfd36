//! Names in the BPF object: programs, maps and constants (memray-ebpf/src/programs).

pub(super) const ALLOCATOR_ENTRY: &str = "allocator_entry";
pub(super) const ALLOCATOR_RETURN: &str = "allocator_return";
pub(super) const FREE_ENTRY: &str = "free_entry";
pub(super) const CODE_DEALLOC: &str = "code_dealloc";
pub(super) const HOLD: &str = "hold";
/// Programs that do nothing.
pub(super) const FLOOR_ENTRY: &str = "floor_entry";
pub(super) const FLOOR_RETURN: &str = "floor_return";
const THREAD_EXIT: &str = "thread_exit";
const PROCESS_EXEC: &str = "process_exec";
const PROCESS_FORK: &str = "process_fork";

/// Program and name of a raw tracepoint.
pub(super) const RAW_TRACEPOINTS: [(&str, &str); 3] = [
    (THREAD_EXIT, "sched_process_exit"),
    (PROCESS_EXEC, "sched_process_exec"),
    (PROCESS_FORK, "sched_process_fork"),
];

/// Program, category and name of a tracepoint.
pub(super) const TRACEPOINTS: [(&str, &str, &str); 8] = [
    ("map_exit", "syscalls", "sys_exit_mmap"),
    ("munmap_entry", "syscalls", "sys_enter_munmap"),
    ("mremap_entry", "syscalls", "sys_enter_mremap"),
    ("map_exit", "syscalls", "sys_exit_mremap"),
    ("map_exit", "syscalls", "sys_exit_mprotect"),
    ("map_exit", "syscalls", "sys_exit_pkey_mprotect"),
    ("brk_entry", "syscalls", "sys_enter_brk"),
    ("map_exit", "syscalls", "sys_exit_brk"),
];

pub(super) const TARGETS: &str = "TARGETS";
pub(super) const THREADS: &str = "THREADS";
pub(super) const RING: &str = "RING";
pub(super) const STATS: &str = "STATS";
pub(super) const FOLLOWED: &str = "FOLLOWED";
pub(super) const HOLDS: &str = "HOLDS";
pub(super) const LOST_FREES: &str = "LOST_FREES";
pub(super) const HEARTBEAT: &str = "HEARTBEAT";
pub(super) const KNOWN_CODES: &str = "KNOWN_CODES";
pub(super) const KNOWN_STACKS: &str = "KNOWN_STACKS";

pub(super) const TASK_FSBASE_OFFSET: &str = "TASK_FSBASE_OFFSET";
pub(super) const LOSSLESS: &str = "LOSSLESS";
pub(super) const RING_SIZE_BYTES: &str = "RING_SIZE_BYTES";
pub(super) const TASK_OFFSETS: &str = "TASK_OFFSETS";
pub(super) const PID_NAMESPACE: &str = "PID_NAMESPACE";
pub(super) const FOLLOW_CHILDREN: &str = "FOLLOW_CHILDREN";
