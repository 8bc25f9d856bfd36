//! Records built word by word, for the tests: the layouts of `memray_ebpf::event` without a kernel.

use memray_ebpf::{
    allocator::Allocator,
    event::{RawFrame, RecordKind, WalkStatus},
    limits::NAME_BYTES,
};

/// Who sent a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub pid: u32,
    pub tid: u32,
}

pub(super) fn words(
    kind: RecordKind,
    allocator: u8,
    flags: u16,
    source: Source,
    time_ns: u64,
    rest: &[u64],
) -> Vec<u64> {
    let first = u64::from(kind as u8)
        | u64::from(allocator) << 8
        | u64::from(flags) << 16
        | u64::from(source.tid) << 32;
    let mut words = vec![first, u64::from(source.pid), time_ns];
    words.extend_from_slice(rest);
    words
}

pub(super) fn allocation(
    source: Source,
    time_ns: u64,
    allocator: Allocator,
    address: u64,
    size_bytes: u64,
    stack_id: u64,
) -> Vec<u64> {
    words(
        RecordKind::Allocation,
        allocator as u8,
        0,
        source,
        time_ns,
        &[address, size_bytes, stack_id],
    )
}

pub(super) fn free(source: Source, time_ns: u64, allocator: Allocator, address: u64) -> Vec<u64> {
    words(RecordKind::Free, allocator as u8, 0, source, time_ns, &[address])
}

pub(super) fn free_undone(source: Source, time_ns: u64, address: u64) -> Vec<u64> {
    words(
        RecordKind::FreeUndone,
        Allocator::Realloc as u8,
        0,
        source,
        time_ns,
        &[address],
    )
}

/// `protection_and_flags`: `PROT_*` in the low half, `MAP_*` or `MREMAP_*` in the high half.
pub(super) fn map(
    source: Source,
    time_ns: u64,
    allocator: Allocator,
    range: (u64, u64),
    stack_id: u64,
    protection_and_flags: u64,
) -> Vec<u64> {
    let rest = [range.0, range.1, stack_id, protection_and_flags];
    words(RecordKind::Map, allocator as u8, 0, source, time_ns, &rest)
}

pub(super) fn unmap(source: Source, time_ns: u64, allocator: Allocator, range: (u64, u64)) -> Vec<u64> {
    words(
        RecordKind::Unmap,
        allocator as u8,
        0,
        source,
        time_ns,
        &[range.0, range.1],
    )
}

pub(super) fn unmap_undone(source: Source, time_ns: u64, range: (u64, u64)) -> Vec<u64> {
    words(
        RecordKind::UnmapUndone,
        Allocator::Mremap as u8,
        0,
        source,
        time_ns,
        &[range.0, range.1],
    )
}

pub(super) fn stack_frames(
    source: Source,
    time_ns: u64,
    stack_id: u64,
    first_frame: u32,
    frames: &[RawFrame],
) -> Vec<u64> {
    let mut rest = vec![stack_id, u64::from(first_frame) | (frames.len() as u64) << 32];
    for frame in frames {
        rest.extend([frame.code_and_owner, frame.instruction, frame.serial]);
    }
    words(RecordKind::StackFrames, 0, 0, source, time_ns, &rest)
}

pub(super) fn stack_end(
    source: Source,
    time_ns: u64,
    stack_id: u64,
    frame_count: u32,
    status: WalkStatus,
) -> Vec<u64> {
    let counts = u64::from(frame_count) | u64::from(status as u32) << 32;
    // The hash is the programs' affair.
    let rest = [stack_id, counts, 0, 0];
    words(RecordKind::StackEnd, 0, 0, source, time_ns, &rest)
}

pub(super) fn bytes_as_words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        })
        .collect()
}

fn raw_string(text: &str) -> Vec<u64> {
    let length = text.len() as u64;
    let mut words = vec![0x7000, length, length << 32];
    let mut data = text.as_bytes().to_vec();
    data.resize(NAME_BYTES, 0);
    words.extend(bytes_as_words(&data));
    words
}

/// The serial of what [`code`] describes at an address.
pub(super) const fn first_serial(code: u64) -> u64 {
    code << 1
}

/// A frame of what [`code`] describes.
pub(super) const fn frame(code: u64, owner: u8, instruction: u64) -> RawFrame {
    RawFrame::new(code, owner, instruction).with_serial(first_serial(code))
}

/// A code object with ASCII names and a line table of `line_table_bytes`.
pub(super) fn code(
    source: Source,
    time_ns: u64,
    code: u64,
    first_line: u32,
    line_table_bytes: u64,
    names: (&str, &str),
) -> Vec<u64> {
    code_with(
        source,
        time_ns,
        (code, first_serial(code)),
        first_line,
        line_table_bytes,
        names,
    )
}

/// One of several at an address: with its serial.
pub(super) fn code_with(
    source: Source,
    time_ns: u64,
    (code, serial): (u64, u64),
    first_line: u32,
    line_table_bytes: u64,
    names: (&str, &str),
) -> Vec<u64> {
    let mut rest = vec![code, 0x9000, line_table_bytes, serial, u64::from(first_line)];
    rest.extend(raw_string(names.1));
    rest.extend(raw_string(names.0));
    words(RecordKind::Code, 0, 0, source, time_ns, &rest)
}

pub(super) fn line_table(
    source: Source,
    time_ns: u64,
    code: u64,
    offset_bytes: u32,
    data: &[u8],
) -> Vec<u64> {
    let mut rest = vec![code, u64::from(offset_bytes) | (data.len() as u64) << 32];
    rest.extend(bytes_as_words(data));
    words(RecordKind::LineTable, 0, 0, source, time_ns, &rest)
}

pub(super) fn code_freed(source: Source, time_ns: u64, code: u64) -> Vec<u64> {
    words(RecordKind::CodeFreed, 0, 0, source, time_ns, &[code])
}

/// `kind`: `ThreadSeen` or `ThreadExit`.
pub(super) fn thread(
    kind: RecordKind,
    source: Source,
    time_ns: u64,
    thread_state: u64,
    comm: &str,
) -> Vec<u64> {
    let mut name = [0; 16];
    name[..comm.len()].copy_from_slice(comm.as_bytes());
    // The object of a thread is a bit further on in these tests than its state.
    let bootstrap_self = if thread_state == 0 {
        0
    } else {
        thread_state + OBJECT_DISTANCE
    };
    let mut rest = vec![thread_state, bootstrap_self];
    rest.extend(bytes_as_words(&name));
    words(kind, 0, 0, source, time_ns, &rest)
}

/// From a `thread_state` to the `bootstrap_self` that [`thread`] puts beside it.
pub(super) const OBJECT_DISTANCE: u64 = 1000;
