//! The table of frees that the ring had no room for.

use memray_ebpf::{limits::INSERT_TRIES, lost_free::LostFreeKey, stat::StatId};

use super::maps::{LOST_FREES, count};

/// Keeps that a block has ended. `tid` is that of a reallocation, 0 for a free.
#[inline(always)]
pub(super) fn note(pid: u32, tid: u32, address: u64, time_ns: u64) {
    let key = LostFreeKey { pid, tid, address };
    for _ in 0..INSERT_TRIES {
        if LOST_FREES.insert(key, time_ns, 0).is_ok() {
            count(StatId::FreeNoted);
            return;
        }
    }
    count(StatId::FreeForgotten);
}
