//! The Python stack of the current thread as one number, sent in full when it is new.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop},
    maps::ring_buf::RingBufEntry,
};
use memray_ebpf::{
    config::{TargetConfig, ThreadStateSource},
    event::{RawFrame, RecordKind, StackEndRecord, StackFramesRecord, ThreadRecord, WalkStatus, flags},
    limits::{COMM_BYTES, FRAMES_PER_RECORD, MAX_PYTHON_FRAMES},
    memory::RemoteMemory,
    python::{
        thread_state,
        walk::{StartError, Walk},
    },
    stat::StatId,
};

use super::{
    codes,
    maps::{KNOWN_STACKS, Thread, count, is_lossless},
    ring::{await_collector, header, output, reserve, submit, submit_and_wake},
    task::{Ids, comm, fs_base},
};

/// What an event says of its stack.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    pub(super) id: u64,
    pub(super) flags: u16,
}

impl Stack {
    const NONE: Self = Self { id: 0, flags: 0 };
    const LOST: Self = Self {
        id: 0,
        flags: flags::STACK_LOST,
    };
}

/// What the callbacks of `bpf_loop` need; lives on the stack of the program.
#[repr(C)]
pub(super) struct Context {
    pub(super) thread: *mut Thread,
    pub(super) target: *mut TargetConfig,
    pub(super) ids: Ids,
    /// 1 if a record of the stack found no place.
    pub(super) lost: u64,
    /// 1 if a frame on the way to the outermost one was Python's.
    pub(super) has_python_frame: u64,
    pub(super) first_local: u64,
}

