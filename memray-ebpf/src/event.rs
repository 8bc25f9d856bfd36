//! The records of the ring: fixed layouts without padding, read in place by the collector.
//!
//! Every record begins with a [`RecordHeader`]. Ring order is the order of events; times can run backwards
//! between threads by a few microseconds, because a record gets its place before its time.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::limits::{COMM_BYTES, FRAMES_PER_RECORD, LINE_TABLE_CHUNK_BYTES, NAME_BYTES};

/// What a record says; [`RecordHeader::kind`] holds it as a byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A block was handed out: [`AllocationRecord`].
    Allocation = 1,
    /// A block is about to be taken back: [`FreeRecord`]. `allocator` is the function that does it; with
    /// `Realloc` and `Reallocarray` the free is undone if the call fails.
    Free = 2,
    /// The `realloc` whose free was sent last by this thread failed, the block lives on: [`FreeRecord`].
    FreeUndone = 3,
    /// Pages were mapped, or became usable: [`MapRecord`].
    Map = 4,
    /// Pages are about to be unmapped: [`UnmapRecord`]; with `Mremap` it is undone if the call fails;
    /// with `Brk` they have been unmapped.
    Unmap = 5,
    /// The `mremap` whose unmap was sent last by this thread failed: [`UnmapRecord`].
    UnmapUndone = 6,
    /// Frames of a stack, innermost first, in one record or several: [`StackFramesRecord`].
    StackFrames = 7,
    /// The stack is complete; events may name it from here on: [`StackEndRecord`].
    StackEnd = 8,
    /// A code object that no stack has shown before: [`CodeRecord`].
    Code = 9,
    /// A part of the line table of the code object sent last by this thread: [`LineTableRecord`].
    LineTable = 10,
    /// A code object that was sent has died; its address can come back as another one: [`CodeFreedRecord`].
    CodeFreed = 11,
    /// First sight of a thread: [`ThreadRecord`].
    ThreadSeen = 12,
    /// A thread ends: [`ThreadRecord`] with the name that it has then.
    ThreadExit = 13,
    /// The process becomes another program, in this thread: [`ThreadRecord`]. What comes later is not of the program
    /// that was recorded, until user space has made the new one a target.
    ProcessExec = 14,
    /// A followed process has a child: [`ForkRecord`].
    ProcessForked = 15,
    /// A thread waits until user space lets it go: [`HeldRecord`].
    Held = 16,
    /// The main thread of a followed process ends, with or without the others: [`ThreadRecord`] with the thread's exit
    /// code, as wait(2) has it, in place of a thread state.
    LeaderExit = 17,
}

impl RecordKind {
    pub const ALL: [Self; 17] = [
        Self::Allocation,
        Self::Free,
        Self::FreeUndone,
        Self::Map,
        Self::Unmap,
        Self::UnmapUndone,
        Self::StackFrames,
        Self::StackEnd,
        Self::Code,
        Self::LineTable,
        Self::CodeFreed,
        Self::ThreadSeen,
        Self::ThreadExit,
        Self::ProcessExec,
        Self::ProcessForked,
        Self::Held,
        Self::LeaderExit,
    ];

    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw).checked_sub(1)?).copied()
    }
}

/// The beginning of each record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: u8,
    /// An [`Allocator`](crate::allocator::Allocator), 0 where there is none.
    pub allocator: u8,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Thread id in our own pid namespace.
    pub tid: u32,
    /// Process id (the kernel's tgid) in our own pid namespace.
    pub pid: u32,
    pub reserved: u32,
    /// `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// Bits of [`RecordHeader::flags`].
