//! Which part of a process a record is for.

use memray_ebpf::event::ThreadRecord;

use super::{counters::EventKind, decode::Record, process::Process, shared::Shared};

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
            stacks.finish(record, status, script, codes, tree, &mut naming);
        }
        Record::Code(record) => {
            let Process { codes, reader, .. } = process;
            let (mut naming, _) = shared.naming(index, &**reader);
            codes.describe(record, &mut naming);
        }
        Record::LineTable(ref part) => process.codes.add_line_table(part),
        Record::CodeFreed(record) => process.codes.forget(record.code),
        Record::ThreadSeen(record) => {
            let name = process.reader.thread_name(record);
            process.threads.seen(record, name, &mut shared.threads);
        }
        Record::ThreadExit(record) => {
            process.settle(record.header.tid, ts, shared);
            process.stacks.forget_thread(record.header.tid);
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
