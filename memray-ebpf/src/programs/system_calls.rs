//! Pages: mmap, munmap, mremap, mprotect and brk as system calls, so that calls that pass no libc are seen too.
//!
//! Tracepoints and not probes: libc's munmap, mremap and brk have no instruction that the kernel emulates before the
//! system call, and a single-stepped probe costs over ten microseconds. What an allocator maps for itself is part
//! of the call that made it do so and is not sent.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use memray_ebpf::{
    allocator::Allocator,
    event::{MapRecord, RecordKind, UnmapRecord},
    follow::followed,
    stat::StatId,
};

use super::{
    allocators::thread,
    maps::{FOLLOWED, TARGETS, Thread, count},
    ring::{has_room, header, reserve, submit},
    stacks::python_stack,
    task::{Ids, PresentMemory, end_of_data, ids, user_registers},
};

const PAGE_MASK: u64 = 4095;
/// Results above are negated error numbers (`MAX_ERRNO`, include/linux/err.h).
const FIRST_ERROR: u64 = -4095i64 as u64;
/// `struct syscall_tp_t` (`perf_call_bpf_exit`, kernel/trace/trace_syscalls.c): 8 bytes of common fields, the number of
/// the call as an int, four bytes that nobody sets, the result.
const NUMBER_OFFSET: usize = 8;
const RESULT_OFFSET: usize = 16;
/// arch/x86/entry/syscalls/syscall_64.tbl.
const MPROTECT: u32 = 10;
const BRK: u32 = 12;
const MREMAP: u32 = 25;
const PKEY_MPROTECT: u32 = 329;
/// What brk(2) maps (`do_brk_flags`, mm/vma.c): `PROT_READ | PROT_WRITE`, `MAP_PRIVATE | MAP_ANONYMOUS`.
const BRK_PROTECTION: u32 = 3;
const BRK_MAP_FLAGS: u32 = 0x22;

/// The current thread, if its process is traced and no allocator call is under way in it.
#[inline(always)]
fn traced_thread(stack_pointer: u64) -> Option<(*mut Thread, Ids)> {
    let ids = ids();
    TARGETS.get_ptr(ids.pid)?;
    if let Some(bits) = FOLLOWED.get_ptr(ids.pid)
        // SAFETY: a map value.
        && unsafe { *bits } & followed::UNPROBED != 0
    {
        return None;
    }
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

/// `sys_exit_mmap`, `mremap`, `mprotect`, `pkey_mprotect` and `brk` of `syscalls`: the new pages, the old ones again, or
/// what has become of them. The arguments are still in the registers of the system call. One program, because most of
/// what the verifier follows is the walk.
#[tracepoint]
pub(super) fn map_exit(context: TracePointContext) -> u32 {
    // SAFETY: the offsets lie within the tracepoint's record.
    let (Ok(number), Ok(result)) = (unsafe {
        (
            context.read_at::<u32>(NUMBER_OFFSET),
            context.read_at::<u64>(RESULT_OFFSET),
        )
    }) else {
        return 0;
    };
    if result >= FIRST_ERROR {
        if number == MREMAP {
            send_unmap(RecordKind::UnmapUndone, Allocator::Mremap);
        }
        return 0;
    }
    // SAFETY: the registers of the current task.
    let (first, second, third, flags, stack_pointer) = unsafe {
        let registers = user_registers();
        (
            (*registers).rdi,
            (*registers).rsi,
            (*registers).rdx,
            (*registers).r10,
            (*registers).rsp,
        )
    };
    let (allocator, address, size_bytes, protection, map_flags) = match number {
        MREMAP => (Allocator::Mremap, result, third, 0, flags as u32),
        MPROTECT | PKEY_MPROTECT => (Allocator::Mprotect, first, second, third as u32, 0),
        BRK => {
            let Some(old) = take_old_break() else {
                return 0;
            };
            if result < old {
                send_unmapped(
                    RecordKind::Unmap,
                    Allocator::Brk,
                    result,
                    old - result,
                    stack_pointer,
                );
            }
            // A question (`brk(0)`), or a refusal.
            if result <= old {
                return 0;
            }
            (Allocator::Brk, old, result - old, BRK_PROTECTION, BRK_MAP_FLAGS)
        }
        _ => (Allocator::Mmap, result, second, third as u32, flags as u32),
    };
    if let Some((thread, ids)) = traced_thread(stack_pointer) {
        send_map(thread, ids, allocator, address, size_bytes, protection, map_flags);
    }
    0
}

/// `syscalls:sys_enter_brk`. The system call itself tells the new end of the program's data and not the old one.
#[tracepoint]
pub(super) fn brk_entry(_context: TracePointContext) -> u32 {
    let ids = ids();
    if TARGETS.get_ptr(ids.pid).is_none() {
        return 0;
    }
    // A thread that finds no place is counted when the call returns.
    if let Some(thread) = thread(ids) {
        // SAFETY: a map value, used by this thread alone.
        unsafe { (*thread).old_break = end_of_data() };
    }
    0
}

/// What `brk_entry` left for this thread, if its process is traced.
#[inline(always)]
fn take_old_break() -> Option<u64> {
    let ids = ids();
    TARGETS.get_ptr(ids.pid)?;
    let thread = thread(ids).or_else(|| {
        count(StatId::ThreadTableFull);
        None
    })?;
    // SAFETY: a map value, used by this thread alone.
    let old = unsafe { core::mem::take(&mut (*thread).old_break) };
    if old == 0 {
        count(StatId::ReturnWithoutEntry);
        return None;
    }
    Some(old)
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
    send_unmapped(kind, allocator, address, size_bytes, stack_pointer);
}

#[inline(always)]
fn send_unmapped(kind: RecordKind, allocator: Allocator, address: u64, size_bytes: u64, stack_pointer: u64) {
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