pub mod flags {
    /// The stack of this event could not be sent; the reason is counted.
    pub const STACK_LOST: u16 = 1;
    /// Of `ProcessExec`: another thread than the first called exec, and has taken its number and its place.
    pub const OTHER_THREAD: u16 = 2;
    /// Of `ProcessForked`: the child runs in the memory of its parent (vfork, `posix_spawn`).
    pub const SHARES_MEMORY: u16 = 4;
    /// Of `ProcessForked`: the child is followed.
    pub const IS_FOLLOWED: u16 = 8;
    /// Of `LeaderExit`: all threads of the process end, by exit or by a signal.
    pub const WHOLE_PROCESS: u16 = 32;
    /// Of `StackEnd` and `Code`: the programs do not keep it. Only what this thread says next can be about it.
    pub const NOT_REMEMBERED: u16 = 16;
}

/// A block was handed out, or (kind `Map`'s sibling) none was: only successful calls are recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct AllocationRecord {
    pub header: RecordHeader,
    pub address: u64,
    pub size_bytes: u64,
    /// The `stack_id` of a [`StackEndRecord`] sent before; 0 means no Python frames (or, with
    /// [`flags::STACK_LOST`], unknown ones).
    pub stack_id: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct FreeRecord {
    pub header: RecordHeader,
    pub address: u64,
}

/// A successful `mmap`, `mremap` or `mprotect` of any kind, or a `brk` that grew: what it counts as is decided by user
/// space.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct MapRecord {
    pub header: RecordHeader,
    pub address: u64,
    pub size_bytes: u64,
    pub stack_id: u64,
    /// `PROT_*` of mmap(2) or mprotect(2). 0 for mremap, which keeps that of the old mapping.
    pub protection: u32,
    /// `MAP_*` of mmap(2), or `MREMAP_*` where the allocator is `Mremap`; 0 for mprotect.
    pub map_flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct UnmapRecord {
    pub header: RecordHeader,
    pub address: u64,
    pub size_bytes: u64,
}

/// One Python frame as the walk finds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct RawFrame {
    /// Address of the code object in the low 48 bits (tag bits removed), `owner` of the frame (3.12+) or
    /// `is_entry` (3.11) in the bits above 56.
    pub code_and_owner: u64,
    /// Address of the instruction (3.11+), or `f_lasti` as a signed number (3.10 and before).
    pub instruction: u64,
    /// `serial` of the [`CodeRecord`] that describes the code object; 0 if none could be sent. Addresses come back,
    /// serials do not: what is known of another code object that was here before is never taken for this one's.
    pub serial: u64,
}

impl RawFrame {
    const CODE_MASK: u64 = (1 << 48) - 1;

    pub const fn new(code: u64, owner: u8, instruction: u64) -> Self {
        Self {
            code_and_owner: (code & Self::CODE_MASK) | ((owner as u64) << 56),
            instruction,
            serial: 0,
        }
    }

    /// The same frame, of the code object with this serial.
    #[must_use]
    pub const fn with_serial(self, serial: u64) -> Self {
        Self { serial, ..self }
    }

    pub const fn code(&self) -> u64 {
        self.code_and_owner & Self::CODE_MASK
    }

    pub const fn owner(&self) -> u8 {
        (self.code_and_owner >> 56) as u8
    }
}

/// Up to [`FRAMES_PER_RECORD`] frames; the record ends after the last of them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct StackFramesRecord {
    pub header: RecordHeader,
    pub stack_id: u64,
    /// Frames that were sent of this stack before this record.
    pub first_frame: u32,
    /// Frames in this record.
    pub frame_count: u32,
    pub frames: [RawFrame; FRAMES_PER_RECORD],
}

impl StackFramesRecord {
    /// Bytes before the first frame.
    pub const HEAD_BYTES: usize = size_of::<RecordHeader>() + 16;
}

/// How a walk ended.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStatus {
    /// The outermost frame was reached.
    Complete = 0,
    /// The bound on frames was reached; outer frames are missing.
    Truncated = 1,
    /// A frame could not be read; outer frames are missing.
    Fault = 2,
}

