//! A recording without a kernel: steps become records, records go through `Ingest`, batches into [`Store`].

use std::{collections::BTreeSet, ops::Range};

use memray_ebpf::{
    config::FrameOffsets,
    event::{RawFrame, RawString, RecordKind, ThreadRecord, WalkStatus},
    stat::StatId,
};
use zerocopy::IntoBytes as _;

use super::store::Store;
use crate::{
    ingest::{
        CodeId, CodeObject, CodeReader, DecodedString, Ingest, IngestOptions, ScriptStart, ThreadName,
        bounds::IngestBounds,
        fixture,
        fixture::{OBJECT_DISTANCE, Source},
    },
    model::{Allocator, MappingKind, ProcessRow, SiteRow},
};

pub(super) const PID: u32 = 100;
pub(super) const CLOCK_BASE_NS: u64 = 5_000_000_000;
pub(super) const PAGE: u64 = 4096;
const PAGES_AT: u64 = 0x7f00_0000_0000;
const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned() as u64;
/// Protection and flags of an ordinary anonymous mapping.
pub(super) const HEAP: u64 = (libc::PROT_READ | libc::PROT_WRITE).cast_unsigned() as u64 | ANONYMOUS << 32;

/// One event or two of a thread; `tid` comes first, `line` is where a new block is made, pages are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Alloc {
        tid: u32,
        address: u64,
        size: u64,
        line: u64,
    },
    AllocWith {
        tid: u32,
        allocator: Allocator,
        address: u64,
        size: u64,
        line: u64,
    },
    Free {
        tid: u32,
        address: u64,
    },
    ReallocEnter {
        tid: u32,
        address: u64,
    },
    ReallocReturn {
        tid: u32,
        address: u64,
        size: u64,
        line: u64,
    },
    ReallocUndone {
        tid: u32,
        address: u64,
    },
    Map {
        tid: u32,
        page: u64,
        pages: u64,
        line: u64,
    },
    MapBeside {
        tid: u32,
        kind: MappingKind,
        page: u64,
        pages: u64,
        line: u64,
    },
    /// mprotect with or without access.
    Protect {
        tid: u32,
        is_usable: bool,
        page: u64,
        pages: u64,
        line: u64,
    },
    Unmap {
        tid: u32,
        page: u64,
        pages: u64,
    },
    MremapEnter {
        tid: u32,
        page: u64,
        pages: u64,
    },
    MremapReturn {
        tid: u32,
        page: u64,
        pages: u64,
        line: u64,
    },
    MremapUndone {
        tid: u32,
    },
    /// Time passes, and the batch is taken.
    Batch {
        ns: u64,
    },
}

/// Knows CPython as far as the fixtures write it: the line is the instruction, or what the line table says.
#[derive(Debug)]
pub(super) struct FakeReader {
    /// What the process still holds of every line table.
    pub line_table: Vec<u8>,
}

impl CodeReader for FakeReader {
    fn string(&self, raw: &RawString, _: CodeId) -> DecodedString {
        let length = usize::try_from(raw.length).unwrap();
        let text = String::from_utf8(raw.data[..length].to_vec()).unwrap();
        let complete = !text.starts_with("long");
        DecodedString { text, complete }
    }

    fn line(&self, code: &CodeObject, frame: RawFrame) -> u32 {
        let index = usize::try_from(frame.instruction).unwrap();
        if code.line_table_bytes == 0 {
            return u32::try_from(index).unwrap();
        }
        code.line_table.get(index).copied().map_or(0, u32::from)
    }

    fn is_python_frame(&self, frame: RawFrame) -> bool {
        frame.owner() < FrameOffsets::FIRST_SHIM_OWNER
    }

    fn thread_name(&self, record: &ThreadRecord) -> ThreadName {
        match record.thread_state {
            // A later look has the object alone.
            0 if record.bootstrap_self == READABLE_LATER + OBJECT_DISTANCE => {
                ThreadName::Known("read later".to_owned())
            }
            0 => ThreadName::None,
            UNREADABLE_THREAD | READABLE_LATER => ThreadName::Unknown,
            state => ThreadName::Known(format!("Thread-{state}")),
        }
    }

    fn line_table_rest(&self, _: &CodeObject, missing: Range<u64>) -> Option<Vec<u8>> {
        let range = usize::try_from(missing.start).unwrap()..usize::try_from(missing.end).unwrap();
        self.line_table.get(range).map(<[u8]>::to_vec)
    }
}

/// A thread state whose name cannot be read.
pub(super) const UNREADABLE_THREAD: u64 = 13;
/// One whose name can be read at a second look.
pub(super) const READABLE_LATER: u64 = 14;

pub(super) struct Harness {
    pub ingest: Ingest,
    pub store: Store,
    pub time_ns: u64,
    described: BTreeSet<u64>,
    /// Events find the ring full and are lost.
    pub ring_full: bool,
    stats: [u64; StatId::COUNT],
}

