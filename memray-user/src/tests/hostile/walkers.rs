//! The walk of frames and the search for the thread state, with the offsets of every version, in memory that the target
//! has arranged: cycles, pointers to nowhere, into the middle of things, and reads that fail.
#![expect(unsafe_code, reason = "zeroed boxes of plain data")]

use std::{alloc::Layout, time::Duration};

use memray_ebpf::{
    config::{FrameOffsets, ThreadStateSource, TlsVariable},
    event::StackFramesRecord,
    limits::{FRAMES_PER_RECORD, MAX_PYTHON_FRAMES},
    python::{
        thread_state,
        walk::{StartError, Walk},
    },
};
use proptest::{prelude::*, sample::Index};

use super::{
    Bounds,
    bytes::hostile_number,
    fuzz_test,
    memory::{BASE, HostileMemory, Overwrites, PAGE_BYTES, Value, overwrite, overwrites, resolve, value},
};
use crate::cpython::{PyVersion, offsets};

const BOUNDS: Bounds = Bounds {
    memory_bytes: 64 << 20,
    time: Duration::from_secs(20),
};
const PAGES: u64 = 24;
const THREAD_STATE: u64 = BASE;
const CFRAME: u64 = BASE + 0x400;
const FRAMES: u64 = BASE + 0x1000;
const FS_BASE: u64 = 0x7fff_1234_5640;

/// Those of 3.8 to 3.12, and what the tables of 3.13, and of 3.14 and 3.15, say in their releases.
pub(crate) fn frame_offsets() -> Vec<FrameOffsets> {
    let with_debug_offsets = |localsplus, owner| FrameOffsets {
        thread_state_frame: 72,
        cframe_current_frame: FrameOffsets::NONE,
        thread_state_thread_id: 152,
        previous: 8,
        code: 0,
        instruction: 56,
        owner,
        localsplus,
        header_bytes: localsplus,
        layout: FrameOffsets::CONTIGUOUS,
    };
    (8..=12)
        .map(|minor| offsets::of_version(PyVersion::new(3, minor, 0)).unwrap().frame)
        .chain([with_debug_offsets(72, 70), with_debug_offsets(80, 74)])
        .collect()
}