/// The stack of the current thread. Sends it first if it has not been sent before.
#[inline(always)]
pub(super) fn python_stack<M: RemoteMemory + Default>(
    thread: *mut Thread,
    target: *mut TargetConfig,
    ids: Ids,
) -> Stack {
    let memory = M::default();
    // SAFETY: both are map values; the target's lives as long as the process is traced.
    let (walk, config) = unsafe { (&mut (*thread).walk, &mut *target) };
    if config.has_python == 0 {
        return Stack::NONE;
    }
    let fs_base = fs_base();
    let Ok(found) = thread_state::find(&memory, &config.thread_state, fs_base) else {
        count(StatId::StackFault);
        return Stack::LOST;
    };
    if found.tss_slot_offset != ThreadStateSource::UNKNOWN_SLOT {
        config.thread_state.tss_slot_offset = found.tss_slot_offset;
    }
    let thread_id_offset = config.frame.thread_state_thread_id;
    let thread_state = thread_state::entered(
        &memory,
        &config.thread_state,
        thread_id_offset,
        fs_base,
        found.thread_state,
    );
    if thread_state == 0 {
        return Stack::NONE;
    }
    let seed = [
        u64::from(ids.pid) << 32 | u64::from(config.life),
        config.code_epoch,
    ];
    match walk.start(&memory, &config.frame, thread_state, fs_base, seed) {
        Ok(()) => {}
        Err(StartError::NotThisThread) => {
            // The slot may be that of another key by now.
            config.thread_state.tss_slot_offset = ThreadStateSource::UNKNOWN_SLOT;
            count(StatId::ThreadStateInvalid);
            return Stack::LOST;
        }
        Err(StartError::Fault) => {
            count(StatId::StackFault);
            return Stack::LOST;
        }
    }
    let innermost = walk.frame;
    if innermost == 0 {
        return Stack::NONE;
    }
    let mut context = Context {
        thread,
        target,
        ids,
        lost: 0,
        has_python_frame: 0,
        first_local: 0,
    };
    let context = &raw mut context;
    // SAFETY: the callback has the signature that the helper asks for, and its context lives on this stack.
    unsafe {
        bpf_loop(
            MAX_PYTHON_FRAMES + 1,
            hash::<M> as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    let key = walk.key();
    let is_faulty = walk.fault;
    // SAFETY: a map value.
    if unsafe { (*thread).announced } & Thread::SELF_ANNOUNCED == 0 {
        announce_self::<M>(context, innermost, thread_state);
    }
    if is_faulty == 0
        && let Some(id) = KNOWN_STACKS.get_ptr(key)
    {
        // SAFETY: a map value; what is removed meanwhile stays readable until the program ends.
        return Stack {
            id: unsafe { *id },
            flags: 0,
        };
    }
    // SAFETY: the context lives on this stack.
    let context = unsafe { &mut *context };
    // SAFETY: a map value.
    unsafe { (*context.thread).is_unsure = is_faulty };
    send::<M>(context, innermost, key)
}

/// Walks again, into records, and gives the stack its number.
#[inline(always)]
fn send<M: RemoteMemory + Default>(context: &mut Context, innermost: u64, key: [u64; 2]) -> Stack {
    // Two stacks of one CPU are further apart than a nanosecond.
    // SAFETY: both take nothing and return a number.
    let (time_ns, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    let id = time_ns << 8 | u64::from(cpu & 0xff);
    // SAFETY: a map value.
    let thread = unsafe { &mut *context.thread };
    thread.walk.restart(innermost);
    thread.record.header = header(RecordKind::StackFrames, 0, 0, context.ids);
    thread.record.stack_id = id;
    thread.record.first_frame = 0;
    thread.record.frame_count = 0;
    let records = MAX_PYTHON_FRAMES / FRAMES_PER_RECORD as u32 + 1;
    let context_pointer = core::ptr::from_mut(context);
    // SAFETY: as in `python_stack`.
    unsafe {
        bpf_loop(
            records,
            send_record::<M> as *mut core::ffi::c_void,
            context_pointer.cast(),
            0,
        )
    };
    if context.lost != 0 {
        return Stack::LOST;
    }
    // SAFETY: a map value; read again, because the callbacks have changed it.
    let (walk, is_unsure) = unsafe { (&(*context.thread).walk, (*context.thread).is_unsure) };
    let is_unsure = is_unsure | walk.fault;
    let status = if walk.fault != 0 {
        count(StatId::StackFault);
        WalkStatus::Fault
    } else if walk.frame != 0 {
        count(StatId::StackTruncated);
        WalkStatus::Truncated
    } else {
        WalkStatus::Complete
    };
    let visited = walk.visited;
    let Some(mut entry) = reserve::<StackEndRecord>(StatId::StackRingFull) else {
        return Stack::LOST;
    };
    // The record has its place, so whoever finds the number in the table from here on comes behind it in the ring. If
    // another thread has sent the same stack meanwhile, it has two numbers, both described. A full table costs a
    // description for each event.
    let flags = if is_unsure == 0 && KNOWN_STACKS.insert(key, id, BPF_NOEXIST.into()).is_ok() {
        0
    } else {
        flags::NOT_REMEMBERED
    };
    entry.write(StackEndRecord {
        header: header(RecordKind::StackEnd, 0, flags, context.ids),
        stack_id: id,
        frame_count: visited,
        status: status as u32,
        hash: key,
    });
    submit(entry);
    Stack { id, flags: 0 }
}

extern "C" fn hash<M: RemoteMemory + Default>(_index: u32, context: *mut Context) -> u64 {
    // SAFETY: the context of `python_stack`, whose pointers are map values.
    let (walk, config) = unsafe { (&mut (*(*context).thread).walk, &*(*context).target) };
    u64::from(!walk.hash_step(&M::default(), &config.frame))
}

extern "C" fn store<M: RemoteMemory + Default>(_index: u32, context: *mut Context) -> u64 {
    // SAFETY: as above.
    let (thread, config) = unsafe { (&mut *(*context).thread, &*(*context).target) };
    u64::from(
        !thread
            .walk
            .store_step(&M::default(), &config.frame, &mut thread.record),
    )
}

/// Fills one record, sends the names that its frames need, then the record.
extern "C" fn send_record<M: RemoteMemory + Default>(_index: u32, context: *mut Context) -> u64 {
    // SAFETY: as above.
    let thread = unsafe { &mut *(*context).thread };
    if thread.walk.is_over() {
        return 1;
    }
    thread.record.frame_count = 0;
    let first_frame = thread.walk.visited;
    thread.record.first_frame = first_frame;
    // SAFETY: as in `python_stack`; each turn takes a frame at least.
    unsafe {
        bpf_loop(
            FRAMES_PER_RECORD as u32 + 1,
            store::<M> as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    // SAFETY: as in `python_stack`.
    unsafe {
        bpf_loop(
            FRAMES_PER_RECORD as u32,
            codes::claim as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    // SAFETY: as in `python_stack`.
    unsafe {
        bpf_loop(
            FRAMES_PER_RECORD as u32,
            codes::announce::<M> as *mut core::ffi::c_void,
            context.cast(),
            0,
        )
    };
    // SAFETY: a map value; read again, because the callbacks have changed it.
    let record = unsafe { &(*(*context).thread).record };
    let mut frames = u64::from(record.frame_count);
    if frames > FRAMES_PER_RECORD as u64 {
        frames = FRAMES_PER_RECORD as u64;
    }
    let length = StackFramesRecord::HEAD_BYTES as u64 + frames * size_of::<RawFrame>() as u64;
    // SAFETY: the length is within the record.
    if !unsafe { output(core::ptr::from_ref(record).cast(), length, StatId::StackRingFull) } {
        // SAFETY: the context of `python_stack`.
        unsafe { (*context).lost = 1 };
        return 1;
    }
    0
}

/// Sends the first local of the outermost Python frame, by which user space finds the thread's Python name.
#[inline(always)]
fn announce_self<M: RemoteMemory + Default>(context: *mut Context, innermost: u64, thread_state: u64) {
    // SAFETY: the context of `python_stack`; a map value.
    let thread = unsafe { &mut *(*context).thread };
    thread.walk.restart(innermost);
    // SAFETY: as in `python_stack`.
    unsafe {
        bpf_loop(
            MAX_PYTHON_FRAMES,
            outermost_local::<M> as *mut core::ffi::c_void,
            context.cast(),
            0,
        );
    }
    // SAFETY: the context of `python_stack`.
    let (has_python_frame, first_local, ids) = unsafe {
        (
            (*context).has_python_frame,
            (*context).first_local,
            (*context).ids,
        )
    };
    // A thread of 3.15 allocates once before its first function is called.
    if has_python_frame == 0 {
        return;
    }
    // SAFETY: a map value; read again, because the callback has changed it.
    unsafe { (*(*context).thread).announced |= Thread::SELF_ANNOUNCED };
    // The main thread's outermost frame is the program's, which has no name to wait for.
    if !is_lossless() || ids.tid == ids.pid || first_local == 0 {
        send_thread(RecordKind::ThreadSeen, ids, thread_state, first_local);
    } else if let Some(entry) = thread_record(RecordKind::ThreadSeen, 0, ids, thread_state, first_local) {
        submit_and_wake(entry);
        await_collector();
    }
}

extern "C" fn outermost_local<M: RemoteMemory + Default>(_index: u32, context: *mut Context) -> u64 {
    // SAFETY: the context of `python_stack`, whose pointers are map values.
    let (walk, config) = unsafe { (&mut (*(*context).thread).walk, &*(*context).target) };
    let walk: &mut Walk = walk;
    if let Some(local) = walk.first_local_step(&M::default(), &config.frame) {
        // SAFETY: the context of `python_stack`.
        unsafe {
            (*context).has_python_frame = 1;
            (*context).first_local = local;
        }
    }
    u64::from(walk.frame == 0)
}

/// Sends a record about the current thread.
#[inline(always)]
pub(super) fn send_thread(kind: RecordKind, ids: Ids, thread_state: u64, bootstrap_self: u64) {
    send_thread_with(kind, 0, ids, thread_state, bootstrap_self);
}

/// With flags.
#[inline(always)]
pub(super) fn send_thread_with(
    kind: RecordKind,
    flags: u16,
    ids: Ids,
    thread_state: u64,
    bootstrap_self: u64,
) {
    if let Some(entry) = thread_record(kind, flags, ids, thread_state, bootstrap_self) {
        submit(entry);
    }
}

#[inline(always)]
fn thread_record(
    kind: RecordKind,
    flags: u16,
    ids: Ids,
    thread_state: u64,
    bootstrap_self: u64,
) -> Option<RingBufEntry<ThreadRecord>> {
    let mut entry = reserve::<ThreadRecord>(StatId::ThreadRingFull)?;
    let mut name = [0; COMM_BYTES];
    comm(&mut name);
    entry.write(ThreadRecord {
        header: header(kind, 0, flags, ids),
        thread_state,
        bootstrap_self,
        comm: name,
    });
    Some(entry)
}
