//! Children, the end of threads, and programs that become others.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task_btf},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use memray_ebpf::{
    event::{ForkRecord, RecordKind, flags},
    follow::followed,
    limits::MAX_PID_NAMESPACES,
    stat::StatId,
};

use super::{
    log::log,
    maps::{FOLLOWED, TARGETS, THREADS, count, count_n, follows_children, pid_namespace, task_offsets},
    ring::{header, reserve, submit},
    stacks::{send_thread, send_thread_with},
    task::{ids, read_kernel},
};

/// `sched_process_fork(parent, child)`, in the context of the parent; the child has not run yet.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(super) fn process_fork(context: RawTracePointContext) -> i32 {
    let ids = ids();
    if FOLLOWED.get_ptr(ids.pid).is_none() {
        return 0;
    }
    let offsets = task_offsets();
    let child: u64 = context.arg(1);
    let field = |offset: u32| child.wrapping_add(u64::from(offset));
    let (pid, tgid): (u32, u32) = (read_kernel(field(offsets.pid)), read_kernel(field(offsets.tgid)));
    if pid != tgid {
        return 0;
    }
    // SAFETY: takes nothing, returns the current task, whose address is all that is asked.
    let parent = unsafe { bpf_get_current_task_btf() } as u64;
    let parent_memory: u64 = read_kernel(parent.wrapping_add(u64::from(offsets.mm)));
    let child_memory: u64 = read_kernel(field(offsets.mm));
    let shares_memory = parent_memory == child_memory;
    let child_pid = number_in_our_namespace(child, pid);
    let mut bits = 0;
    if shares_memory {
        bits |= flags::SHARES_MEMORY;
    }
    if follows_children() && child_pid != 0 {
        let state = if shares_memory { 0 } else { followed::UNBORN };
        if FOLLOWED.insert(child_pid, state, 0).is_ok() {
            bits |= flags::IS_FOLLOWED;
        } else {
            count(StatId::ProcessTableFull);
        }
    }
    // A child that is not followed meets the breakpoints that were copied with the memory of its parent.
    if bits == flags::SHARES_MEMORY {
        return 0;
    }
    let Some(mut entry) = reserve::<ForkRecord>(StatId::ThreadRingFull) else {
        if bits & flags::IS_FOLLOWED != 0 {
            let _ = FOLLOWED.remove(child_pid);
            count(StatId::ProcessTableFull);
        }
        return 0;
    };
    entry.write(ForkRecord {
        header: header(RecordKind::ProcessForked, 0, bits, ids),
        child_pid,
        reserved: 0,
    });
    submit(entry);
    0
}

/// The number of another task than the current one; 0 if it has none in our namespace.
#[inline(always)]
fn number_in_our_namespace(task: u64, pid: u32) -> u32 {
    /// `struct upid { int nr; struct pid_namespace *ns; }` (include/linux/pid.h).
    const UPID_BYTES: u64 = 16;
    const UPID_NAMESPACE: u64 = 8;
    let namespace = pid_namespace();
    if namespace.inode == 0 {
        return pid;
    }
    let offsets = task_offsets();
    let thread_pid: u64 = read_kernel(task.wrapping_add(u64::from(offsets.thread_pid)));
    let level: u32 = read_kernel(thread_pid.wrapping_add(u64::from(offsets.level)));
    let mut number = 0;
    for index in 0..MAX_PID_NAMESPACES {
        if index > level {
            break;
        }
        let upid = thread_pid
            .wrapping_add(u64::from(offsets.numbers))
            .wrapping_add(u64::from(index) * UPID_BYTES);
        let at: u64 = read_kernel(upid.wrapping_add(UPID_NAMESPACE));
        let inode: u32 = read_kernel(at.wrapping_add(u64::from(offsets.namespace_inode)));
        if u64::from(inode) == namespace.inode {
            number = read_kernel(upid);
        }
    }
    number
}

/// include/linux/sched/signal.h.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// `sched_process_exit`, in the context of the thread that ends: its last name is sent and its entry released.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(super) fn thread_exit(context: RawTracePointContext) -> i32 {
    let ids = ids();
    if ids.tid == ids.pid && FOLLOWED.get_ptr(ids.pid).is_some() {
        // SAFETY: takes nothing, returns the current task, whose address is all that is asked.
        let task = unsafe { bpf_get_current_task_btf() } as u64;
        let offsets = task_offsets();
        let exit_code: u32 = read_kernel(task.wrapping_add(u64::from(offsets.exit_code)));
        let signal: u64 = read_kernel(task.wrapping_add(u64::from(offsets.signal)));
        let signal_flags: u32 = read_kernel(signal.wrapping_add(u64::from(offsets.signal_flags)));
        let bits = if signal_flags & SIGNAL_GROUP_EXIT != 0 {
            flags::WHOLE_PROCESS
        } else {
            0
        };
        send_thread_with(RecordKind::LeaderExit, bits, ids, exit_code.into(), 0);
    }
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

/// `sched_process_exec(task, old_pid, bprm)`, in the context of the only thread that is left, when the old program is
/// gone and no instruction of the new one has run. Its offsets would be those of another interpreter.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(super) fn process_exec(context: RawTracePointContext) -> i32 {
    let ids = ids();
    if FOLLOWED.get_ptr(ids.pid).is_none() {
        return 0;
    }
    // Both in the initial namespace.
    let old_tid: u32 = context.arg(1);
    let is_other_thread = old_tid != bpf_get_current_pid_tgid() as u32;
    // The kernel says nothing of the end of the thread whose number this one has now, nor of its own old number: what
    // is known of them would be taken for true of others.
    let _ = THREADS.remove(ids.tid);
    let mut bits = 0;
    if is_other_thread {
        bits = flags::OTHER_THREAD;
        if pid_namespace().inode == 0 {
            let _ = THREADS.remove(old_tid);
        }
    }
    send_thread_with(RecordKind::ProcessExec, bits, ids, 0, 0);
    let _ = TARGETS.remove(ids.pid);
    0
}
