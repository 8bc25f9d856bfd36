//! From the bytes of one ring record to a typed view of them.
//!
//! Input: the bytes of one record as the ring holds them. Output: references into these bytes, nothing is copied.
//! The bytes come from our own programs, but a lost or foreign record must cost one count and not the recording,
//! so every length, kind and allocator is checked and nothing here can panic.

use memray_ebpf::{
    allocator::{Allocator, AllocatorKind},
    event::{
        AllocationRecord, CodeFreedRecord, CodeRecord, ForkRecord, FreeRecord, HeldRecord, LineTableRecord,
        MapRecord, RawFrame, RecordHeader, RecordKind, StackEndRecord, StackFramesRecord, ThreadRecord,
        UnmapRecord, WalkStatus,
    },
    limits::{FRAMES_PER_RECORD, LINE_TABLE_CHUNK_BYTES},
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// One record, read in place.
#[derive(Clone, Copy, Debug)]
pub enum Record<'ring> {
    Allocation(&'ring AllocationRecord, Allocator),
    /// The allocator is the function that frees; see [`RecordKind::Free`].
    Free(&'ring FreeRecord, Allocator),
    FreeUndone(&'ring FreeRecord),
    Map(&'ring MapRecord, Allocator),
    Unmap(&'ring UnmapRecord, Allocator),
    UnmapUndone(&'ring UnmapRecord),
    StackFrames(StackFrames<'ring>),
    StackEnd(&'ring StackEndRecord, WalkStatus),
    Code(&'ring CodeRecord),
    LineTable(LineTable<'ring>),
    CodeFreed(&'ring CodeFreedRecord),
    ThreadSeen(&'ring ThreadRecord),
    ThreadExit(&'ring ThreadRecord),
    ProcessExec(&'ring ThreadRecord),
    ProcessForked(&'ring ForkRecord),
    Held(&'ring HeldRecord),
    LeaderExit(&'ring ThreadRecord),
}

impl<'ring> Record<'ring> {
    pub fn header(&self) -> &'ring RecordHeader {
        match self {
            Self::Allocation(record, _) => &record.header,
            Self::Free(record, _) | Self::FreeUndone(record) => &record.header,
            Self::Map(record, _) => &record.header,
            Self::Unmap(record, _) | Self::UnmapUndone(record) => &record.header,
            Self::StackFrames(part) => part.header,
            Self::StackEnd(record, _) => &record.header,
            Self::Code(record) => &record.header,
            Self::LineTable(part) => part.header,
            Self::CodeFreed(record) => &record.header,
            Self::ThreadSeen(record)
            | Self::ThreadExit(record)
            | Self::ProcessExec(record)
            | Self::LeaderExit(record) => &record.header,
            Self::ProcessForked(record) => &record.header,
            Self::Held(record) => &record.header,
        }
    }
}

/// The valid part of a [`StackFramesRecord`].
#[derive(Clone, Copy, Debug)]
pub struct StackFrames<'ring> {
    pub header: &'ring RecordHeader,
    pub stack_id: u64,
    /// Frames that were sent of this stack before.
    pub first_frame: u32,
    /// Innermost first.
    pub frames: &'ring [RawFrame],
}

/// The valid part of a [`LineTableRecord`].
#[derive(Clone, Copy, Debug)]
pub struct LineTable<'ring> {
    pub header: &'ring RecordHeader,
    pub code: u64,
    /// Where in the table `data` belongs.
    pub offset_bytes: u32,
    pub data: &'ring [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record of `{actual_bytes}` bytes where at least `{needed_bytes}` are needed")]
    Short {
        needed_bytes: usize,
        actual_bytes: usize,
    },
    #[error("record that does not begin at a multiple of 8")]
    Misaligned,
    #[error("unknown kind of record `{0}`")]
    Kind(u8),
    #[error("allocator `{allocator}` in a record of kind `{kind}`")]
    Allocator { kind: u8, allocator: u8 },
    #[error("walk status `{0}`")]
    Status(u32),
    #[error("count `{0}` beyond the bound of its record")]
    Count(u32),
    #[error("`{size_bytes}` bytes at `{address:#x}`, which no address space holds")]
    Range {
        kind: RecordKind,
        address: u64,
        size_bytes: u64,
    },
}

/// Reads one record. `bytes` may be longer than the record, as the ring rounds lengths up to 8.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let header: &RecordHeader = view(bytes)?;
    let kind = RecordKind::from_raw(header.kind).ok_or(DecodeError::Kind(header.kind))?;
    Ok(match kind {
        RecordKind::Allocation => {
            let record: &AllocationRecord = view(bytes)?;
            let allocator = allocator_of(header, &[AllocatorKind::SimpleAllocator])?;
            check_range(kind, record.address, record.size_bytes)?;
            Record::Allocation(record, allocator)
        }
        RecordKind::Free => Record::Free(
            view(bytes)?,
            allocator_of(
                header,
                &[AllocatorKind::SimpleDeallocator, AllocatorKind::SimpleAllocator],
            )?,
        ),
        RecordKind::FreeUndone => Record::FreeUndone(view(bytes)?),
        RecordKind::Map => {
            let record: &MapRecord = view(bytes)?;
            let allocator = allocator_of(header, &[AllocatorKind::RangedAllocator])?;
            check_range(kind, record.address, record.size_bytes)?;
            Record::Map(record, allocator)
        }
        RecordKind::Unmap => Record::Unmap(
            view(bytes)?,
            allocator_of(
                header,
                &[AllocatorKind::RangedDeallocator, AllocatorKind::RangedAllocator],
            )?,
        ),
        RecordKind::UnmapUndone => Record::UnmapUndone(view(bytes)?),
        RecordKind::StackFrames => Record::StackFrames(stack_frames(header, bytes)?),
        RecordKind::StackEnd => {
            let end: &StackEndRecord = view(bytes)?;
            let status = WalkStatus::from_raw(end.status).ok_or(DecodeError::Status(end.status))?;
            Record::StackEnd(end, status)
        }
        RecordKind::Code => Record::Code(view(bytes)?),
        RecordKind::LineTable => Record::LineTable(line_table(header, bytes)?),
        RecordKind::CodeFreed => Record::CodeFreed(view(bytes)?),
        RecordKind::ThreadSeen => Record::ThreadSeen(view(bytes)?),
        RecordKind::ThreadExit => Record::ThreadExit(view(bytes)?),
        RecordKind::ProcessExec => Record::ProcessExec(view(bytes)?),
        RecordKind::ProcessForked => Record::ProcessForked(view(bytes)?),
        RecordKind::Held => Record::Held(view(bytes)?),
        RecordKind::LeaderExit => Record::LeaderExit(view(bytes)?),
    })
}

fn view<T: FromBytes + Immutable + KnownLayout>(bytes: &[u8]) -> Result<&T, DecodeError> {
    match T::ref_from_prefix(bytes) {
        Ok((record, _)) => Ok(record),
        Err(_) if bytes.len() < size_of::<T>() => Err(short::<T>(bytes)),
        Err(_) => Err(DecodeError::Misaligned),
    }
}

/// An allocator of the target's own can claim anything; what no address space holds is not counted.
fn check_range(kind: RecordKind, address: u64, size_bytes: u64) -> Result<(), DecodeError> {
    /// User addresses with five levels of page tables (Documentation/arch/x86/x86_64/5level-paging.rst).
    const ADDRESS_BITS: u32 = 56;
    // Pointers can carry tags in bits 57 to 62 (Linear Address Masking); what the kernel maps has none.
    let address_bits = if kind == RecordKind::Map { ADDRESS_BITS } else { 63 };
    let end = address.saturating_add(size_bytes);
    if size_bytes >> ADDRESS_BITS == 0 && end >> address_bits == 0 {
        Ok(())
    } else {
        Err(DecodeError::Range {
            kind,
            address,
            size_bytes,
        })
    }
}

fn short<T>(bytes: &[u8]) -> DecodeError {
    DecodeError::Short {
        needed_bytes: size_of::<T>(),
        actual_bytes: bytes.len(),
    }
}

fn allocator_of(header: &RecordHeader, kinds: &[AllocatorKind]) -> Result<Allocator, DecodeError> {
    Allocator::from_raw(header.allocator)
        .filter(|allocator| kinds.contains(&allocator.kind()))
        .ok_or(DecodeError::Allocator {
            kind: header.kind,
            allocator: header.allocator,
        })
}

/// What lies between the header and the frames of a [`StackFramesRecord`].
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout)]
struct StackFramesHead {
    header: RecordHeader,
    stack_id: u64,
    first_frame: u32,
    frame_count: u32,
}
const _: () = assert!(size_of::<StackFramesHead>() == StackFramesRecord::HEAD_BYTES);

fn stack_frames<'ring>(
    header: &'ring RecordHeader,
    bytes: &'ring [u8],
) -> Result<StackFrames<'ring>, DecodeError> {
    let head: &StackFramesHead = view(bytes)?;
    let count = head.frame_count as usize;
    if count > FRAMES_PER_RECORD {
        return Err(DecodeError::Count(head.frame_count));
    }
    let behind = &bytes[StackFramesRecord::HEAD_BYTES..];
    let Ok((frames, _)) = <[RawFrame]>::ref_from_prefix_with_elems(behind, count) else {
        return Err(DecodeError::Short {
            needed_bytes: StackFramesRecord::HEAD_BYTES + count * size_of::<RawFrame>(),
            actual_bytes: bytes.len(),
        });
    };
    Ok(StackFrames {
        header,
        stack_id: head.stack_id,
        first_frame: head.first_frame,
        frames,
    })
}

/// What lies before the data of a [`LineTableRecord`].
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout)]
struct LineTableHead {
    header: RecordHeader,
    code: u64,
    offset_bytes: u32,
    data_bytes: u32,
}
const _: () = assert!(size_of::<LineTableHead>() + LINE_TABLE_CHUNK_BYTES == size_of::<LineTableRecord>());

fn line_table<'ring>(
    header: &'ring RecordHeader,
    bytes: &'ring [u8],
) -> Result<LineTable<'ring>, DecodeError> {
    let head: &LineTableHead = view(bytes)?;
    let count = head.data_bytes as usize;
    if count > LINE_TABLE_CHUNK_BYTES {
        return Err(DecodeError::Count(head.data_bytes));
    }
    let start = size_of::<LineTableHead>();
    let data = bytes.get(start..start + count).ok_or(DecodeError::Short {
        needed_bytes: start + count,
        actual_bytes: bytes.len(),
    })?;
    Ok(LineTable {
        header,
        code: head.code,
        offset_bytes: head.offset_bytes,
        data,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::ingest::fixture::{self, Source};

    const SOURCE: Source = Source { pid: 7, tid: 8 };

    #[test]
    fn every_kind_is_read() {
        for kind in RecordKind::ALL {
            let mut words = vec![0_u64; 200];
            words[0] = u64::from(kind as u8);
            words[0] |= match kind {
                RecordKind::Map | RecordKind::Unmap => u64::from(Allocator::Mmap as u8) << 8,
                _ => u64::from(Allocator::Malloc as u8) << 8,
            };
            assert!(decode(words.as_bytes()).is_ok(), "{kind:?}");
            assert!(decode(&words.as_bytes()[..24]).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn short_stack_records_hold_what_was_sent() {
        let frames = [RawFrame::new(0x1000, 0, 4), RawFrame::new(0x2000, 3, 8)];
        let words = fixture::stack_frames(SOURCE, 1, 77, 128, &frames);
        let bytes = words.as_bytes();
        assert_eq!(bytes.len(), StackFramesRecord::HEAD_BYTES + 48);
        let Ok(Record::StackFrames(view)) = decode(bytes) else {
            panic!("no stack frames")
        };
        assert_eq!(
            (view.stack_id, view.first_frame, view.frames),
            (77, 128, &frames[..])
        );
        assert_eq!(
            decode(&bytes[..bytes.len() - 8]).err(),
            Some(DecodeError::Short {
                needed_bytes: bytes.len(),
                actual_bytes: bytes.len() - 8
            })
        );
    }

    #[test]
    fn short_line_tables_hold_what_was_sent() {
        let words = fixture::line_table(SOURCE, 1, 0x1000, 5, b"abc");
        let Ok(Record::LineTable(view)) = decode(words.as_bytes()) else {
            panic!("no line table")
        };
        assert_eq!(
            (view.code, view.offset_bytes, view.data),
            (0x1000, 5, &b"abc"[..])
        );
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let mut words = fixture::allocation(SOURCE, 1, Allocator::Malloc, 16, 8, 0);
        assert_eq!(
            decode(&words.as_bytes()[..20]).err(),
            Some(DecodeError::Short {
                needed_bytes: 24,
                actual_bytes: 20
            })
        );
        assert_eq!(
            decode(&words.as_bytes()[4..]).err(),
            Some(DecodeError::Misaligned)
        );
        words[0] = (words[0] & !0xff00) | (u64::from(Allocator::Free as u8) << 8);
        assert_eq!(
            decode(words.as_bytes()).err(),
            Some(DecodeError::Allocator {
                kind: 1,
                allocator: 5
            })
        );
        let huge = fixture::allocation(SOURCE, 1, Allocator::Malloc, 16, u64::MAX, 0);
        let impossible = |kind, address, size_bytes| {
            Some(DecodeError::Range {
                kind,
                address,
                size_bytes,
            })
        };
        assert_eq!(
            decode(huge.as_bytes()).err(),
            impossible(RecordKind::Allocation, 16, u64::MAX)
        );
        let nowhere = fixture::allocation(SOURCE, 1, Allocator::Malloc, u64::MAX, 0, 0);
        assert_eq!(
            decode(nowhere.as_bytes()).err(),
            impossible(RecordKind::Allocation, u64::MAX, 0)
        );
        let tagged = fixture::allocation(SOURCE, 1, Allocator::Malloc, 0x3e << 57, 8, 0);
        assert!(decode(tagged.as_bytes()).is_ok());
        let beyond = fixture::map(SOURCE, 1, Allocator::Mmap, (1 << 56, 4096), 0, 0);
        assert_eq!(
            decode(beyond.as_bytes()).err(),
            impossible(RecordKind::Map, 1 << 56, 4096)
        );
        words[0] = 99;
        assert_eq!(decode(words.as_bytes()).err(), Some(DecodeError::Kind(99)));
        let many = fixture::words(RecordKind::StackFrames, 0, 0, SOURCE, 1, &[7, 1_000_000 << 32]);
        assert_eq!(decode(many.as_bytes()).err(), Some(DecodeError::Count(1_000_000)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind in 0_u8..20, mut words in prop::collection::vec(any::<u64>(), 0..300), cut in 0_usize..8) {
            if let Some(first) = words.first_mut() {
                *first = (*first & !0xff) | u64::from(kind);
            }
            let bytes = words.as_bytes();
            let _ = decode(&bytes[..bytes.len().saturating_sub(cut)]);
            let _ = decode(&bytes[cut.min(bytes.len())..]);
        }
    }
}
