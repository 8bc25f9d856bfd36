//! The end of threads.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use memray_ebpf::{event::RecordKind, stat::StatId};

use super::{
    log::log,
    maps::{THREADS, count_n},
    stacks::send_thread,
    task::ids,
};

/// `sched_process_exit`, in the context of the thread that ends: its last name is sent and its entry released.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(super) fn thread_exit(context: RawTracePointContext) -> i32 {
    let ids = ids();
    let Some(thread) = THREADS.get_ptr_mut(ids.tid) else {
        return 0;
    };
    // SAFETY: a map value, used by this thread alone.
    let under_way = unsafe { (*thread).pending.depth() };
    log!(&context, "thread {} of process {} ends", ids.tid, ids.pid);
    count_n(StatId::AbandonedCall, under_way);
    send_thread(RecordKind::ThreadExit, ids, 0, 0);
    let _ = THREADS.remove(ids.tid);
    0
}