#[expect(clippy::unnecessary_box_returns, reason = "too large for the stack of a test")]
fn zeroed<T>() -> Box<T> {
    // SAFETY: the layout is that of T.
    let pointer = unsafe { std::alloc::alloc_zeroed(Layout::new::<T>()) }.cast::<T>();
    // SAFETY: `Walk` and `StackFramesRecord` are plain data for which zero is valid.
    unsafe { Box::from_raw(pointer) }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Walked {
    hash: [u64; 2],
    hashed: u32,
    stored: Vec<(u64, u64)>,
}

/// Walks with offsets that a target has told, in memory that it has arranged.
pub(crate) fn walk(offsets: &FrameOffsets, overwrites: &Overwrites) {
    let mut memory = HostileMemory::new(4);
    overwrite(&mut memory, overwrites);
    memory.write(THREAD_STATE + u64::from(offsets.thread_state_thread_id), FS_BASE);
    memory.write(THREAD_STATE + u64::from(offsets.thread_state_frame), FRAMES);
    walked(&memory, offsets, [7, 9]);
}

/// Both walks as the programs drive them, with the bounds that they must keep.
fn walked(memory: &HostileMemory, offsets: &FrameOffsets, seed: [u64; 2]) -> Option<Walked> {
    let mut walk = zeroed::<Walk>();
    match walk.start(memory, offsets, THREAD_STATE, FS_BASE, seed) {
        Ok(()) => {}
        Err(StartError::NotThisThread | StartError::Fault) => return None,
    }
    let innermost = walk.frame;
    let mut turns = 0;
    while walk.hash_step(memory, offsets) {
        turns += 1;
        assert!(turns <= MAX_PYTHON_FRAMES, "a turn without a frame");
    }
    assert!(walk.is_over() && walk.visited <= MAX_PYTHON_FRAMES);
    let mut walked = Walked {
        hash: walk.hash,
        hashed: walk.visited,
        stored: Vec::new(),
    };
    let reads = memory.reads();
    assert!(
        reads <= 2 + u64::from(MAX_PYTHON_FRAMES),
        "{reads} reads of one walk"
    );
    let mut record = zeroed::<StackFramesRecord>();
    walk.restart(innermost);
    let mut records = 0;
    while !walk.is_over() {
        record.frame_count = 0;
        while walk.store_step(memory, offsets, &mut record) {}
        let count = record.frame_count as usize;
        assert!(count <= FRAMES_PER_RECORD);
        assert!(count > 0 || walk.is_over(), "a record without a frame");
        let stored = &record.frames[..count];
        walked.stored.extend(
            stored
                .iter()
                .map(|frame| (frame.code_and_owner, frame.instruction)),
        );
        records += 1;
        assert!(records <= 1 + MAX_PYTHON_FRAMES, "{records} records");
    }
    assert!(walked.stored.len() <= MAX_PYTHON_FRAMES as usize);
    walk.restart(innermost);
    let mut steps = 0;
    while walk.frame != 0 && !walk.is_over() {
        walk.first_local_step(memory, offsets);
        steps += 1;
        assert!(steps <= 1 + MAX_PYTHON_FRAMES, "a step without a frame");
    }
    Some(walked)
}

/// A stack of frames, of which some lead elsewhere.
#[derive(Clone, Debug)]
struct Chain {
    version: Index,
    frame_count: u64,
    stride: u64,
    diverted: Vec<(Index, Value)>,
    innermost: Option<Value>,
    overwrites: Overwrites,
}

fn chain() -> impl Strategy<Value = Chain> {
    (
        any::<Index>(),
        0_u64..200,
        prop_oneof![
            Just(80_u64),
            Just(88),
            Just(136),
            Just(448),
            Just(4096),
            72_u64..600
        ],
        prop::collection::vec((any::<Index>(), value()), 0..6),
        prop::option::weighted(0.1, value()),
        overwrites(0..8),
    )
        .prop_map(
            |(version, frame_count, stride, diverted, innermost, overwrites)| Chain {
                version,
                frame_count,
                stride,
                diverted,
                innermost,
                overwrites,
            },
        )
}

fn build(chain: &Chain, offsets: &FrameOffsets) -> HostileMemory {
    let mut memory = HostileMemory::new(PAGES);
    let size_bytes = memory.size_bytes();
    let room = (size_bytes - 0x1000) / chain.stride;
    let count = chain.frame_count.min(room);
    for index in 0..count {
        let frame = FRAMES + index * chain.stride;
        let previous = if index == 0 { 0 } else { frame - chain.stride };
        memory.write(frame + u64::from(offsets.previous), previous);
        memory.write(frame + u64::from(offsets.code), 0x5500_0000_0000 + index * 512);
        memory.write(frame + u64::from(offsets.instruction), index * 2);
    }
    for (frame, value) in &chain.diverted {
        if count > 0 {
            let frame = FRAMES + frame.index(usize::try_from(count).unwrap()) as u64 * chain.stride;
            memory.write(frame + u64::from(offsets.previous), resolve(value, size_bytes));
        }
    }
    let last = if count == 0 {
        0
    } else {
        FRAMES + (count - 1) * chain.stride
    };
    let innermost = chain
        .innermost
        .as_ref()
        .map_or(last, |value| resolve(value, size_bytes));
    let holder = if offsets.cframe_current_frame == FrameOffsets::NONE {
        THREAD_STATE + u64::from(offsets.thread_state_frame)
    } else {
        memory.write(THREAD_STATE + u64::from(offsets.thread_state_frame), CFRAME);
        CFRAME + u64::from(offsets.cframe_current_frame)
    };
    memory.write(holder, innermost);
    overwrite(&mut memory, &chain.overwrites);
    memory.write(THREAD_STATE + u64::from(offsets.thread_state_thread_id), FS_BASE);
    memory
}

fuzz_test!(
    frame_chains,
    frame_chains_long,
    BOUNDS,
    chain(),
    |chain: Chain| {
        let versions = frame_offsets();
        let offsets = &versions[chain.version.index(versions.len())];
        let memory = build(&chain, offsets);
        let Some(whole) = walked(&memory, offsets, [7, 9]) else {
            return;
        };
        assert_eq!(
            whole.hashed as usize,
            whole.stored.len(),
            "both walks see the same frames"
        );
        let again = walked(&memory.rewound(), offsets, [7, 9]);
        assert_eq!(again, Some(whole), "and every time");
    }
);

fuzz_test!(
    every_read_fails_once,
    every_read_fails_once_long,
    BOUNDS,
    chain(),
    |chain: Chain| {
        let versions = frame_offsets();
        let offsets = &versions[chain.version.index(versions.len())];
        // Short, so that every read of it can fail.
        let chain = Chain {
            frame_count: chain.frame_count.min(12),
            ..chain
        };
        let memory = build(&chain, offsets);
        let Some(whole) = walked(&memory, offsets, [7, 9]) else {
            return;
        };
        // Cycles have thousands of reads, all alike.
        for number in 0..memory.reads().min(40) {
            for goes_on_failing in [false, true] {
                let Some(part) = walked(&memory.failing(number, goes_on_failing), offsets, [7, 9]) else {
                    continue;
                };
                assert!(
                    whole.stored.starts_with(&part.stored),
                    "read {number}: frames that are not there"
                );
            }
        }
    }
);

fn variable() -> impl Strategy<Value = TlsVariable> {
    (
        0_u32..4,
        prop_oneof![Just(8_u32), Just(16), any::<u32>()],
        hostile_number(),
        value(),
    )
        .prop_map(|(mode, slot_bytes, module_id, offset)| TlsVariable {
            mode,
            slot_bytes,
            module_id,
            offset: resolve(&offset, PAGES * PAGE_BYTES).cast_signed(),
        })
}

fn source() -> impl Strategy<Value = ThreadStateSource> {
    let place = || {
        prop_oneof![
            Just(0_u64),
            value().prop_map(|value| resolve(&value, PAGES * PAGE_BYTES)),
            hostile_number()
        ]
    };
    (variable(), variable(), prop::array::uniform5(place())).prop_map(|(attached, bound, places)| {
        let [
            tss_key_address,
            tss_slot_offset,
            tss_first_block_offset,
            tss_blocks_offset,
            tss_array_offset,
        ] = places;
        ThreadStateSource {
            attached,
            bound,
            tss_key_address,
            tss_slot_offset,
            // What user space writes is bounded (`MAX_PTHREAD_BYTES` of cpython::glibc).
            tss_first_block_offset: tss_first_block_offset % (1 << 16),
            tss_blocks_offset: tss_blocks_offset % (1 << 16),
            tss_array_offset,
            gil_holder_address: tss_key_address ^ tss_slot_offset & 0xfff,
        }
    })
}

fuzz_test!(
    thread_states,
    thread_states_long,
    BOUNDS,
    (source(), value(), overwrites(0..64)),
    |(source, fs_base, overwrites): (ThreadStateSource, Value, Overwrites)| {
        let mut memory = HostileMemory::new(2);
        overwrite(&mut memory, &overwrites);
        let fs_base = resolve(&fs_base, memory.size_bytes());
        let found = thread_state::find(&memory, &source, fs_base);
        assert!(memory.reads() <= 5, "{} reads", memory.reads());
        for number in 0..memory.reads() {
            let failed = thread_state::find(&memory.failing(number, true), &source, fs_base);
            assert!(failed.is_err(), "a fault is told, not taken for {found:?}");
        }
        let memory = memory.rewound();
        let entered = thread_state::entered(&memory, &source, 152, fs_base, 7);
        let holds_gil = memory.reads() == 2 && entered != 7;
        assert!(
            entered == 7 || holds_gil,
            "another state than the thread's own was read to be its own"
        );
    }
);
