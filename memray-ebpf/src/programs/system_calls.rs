//! Pages: mmap, munmap and mremap as system calls, so that calls that pass no libc are seen too.
//!
//! Tracepoints and not probes: libc's munmap and mremap have no instruction that the kernel emulates before the
//! system call, and a single-stepped probe costs over ten microseconds. What an allocator maps for itself is part
//! of the call that made it do so and is not sent.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use memray_ebpf::{
    allocator::Allocator,
    event::{MapRecord, RecordKind, UnmapRecord},
    stat::StatId,
};

use super::{
    allocators::thread,
    maps::{TARGETS, Thread, count},
    ring::{has_room, header, reserve, submit},
    stacks::python_stack,
    task::{Ids, PresentMemory, ids, user_registers},
};

const PAGE_MASK: u64 = 4095;
/// Results above are negated error numbers (`MAX_ERRNO`, include/linux/err.h).
const FIRST_ERROR: u64 = -4095i64 as u64;
/// `struct trace_event_raw_sys_exit`: 8 bytes of common fields, the number of the call, the result.
const NUMBER_OFFSET: usize = 8;
const RESULT_OFFSET: usize = 16;
/// arch/x86/entry/syscalls/syscall_64.tbl.
const MREMAP: u64 = 25;

/// The current thread, if its process is traced and no allocator call is under way in it.
#[inline(always)]
fn traced_thread(stack_pointer: u64) -> Option<(*mut Thread, Ids)> {
    let ids = ids();
    TARGETS.get_ptr(ids.pid)?;
    let Some(thread) = thread(ids) else {
        count(StatId::ThreadTableFull);
        return None;
    };
    // SAFETY: a map value, used by this thread alone.
    if unsafe { (*thread).pending.is_inside(stack_pointer) } {
        count(StatId::NestedCall);
        return None;
    }
    Some((thread, ids))
}

/// `syscalls:sys_exit_mmap` and `sys_exit_mremap`: the new pages, or the old ones again. The arguments are still in the
/// registers of the system call. One program, because most of what the verifier follows is the walk.
#[tracepoint]
pub(super) fn map_exit(context: TracePointContext) -> u32 {
    // SAFETY: the offsets lie within the tracepoint's record.
    let (Ok(number), Ok(address)) = (unsafe {
        (
            context.read_at::<u64>(NUMBER_OFFSET),
            context.read_at::<u64>(RESULT_OFFSET),
        )
    }) else {
        return 0;
    };
    let is_mremap = number == MREMAP;
    if address >= FIRST_ERROR {
        if is_mremap {
            send_unmap(RecordKind::UnmapUndone, Allocator::Mremap);
        }
        return 0;
    }
    // SAFETY: the registers of the current task.
    let (second, third, flags, stack_pointer) = unsafe {
        let registers = user_registers();
        (
            (*registers).rsi,
            (*registers).rdx,
            (*registers).r10,
            (*registers).rsp,
        )
    };
    let (allocator, size, protection) = if is_mremap {
        (Allocator::Mremap, third, 0)
    } else {
        (Allocator::Mmap, second, third as u32)
    };
    if let Some((thread, ids)) = traced_thread(stack_pointer) {
        send_map(thread, ids, allocator, address, size, protection, flags as u32);
    }
    0
}

/// `syscalls:sys_enter_munmap`. What the kernel is going to refuse is not sent.
#[tracepoint]
pub(super) fn munmap_entry(_context: TracePointContext) -> u32 {
    send_unmap(RecordKind::Unmap, Allocator::Munmap);
    0
}

/// `syscalls:sys_enter_mremap`: the old pages go, unless the call fails.
#[tracepoint]
pub(super) fn mremap_entry(_context: TracePointContext) -> u32 {
    send_unmap(RecordKind::Unmap, Allocator::Mremap);
    0
}

#[inline(always)]
fn send_map(
    thread: *mut Thread,
    ids: Ids,
    allocator: Allocator,
    address: u64,
    size_bytes: u64,
    protection: u32,
    map_flags: u32,
) {
    count(StatId::MapSeen);
    // A mapping may use what is kept from allocations: there are few, and each end of one matters.
    let _ = has_room();
    let Some(target) = TARGETS.get_ptr_mut(ids.pid) else {
        count(StatId::MapRingFull);
        return;
    };
    let stack = python_stack::<PresentMemory>(thread, target, ids);
    let Some(mut entry) = reserve::<MapRecord>(StatId::MapRingFull) else {
        return;
    };
    entry.write(MapRecord {
        header: header(RecordKind::Map, allocator as u8, stack.flags, ids),
        address,
        size_bytes,
        stack_id: stack.id,
        protection,
        map_flags,
    });
    submit(entry);
}

/// munmap and mremap both name the old range in their first two arguments.
#[inline(always)]
fn send_unmap(kind: RecordKind, allocator: Allocator) {
    // SAFETY: the registers of the current task.
    let (address, size_bytes, stack_pointer) = unsafe {
        let registers = user_registers();
        ((*registers).rdi, (*registers).rsi, (*registers).rsp)
    };
    if address & PAGE_MASK != 0 || size_bytes == 0 {
        return;
    }
    let Some((_, ids)) = traced_thread(stack_pointer) else {
        return;
    };
    count(StatId::UnmapSeen);
    let _ = has_room();
    let Some(mut entry) = reserve::<UnmapRecord>(StatId::UnmapRingFull) else {
        if kind as u8 == RecordKind::UnmapUndone as u8 {
            count(StatId::UndoRingFull);
        }
        return;
    };
    entry.write(UnmapRecord {
        header: header(kind, allocator as u8, 0, ids),
        address,
        size_bytes,
    });
    submit(entry);
}
