//! The end of threads, and of programs that become others.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use memray_ebpf::{event::RecordKind, stat::StatId};

use super::{
    log::log,
    maps::{TARGETS, THREADS, count_n},
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

/// `sched_process_exec`, in the context of the only thread that is left, when the old program is gone and no
/// instruction of the new one has run. Its offsets would be those of another interpreter.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(super) fn process_exec(_context: RawTracePointContext) -> i32 {
    let ids = ids();
    if TARGETS.get_ptr(ids.pid).is_none() {
        return 0;
    }
    send_thread(RecordKind::ProcessExec, ids, 0, 0);
    let _ = TARGETS.remove(ids.pid);
    0
}
