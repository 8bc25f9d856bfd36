//! Threads that wait until user space has put in the probes for what they are about to run.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_loop},
    macros::uprobe,
    programs::ProbeContext,
};
use memray_ebpf::{
    cookie::Cookie,
    event::{HeldRecord, RecordKind},
    follow::{HoldPlace, followed},
    limits::{HEARTBEAT_NS, HOLD_NS, MAX_HOLD_TURNS},
    stat::StatId,
    verifier::keep_thread_stack,
};

use super::{
    allocators::register,
    maps::{FOLLOWED, HOLDS, count, count_n, last_heartbeat_ns},
    ring::{header, reserve, submit_and_wake},
    task::{Ids, give_way, ids},
};

/// Sits on the places of [`HoldPlace`], for every process of the machine if children are followed: a child is another
/// process than the one that the probe was made for. Whoever is not followed goes on at once.
#[uprobe(sleepable)]
pub(super) fn hold(context: ProbeContext) -> u32 {
    keep_thread_stack();
    let ids = ids();
    let Some(bits) = FOLLOWED.get_ptr_mut(ids.pid) else {
        return 0;
    };
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let place = Cookie::raw_allocator(cookie);
    if place == HoldPlace::Birth as u8 {
        // SAFETY: a map value; the process has one thread at its birth.
        let bits = unsafe { &mut *bits };
        // The parent comes by here too.
        if *bits & followed::UNBORN == 0 {
            return 0;
        }
        *bits &= !followed::UNBORN;
    }
    let argument = register(context.regs, Cookie::raw_operand(cookie, 0));
    if HOLDS.insert(ids.tid, 1, 0).is_err() {
        count(StatId::HoldExpired);
        return 0;
    }
    let Some(mut entry) = reserve::<HeldRecord>(StatId::HoldExpired) else {
        let _ = HOLDS.remove(ids.tid);
        return 0;
    };
    entry.write(HeldRecord {
        header: header(RecordKind::Held, 0, 0, ids),
        argument,
        place: place.into(),
        reserved: 0,
    });
    submit_and_wake(entry);
    // SAFETY: the registers of a probe are the program's context.
    wait(ids, unsafe { (*context.regs).rsp });
    0
}

#[repr(C)]
struct Wait {
    since_ns: u64,
    waited_ns: u64,
    stack_pointer: u64,
    /// Not 0: it will not go on anyway.
    is_killed: u64,
    ids: Ids,
}

#[inline(always)]
fn wait(ids: Ids, stack_pointer: u64) {
    let mut wait = Wait {
        // SAFETY: takes nothing, returns a number.
        since_ns: unsafe { bpf_ktime_get_ns() },
        waited_ns: 0,
        stack_pointer,
        is_killed: 0,
        ids,
    };
    let context = &raw mut wait;
    // SAFETY: the callback has the signature that the helper asks for, and its context lives on this stack.
    unsafe { bpf_loop(MAX_HOLD_TURNS, turn as *mut core::ffi::c_void, context.cast(), 0) };
    count(StatId::HoldWaits);
    count_n(StatId::HoldWaitNs, wait.waited_ns);
    if HOLDS.remove(ids.tid).is_ok() && wait.is_killed == 0 {
        count(StatId::HoldExpired);
    }
}

extern "C" fn turn(_index: u32, wait: *mut Wait) -> u64 {
    // SAFETY: the context of `wait`.
    let wait = unsafe { &mut *wait };
    // SAFETY: takes nothing, returns a number.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    wait.waited_ns = now_ns.wrapping_sub(wait.since_ns);
    if HOLDS.get_ptr(wait.ids.tid).is_none() {
        return 1;
    }
    let is_alone = now_ns > last_heartbeat_ns().wrapping_add(HEARTBEAT_NS);
    if !give_way(wait.stack_pointer) {
        wait.is_killed = 1;
        return 1;
    }
    u64::from(wait.waited_ns > HOLD_NS || is_alone)
}
