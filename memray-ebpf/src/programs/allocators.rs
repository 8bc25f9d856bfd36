//! The allocating functions: arguments at the entry, the block at the return; frees at the entry.
//!
//! A free is sent before the block can be handed out again, an allocation after it was: so no address is ever seen
//! allocated twice without a free between, on any number of CPUs. realloc speaks twice for the same reason.

use aya_ebpf::{
    EbpfContext as _,
    bindings::pt_regs,
    helpers::generated::bpf_get_attach_cookie,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use memray_ebpf::{
    cookie::{
        allocator_byte, count_register, frees_pointer, is_register, pointer_register, result_behind_pointer,
        size_register,
    },
    event::{AllocationRecord, FreeRecord, RecordKind},
    memory::RemoteMemory as _,
    pending::{Entered, PendingCall, Returned},
    stat::StatId,
};

use super::{
    maps::{EMPTY_THREAD, TARGETS, THREADS, Thread, count, count_n},
    ring::{header, reserve, submit, throttle},
    stacks::{python_stack, send_thread},
    task::{FaultingMemory, Ids, ids},
};

/// Entry of malloc, calloc, realloc, reallocarray, posix_memalign, aligned_alloc, memalign, valloc, pvalloc.
#[uprobe]
pub fn allocator_entry(context: ProbeContext) -> u32 {
    let ids = ids();
    let Some(thread) = thread(ids) else {
        count(StatId::ThreadTableFull);
        return 0;
    };
    // SAFETY: the registers of a probe are the program's context.
    let stack_pointer = unsafe { (*context.regs).rsp };
    let registers = context.regs.cast_const();
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let mut size_bytes = register(registers, size_register(cookie));
    if is_register(count_register(cookie)) {
        // A product that overflows is a call that fails.
        size_bytes = size_bytes.wrapping_mul(register(registers, count_register(cookie)));
    }
    let argument =
        if is_register(pointer_register(cookie)) { register(registers, pointer_register(cookie)) } else { 0 };
    // SAFETY: a map value, used by this thread alone.
    let pending = unsafe { &mut (*thread).pending };
    let entered = pending.enter(PendingCall { stack_pointer, cookie, size_bytes, argument });
    if pending.abandoned != 0 {
        count_n(StatId::AbandonedCall, pending.abandoned);
        pending.abandoned = 0;
    }
    match entered {
        Entered::Outermost => {
            if frees_pointer(cookie) && argument != 0 {
                send_free(RecordKind::Free, allocator_byte(cookie), ids, argument);
            }
        }
        Entered::Nested => {}
        Entered::Overflow => count(StatId::PendingOverflow),
    }
    0
}

/// Return of the same functions. May sleep, so that names on pages that are not there yet can be read.
#[uretprobe(sleepable)]
pub fn allocator_return(context: RetProbeContext) -> u32 {
    let ids = ids();
    let Some(thread) = THREADS.get_ptr_mut(ids.tid) else {
        count(StatId::ReturnWithoutEntry);
        return 0;
    };
    // SAFETY: the registers of a probe are the program's context.
    let registers = unsafe { &*context.regs };
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    // SAFETY: a map value, used by this thread alone.
    let pending = unsafe { &mut (*thread).pending };
    let returned = pending.leave(registers.rsp, cookie);
    if pending.abandoned != 0 {
        count_n(StatId::AbandonedCall, pending.abandoned);
        pending.abandoned = 0;
    }
    let call = match returned {
        Returned::Outermost(call) => call,
        Returned::Nested => {
            count(StatId::NestedCall);
            return 0;
        }
        Returned::WithoutEntry => {
            count(StatId::ReturnWithoutEntry);
            return 0;
        }
    };
    let mut address = registers.rax;
    if result_behind_pointer(cookie) {
        // posix_memalign: 0 or an error number, as an int.
        address = if address as u32 == 0 { FaultingMemory.read_u64(call.argument).unwrap_or(0) } else { 0 };
    }
    if address == 0 {
        count(StatId::FailedCall);
        // realloc(p, 0) frees p and returns null; any other null leaves the old block alone.
        if frees_pointer(cookie) && call.argument != 0 && call.size_bytes != 0 {
            send_free(RecordKind::FreeUndone, allocator_byte(cookie), ids, call.argument);
        }
        return 0;
    }
    send_allocation(thread, ids, allocator_byte(cookie), address, call.size_bytes);
    0
}

/// Entry of free, cfree, free_sized, free_aligned_sized.
#[uprobe]
pub fn free_entry(context: ProbeContext) -> u32 {
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let address = register(context.regs, pointer_register(cookie));
    if address != 0 {
        send_free(RecordKind::Free, allocator_byte(cookie), ids(), address);
    }
    0
}

#[inline(always)]
fn send_allocation(thread: *mut Thread, ids: Ids, allocator: u8, address: u64, size_bytes: u64) {
    count(StatId::AllocationSeen);
    throttle();
    let Some(target) = TARGETS.get_ptr_mut(ids.pid) else {
        count(StatId::AllocationRingFull);
        return;
    };
    let stack = python_stack::<FaultingMemory>(thread, target, ids);
    let Some(mut entry) = reserve::<AllocationRecord>(StatId::AllocationRingFull) else { return };
    entry.write(AllocationRecord {
        header: header(RecordKind::Allocation, allocator, stack.flags, ids),
        address,
        size_bytes,
        stack_id: stack.id,
    });
    submit(entry);
}

#[inline(always)]
fn send_free(kind: RecordKind, allocator: u8, ids: Ids, address: u64) {
    count(StatId::FreeSeen);
    throttle();
    let Some(mut entry) = reserve::<FreeRecord>(StatId::FreeRingFull) else { return };
    entry.write(FreeRecord { header: header(kind, allocator, 0, ids), address });
    submit(entry);
}

/// The thread's entry, made at its first event.
#[inline(always)]
pub fn thread(ids: Ids) -> Option<*mut Thread> {
    if let Some(thread) = THREADS.get_ptr_mut(ids.tid) {
        return Some(thread);
    }
    THREADS.insert(ids.tid, EMPTY_THREAD.get(0)?, 0).ok()?;
    let thread = THREADS.get_ptr_mut(ids.tid)?;
    // SAFETY: a map value, used by this thread alone.
    unsafe { (*thread).announced = Thread::NAME_ANNOUNCED };
    send_thread(RecordKind::ThreadSeen, ids, 0, 0);
    Some(thread)
}

/// Loads a register from its own offset in `struct pt_regs` (arch/x86/include/uapi/asm/ptrace.h). In assembler,
/// because the compiler would share one load between the arms below, at an offset that is not constant, which the
/// verifier refuses.
macro_rules! load_register {
    ($registers:expr, $offset:literal) => {{
        let value: u64;
        // SAFETY: reads eight bytes of the program's context.
        unsafe {
            core::arch::asm!(
                concat!("{0} = *(u64 *)({1} + ", $offset, ")"),
                out(reg) value, in(reg) $registers, options(nostack, readonly)
            );
        }
        value
    }};
}

/// The register that a cookie names.
#[inline(always)]
fn register(registers: *const pt_regs, number: u8) -> u64 {
    match number {
        0 => load_register!(registers, 112),
        1 => load_register!(registers, 104),
        2 => load_register!(registers, 96),
        3 => load_register!(registers, 88),
        4 => load_register!(registers, 72),
        5 => load_register!(registers, 64),
        6 => load_register!(registers, 80),
        7 => load_register!(registers, 40),
        8 => load_register!(registers, 32),
        9 => load_register!(registers, 56),
        10 => load_register!(registers, 48),
        11 => load_register!(registers, 24),
        12 => load_register!(registers, 16),
        13 => load_register!(registers, 8),
        _ => load_register!(registers, 0),
    }
}