impl WalkStatus {
    pub fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Complete),
            1 => Some(Self::Truncated),
            2 => Some(Self::Fault),
            _ => None,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct StackEndRecord {
    pub header: RecordHeader,
    pub stack_id: u64,
    /// Frames in all records of this stack.
    pub frame_count: u32,
    /// A [`WalkStatus`].
    pub status: u32,
    /// Under which the programs remember the stack.
    pub hash: [u64; 2],
}

/// A `str` of the target as the kernel found it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct RawString {
    /// Address of the `PyUnicodeObject`, from which user space reads what is missing.
    pub address: u64,
    /// Length in code points.
    pub length: u64,
    /// `state` of the `PyASCIIObject`: kind and ascii bits (CPython `unicodeobject.h`).
    pub state: u32,
    /// Bytes in `data` that are valid; less than length * kind when the string is longer than `data` or a page
    /// was not there.
    pub captured_bytes: u32,
    pub data: [u8; NAME_BYTES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct CodeRecord {
    pub header: RecordHeader,
    /// Address of the code object.
    pub code: u64,
    /// Address of the `bytes` with the line table.
    pub line_table_address: u64,
    /// Its whole length; [`LineTableRecord`]s follow with as much of it as could be read.
    pub line_table_bytes: u64,
    /// Tells this code object from all others that have been at its address; never 0. While the code object lives, it is
    /// the value of `KNOWN_CODES`, but for [`CodeRecord::IS_SENT`].
    pub serial: u64,
    pub first_line: i32,
    pub reserved: u32,
    pub file: RawString,
    /// `co_qualname`, or `co_name` before 3.11.
    pub name: RawString,
}

impl CodeRecord {
    /// A bit of the values of `KNOWN_CODES`, 0 in every serial: the record is in the ring.
    pub const IS_SENT: u64 = 1;
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct LineTableRecord {
    pub header: RecordHeader,
    pub code: u64,
    /// Where in the line table this part belongs.
    pub offset_bytes: u32,
    /// Valid bytes in `data`.
    pub data_bytes: u32,
    pub data: [u8; LINE_TABLE_CHUNK_BYTES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct CodeFreedRecord {
    pub header: RecordHeader,
    pub code: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct ThreadRecord {
    pub header: RecordHeader,
    /// The thread's `PyThreadState`, 0 if it has none.
    pub thread_state: u64,
    /// First local variable of the outermost Python frame (the `self` of `Thread._bootstrap`), 0 if there is none.
    pub bootstrap_self: u64,
    /// The kernel's name of the thread, ended by a zero byte.
    pub comm: [u8; COMM_BYTES],
}

/// The header is the parent's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct ForkRecord {
    pub header: RecordHeader,
    /// 0 if it has no number in our pid namespace.
    pub child_pid: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
pub struct HeldRecord {
    pub header: RecordHeader,
    /// The operand of the place.
    pub argument: u64,
    /// A [`HoldPlace`](crate::follow::HoldPlace).
    pub place: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 24);
const _: () = assert!(size_of::<AllocationRecord>() == 48);
const _: () = assert!(size_of::<FreeRecord>() == 32);
const _: () = assert!(size_of::<MapRecord>() == 56);
const _: () = assert!(size_of::<UnmapRecord>() == 40);
const _: () = assert!(
    size_of::<StackFramesRecord>()
        == StackFramesRecord::HEAD_BYTES + size_of::<RawFrame>() * FRAMES_PER_RECORD
);
const _: () = assert!(size_of::<StackEndRecord>() == 56);
const _: () = assert!(size_of::<RawString>() == 24 + NAME_BYTES);
const _: () = assert!(size_of::<CodeRecord>() == 24 + 40 + 2 * size_of::<RawString>());
const _: () = assert!(size_of::<LineTableRecord>() == 40 + LINE_TABLE_CHUNK_BYTES);
const _: () = assert!(size_of::<ThreadRecord>() == 56);
const _: () = assert!(size_of::<ForkRecord>() == 32);
const _: () = assert!(size_of::<HeldRecord>() == 40);