impl Harness {
    pub(super) fn new(script: ScriptStart) -> Self {
        Self::bounded(script, IngestBounds::default())
    }

    pub(super) fn bounded(script: ScriptStart, bounds: IngestBounds) -> Self {
        let options = IngestOptions {
            clock_base_ns: CLOCK_BASE_NS,
            script,
            bounds,
            ..IngestOptions::default()
        };
        let mut harness = Self {
            ingest: Ingest::new(options),
            store: Store::default(),
            time_ns: CLOCK_BASE_NS,
            described: BTreeSet::new(),
            ring_full: false,
            stats: [0; StatId::COUNT],
        };
        assert_eq!(harness.add_process(PID), 1);
        harness
    }

    /// A recording of these steps, finished.
    pub(super) fn run(steps: &[Step]) -> Self {
        let mut harness = Self::new(ScriptStart::Immediately);
        for &step in steps {
            harness.step(step);
        }
        harness.finish();
        harness
    }

    pub(super) fn add_process(&mut self, pid: u32) -> u32 {
        let row = ProcessRow {
            pid,
            python_version: "3.12.1".to_owned(),
            ..ProcessRow::default()
        };
        self.ingest.add_process(
            row,
            Box::new(FakeReader {
                line_table: b"0123456789".to_vec(),
            }),
        )
    }

    pub(super) fn source(tid: u32) -> Source {
        Source { pid: PID, tid }
    }

    /// A time that is later than that of the record before.
    pub(super) fn tick(&mut self) -> u64 {
        self.time_ns += 1000;
        self.time_ns
    }

    pub(super) fn push(&mut self, words: &[u64]) {
        let stats = match RecordKind::from_raw(words[0].to_le_bytes()[0]) {
            Some(RecordKind::Allocation) => Some((StatId::AllocationSeen, StatId::AllocationRingFull)),
            Some(RecordKind::Free | RecordKind::FreeUndone) => Some((StatId::FreeSeen, StatId::FreeRingFull)),
            Some(RecordKind::Map) => Some((StatId::MapSeen, StatId::MapRingFull)),
            Some(RecordKind::Unmap | RecordKind::UnmapUndone) => {
                Some((StatId::UnmapSeen, StatId::UnmapRingFull))
            }
            _ => None,
        };
        if let Some((seen, full)) = stats {
            self.stats[seen as usize] += 1;
            if self.ring_full {
                self.stats[full as usize] += 1;
                return;
            }
        }
        self.ingest.push(words.as_bytes());
    }

    pub(super) fn batch(&mut self) {
        let batch = self.ingest.take_batch(self.time_ns);
        self.store.apply(batch);
    }

    /// Takes the last batch; every event that the kernel saw must be accounted for.
    pub(super) fn finish(&mut self) {
        self.ingest.set_kernel_stats(None, &self.stats);
        self.finish_without_stats();
        assert_eq!(self.store.meta.len(), 4);
        assert!(
            self.store.meta.values().all(|value| value == "ok"),
            "{:?}",
            self.store.meta
        );
    }

    pub(super) fn finish_without_stats(&mut self) {
        let batch = self.ingest.finish();
        self.store.apply(batch);
        self.store.check_finished();
    }

    /// Describes a code object without line table and a stack of these frames, innermost first; the instruction
    /// is the line.
    pub(super) fn describe(&mut self, tid: u32, stack_id: u64, frames: &[(u64, &str, &str, u64)]) {
        let time = self.tick();
        let source = Self::source(tid);
        for &(code, function, file, _) in frames {
            self.push(&fixture::code(source, time, code, 1, 0, (function, file)));
        }
        let raw: Vec<_> = frames
            .iter()
            .map(|&(code, _, _, line)| fixture::frame(code, 0, line))
            .collect();
        self.push(&fixture::stack_frames(source, time, stack_id, 0, &raw));
        let count = u32::try_from(raw.len()).unwrap();
        self.push(&fixture::stack_end(
            source,
            time,
            stack_id,
            count,
            WalkStatus::Complete,
        ));
    }

    /// A stack of one frame: function `work` of `main.py` at a line, which is also its number.
    fn stack_at(&mut self, tid: u32, line: u64) -> u64 {
        if self.described.insert(line) {
            self.describe(tid, line, &[(0x1000, "work", "main.py", line)]);
        }
        line
    }

    pub(super) fn alloc(&mut self, tid: u32, allocator: Allocator, address: u64, size: u64, stack_id: u64) {
        let time = self.tick();
        self.push(&fixture::allocation(
            Self::source(tid),
            time,
            allocator,
            address,
            size,
            stack_id,
        ));
    }

