//! Records into the ring, and the wait that keeps it from overflowing.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS},
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_ringbuf_output},
    maps::ring_buf::RingBufEntry,
};
use memray_ebpf::{
    event::{RecordHeader, RecordKind},
    limits::{
        COLLECTOR_PATIENCE_NS, HEARTBEAT_NS, MAX_NAME_WAIT_SPINS, MAX_THROTTLE_SPINS, NAME_WAIT_NS,
        ring_event_mark_bytes, ring_high_water_bytes, throttle_ns,
    },
    stat::StatId,
};

use super::{
    maps::{RING, count, count_n, is_lossless, last_heartbeat_ns, ring_size_bytes},
    task::Ids,
};

/// The collector polls; a wake-up would cost the target up to 5 microseconds.
const SUBMIT_FLAGS: u64 = BPF_RB_NO_WAKEUP as u64;

/// A place in the ring, or None after counting `full`.
#[inline(always)]
pub(super) fn reserve<T: 'static>(full: StatId) -> Option<RingBufEntry<T>> {
    let entry = RING.reserve::<T>(0);
    if entry.is_none() {
        count(full);
    }
    entry
}

#[inline(always)]
pub(super) fn submit<T>(entry: RingBufEntry<T>) {
    entry.submit(SUBMIT_FLAGS);
}

/// Submits and wakes the collector, which costs the target some microseconds.
#[inline(always)]
pub(super) fn submit_and_wake<T>(entry: RingBufEntry<T>) {
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}

/// Copies `length` bytes into the ring; false after counting `full`.
///
/// # Safety
///
/// `length` bytes at `record` must be valid.
#[inline(always)]
pub(super) unsafe fn output(record: *const u8, length: u64, full: StatId) -> bool {
    let ring = (&raw const RING).cast_mut();
    // SAFETY: the caller vouches for the record; the map is ours.
    let result = unsafe { bpf_ringbuf_output(ring.cast(), record.cast_mut().cast(), length, SUBMIT_FLAGS) };
    if result != 0 {
        count(full);
    }
    result == 0
}

#[inline(always)]
pub(super) fn header(kind: RecordKind, allocator: u8, flags: u16, ids: Ids) -> RecordHeader {
    RecordHeader {
        kind: kind as u8,
        allocator,
        flags,
        tid: ids.tid,
        pid: ids.pid,
        reserved: 0,
        // SAFETY: takes nothing, returns a number.
        time_ns: unsafe { bpf_ktime_get_ns() },
    }
}

#[repr(C)]
struct Wait {
    since_ns: u64,
    waited_ns: u64,
    /// The longest wait.
    bound_ns: u64,
    /// Where the collector must have come to, or the fill that the ring must have come down to.
    position: u64,
}

/// Whether there is room for an allocation or a free. A lossless recording holds the target back for a moment while the
/// ring is nearly full: no signal, no system call is interrupted, and the wait ends by itself if the collector is gone.
#[inline(always)]
pub(super) fn has_room() -> bool {
    let ring_bytes = ring_size_bytes();
    let fill_bytes = RING.query(BPF_RB_AVAIL_DATA.into());
    if fill_bytes <= ring_high_water_bytes(ring_bytes) {
        return true;
    }
    if is_lossless() {
        throttle(fill_bytes, ring_bytes);
    }
    RING.query(BPF_RB_AVAIL_DATA.into()) <= ring_event_mark_bytes(ring_bytes)
}

#[inline(always)]
fn throttle(fill_bytes: u64, ring_bytes: u64) {
    // SAFETY: takes nothing, returns a number.
    let since_ns = unsafe { bpf_ktime_get_ns() };
    if since_ns > last_heartbeat_ns().wrapping_add(COLLECTOR_PATIENCE_NS) {
        return;
    }
    let mut wait = Wait {
        since_ns,
        waited_ns: 0,
        bound_ns: throttle_ns(fill_bytes, ring_bytes),
        position: ring_high_water_bytes(ring_bytes),
    };
    let context = &raw mut wait;
    // SAFETY: the callback has the signature that the helper asks for, and its context lives on this stack.
    unsafe {
        bpf_loop(
            MAX_THROTTLE_SPINS,
            spin as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    count(StatId::ThrottleWaits);
    count_n(StatId::ThrottleWaitNs, wait.waited_ns);
}

extern "C" fn spin(_index: u32, wait: *mut Wait) -> u64 {
    // SAFETY: the context of `throttle`.
    let wait = unsafe { &mut *wait };
    // SAFETY: takes nothing, returns a number.
    wait.waited_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(wait.since_ns);
    u64::from(wait.waited_ns > wait.bound_ns || RING.query(BPF_RB_AVAIL_DATA.into()) <= wait.position)
}

/// Holds the thread until the collector has taken in what was sent so far, so that what it reads of the target's
/// memory for it is what the thread has there now. Bounded like the wait for room, and counted with it.
#[inline(always)]
pub(super) fn await_collector() {
    // SAFETY: takes nothing, returns a number.
    let since_ns = unsafe { bpf_ktime_get_ns() };
    if since_ns > last_heartbeat_ns().wrapping_add(HEARTBEAT_NS) {
        return;
    }
    let mut wait = Wait {
        since_ns,
        waited_ns: 0,
        bound_ns: NAME_WAIT_NS,
        position: RING.query(BPF_RB_PROD_POS.into()),
    };
    let context = &raw mut wait;
    // SAFETY: the callback has the signature that the helper asks for, and its context lives on this stack.
    unsafe {
        bpf_loop(
            MAX_NAME_WAIT_SPINS,
            spin_until_collected as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    count(StatId::ThrottleWaits);
    count_n(StatId::ThrottleWaitNs, wait.waited_ns);
}

extern "C" fn spin_until_collected(_index: u32, wait: *mut Wait) -> u64 {
    // SAFETY: the context of `await_collector`.
    let wait = unsafe { &mut *wait };
    // SAFETY: takes nothing, returns a number.
    wait.waited_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(wait.since_ns);
    u64::from(wait.waited_ns > wait.bound_ns || RING.query(BPF_RB_CONS_POS.into()) >= wait.position)
}
