//! Names in the BPF object: programs, maps and constants (memray-ebpf/src/programs).

pub(super) const ALLOCATOR_ENTRY: &str = "allocator_entry";
pub(super) const ALLOCATOR_RETURN: &str = "allocator_return";
pub(super) const FREE_ENTRY: &str = "free_entry";
pub(super) const CODE_DEALLOC: &str = "code_dealloc";
/// Programs that do nothing.
pub(super) const FLOOR_ENTRY: &str = "floor_entry";
pub(super) const FLOOR_RETURN: &str = "floor_return";
pub(super) const THREAD_EXIT: &str = "thread_exit";

/// Program, category and name of a tracepoint.
pub(super) const TRACEPOINTS: [(&str, &str, &str); 4] = [
    ("mmap_exit", "syscalls", "sys_exit_mmap"),
    ("munmap_entry", "syscalls", "sys_enter_munmap"),
    ("mremap_entry", "syscalls", "sys_enter_mremap"),
    ("mremap_exit", "syscalls", "sys_exit_mremap"),
];

pub(super) const TARGETS: &str = "TARGETS";
pub(super) const THREADS: &str = "THREADS";
pub(super) const RING: &str = "RING";
pub(super) const STATS: &str = "STATS";

pub(super) const TASK_FSBASE_OFFSET: &str = "TASK_FSBASE_OFFSET";
pub(super) const LOSSLESS: &str = "LOSSLESS";
