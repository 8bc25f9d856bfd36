//! The allocating functions: arguments at the entry, the block at the return; frees at the entry.
//!
//! A free is sent before the block can be handed out again, an allocation after it was: so no address is ever seen
//! allocated twice without a free between, on any number of CPUs. realloc speaks twice for the same reason.

use aya_ebpf::{
    EbpfContext as _,
    bindings::pt_regs,
    helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use memray_ebpf::{
    cookie::{Cookie, Role},
    event::{AllocationRecord, FreeRecord, RecordKind},
    limits::INSERT_TRIES,
    memory::RemoteMemory as _,
    pending::{Entered, PendingCall, Returned},
    stat::StatId,
    verifier::keep_thread_stack,
};

use super::{
    lost_frees,
    maps::{EMPTY_THREAD, TARGETS, THREADS, Thread, count, count_n},
    ring::{has_room, header, reserve, submit},
    stacks::{python_stack, send_thread},
    task::{FaultingMemory, Ids, ids},
};

/// Entry of malloc, calloc, realloc, reallocarray, posix_memalign, aligned_alloc, memalign, valloc, pvalloc.
#[uprobe]
pub(super) fn allocator_entry(context: ProbeContext) -> u32 {
    keep_thread_stack();
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
    let call = Call::read(registers, cookie);
    // SAFETY: a map value, used by this thread alone.
    let pending = unsafe { &mut (*thread).pending };
    let entered = pending.enter(PendingCall {
        stack_pointer,
        cookie,
        size_bytes: call.size_bytes,
        argument: call.argument,
    });
    if pending.abandoned != 0 {
        count_n(StatId::AbandonedCall, pending.abandoned);
        pending.abandoned = 0;
    }
    match entered {
        Entered::Outermost => {
            if is_reallocation(cookie) && call.argument != 0 {
                let lost_free_ns = send_free(Cookie::raw_allocator(cookie), ids, call.argument);
                // SAFETY: as above.
                unsafe { (*thread).lost_free_ns = lost_free_ns };
            }
        }
        Entered::Nested => {}
        Entered::Overflow => count(StatId::PendingOverflow),
    }
    0
}

/// Return of the same functions. May sleep, so that names on pages that are not there yet can be read.
#[uretprobe(sleepable)]
pub(super) fn allocator_return(context: RetProbeContext) -> u32 {
    keep_thread_stack();
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
    if Cookie::raw_role(cookie) == Role::AllocateInto as u8 {
        // The function returns 0 or an error number, as an int.
        address = if address as u32 == 0 {
            FaultingMemory.read_u64(call.argument).unwrap_or(0)
        } else {
            0
        };
    }
    if address == 0 {
        count(StatId::FailedCall);
    }
    if is_reallocation(cookie) && call.argument != 0 {
        // SAFETY: as above.
        let lost_free_ns = unsafe { (*thread).lost_free_ns };
        // realloc(p, 0) frees p and returns null; any other null leaves the old block alone.
        let has_failed = address == 0 && call.size_bytes != 0;
        if lost_free_ns == 0 && has_failed {
            undo_free(Cookie::raw_allocator(cookie), ids, call.argument);
        } else if lost_free_ns != 0 && !has_failed {
            lost_frees::note(ids.pid, ids.tid, call.argument, lost_free_ns);
        }
    }
    if address == 0 {
        return 0;
    }
    send_allocation(
        thread,
        ids,
        Cookie::raw_allocator(cookie),
        address,
        call.size_bytes,
    );
    0
}

/// Entry of free, cfree, free_sized, free_aligned_sized.
#[uprobe]
pub(super) fn free_entry(context: ProbeContext) -> u32 {
    keep_thread_stack();
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let address = register(context.regs, Cookie::raw_operand(cookie, 0));
    if address == 0 {
        return 0;
    }
    let ids = ids();
    let lost_free_ns = send_free(Cookie::raw_allocator(cookie), ids, address);
    if lost_free_ns != 0 {
        lost_frees::note(ids.pid, 0, address, lost_free_ns);
    }
    0
}

#[inline(always)]
fn send_allocation(thread: *mut Thread, ids: Ids, allocator: u8, address: u64, size_bytes: u64) {
    let Some(target) = TARGETS.get_ptr_mut(ids.pid) else {
        count(StatId::NotFollowed);
        return;
    };
    count(StatId::AllocationSeen);
    if !has_room() {
        count(StatId::AllocationRingFull);
        count_n(StatId::AllocationRingFullBytes, size_bytes);
        return;
    }
    let stack = python_stack::<FaultingMemory>(thread, target, ids);
    let Some(mut entry) = reserve::<AllocationRecord>(StatId::AllocationRingFull) else {
        count_n(StatId::AllocationRingFullBytes, size_bytes);
        return;
    };
    entry.write(AllocationRecord {
        header: header(RecordKind::Allocation, allocator, stack.flags, ids),
        address,
        size_bytes,
        stack_id: stack.id,
    });
    submit(entry);
}

/// Returns 0, or the time of a free that found no room.
#[inline(always)]
fn send_free(allocator: u8, ids: Ids, address: u64) -> u64 {
    count(StatId::FreeSeen);
    let entry = if has_room() {
        reserve::<FreeRecord>(StatId::FreeRingFull)
    } else {
        count(StatId::FreeRingFull);
        None
    };
    let Some(mut entry) = entry else {
        // SAFETY: takes nothing, returns a number.
        return unsafe { bpf_ktime_get_ns() };
    };
    entry.write(FreeRecord {
        header: header(RecordKind::Free, allocator, 0, ids),
        address,
    });
    submit(entry);
    0
}

/// Takes back the free of a reallocation that has failed; from the part of the ring that is kept for what must not be
/// missing.
#[inline(always)]
fn undo_free(allocator: u8, ids: Ids, address: u64) {
    count(StatId::FreeSeen);
    let Some(mut entry) = reserve::<FreeRecord>(StatId::FreeRingFull) else {
        count(StatId::UndoRingFull);
        return;
    };
    entry.write(FreeRecord {
        header: header(RecordKind::FreeUndone, allocator, 0, ids),
        address,
    });
    submit(entry);
}

/// The thread's entry, made at its first event.
#[inline(always)]
pub(super) fn thread(ids: Ids) -> Option<*mut Thread> {
    if let Some(thread) = THREADS.get_ptr_mut(ids.tid) {
        return Some(thread);
    }
    let empty = EMPTY_THREAD.get(0)?;
    for _ in 0..INSERT_TRIES {
        if THREADS.insert(ids.tid, empty, 0).is_ok() {
            break;
        }
    }
    let thread = THREADS.get_ptr_mut(ids.tid)?;
    // SAFETY: a map value, used by this thread alone.
    unsafe { (*thread).announced = Thread::NAME_ANNOUNCED };
    send_thread(RecordKind::ThreadSeen, ids, 0, 0);
    Some(thread)
}

/// What a call asks for.
struct Call {
    size_bytes: u64,
    /// The old block of a reallocation, or where the address of the new block goes.
    argument: u64,
}

impl Call {
    #[inline(always)]
    fn read(registers: *const pt_regs, cookie: u64) -> Self {
        let role = Cookie::raw_role(cookie);
        let first = register(registers, Cookie::raw_operand(cookie, 0));
        let second = register(registers, Cookie::raw_operand(cookie, 1));
        // A product that overflows is a call that fails; that of calloc needs no more.
        if role == Role::AllocateArray as u8 {
            return Self {
                size_bytes: first.wrapping_mul(second),
                argument: 0,
            };
        }
        if role == Role::ReallocateArray as u8 {
            let third = register(registers, Cookie::raw_operand(cookie, 2));
            return Self {
                size_bytes: array_bytes(second, third),
                argument: first,
            };
        }
        if role == Role::Allocate as u8 {
            return Self {
                size_bytes: first,
                argument: 0,
            };
        }
        Self {
            size_bytes: second,
            argument: first,
        }
    }
}

/// The largest number where the product overflows or is at least 2^63, which no allocator grants: a wrapped
/// product of 0 would look like a call that frees. By the length of the factors, because BPF has no wide product.
#[inline(always)]
fn array_bytes(count: u64, item_bytes: u64) -> u64 {
    if count.leading_zeros() + item_bytes.leading_zeros() < u64::BITS {
        return u64::MAX;
    }
    count.wrapping_mul(item_bytes)
}

/// The old block ends when the function is entered, unless the call fails.
#[inline(always)]
fn is_reallocation(cookie: u64) -> bool {
    let role = Cookie::raw_role(cookie);
    role == Role::Reallocate as u8 || role == Role::ReallocateArray as u8
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

/// The register that a cookie names: its number times 8 is its offset.
#[inline(always)]
pub(super) fn register(registers: *const pt_regs, number: u8) -> u64 {
    match number {
        0 => load_register!(registers, 0),
        1 => load_register!(registers, 8),
        2 => load_register!(registers, 16),
        3 => load_register!(registers, 24),
        4 => load_register!(registers, 32),
        5 => load_register!(registers, 40),
        6 => load_register!(registers, 48),
        7 => load_register!(registers, 56),
        8 => load_register!(registers, 64),
        9 => load_register!(registers, 72),
        10 => load_register!(registers, 80),
        11 => load_register!(registers, 88),
        12 => load_register!(registers, 96),
        13 => load_register!(registers, 104),
        _ => load_register!(registers, 112),
    }
}
