//! How much memory the collector takes for each thing that it keeps: the figures of `docs/concepts/limits.md`, as bounds.
//!
//! In a program of its own, because all that it allocates is counted.
#![expect(
    unsafe_code,
    clippy::print_stdout,
    reason = "an allocator that counts, and its figures"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use memray_ebpf::event::{RawFrame, RawString, RecordKind, ThreadRecord};
use memray_user::{
    ingest::{CodeId, CodeObject, CodeReader, DecodedString, Ingest, IngestOptions, ScriptStart, ThreadName},
    model::{Allocator, ProcessRow},
};

const PID: u64 = 7;
/// Things of each kind: as many as a table holds right after it has grown would be the worst, so a little more than that.
const COUNT: u64 = 120_000;

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Names are short, lines are instructions.
#[derive(Debug)]
struct Reader;

impl CodeReader for Reader {
    fn string(&self, raw: &RawString, _code: CodeId) -> DecodedString {
        DecodedString {
            text: format!("name {}", raw.address),
            complete: true,
        }
    }

    fn line(&self, _code: &CodeObject, frame: RawFrame) -> u32 {
        u32::try_from(frame.instruction).unwrap_or(0)
    }

    fn is_python_frame(&self, _frame: RawFrame) -> bool {
        true
    }

    fn thread_name(&self, _record: &ThreadRecord) -> ThreadName {
        ThreadName::None
    }

    fn line_table_rest(&self, _code: &CodeObject, _missing: Range<u64>) -> Option<Vec<u8>> {
        None
    }
}

/// Records into `Ingest`, and what it keeps of them.
struct Collector {
    ingest: Ingest,
    time_ns: u64,
    number: u64,
}

impl Collector {
    fn new() -> Self {
        let options = IngestOptions {
            script: ScriptStart::Immediately,
            ..IngestOptions::default()
        };
        let mut ingest = Ingest::new(options);
        let row = ProcessRow {
            pid: u32::try_from(PID).expect("a small number"),
            python_version: "3.12.1".to_owned(),
            ..ProcessRow::default()
        };
        ingest.add_process(row, Box::new(Reader));
        Self {
            ingest,
            time_ns: 0,
            number: 0,
        }
    }

    /// `struct RecordHeader` and the rest of a record.
    fn push(&mut self, kind: RecordKind, allocator: u64, tid: u64, rest: &[u64]) {
        self.time_ns += 10;
        let mut words = vec![kind as u64 | allocator << 8 | tid << 32, PID, self.time_ns];
        words.extend_from_slice(rest);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // A record begins at a multiple of 8; memory for so many bytes does too.
        self.ingest.push(&bytes);
    }

    fn allocate(&mut self, tid: u64, address: u64, stack_id: u64) {
        let rest = [address, 10, stack_id];
        self.push(RecordKind::Allocation, Allocator::Malloc as u64, tid, &rest);
    }

    fn free(&mut self, tid: u64, address: u64) {
        self.push(RecordKind::Free, Allocator::Free as u64, tid, &[address]);
    }

    fn describe_code(&mut self, code: u64) {
        let mut rest = vec![code, 0, 0, serial_of(code), 1];
        for string in [code, 1] {
            rest.extend([string, 0, 0]);
            rest.extend([0; 64]);
        }
        self.push(RecordKind::Code, 0, PID, &rest);
    }

    /// Frames are (code, line), innermost first. Returns the number of the stack.
    fn describe_stack(&mut self, frames: &[(u64, u64)]) -> u64 {
        self.number += 1;
        let count = frames.len() as u64;
        let mut rest = vec![self.number, count << 32];
        rest.extend(
            frames
                .iter()
                .flat_map(|&(code, line)| [code, line, serial_of(code)]),
        );
        self.push(RecordKind::StackFrames, 0, PID, &rest);
        self.push(
            RecordKind::StackEnd,
            0,
            PID,
            &[self.number, count, self.number, 0],
        );
        self.number
    }

    /// Bytes that one more of something takes, when `COUNT` of them have come and what is to be written is written.
    fn cost(&mut self, what: &str, most_bytes: u64, mut add: impl FnMut(&mut Self, u64)) -> u64 {
        drop(self.ingest.take_batch(self.time_ns));
        let before = BYTES.load(Ordering::Relaxed);
        for index in 0..COUNT {
            add(self, index);
            if index % 1000 == 999 {
                drop(self.ingest.take_batch(self.time_ns));
            }
        }
        drop(self.ingest.take_batch(self.time_ns));
        let grown = BYTES.load(Ordering::Relaxed).saturating_sub(before) as u64;
        let each = grown / COUNT;
        println!("{what}: {each} bytes");
        assert!(
            each <= most_bytes,
            "{what}: {each} bytes, documented are {most_bytes}"
        );
        each
    }
}

/// Of the only code object at an address.
const fn serial_of(code: u64) -> u64 {
    code << 3
}

#[test]
fn what_each_thing_takes() {
    let mut run = Collector::new();
    run.describe_code(1);
    run.describe_code(2);
    let only = run.describe_stack(&[(1, 1)]);
    run.cost("a live allocation", 95, |run, index| {
        run.allocate(PID, 0x1000 + index * 16, only);
    });

    // 400 lines called from 300: few frames, many stacks.
    let frames = |index: u64| [(1, index % 400), (2, index / 400)];
    let first = run.number + 1;
    run.cost("a stack of its own, without events", 160, |run, index| {
        run.describe_stack(&frames(index));
    });
    run.cost("another number for a stack", 90, |run, index| {
        run.describe_stack(&frames(index));
    });
    run.cost("a site", 330, |run, index| {
        run.allocate(PID, 0x10, first + index);
        run.free(PID, 0x10);
    });
    run.cost("a function, its frame and its stack", 1100, |run, index| {
        run.describe_code(10 + index);
        run.describe_stack(&[(10 + index, 1)]);
    });
    run.cost("a thread that has ended, and its site", 560, |run, index| {
        let tid = 1000 + index;
        run.allocate(tid, 0x10, only);
        run.free(tid, 0x10);
        run.push(RecordKind::ThreadExit, 0, tid, &[0, 0, 0, 0]);
    });
    run.cost("an event", 0, |run, _| {
        run.allocate(PID, 0x10, only);
        run.free(PID, 0x10);
    });
}