    /// An allocation outside Python by the main thread of a process.
    pub(super) fn alloc_of(&mut self, pid: u32, address: u64, size: u64) {
        let time = self.tick();
        let source = Source { pid, tid: pid };
        self.push(&fixture::allocation(
            source,
            time,
            Allocator::Malloc,
            address,
            size,
            0,
        ));
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Alloc {
                tid,
                address,
                size,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.alloc(tid, Allocator::Malloc, address, size, stack_id);
            }
            Step::AllocWith {
                tid,
                allocator,
                address,
                size,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.alloc(tid, allocator, address, size, stack_id);
            }
            Step::ReallocReturn {
                tid,
                address,
                size,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.alloc(tid, Allocator::Realloc, address, size, stack_id);
            }
            Step::Map {
                tid,
                page,
                pages,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.map(tid, Allocator::Mmap, range(page, pages), stack_id, HEAP);
            }
            Step::MapBeside {
                tid,
                kind,
                page,
                pages,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.map(tid, Allocator::Mmap, range(page, pages), stack_id, flags_of(kind));
            }
            Step::Protect {
                tid,
                is_usable,
                page,
                pages,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                let protection = if is_usable { HEAP & 0xffff_ffff } else { 0 };
                self.map(tid, Allocator::Mprotect, range(page, pages), stack_id, protection);
            }
            Step::MremapReturn {
                tid,
                page,
                pages,
                line,
            } => {
                let stack_id = self.stack_at(tid, line);
                self.map(tid, Allocator::Mremap, range(page, pages), stack_id, 0);
            }
            Step::Batch { ns } => {
                self.time_ns += ns;
                self.batch();
            }
            _ => self.ending_step(step),
        }
    }

    pub(super) fn map(
        &mut self,
        tid: u32,
        allocator: Allocator,
        range: (u64, u64),
        stack_id: u64,
        protection_and_flags: u64,
    ) {
        let time = self.tick();
        let source = Self::source(tid);
        self.push(&fixture::map(
            source,
            time,
            allocator,
            range,
            stack_id,
            protection_and_flags,
        ));
    }

    fn ending_step(&mut self, step: Step) {
        let time = self.tick();
        let words = match step {
            Step::Free { tid, address } => fixture::free(Self::source(tid), time, Allocator::Free, address),
            Step::ReallocEnter { tid, address } => {
                fixture::free(Self::source(tid), time, Allocator::Realloc, address)
            }
            Step::ReallocUndone { tid, address } => fixture::free_undone(Self::source(tid), time, address),
            Step::Unmap { tid, page, pages } => {
                fixture::unmap(Self::source(tid), time, Allocator::Munmap, range(page, pages))
            }
            Step::MremapEnter { tid, page, pages } => {
                fixture::unmap(Self::source(tid), time, Allocator::Mremap, range(page, pages))
            }
            Step::MremapUndone { tid } => fixture::unmap_undone(Self::source(tid), time, (0, 0)),
            _ => unreachable!("handled by the caller"),
        };
        self.push(&words);
    }

    /// Line of a site's innermost frame and the kernel's id of its thread.
    pub(super) fn place(&self, site: &SiteRow) -> (u64, u32) {
        let frame = &self.store.frames[&self.store.stacks[&site.stack_id].frame_id];
        (u64::from(frame.line), self.store.threads[&site.thread_id].tid)
    }

    /// By line: bytes and count of what `figures` says of each site, without those that have nothing.
    pub(super) fn by_line(&self, figures: impl Fn(&SiteRow) -> (u64, u64)) -> Vec<(u64, u64, u64)> {
        let mut rows: Vec<_> = self
            .store
            .sites
            .values()
            .map(|site| (self.place(site).0, figures(site)))
            .filter(|&(_, (_, count))| count > 0)
            .map(|(line, (bytes, count))| (line, bytes, count))
            .collect();
        rows.sort_unstable();
        rows
    }

    pub(super) fn peak(&self) -> Vec<(u64, u64, u64)> {
        self.by_line(|site| self.store.peak_of(site))
    }

    pub(super) fn leaks(&self) -> Vec<(u64, u64, u64)> {
        self.by_line(|site| (site.live_bytes, site.live_count))
    }

    /// Function names of a stack, outermost first.
    pub(super) fn functions(&self, stack_id: u32) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = Some(stack_id);
        while let Some(stack_id) = next {
            let row = self.store.stacks[&stack_id];
            names.insert(0, self.store.frames[&row.frame_id].function.clone());
            next = row.parent_id;
        }
        names
    }
}

/// Protection and flags of a mapping of this kind.
pub(super) fn flags_of(kind: MappingKind) -> u64 {
    let flags = match kind {
        MappingKind::Reserved => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        MappingKind::File => libc::MAP_PRIVATE,
        MappingKind::SharedFile => libc::MAP_SHARED,
        MappingKind::Stack => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
    };
    u64::from(flags.cast_unsigned()) << 32
}

pub(super) fn range(page: u64, pages: u64) -> (u64, u64) {
    (PAGES_AT + page * PAGE, pages * PAGE)
}
