//! Which part of a process a record is for.

use memray_ebpf::event::ThreadRecord;

use super::{
    counters::{Counter, EventKind},
    decode::Record,
    frames::UnresolvedFrame,
    process::Process,
    shared::Shared,
};

/// Takes in one record of a process, at its time in the capture. `index` is the process's inside `ingest`.
pub(super) fn dispatch(
    index: usize,
    process: &mut Process,
    record: &Record<'_>,
    ts: u64,
    shared: &mut Shared,
) {
    match *record {
        Record::Allocation(record, allocator) => process.allocation(record, allocator, ts, shared),
        Record::Free(record, allocator) => process.free(record, allocator, ts, shared),
        Record::FreeUndone(record) => process.free_undone(record, shared),
        Record::Map(record, allocator) => process.map(record, allocator, ts, shared),
        Record::Unmap(record, allocator) => process.unmap(record, allocator, ts, shared),
        Record::UnmapUndone(record) => process.unmap_undone(record, shared),
        Record::StackFrames(ref part) => process.stacks.add_frames(part),
        Record::StackEnd(record, status) => {
            let Process {
                stacks,
                codes,
                reader,
                script,
                started,
                ..
            } = process;
            let (mut naming, tree) = shared.naming(index, &**reader);
            let script = (!*started).then_some(&*script);
            stacks.forget_retired(ts);
            stacks.finish(record, status, script, codes, tree, &mut naming);
        }
        Record::Code(record) => {
            // The death of the one before was lost.
            if process.codes.has_other(record) {
                resolve_frames_of(index, process, record.code, shared);
            }
            let Process { codes, reader, .. } = process;
            let (mut naming, _) = shared.naming(index, &**reader);
            codes.describe(record, &mut naming);
        }
        Record::LineTable(ref part) => process.codes.add_line_table(part),
        Record::CodeFreed(record) => {
            resolve_frames_of(index, process, record.code, shared);
            process.codes.forget(record.code);
        }
        Record::ThreadSeen(record) => {
            let name = process.reader.thread_name(record);
            process.threads.seen(record, name, &mut shared.threads);
        }
        Record::ThreadExit(record) => {
            process.settle(record.header.tid, ts, shared);
            process.stacks.forget_thread(record.header.tid);
            process.codes.let_go(record.header.tid);
            let bootstrap_self = process.threads.bootstrap_self(record.header.tid, &shared.threads);
            let name = process.reader.thread_name(&ThreadRecord {
                bootstrap_self,
                ..*record
            });
            let counters = &mut shared.counters;
            process.threads.exit(record, name, &mut shared.threads, counters);
        }
        // Of processes, not of what is in them.
        Record::ProcessExec(_) | Record::ProcessForked(_) | Record::Held(_) | Record::LeaderExit(_) => {}
    }
}

/// Names the frames that waited for a code object which is about to be forgotten.
fn resolve_frames_of(index: usize, process: &mut Process, code: u64, shared: &mut Shared) {
    for unresolved in shared.frames.take_unresolved_of(index, code) {
        resolve_frame(&unresolved, process, shared);
    }
}

/// Names a frame that waited for its code object, or counts it as unknown.
pub(super) fn resolve_frame(unresolved: &UnresolvedFrame, process: &mut Process, shared: &mut Shared) {
    let Process { codes, reader, .. } = process;
    let (mut naming, _) = shared.naming(unresolved.process, &**reader);
    match codes.resolve(unresolved.frame, &mut naming) {
        Some(text) => shared.frames.resolve(unresolved.index, text),
        None => shared.counters.add(unresolved.process, Counter::CodeUnknown, 0),
    }
}

/// As the kernel counts records: one that takes an event back is one more of its kind.
pub(super) fn event_kind(record: &Record<'_>) -> Option<EventKind> {
    match record {
        Record::Allocation(..) => Some(EventKind::Allocation),
        Record::Free(..) | Record::FreeUndone(_) => Some(EventKind::Free),
        Record::Map(..) => Some(EventKind::Map),
        Record::Unmap(..) | Record::UnmapUndone(_) => Some(EventKind::Unmap),
        _ => None,
    }
}
